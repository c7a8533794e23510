"""What there is to do: which files are new, changed, moved or gone, which senses each lacks, and what that will cost.

Looking reads directories and the ledger only. A file whose size and modification time are the ones that were
indexed is not opened; ``Plan.hours`` opens some of the others to learn how long they are.
"""

from __future__ import annotations

import contextlib
import glob
import math
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from saccade.errors import InputError, MediaError
from saccade.index.catalog import Catalog
from saccade.index.records import FileRow, PassRow, storable
from saccade.types import VideoInfo
from saccade.video.sample import MODES

SENSES = ("seen", "subtitles", "said", "written")
"""Senses to choose from; ``seen`` brings shots and the proxy, with or without a frame encoder."""

STATES = ("new", "begun", "changed", "moved", "unchanged", "missing")

FINISHED = ("done", "partial", "failed", "absent")
"""States of a pass that is not taken up again by itself."""

MEDIA_SUFFIXES = frozenset(
    """.3g2 .3gp .asf .avi .divx .dv .f4v .flv .gif .ivf .m1v .m2ts .m2v .m4v .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf
    .nut .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv .y4m
    .aac .ac3 .aif .aiff .amr .ape .au .caf .flac .m4a .m4b .mka .mp2 .mp3 .oga .ogg .opus .ra .wav .wma .wv
    """.split()  # noqa: SIM905
)
SUBTITLE_SUFFIXES = (".srt", ".vtt", ".ass", ".ssa")

SECONDS_PER_BYTE = 4e-6
"""How long an unopened file is taken to be: 2 Mbit/s."""

PROBED = 60
"""How many files ``Plan.hours`` opens at most; the others are estimated by their size."""

WATCH_SPEED = 50.0
"""× real time of the decode with shots and proxy on two cores at WATCHED_PIXELS, much the same in every mode where
shots are many; measured by benchmarks/ingest.py."""
WATCHED_PIXELS = 640 * 360
ENCODED_PER_SECOND = {"saccade-builtin": 100.0, "": 25.0}
"""Frames a second on two cores, by the beginning of the encoder's name: the built-in's, and a ViT-B/32's in fp32."""
SPEECH_SPEED = 19.0
SUBTITLE_SPEED = 3000.0
OCR_SECONDS = 0.5
DISK_PER_SECOND = 12_000.0
"""Bytes of proxy and vectors for a second of video."""


class Stamp(NamedTuple):
    """What tells a changed file from an unchanged one without reading it."""

    size: int
    mtime_ns: int


class Length(NamedTuple):
    """How long a file is, and its seconds weighted by what a picture of its size costs to decode."""

    seconds: float
    watched: float

    @classmethod
    def of(cls, info: VideoInfo) -> Length:
        return cls(info.duration, info.duration * max(0.2, info.width * info.height / WATCHED_PIXELS))

    def times(self, factor: float) -> Length:
        return Length(self.seconds * factor, self.watched * factor)


