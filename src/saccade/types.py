"""The values that cross borders: small frozen dataclasses that check themselves.

Time. A frame's time is its integer presentation timestamp (``pts``) in its stream's ``time_base``; public
seconds are derived from it, minus the container's rational ``start`` (what ffprobe calls the format's
start_time), so that the first thing a file plays is at 0. Spans are half-open, ``[start, end)``, in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from saccade.errors import InputError

EVIDENCE = ("seen", "said", "written", "heard")
"""Kinds of evidence: what the camera saw, what was spoken or subtitled, text on screen, other sounds."""


@dataclass(frozen=True, order=True)
class Timestamp:
    """A moment of one stream: ``pts`` units of ``time_base`` seconds, counted from ``start`` seconds.

    >>> Timestamp(pts=1025, time_base=Fraction(1, 1000), start=Fraction(1))
    Timestamp(0.025 s = 1025 × 1/1000 − 1)
    """

    pts: int
    time_base: Fraction
    start: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        if self.time_base <= 0:
            raise InputError(f"a time base is positive, got {self.time_base}")

    @property
    def exact(self) -> Fraction:
        """Seconds since the container's start, as a fraction."""
        return self.pts * self.time_base - self.start

    @property
    def seconds(self) -> float:
        """Seconds since the container's start."""
        return float(self.exact)

    def __repr__(self) -> str:
        return f"Timestamp({self.seconds:g} s = {self.pts} × {self.time_base} − {self.start})"


@dataclass(frozen=True, order=True)
class Span:
    """A half-open stretch of time, ``[start, end)``, in seconds; ``start <= end``, both finite.

    >>> Span(1, 3).iou(Span(2, 4))
    0.3333333333333333
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start <= self.end):
            raise InputError(f"a span runs forward between finite seconds, got {self.start} to {self.end}")

    @property
    def duration(self) -> float:
        return self.end - self.start

    @property
    def centre(self) -> float:
        return (self.start + self.end) / 2

    def overlap(self, other: Span) -> float:
        """Seconds that both spans cover."""
        return max(0.0, min(self.end, other.end) - max(self.start, other.start))

    def iou(self, other: Span) -> float:
        """Temporal intersection over union in [0, 1]; two equal empty spans give 0."""
        shared = self.overlap(other)
        union = self.duration + other.duration - shared
        return shared / union if union > 0 else 0.0

    def union(self, other: Span) -> Span:
        """The smallest span that covers both."""
        return Span(min(self.start, other.start), max(self.end, other.end))

    def __str__(self) -> str:
        return f"{clock(self.start)}–{clock(self.end)}"


def clock(seconds: float) -> str:
    """Seconds as people read them, to the tenth: ``h:mm:ss.s``.

    >>> clock(3725.25), clock(59.96), clock(-2)
    ('1:02:05.2', '1:00.0', '-0:02.0')
    """
    tenths = round(abs(seconds) * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{'-' if seconds < 0 else ''}{head}:{tenths // 10:02d}.{tenths % 10}"


@dataclass(frozen=True, eq=False)
class Frames:
    """A batch of frames in display order.

    images: uint8 (T, H, W, 3), RGB, upright, square pixels. pts: int64 (T,) in ``time_base`` units.
    ``start`` is the container's start in seconds, taken off by ``seconds``.
    """

    images: npt.NDArray[np.uint8]
    pts: npt.NDArray[np.int64]
    time_base: Fraction
    start: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[3] != 3 or self.images.dtype != np.uint8:
            raise InputError(f"images are uint8 (T, H, W, 3), got {self.images.dtype} {self.images.shape}")
        if self.pts.shape != self.images.shape[:1] or self.pts.dtype != np.int64:
            raise InputError(f"pts are int64 (T,) for {len(self.images)} frames, got {self.pts.dtype} {self.pts.shape}")

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """float64 (T,): seconds since the container's start, each rounded once from the exact fraction."""
        return pts_to_seconds(self.pts, self.time_base, self.start)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        if not len(self):
            return "Frames(none)"
        _, height, width, _ = self.images.shape
        seconds = self.seconds
        return f"Frames({len(self)} × {width}×{height}, {seconds[0]:g} to {seconds[-1]:g} s)"


def pts_to_seconds(
    pts: npt.NDArray[np.int64], time_base: Fraction, start: Fraction = Fraction(0)
) -> npt.NDArray[np.float64]:
    """Integer timestamps (T,) to float64 seconds (T,) since ``start``, without accumulated rounding."""
    numerator, denominator = time_base.numerator * start.denominator, time_base.denominator * start.denominator
    offset = start.numerator * time_base.denominator
    return np.array([(int(p) * numerator - offset) / denominator for p in pts], np.float64)


