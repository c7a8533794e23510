"""What is seen: one decode of the source gives shots, the proxy and frames for the encoder, part by part."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from saccade.encode import FrameEncoder
from saccade.errors import DecoderCrashed, MediaError, UnreadableMedia
from saccade.index.claims import Claim
from saccade.index.records import PassRow
from saccade.index.vectors import FrameVectors
from saccade.index.writer import CutRow, Writer
from saccade.ingest.passes import Line, Source, Tools, blames_the_disk, disk_full, note_waiting, settings_text
from saccade.ingest.plan import FINISHED
from saccade.types import Frames
from saccade.video.proxy import join_proxy
from saccade.video.watch import Part, watch

PART_SECONDS = 120.0
"""How many seconds of a film are committed at once, and may be lost when it is killed."""

NO_ENCODER = "no frame encoder was at hand: shots and proxy only"
SOUND_ONLY = "sound only"


def see(tools: Tools, source: Source, claim: Claim) -> None:
    """Bring a video up to date in shots, proxy and vectors, resuming after its last committed part.

    Raises the MediaError that ended it where nothing at all could be used; where something could, the ledger says
    up to where and why, and so does ``source.error``.
    """
    ledger = tools.catalog.passes(source.video) if source.video else []
    encoder = tools.encoder if source.kind == "video" else None
    if tools.force or not _finished(ledger, "shots"):
        _watch(tools, source, claim, ledger, encoder)
        assert source.video is not None
        ledger = tools.catalog.passes(source.video)
    if encoder is not None and not _finished(ledger, "seen", encoder.name):
        embed(tools, source, claim, ledger, encoder)
    elif encoder is None:
        with tools.catalog.commit(claim) as writer:
            _without_encoder(writer, source, ledger)


def _finished(ledger: Sequence[PassRow], sense: str, tool: str = "") -> bool:
    """Whether this pass is finished, and not under way once more."""
    states = [row.coverage.state for row in ledger if (row.coverage.sense, row.coverage.tool) == (sense, tool)]
    return bool(states) and all(state in FINISHED for state in states)


def _without_encoder(writer: Writer, source: Source, ledger: Sequence[PassRow]) -> None:
    assert source.video is not None
    if source.kind == "video":
        note_waiting(writer, ledger, source.video, "seen", NO_ENCODER)
    elif not _finished(ledger, "seen"):
        Line.begin(writer, source.video, "seen", "").finish(writer, "absent", SOUND_ONLY)


class _Vectors:
    """Encodes the frames of a part as they come. A picture that stays on display is encoded once."""

    def __init__(self, encoder: FrameEncoder, last_pts: int | None, made_from: str) -> None:
        self._encoder = encoder
        self._last_pts = last_pts
        self._made_from = made_from
        self._time_base, self._start = Fraction(1), Fraction(0)
        self._vectors: list[npt.NDArray[np.float32]] = []
        self._pts: list[npt.NDArray[np.int64]] = []

    def add(self, frames: Frames) -> None:
        before = np.concatenate([[frames.pts[0] - 1 if self._last_pts is None else self._last_pts], frames.pts[:-1]])
        fresh = frames.pts != before
        self._last_pts = int(frames.pts[-1])
        self._time_base, self._start = frames.time_base, frames.start
        if fresh.any():
            images = frames.images if fresh.all() else frames.images[fresh]
            self._vectors.append(self._encoder.encode_frames(images))
            self._pts.append(frames.pts[fresh])

    def take(self) -> FrameVectors:
        """The vectors since the last call."""
        vectors, self._vectors = self._vectors, []
        pts, self._pts = self._pts, []
        return FrameVectors(
            vectors=np.concatenate(vectors) if vectors else np.zeros((0, self._encoder.dim), np.float32),
            pts=np.concatenate(pts) if pts else np.zeros(0, np.int64),
            time_base=self._time_base,
            start=self._start,
            made_from=self._made_from,
        )


class _Watching:
    """The pass over the source: its two lines in the ledger, and the commit of each part."""

    def __init__(
        self, tools: Tools, source: Source, claim: Claim, ledger: Sequence[PassRow], encoder: FrameEncoder | None
    ) -> None:
        self._tools, self._source, self._claim = tools, source, claim
        self.shots = Line.resume(ledger, "shots", "")
        self.seen = Line.resume(ledger, "seen", encoder.name) if encoder else None
        if tools.force and self.shots is not None and self.shots.served:
            self.shots = self.seen = None
        begun = self.shots.coverage.seconds_seen if self.shots else 0.0
        alongside = self.seen.coverage.seconds_seen == begun if self.seen else self.shots is None
        self.encoder = encoder if alongside else None
        if not alongside:
            self.seen = None
        self.begin, self.cuts_from = tools.catalog.frontier(self.shots.key) if self.shots else (0.0, 0.0)
        last_pts = tools.catalog.last_pts(self.seen.key) if self.seen else None
        self.vectors = _Vectors(self.encoder, last_pts, "source") if self.encoder else None

    def commit(self, part: Part) -> None:
        """Keep one part; the last one closes the pass, with its proxy joined."""
        tools, source = self._tools, self._source
        source.check_unchanged()
        proxy = _safe_on_disk(tools.catalog.proxies, part.proxy)
        joined = self._join(proxy) if part.last else None
        found = self.vectors.take() if self.vectors else None
        with tools.catalog.commit(self._claim) as writer:
            self._begin(source.enter(writer), writer)
            assert self.shots is not None
            cuts = [CutRow(cut.seconds, cut.pts, cut.kind) for cut in part.cuts]
            writer.put_part(self.shots.key, part.span, part.cuts_until, cuts, proxy)
            _add(self.shots, part, frames=part.frames_decoded, items=len(cuts))
            self.shots.write(writer)
            if self.seen is not None and found is not None:
                writer.put_vectors(self.seen.key, part.span, found)
                _add(self.seen, part, frames=part.frames_decoded, items=len(found.pts))
                self.seen.write(writer)
            replaced = self._close(writer, joined) if part.last else []
        source.entered()
        tools.catalog.remove_unnamed(replaced)

    def give_up(self, error: MediaError) -> None:
        """Keep what was seen before the decoder failed; without any, the error is all there is."""
        if self.shots is None:
            raise error
        self._source.error = error.reason
        joined = self._join(None)
        for line in filter(None, (self.shots, self.seen)):
            line.fail(self._source.info.duration, error.reason)
        with self._tools.catalog.commit(self._claim) as writer:
            self._source.enter(writer)
            replaced = self._close(writer, joined)
        self._tools.catalog.remove_unnamed(replaced)

    def _begin(self, video: str, writer: Writer) -> None:
        tools = self._tools
        settings = settings_text(every=tools.every, mode=tools.mode)
        if self.shots is None:
            self.shots = Line.begin(writer, video, "shots", "", settings)
            if self._source.kind == "video":
                self.shots.add(0.0, items=1)
            if self.encoder is not None:
                self.seen = Line.begin(writer, video, "seen", self.encoder.name, settings)

    def _join(self, last: str | None) -> str | None:
        """All parts as one file; its name. A single part is the whole already."""
        names = self._tools.catalog.part_proxies(self.shots.key) if self.shots else []
        names += [last] if last else []
        if len(names) < 2:
            return names[0] if names else None
        folder = self._tools.catalog.proxies
        target = f"{names[-1].partition('.')[0]}.{self._claim.id}.mp4"
        join_proxy([folder / name for name in names], folder / target)
        return _safe_on_disk(folder, target)

    def _close(self, writer: Writer, proxy: str | None) -> list[str]:
        """Finish both lines; returns the proxy files that nothing names any more."""
        assert self.shots is not None
        replaced = writer.put_proxy(self.shots.key, proxy) if proxy else []
        self.shots.finish(writer, note=SOUND_ONLY if self._source.kind == "audio" else "")
        if self.seen is not None:
            self.seen.finish(writer)
        return [name for name in replaced if name != proxy]


def _watch(tools: Tools, source: Source, claim: Claim, ledger: Sequence[PassRow], encoder: FrameEncoder | None) -> None:
    work = _Watching(tools, source, claim, ledger, encoder)
    tools.clock.start(source.path, "seen", work.begin, source.info.duration)
    stream = watch(
        source.path,
        every=tools.every,
        begin=work.begin,
        cuts_from=work.cuts_from,
        mode=tools.mode,
        part_seconds=PART_SECONDS,
        proxy=tools.catalog.proxies / f"{source.content_hash[:16]}.{claim.id}",
        frames=work.encoder is not None,
        worker=tools.worker,
    )
    try:
        with contextlib.closing(stream):  # type: ignore[type-var]
            for item in stream:
                if isinstance(item, Part):
                    work.commit(item)
                    tools.clock.tick(item.span.end)
                elif work.vectors is not None:
                    work.vectors.add(item)
                    tools.clock.tick(float(item.seconds[-1]))
    except (DecoderCrashed, UnreadableMedia) as error:
        if blames_the_disk(error):
            raise disk_full(tools.catalog, str(error)) from None
        source.check_unchanged()
        tools.check_space()
        work.give_up(error)


def embed(tools: Tools, source: Source, claim: Claim, ledger: Sequence[PassRow], encoder: FrameEncoder) -> None:
    """Vectors by another encoder, from the proxy; from the source only where the proxy is lost."""
    assert source.video is not None
    proxy = tools.catalog.proxy(source.video)
    from_proxy = proxy is not None and proxy.exists()
    line = Line.resume(ledger, "seen", encoder.name)
    begin = line.coverage.seconds_seen if line else 0.0
    made_from = "proxy" if from_proxy else "source"
    vectors = _Vectors(encoder, tools.catalog.last_pts(line.key) if line else None, made_from)
    tools.clock.start(source.path, "seen", begin, source.info.duration)
    stream = watch(
        proxy if from_proxy and proxy else source.path,
        every=tools.every,
        begin=begin,
        mode="exact" if from_proxy else tools.mode,
        part_seconds=PART_SECONDS,
        shots=False,
        worker=tools.worker,
    )
    try:
        if not from_proxy and os.path.exists(source.path):
            source.check_unchanged()
        with contextlib.closing(stream):  # type: ignore[type-var]
            for item in stream:
                if isinstance(item, Frames):
                    vectors.add(item)
                    tools.clock.tick(float(item.seconds[-1]))
                    continue
                found = vectors.take()
                with tools.catalog.commit(claim) as writer:
                    if line is None:
                        settings = settings_text(every=tools.every, mode=tools.mode)
                        line = Line.begin(writer, source.video, "seen", encoder.name, settings)
                    writer.put_vectors(line.key, item.span, found)
                    _add(line, item, frames=item.frames_decoded, items=len(found.pts))
                    line.add(item.span.end, made_from=made_from)
                    line.finish(writer) if item.last else line.write(writer)
    except MediaError as error:
        source.error = error.reason
        with tools.catalog.commit(claim) as writer:
            line = line or Line.begin(writer, source.video, "seen", encoder.name)
            line.fail(source.info.duration, error.reason)
            line.finish(writer, "partial" if line.coverage.items else "failed", error.reason)


def _add(line: Line, part: Part, *, frames: int, items: int) -> None:
    known = line.coverage
    line.add(
        part.span.end,
        gaps=part.gaps,
        frames_decoded=frames,
        items=items,
        mode=part.mode if known.mode in ("", part.mode) else "mixed",
        time_error=max(known.time_error, part.time_error),
    )


def _safe_on_disk(folder: Path, name: str | None) -> str | None:
    """A proxy's name, once its bytes are on the disk: a row must never name what a power cut could take back."""
    if name is None:
        return None
    path = folder / Path(name).name
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path.name
