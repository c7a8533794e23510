"""A library of videos: one folder that remembers everything about them. Read this file first.

add     -> ingest.py    decode once: frames to vectors, shots, proxy; then subtitles, speech, text on screen
search  -> index/board.py   every text and frame on one axis of time, scored against the query
        -> moments.py       scores to surprises to moments, with a confidence that they are there at all
ground  -> the same, inside one video, with its relevance curve
show    -> the frames of a moment, as a picture
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from saccade.errors import EncoderChanged, InputError, LibraryError, WeightsError
from saccade.index.board import Board, vocabulary_cache
from saccade.index.catalog import Catalog
from saccade.index.query import Query, picture_query
from saccade.moments import Judge, curve, find
from saccade.types import EVIDENCE, Coverage, Features, GroundResult, Hit, SearchResult, Shot, TimedText

if TYPE_CHECKING:
    from PIL.Image import Image

    from saccade.encode import FrameEncoder
    from saccade.ingest import IngestReport, Plan, Progress

DEFAULT_FOLDER = "saccade-library"

NO_VECTORS = (
    "no frame in here has been encoded yet, so it was searched by what is said and written only; "
    "`saccade index` with the sense `seen` encodes them"
)
NO_BACKGROUND = "too little is indexed to say how likely these hits are chance; confidence stays 0"


def open(folder: str | os.PathLike[str] | None = None, *, create: bool = True, encoder: str | None = None) -> Library:
    """Opens the library in ``folder`` ($SACCADE_LIBRARY, else ./saccade-library), making it where there is none.

    ``encoder`` names the frame encoder for what is seen: ``builtin``, a folder or a hub id. A library remembers the
    first it is given, the built-in where none is. LibraryError where the folder is something else, or of a newer
    format.
    """
    return Library(Catalog.open(library_folder(folder), create=create), encoder)


def library_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder that is meant: the one given, else $SACCADE_LIBRARY, else ./saccade-library."""
    return Path(folder if folder is not None else os.environ.get("SACCADE_LIBRARY") or DEFAULT_FOLDER)


@dataclass(frozen=True)
class VideoReport:
    """The ledger's account of one media file. ``state`` is indexed, indexing, waiting, failed or missing.

    id, duration, start_seconds, kind (video or audio) and recorded are None where the file could not be read;
    ``error`` says why.
    """

    path: str
    id: str | None
    state: str
    error: str = ""
    duration: float | None = None
    start_seconds: float | None = None
    kind: str | None = None
    recorded: datetime | None = None
    coverage: tuple[Coverage, ...] = ()


