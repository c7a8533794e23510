"""What the catalog hands out, and how a container's description is kept as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from typing import Any

from saccade.types import Colour, Coverage, Gap, Span, StreamInfo, TimedText, VideoInfo, Word


@dataclass(frozen=True)
class FileRow:
    """One media file on disk. ``video`` is the id of its content, None while that is unknown or unusable.

    state: indexed, indexing (begun), waiting (not begun, or to be tried again), failed (``error`` says why) or
    missing (not on disk any more; what was seen of it stays searchable).
    """

    path: str
    size: int
    mtime_ns: int
    video: str | None
    state: str
    error: str = ""


@dataclass(frozen=True)
class VideoRow:
    """One video or sound, known by its content. ``path`` is its best file: one on disk before a missing one."""

    id: str
    content_hash: str
    path: str
    added: datetime
    recorded: datetime | None
    kind: str
    info_json: str = field(repr=False)

    @cached_property
    def info(self) -> VideoInfo:
        """What its container says of itself; read when asked for, so that listing many videos stays quick."""
        return info_from_json(self.info_json)


@dataclass(frozen=True)
class PassRow:
    """One row of the ledger with what it takes to resume it: ``key`` names it, ``served`` is whether it is read.

    settings: what the result depends on besides the tool, as its maker wrote it down.
    """

    key: int
    video: str
    served: bool
    settings: str
    coverage: Coverage


@dataclass(frozen=True)
class StoredText:
    """A timed text with its id in the library and the id of its video."""

    id: int
    video: str
    text: TimedText


def storable(text: str) -> str:
    r"""Text as SQLite can keep it: what is no Unicode (bytes of an odd file name) is spelled out.

    >>> storable("a\udcff.srt")
    'a\\udcff.srt'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def path_in(path: str) -> str | bytes:
    """A path as SQLite can keep it: text, or the name's own bytes where they are not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def path_out(stored: str | bytes) -> str:
    return os.fsdecode(stored)


def info_to_json(info: VideoInfo) -> str:
    """
    >>> info_from_json(info_to_json(VideoInfo("a.mp4", "mp4", 2.5, start=Fraction(1, 3)))).start
    Fraction(1, 3)
    """
    return json.dumps(dataclasses.asdict(info), default=str)


def info_from_json(text: str) -> VideoInfo:
    fields: dict[str, Any] = json.loads(text)
    fields["colour"] = Colour(**fields["colour"])
    fields["streams"] = tuple(StreamInfo(**stream) for stream in fields["streams"])
    for name in ("start", "pixel_aspect", "frame_rate", "time_base"):
        fields[name] = None if fields[name] is None else Fraction(fields[name])
    if fields["recorded"] is not None:
        fields["recorded"] = datetime.fromisoformat(fields["recorded"])
    return VideoInfo(**fields)


def gaps_to_json(gaps: tuple[Gap, ...]) -> str:
    return json.dumps([[gap.span.start, gap.span.end, gap.reason] for gap in gaps], ensure_ascii=False)


def gaps_from_json(text: str) -> tuple[Gap, ...]:
    return tuple(Gap(Span(start, end), reason) for start, end, reason in json.loads(text))


def words_to_json(words: tuple[Word, ...]) -> str:
    return json.dumps([[w.text, w.span.start, w.span.end, w.probability] for w in words], ensure_ascii=False)


def words_from_json(text: str) -> tuple[Word, ...]:
    return tuple(Word(word, Span(start, end), probability) for word, start, end, probability in json.loads(text))
