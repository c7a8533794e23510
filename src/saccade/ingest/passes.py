"""What every pass over a video shares: the tools it works with, the source it works on, its row in the ledger."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from saccade.encode import FrameEncoder
from saccade.errors import LibraryError, MediaError, SaccadeError
from saccade.index.catalog import Catalog
from saccade.index.claims import Heartbeat
from saccade.index.records import FileRow, PassRow
from saccade.index.writer import Writer
from saccade.ingest.plan import Stamp
from saccade.ingest.progress import Clock
from saccade.types import Coverage, Gap, Span, VideoInfo
from saccade.video.worker import Worker

MIN_FREE_BYTES = 64 << 20
"""With less room than this on the library's disk, a run stops before it fails in the middle of a file."""


class FileChanged(MediaError):
    """The file was written to while it was read."""

    def __init__(
        self, path: object, reason: str = "changed while it was read; index it again when it is whole"
    ) -> None:
        super().__init__(path, reason)


@dataclass
class Tools:
    """One run's catalog, decoder, encoders and settings."""

    catalog: Catalog
    worker: Worker
    heartbeat: Heartbeat
    clock: Clock
    encoder: FrameEncoder | None
    sentences: Callable[[], Any]
    every: float
    mode: str
    ocr_every: float
    language: str | None
    speech_model: str | None
    force: bool

    def check_space(self) -> None:
        """LibraryError where the library's disk is about to be full."""
        free = shutil.disk_usage(self.catalog.folder).free
        if free < MIN_FREE_BYTES:
            raise disk_full(self.catalog, f"{free >> 20} MB are left")


def disk_full(catalog: Catalog, what: str) -> LibraryError:
    return LibraryError(
        f"no space left for {catalog.folder} ({what}): everything committed so far is kept; free some, then run again"
    )


def blames_the_disk(error: SaccadeError) -> bool:
    """Whether a decoder failed because it could not write its proxy."""
    return "No space left" in " ".join([str(error), *getattr(error, "__notes__", [])])


@dataclass
class Source:
    """A file with its content's hash and description, on its way into the library.

    ``replaces`` is the video that lay at this path before; it is forgotten when the first of the new one is in.
    """

    path: str
    stamp: Stamp
    content_hash: str
    info: VideoInfo
    video: str | None = None
    replaces: str | None = None
    error: str = ""
    _entered: bool = field(default=False, repr=False)

    @property
    def kind(self) -> str:
        return "video" if self.info.video is not None else "audio"

    def check_unchanged(self) -> None:
        """FileChanged where the file is not the one that was hashed any more."""
        if stamp_of(self.path) != self.stamp:
            raise FileChanged(self.path)

    def enter(self, writer: Writer) -> str:
        """The id of this content; with its first evidence the video and its file become visible."""
        self.video = writer.put_video(self.content_hash, self.info, self.kind)
        if not self._entered:
            self.put_file(writer, "indexing")
            if self.replaces is not None and self.replaces != self.video:
                writer.forget_unnamed(self.replaces)
        return self.video

    def entered(self) -> None:
        """The commit in which it entered went through."""
        self._entered = True

    def put_file(self, writer: Writer, state: str) -> None:
        writer.put_file(FileRow(self.path, *self.stamp, self.video, state, self.error))


def stamp_of(path: str) -> Stamp | None:
    try:
        about = os.stat(path)
    except OSError:
        return None
    return Stamp(about.st_size, about.st_mtime_ns)


class Line:
    """A row of the ledger while its pass runs."""

    def __init__(self, key: int, coverage: Coverage, served: bool = True) -> None:
        self.key = key
        self.coverage = coverage
        self.served = served

    @classmethod
    def begin(cls, writer: Writer, video: str, sense: str, tool: str, settings: str = "") -> Line:
        key = writer.begin_pass(video, sense, tool, settings=settings)
        return cls(key, Coverage(sense, "running", tool=tool), served=False)

    @classmethod
    def resume(cls, ledger: Sequence[PassRow], sense: str, tool: str) -> Line | None:
        """The row of this pass that was begun and not finished."""
        for row in ledger:
            line = row.coverage
            if line.sense == sense and line.tool == tool and line.state == "running":
                return cls(row.key, line, row.served)
        return None

    def add(self, seconds_seen: float, *, gaps: Sequence[Gap] = (), **added: Any) -> None:
        """Go on to ``seconds_seen``: frames_decoded and items are added up, other fields replaced."""
        counts = {name: getattr(self.coverage, name) + added.pop(name, 0) for name in ("frames_decoded", "items")}
        self.coverage = replace(
            self.coverage, seconds_seen=seconds_seen, gaps=(*self.coverage.gaps, *gaps), **counts, **added
        )

    def fail(self, duration: float, reason: str) -> None:
        """The rest, from where it got to, cannot be used."""
        seen = self.coverage.seconds_seen
        self.coverage = replace(self.coverage, gaps=(*self.coverage.gaps, Gap(Span(seen, max(seen, duration)), reason)))

    def finish(self, writer: Writer, state: str | None = None, note: str | None = None) -> None:
        """Write the last of this row, and read from it from now on. Without ``state``: done, or partial by its gaps."""
        known = "partial" if self.coverage.gaps else "done"
        self.coverage = replace(self.coverage, state=state or known, note=self.coverage.note if note is None else note)
        writer.update_pass(self.key, self.coverage)
        writer.serve(self.key)

    def write(self, writer: Writer) -> None:
        writer.update_pass(self.key, self.coverage)


def note_waiting(writer: Writer, ledger: Sequence[PassRow], video: str, sense: str, note: str) -> None:
    """A line that says what a sense waits for, unless it stands there already or the sense has something to show."""
    of_sense = [row for row in ledger if row.coverage.sense == sense]
    if not of_sense:
        key = writer.begin_pass(video, sense, "")
        writer.update_pass(key, Coverage(sense, "waiting", note=note))


def settings_text(**settings: Any) -> str:
    return json.dumps(settings, sort_keys=True)