@dataclass(frozen=True)
class PlanItem:
    """One media file. state: new, begun, changed, moved (probably: its content decides), unchanged or missing.

    video: id of the content that was indexed from this path, if any. sidecars: the subtitle files beside it, as
    name:size:time. due: the senses that are left to do.
    """

    path: str
    stamp: Stamp
    state: str
    video: str | None
    sidecars: str
    due: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What ``ingest`` will do. ``other`` counts files that are no media; ``urls`` are fetched first.

    encoder: the name of the frame encoder, if one is used.
    """

    items: tuple[PlanItem, ...]
    senses: tuple[str, ...]
    other: int = 0
    urls: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    every: float = 1.0
    mode: str = "auto"
    ocr_every: float = 10.0
    encoder: str | None = None
    known: dict[str, Length] = field(default_factory=dict, repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """How many files are in each state of STATES."""
        states = [item.state for item in self.items]
        return {state: states.count(state) for state in STATES}

    @property
    def pending(self) -> tuple[PlanItem, ...]:
        """The files with something left to do."""
        return tuple(item for item in self.items if item.due)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of media that each sense has before it. Opens at most PROBED files to learn how long they are."""
        return {sense: self._sum(sense).seconds for sense in self.senses}

    @property
    def hours(self) -> dict[str, float]:
        """Hours that each sense will take on two cores like those of the measurements; faster machines need less."""
        return {sense: self._wall_seconds(sense, self._sum(sense)) / 3600 for sense in self.senses}

    @property
    def disk_bytes(self) -> int:
        """What proxies and vectors will take, about."""
        return round(self.seconds.get("seen", 0.0) * DISK_PER_SECOND)

    def speed(self, sense: str) -> float:
        """Seconds of media that a sense works through in a second, as measured on two cores with small pictures."""
        return 1.0 / self._wall_seconds(sense, Length(1.0, 1.0))

    def length(self, item: PlanItem) -> Length:
        """How long one file is: what the library knows, else by its size."""
        known = self.known.get(item.video or "") if item.state != "changed" else None
        guess = item.stamp.size * SECONDS_PER_BYTE
        return Length(guess, guess) if known is None else known

    def _wall_seconds(self, sense: str, length: Length) -> float:
        if sense == "seen":
            name = self.encoder
            encoding = 0.0 if name is None else length.seconds / self.every / _encoded_per_second(name)
            return length.watched / WATCH_SPEED + encoding
        speeds = {"subtitles": SUBTITLE_SPEED, "said": SPEECH_SPEED, "written": self.ocr_every / OCR_SECONDS}
        return length.seconds / speeds[sense]

    def _sum(self, sense: str) -> Length:
        lengths = [self._lengths[item.path] for item in self.pending if sense in item.due]
        return Length(sum(one.seconds for one in lengths), sum(one.watched for one in lengths))

    @cached_property
    def _lengths(self) -> dict[str, Length]:
        """Path -> length of every pending file; of those that the library does not know, some are opened."""
        from saccade.video import probe
        from saccade.video.worker import Worker

        lengths = {item.path: self.length(item) for item in self.pending}
        unknown = [item for item in self.pending if item.state in ("new", "changed") and item.stamp.size]
        opened = unknown[:: max(1, len(unknown) // PROBED)]
        real = guessed = 0.0
        with Worker() as worker:
            for item in opened:
                try:
                    found = Length.of(probe(item.path, worker=worker))
                except MediaError:
                    found = Length(0.0, 0.0)
                real, guessed = real + found.seconds, guessed + lengths[item.path].seconds
                lengths[item.path] = found
        for item in set(unknown) - set(opened):
            lengths[item.path] = lengths[item.path].times(real / guessed if guessed else 1.0)
        return lengths


def scan(
    paths: Sequence[str],
    catalog: Catalog,
    *,
    senses: Collection[str] = SENSES,
    encoder: str | None = None,
    every: float = 1.0,
    mode: str = "auto",
    ocr_every: float = 10.0,
    force: bool = False,
) -> Plan:
    """Look at files, folders, globs and URLs. ``encoder`` is the frame encoder's name, ``force`` makes all of it due.

    InputError where a path names nothing, neither on disk nor in the library, or a sense or setting is none.
    """
    chosen = _checked(senses)
    _check_settings(every, mode, ocr_every)
    urls = tuple(path for path in paths if "://" in path)
    known = {file.path: file for file in catalog.files()}
    found = _Found()
    gone: dict[str, FileRow] = {}
    for path in paths:
        if path not in urls:
            gone |= found.look(path, known)
    ledger = _ledger(catalog)
    lost = defaultdict[Stamp, list[FileRow]](list)
    for file in known.values():
        if file.path not in found.media and not os.path.exists(file.path):
            lost[Stamp(file.size, file.mtime_ns)].append(file)
    items = [
        _item(path, stamp, sidecars, known.get(path), lost, ledger, chosen, encoder, force)
        for path, (stamp, sidecars) in sorted(found.media.items())
    ]
    moved_away = {file.path for item in items if item.state == "moved" for file in lost[item.stamp]}
    items += [_missing(file, ledger, chosen, encoder) for path, file in sorted(gone.items()) if path not in moved_away]
    return Plan(
        items=tuple(items),
        senses=chosen,
        other=found.other,
        urls=urls,
        warnings=tuple(found.warnings),
        every=every,
        mode=mode,
        ocr_every=ocr_every,
        encoder=encoder,
        known={video.id: Length.of(video.info) for video in catalog.videos(_pending_videos(items))},
    )


def _encoded_per_second(encoder: str) -> float:
    return next(speed for beginning, speed in ENCODED_PER_SECOND.items() if encoder.startswith(beginning))


def due_senses(ledger: Iterable[PassRow], senses: Collection[str], encoder: str | None) -> tuple[str, ...]:
    """The chosen senses that are not finished according to these rows (of one video)."""
    states: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in ledger:
        line = row.coverage
        states[line.sense, line.tool if line.sense == "seen" else ""].add(line.state)
    finished = {key for key, found in states.items() if found and found <= set(FINISHED)}
    encoded = encoder is None or ("seen", encoder) in finished or "absent" in states["seen", ""]
    due = {sense for sense in senses if (sense, "") not in finished} - {"seen"}
    if "seen" in senses and not (("shots", "") in finished and encoded):
        due.add("seen")
    return tuple(sense for sense in SENSES if sense in due)


def sidecars_due(ledger: Iterable[PassRow], path: str, sidecars: str) -> bool:
    """Whether the subtitle files beside ``path`` are others than those that were read."""
    read = next((row.settings for row in ledger if row.coverage.sense == "subtitles"), None)
    if read is None:
        return False
    before, _, from_path = read.partition("\n")
    return before != storable(sidecars) and (from_path == storable(path) or not before)


def _pending_videos(items: Iterable[PlanItem]) -> list[str]:
    return sorted({item.video for item in items if item.due and item.video})


def _checked(senses: Collection[str]) -> tuple[str, ...]:
    if unknown := [sense for sense in senses if sense not in SENSES]:
        raise InputError(f"senses are {', '.join(SENSES)}, got {unknown[0]!r}")
    return tuple(sense for sense in SENSES if sense in senses)


def _check_settings(every: float, mode: str, ocr_every: float) -> None:
    if mode not in MODES:
        raise InputError(f"mode is one of {', '.join(MODES)}, got {mode!r}")
    for name, seconds in (("every", every), ("ocr_every", ocr_every)):
        if not 0 < seconds < math.inf:
            raise InputError(f"{name} is a number of seconds above 0, got {seconds}")


def _ledger(catalog: Catalog) -> dict[str, list[PassRow]]:
    rows = defaultdict[str, list[PassRow]](list)
    for row in catalog.passes():
        rows[row.video].append(row)
    return rows


def _item(
    path: str,
    stamp: Stamp,
    sidecars: str,
    row: FileRow | None,
    lost: dict[Stamp, list[FileRow]],
    ledger: dict[str, list[PassRow]],
    senses: tuple[str, ...],
    encoder: str | None,
    force: bool,
) -> PlanItem:
    if row is None or (row.video is None and row.state != "failed"):
        moved = next((file for file in lost.get(stamp, ()) if file.video), None)
        state = "moved" if moved else "new"
        due = due_senses(ledger.get(moved.video or "", ()), senses, encoder) if moved else senses
        return PlanItem(path, stamp, state, moved.video if moved else None, sidecars, due)
    if stamp != (row.size, row.mtime_ns):
        return PlanItem(path, stamp, "changed", row.video, sidecars, senses)
    if force:
        return PlanItem(path, stamp, "unchanged", row.video, sidecars, senses)
    if row.video is None or row.state == "failed":
        return PlanItem(path, stamp, "unchanged", row.video, sidecars, ())
    rows = ledger.get(row.video, [])
    due = due_senses(rows, senses, encoder)
    if "subtitles" in senses and sidecars_due(rows, path, sidecars):
        due = tuple(sense for sense in SENSES if sense in due or sense == "subtitles")
    return PlanItem(path, stamp, "begun" if row.state == "indexing" else "unchanged", row.video, sidecars, due)


def _missing(file: FileRow, ledger: dict[str, list[PassRow]], senses: tuple[str, ...], encoder: str | None) -> PlanItem:
    """What is gone from disk can still be heard, and seen by another encoder, in its proxy; text on screen waits."""
    due = due_senses(ledger.get(file.video, ()), senses, encoder) if file.video else ()
    rows = ledger.get(file.video or "", [])
    watched = any(row.coverage.sense == "shots" and row.coverage.state in FINISHED for row in rows)
    left = tuple(sense for sense in due if sense == "written" or (watched and sense != "subtitles"))
    return PlanItem(file.path, Stamp(file.size, file.mtime_ns), "missing", file.video, "", left)


class _Found:
    """Media files under the given paths: path -> (stamp, sidecars)."""

    def __init__(self) -> None:
        self.media: dict[str, tuple[Stamp, str]] = {}
        self.other = 0
        self.warnings: list[str] = []
        self._folders: set[tuple[int, int]] = set()

    def look(self, given: str, known: dict[str, FileRow]) -> dict[str, FileRow]:
        """Add what a path, folder or glob names; returns the library's files under it that are not there any more."""
        path = os.path.abspath(os.path.expanduser(given))
        gone = {
            file.path: file
            for file in known.values()
            if (file.path == path or file.path.startswith(path.rstrip(os.sep) + os.sep))
            and not os.path.exists(file.path)
        }
        if os.path.isdir(path):
            self._walk(path)
        elif os.path.exists(path):
            self._add(path, os.listdir(os.path.dirname(path)))
        elif names := sorted(glob.glob(os.path.expanduser(given), recursive=True)):
            for name in names:
                gone |= self.look(glob.escape(name) if not os.path.exists(name) else name, known)
        elif not gone:
            raise InputError(f"{given}: no such file or folder")
        return gone

    def _walk(self, folder: str) -> None:
        """Every file below a folder, links followed, each folder once; libraries and hidden names are left alone."""
        about = os.stat(folder)
        if (about.st_dev, about.st_ino) in self._folders:
            return
        self._folders.add((about.st_dev, about.st_ino))
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            self.warnings.append(f"{folder}: {error.strerror}")
            return
        names = [entry.name for entry in entries]
        if "library.db" in names and "proxies" in names:
            return
        for entry in entries:
            if entry.is_dir():
                if not entry.name.startswith("."):
                    self._walk(entry.path)
            elif os.path.splitext(entry.name)[1].lower() in MEDIA_SUFFIXES and not entry.name.startswith("."):
                self._add(entry.path, names)
            else:
                self.other += 1

    def _add(self, path: str, names: Sequence[str]) -> None:
        try:
            about = os.stat(path)
        except OSError as error:
            self.warnings.append(f"{path}: {error.strerror}")
            return
        self.media[path] = Stamp(about.st_size, about.st_mtime_ns), ";".join(_sidecars(path, names))


def _sidecars(path: str, names: Sequence[str]) -> Iterator[str]:
    folder, name = os.path.split(path)
    stem = os.path.splitext(name)[0].casefold() + "."
    for other in names:
        if other.casefold().startswith(stem) and other.lower().endswith(SUBTITLE_SUFFIXES):
            with contextlib.suppress(FileNotFoundError):
                about = os.stat(os.path.join(folder, other))
                yield f"{other}:{about.st_size}:{about.st_mtime_ns}"