@dataclass(frozen=True)
class Colour:
    """How a stream's YCbCr is meant: H.273 names as ffprobe prints them, ``unknown`` where the file is silent."""

    matrix: str = "unknown"
    range: str = "unknown"
    primaries: str = "unknown"
    transfer: str = "unknown"


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a container. ``kind`` is video, audio, subtitle, data or attachment."""

    index: int
    kind: str
    codec: str
    language: str | None = None
    title: str | None = None


@dataclass(frozen=True)
class VideoInfo:
    """What a container says of itself, before any frame is decoded.

    width, height: pixels as displayed (after rotation and pixel aspect); 0 where there is no video.
    duration: seconds from ``start`` to the end of the last packet of the longest stream, as far as is known.
    start: the container's start in seconds (rational); frame_rate: the average one, None where unknown.
    """

    path: str
    container: str
    duration: float
    start: Fraction = Fraction(0)
    size: int = 0
    width: int = 0
    height: int = 0
    coded_width: int = 0
    coded_height: int = 0
    pixel_aspect: Fraction = Fraction(1)
    rotation: int = 0
    frame_rate: Fraction | None = None
    time_base: Fraction | None = None
    pixel_format: str | None = None
    bit_depth: int = 8
    colour: Colour = field(default_factory=Colour)
    recorded: datetime | None = None
    timecode: str | None = None
    streams: tuple[StreamInfo, ...] = ()

    def _first(self, kind: str) -> StreamInfo | None:
        return next((stream for stream in self.streams if stream.kind == kind), None)

    @property
    def video(self) -> StreamInfo | None:
        """The first video stream (cover art is not one)."""
        return self._first("video")

    @property
    def audio(self) -> StreamInfo | None:
        """The first audio stream."""
        return self._first("audio")


@dataclass(frozen=True)
class Shot:
    """One shot, ``[start, end)`` in seconds. ``entered_by``: how it begins — start, cut, fade or dissolve."""

    span: Span
    entered_by: str = "cut"


@dataclass(frozen=True)
class Word:
    """A spoken word with its time and the recogniser's probability in [0, 1]."""

    text: str
    span: Span
    probability: float = 1.0


@dataclass(frozen=True)
class TimedText:
    """Text with a time: ``kind`` is said or written (see EVIDENCE); ``source`` names who read it.

    Sources are spelled ``whisper-base``, ``track 2 (eng)``, ``talk.ko.srt``, ``rapidocr``. ``language`` is an
    ISO 639-1 code where it is known.
    """

    span: Span
    text: str
    kind: str
    source: str
    language: str | None = None
    words: tuple[Word, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in EVIDENCE:
            raise InputError(f"kind is one of {', '.join(EVIDENCE)}, got {self.kind!r}")


@dataclass(frozen=True)
class Gap:
    """Seconds that a pass could not use, and why."""

    span: Span
    reason: str


@dataclass(frozen=True)
class Stretch:
    """One step of a text sense (speech, text on screen) through a file: all before ``until`` seconds is settled.

    texts: what ended in this step, in order of time; ``begin=until`` resumes there. gaps: what could not be read,
    and why. dropped: what the recogniser made up where nobody speaks, and was held back.
    """

    until: float
    texts: tuple[TimedText, ...] = ()
    gaps: tuple[Gap, ...] = ()
    dropped: tuple[TimedText, ...] = ()


@dataclass(frozen=True)
class Coverage:
    """One line of the ledger: how far one sense got in one video.

    state: waiting, running, done, partial (some seconds are missing; see ``gaps``), failed, or absent (the
    file holds nothing for this sense). ``time_error`` is the largest distance in seconds between the frame
    that was used and the one that was on display; ``made_from`` is source or proxy.
    """

    sense: str
    state: str
    seconds_seen: float = 0.0
    frames_decoded: int = 0
    items: int = 0
    tool: str = ""
    mode: str = ""
    time_error: float = 0.0
    made_from: str = "source"
    gaps: tuple[Gap, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Match:
    """Why a moment was found: the kind of evidence, its text (empty for what is seen), and its span."""

    kind: str
    text: str
    span: Span


@dataclass(frozen=True)
class Moment:
    """A stretch of one video that answers a query.

    score: higher is better, comparable within one answer only. confidence: 1 − p in [0, 1], p the share of
    background queries whose best hit in the whole library scores as high; ``present`` is confidence >= 0.95.
    """

    span: Span
    score: float
    confidence: float
    matched: tuple[Match, ...] = ()

    @property
    def present(self) -> bool:
        return self.confidence >= PRESENT


@dataclass(frozen=True)
class Hit(Moment):
    """A moment with the video it lies in: ``video`` is its id in the library, ``path`` its file."""

    video: str = ""
    path: str = ""

    def __repr__(self) -> str:
        return f"Hit({self.path} {self.span}, score {self.score:.2f}, confidence {self.confidence:.3f})"


PRESENT = 0.95
"""Confidence from which a query counts as answered by the library (a 5 % false-alarm rate)."""


@dataclass(frozen=True)
class SearchResult:
    """An answer over the library; iterates over its hits, best first.

    ``unknown_words`` are words of the query that nothing here understands; ``warnings`` say what limited it.
    """

    query: str
    encoder: str | None
    hits: tuple[Hit, ...]
    unknown_words: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def present(self) -> bool:
        """Whether the library answers the query at all."""
        return any(hit.present for hit in self.hits)

    def __iter__(self) -> Any:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, index: int) -> Hit:
        return self.hits[index]


@dataclass(frozen=True)
class CurvePoint:
    """One step of a relevance curve: a clip's span and its score (the same scale as the moments')."""

    span: Span
    score: float


@dataclass(frozen=True)
class GroundResult:
    """Spans and a relevance curve inside one video, best moment first."""

    video: str
    path: str
    query: str
    moments: tuple[Moment, ...]
    curve: tuple[CurvePoint, ...]
    warnings: tuple[str, ...] = ()

    @property
    def present(self) -> bool:
        return any(moment.present for moment in self.moments)

    @property
    def best(self) -> Moment | None:
        """The best moment, or None where nothing matched at all."""
        return self.moments[0] if self.moments else None


@dataclass(frozen=True, eq=False)
class Features:
    """Stored vectors of one video: float32 (T, D), L2-normalised, and the seconds (T,) of their frames."""

    video: str
    encoder: str
    vectors: npt.NDArray[np.float32]
    seconds: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.seconds.shape != self.vectors.shape[:1]:
            raise InputError(f"vectors (T, D) need seconds (T,), got {self.vectors.shape} and {self.seconds.shape}")