class Library:
    """A library, opened; a context manager. ``saccade.open`` makes one."""

    def __init__(self, catalog: Catalog, encoder: str | None = None) -> None:
        self.catalog = catalog
        self._named_encoder = encoder
        self._encoder: FrameEncoder | None = None
        self._judge: Judge | None = None

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.catalog.close()

    def __repr__(self) -> str:
        return f"Library({str(self.catalog.folder)!r}, {len(self.catalog.videos())} videos)"

    # ── what goes in ──

    def add(
        self,
        *paths: str | os.PathLike[str],
        senses: Collection[str] | None = None,
        every: float = 1.0,
        mode: str = "auto",
        ocr_every: float = 10.0,
        language: str | None = None,
        speech_model: str | None = None,
        verify: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Indexes files, folders, globs and URLs; what is there already and unchanged is not read again.

        senses: of ``saccade.ingest.SENSES``, all by default. every: seconds between the frames that are encoded.
        mode: how exactly frames are decoded (auto, exact, nonref, keyframes). ocr_every: seconds between frames
        read for text. language: of the speech, where it is known. verify: hash unchanged files anew.
        """
        from saccade.encode import sentence_encoder
        from saccade.ingest import SENSES, ingest

        encoder, warnings = self._eyes_to_index_with()
        report = ingest(
            self.catalog,
            [os.fspath(path) for path in paths],
            encoder=encoder,
            sentence_encoder=sentence_encoder(),
            senses=SENSES if senses is None else senses,
            every=every,
            mode=mode,
            ocr_every=ocr_every,
            language=language,
            speech_model=speech_model,
            verify=verify,
            on_progress=on_progress,
        )
        self._prepare()
        return replace(report, warnings=(*warnings, *report.warnings))

    def plan(
        self,
        *paths: str | os.PathLike[str],
        senses: Collection[str] | None = None,
        every: float = 1.0,
        mode: str = "auto",
        ocr_every: float = 10.0,
    ) -> Plan:
        """What ``add`` would do: which files are new, changed or moved, the hours for each sense, and the disk."""
        from saccade.ingest import SENSES, scan

        encoder, _ = self._eyes_to_index_with(remember=False)
        return scan(
            [os.fspath(path) for path in paths],
            self.catalog,
            senses=SENSES if senses is None else senses,
            encoder=encoder.name if encoder is not None else None,
            every=every,
            mode=mode,
            ocr_every=ocr_every,
        )

    def remove(self, video: str) -> str:
        """Forgets everything about a video, the words only it used among them; returns its path. Sources stay."""
        row = self.catalog.find_video(video)
        self.catalog.forget(row.id)
        if self.catalog.videos():
            from saccade.encode import sentence_encoder

            vocabulary_cache(self.catalog, sentence_encoder()).keep_only(self.catalog.vocabulary())
            self._prepare()
        return row.path

    # ── what comes out ──

    def search(
        self,
        query: str | None = None,
        *,
        image: str | os.PathLike[str] | npt.NDArray[np.uint8] | None = None,
        k: int = 10,
        per_video: int = 3,
        evidence: Sequence[str] | None = None,
        videos: Sequence[str] | None = None,
        start: float | None = None,
        end: float | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        kind: str | None = None,
    ) -> SearchResult:
        """Moments across the library, best first, for words or a picture (a file, or uint8 (H, W, 3) RGB).

        At most ``per_video`` moments of one video until k is filled from the others. evidence: of seen, said,
        written, heard; all by default. videos, start and end (seconds), after and before (date of recording) and
        kind (video or audio) limit where to look. ``result.present`` is False when it is not in here.
        """
        if k < 1 or per_video < 1:
            raise InputError(f"k and per_video are at least 1, got {k} and {per_video}")
        kinds = self._kinds(evidence, image)
        judge, asked, warnings = self._ask(query, image, kinds)
        where = self._where(judge.board, videos, start, end, after, before, kind)
        hits = find(judge, asked, k=k, evidence=kinds, per_video=per_video, where=where)
        paths = {row.id: row.path for row in self.catalog.videos()}
        found = tuple(replace(hit, path=paths[hit.video]) for hit in hits)
        unknown = self._unknown_words(judge, query or "", kinds)
        return SearchResult(query or "", judge.board.encoder, found, unknown, tuple(warnings))

    def ground(
        self,
        video: str,
        query: str | None = None,
        *,
        image: str | os.PathLike[str] | npt.NDArray[np.uint8] | None = None,
        k: int = 5,
        evidence: Sequence[str] | None = None,
    ) -> GroundResult:
        """Spans inside one video (its id or path), best first, and how relevant each of its two-second clips is."""
        row = self.catalog.find_video(video)
        kinds = self._kinds(evidence, image)
        judge, asked, warnings = self._ask(query, image, kinds)
        where = self._where(judge.board, [row.id])
        moments = tuple(find(judge, asked, k=k, evidence=kinds, where=where))
        points = tuple(curve(judge, asked, row.id, row.info.duration, kinds))
        hits = tuple(replace(hit, path=row.path) for hit in moments)
        return GroundResult(row.id, row.path, query or "", hits, points, tuple(warnings))

    def info(self, video: str | None = None) -> list[VideoReport]:
        """The ledger: one row for each media file, broken and missing ones too; or for one video's files."""
        wanted = None if video is None else self.catalog.find_video(video).id
        rows = {row.id: row for row in self.catalog.videos()}
        reports = []
        for file in self.catalog.files():
            row = rows.get(file.video) if file.video else None
            if wanted is not None and (row is None or row.id != wanted):
                continue
            if row is None:
                reports.append(VideoReport(file.path, None, file.state, file.error))
                continue
            reports.append(
                VideoReport(
                    file.path, row.id, file.state, file.error, row.info.duration, float(row.info.start),
                    row.kind, row.recorded, tuple(self.catalog.coverage(row.id)),
                )
            )  # fmt: skip
        return reports

    def features(self, video: str) -> Features:
        """The stored vectors of a video, L2-normalised float32 (T, D), and their frames' seconds (T,)."""
        row = self.catalog.find_video(video)
        encoder = self.catalog.default_encoder()
        if encoder is None:
            raise LibraryError(f"{self.catalog.folder} holds no vectors yet: `saccade index` makes them")
        return self.catalog.features(row.id, encoder)

    def texts(self, video: str, kinds: Sequence[str] | None = None) -> list[TimedText]:
        """What is said and written in a video, in order of time."""
        stored = self.catalog.texts(self.catalog.find_video(video).id, kinds)
        return [found.text for found in stored]

    def shots(self, video: str) -> list[Shot]:
        """The shots of a video, in order, abutting."""
        return self.catalog.shots(self.catalog.find_video(video).id)

    def show(self, hit: Hit, frames: int = 6) -> Image:
        """The frames of a hit side by side; a notebook draws the picture by itself."""
        from saccade.video import strip

        source = hit.path if Path(hit.path).exists() else str(self.catalog.proxy(hit.video) or hit.path)
        return strip(source, hit.span, frames)

    # ── the frame encoder ──

    def encoder(self) -> FrameEncoder:
        """The frame encoder named, else the one this library remembers, else the built-in.

        Raises EncoderChanged (InputError, where it was named) if this library's vectors were made by another one.
        """
        return self._eyes(self.catalog.default_encoder())

    def _eyes(self, known: str | None) -> FrameEncoder:
        """The frame encoder, which must be the ``known`` one where there are vectors to compare with."""
        from saccade.encode import load_encoder

        if self._encoder is None or known not in (None, self._encoder.name):
            self._encoder = load_encoder(self._place())
        if known not in (None, self._encoder.name):
            raise (EncoderChanged if self._named_encoder is None else InputError)(
                f"the vectors of this library were made with {known}, and {self._encoder.name} cannot be compared with "
                f"them: `saccade migrate --encoder {self._place()}` makes them anew from the proxies"
            )
        return self._encoder

    def _place(self) -> str:
        from saccade.encode import BUILTIN, place_of

        return place_of(self._named_encoder or self.catalog.get_meta("encoder_place") or BUILTIN)

    def _eyes_to_index_with(self, *, remember: bool = True) -> tuple[FrameEncoder | None, list[str]]:
        """The frame encoder, remembered from now on; where it has changed or is gone, frames wait, with a warning."""
        try:
            encoder = self.encoder()
        except WeightsError as error:
            if self._named_encoder is not None:
                raise
            return None, [f"the frames of what is new wait to be encoded: {error}"]
        remembered = self.catalog.get_meta("default_encoder"), self.catalog.get_meta("encoder_place")
        if remember and remembered != (encoder.name, self._place()):
            with self.catalog.commit() as writer:
                writer.choose_encoder(encoder.name, self._place())
        return encoder, []

    # ── asking ──

    def _current_judge(self) -> Judge:
        """A judge of the library as it is now; while nothing changes, the same one."""
        from saccade.encode import sentence_encoder

        if self._judge is None or self._judge.board.version != self.catalog.version:
            self._judge = Judge(Board(self.catalog, sentence_encoder(), self.catalog.default_encoder()))
        return self._judge

    def _prepare(self) -> None:
        """Measures the background of the library as it is now, so that the next search need not."""
        judge = self._current_judge()
        with suppress(WeightsError):  # then search says what is wrong
            judge.tower = self.encoder() if "seen" in judge.board.items else None
        judge.prepare()

    def _ask(self, text: str | None, image: Any, kinds: Sequence[str]) -> tuple[Judge, Query, list[str]]:
        if (text is None or not text.strip()) == (image is None):
            raise InputError("a search needs words or an image, one of the two")
        judge, warnings = self._current_judge(), []
        if "seen" in kinds and image is None:
            if judge.board.encoder is None:
                warnings.append(NO_VECTORS)
            else:
                warnings += self._open_eyes(judge)
        query = judge.read(text or "") if image is None else picture_query(self._look_at(judge, image))
        if not judge.can_tell(query, kinds):
            warnings.append(NO_BACKGROUND)
        return judge, query, warnings

    def _unknown_words(self, judge: Judge, text: str, kinds: Sequence[str]) -> tuple[str, ...]:
        """Words that the sentence encoder cannot read, or the eyes were not taught; but none that stands in here."""
        from saccade.encode import sentence_encoder
        from saccade.encode.builtin import BuiltinEncoder

        unknown = sentence_encoder().unknown_words(text)
        if "seen" in kinds and isinstance(judge.tower, BuiltinEncoder):
            unknown += judge.tower.unknown_words(text)
        return tuple(word for word in dict.fromkeys(unknown) if not judge.board.holds(word))

    def _open_eyes(self, judge: Judge) -> list[str]:
        """Give the judge the text side of what made the board's vectors; else what to warn of."""
        try:
            judge.tower = self._eyes(judge.board.encoder)
        except WeightsError as error:
            judge.tower = None
            return [f"searched by what is said and written only: {error}"]
        return []

    def _look_at(self, judge: Judge, image: Any) -> npt.NDArray[np.float32]:
        if judge.board.encoder is None:
            raise InputError("a search by image compares what is seen, and no frame in here has been encoded yet")
        from saccade.video.pictures import read_picture

        pixels = image if isinstance(image, np.ndarray) else read_picture(image)
        vector: npt.NDArray[np.float32] = self._eyes(judge.board.encoder).encode_frames(pixels[None])[0]
        return vector

    def _kinds(self, evidence: Sequence[str] | None, image: Any) -> tuple[str, ...]:
        if evidence is not None and not set(evidence) <= set(EVIDENCE):
            raise InputError(f"evidence is of {', '.join(EVIDENCE)}, got {', '.join(evidence)}")
        if image is not None:
            return ("seen",)
        return tuple(kind for kind in EVIDENCE if evidence is None or kind in evidence)

    def _where(
        self,
        board: Board,
        videos: Sequence[str] | None = None,
        start: float | None = None,
        end: float | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        kind: str | None = None,
    ) -> npt.NDArray[np.bool_]:
        """bool (cells,): the part of the library to look in."""
        wanted = None if videos is None else {self.catalog.find_video(video).id for video in videos}
        rows = {row.id: row for row in self.catalog.videos()}

        def admits(video: str) -> bool:
            row = rows[video]
            dated = row.recorded is not None
            return (
                (wanted is None or video in wanted)
                and (kind is None or row.kind == kind)
                and (after is None or (dated and _comparable(row.recorded) >= _comparable(after)))
                and (before is None or (dated and _comparable(row.recorded) < _comparable(before)))
            )

        admitted = np.array([video in rows and admits(video) for video in board.videos], bool)
        where: npt.NDArray[np.bool_] = admitted[board.cell_videos] if board.cells else np.zeros(0, bool)
        if start is not None:
            where &= board.cell_ends > start
        if end is not None:
            where &= board.cell_starts < end
        return where


def _comparable(moment: datetime | None) -> datetime:
    """Dates without a zone are taken as local time."""
    assert moment is not None
    return moment.astimezone()
