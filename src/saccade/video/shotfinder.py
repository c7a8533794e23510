"""Shot boundaries while a file is watched: to the frame, without decoding every frame where that can be avoided.

Where every frame is decoded, the detector sees every frame. Where non-reference frames are skipped, it sees the
others, and the frames around each cut it finds are decoded to place it. Where only keyframes are decoded, pairs of
neighbouring keyframes that differ mark the groups of pictures that are decoded for the detector. Every decision
rests on frames within a bounded time, so that a pass that resumes decides the same. Runs in the decoding child.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from saccade.video.colour import packed, state_colour
from saccade.video.reader import Reader
from saccade.video.shots import REACH_SECONDS, SMALL_HEIGHT, SMALL_WIDTH, Cut, Detector, Small, differs
from saccade.video.timeline import Timeline

MARGIN_SECONDS = 1.0
"""Decoded on either side of what is examined closely: hard cuts and flashes are told apart within it."""

TOO_FAR_SECONDS = 20.0
"""A cut is not placed more closely where the keyframe before it lies further away than this."""


class ShotFinder(ABC):
    """What the finders share. context_from: where decoding must begin for them; lag: how late they decide."""

    def __init__(self, cuts_from: Fraction, lag: float, context: float) -> None:
        self.lag = Fraction(lag)
        self.context_from = max(Fraction(0), cuts_from - Fraction(context))
        self._cuts_from = float(cuts_from)
        self._found: list[Cut] = []
        self._extra = 0
        self._shrink = Shrunk()

    @property
    @abstractmethod
    def decided(self) -> float:
        """Seconds up to which all boundaries have been found."""

    @abstractmethod
    def feed(self, pts: int, seconds: float, frame: VideoFrame) -> None:
        """Take the next decoded frame."""

    @abstractmethod
    def finish(self) -> None:
        """The film ends here."""

    def take(self, until: float) -> list[Cut]:
        """The boundaries before ``until`` that were not taken yet."""
        taken = sorted((cut for cut in self._found if cut.seconds < until), key=lambda cut: cut.seconds)
        self._found = [cut for cut in self._found if cut.seconds >= until]
        return [cut for cut in taken if cut.seconds >= self._cuts_from]

    def take_decoded(self) -> int:
        """How many frames were decoded besides those of the main pass, since the last call."""
        extra, self._extra = self._extra, 0
        return extra


def shot_finder(path: str, mode: str, timeline: Timeline, cuts_from: Fraction) -> ShotFinder:
    """The finder for a decode mode that was really chosen."""
    if mode == "keyframes":
        return KeyframeFinder(path, cuts_from, float(timeline.key_gap))
    return NonrefFinder(path, cuts_from) if mode == "nonref" else DenseFinder(cuts_from)


class Shrunk:
    """Decoded frames as the detector sees them."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def small(self, pts: int, seconds: float, frame: VideoFrame) -> Small:
        state_colour(frame)
        area = Interpolation.AREA
        tiny = self._scaler.reformat(frame, SMALL_WIDTH, SMALL_HEIGHT, "rgb24", interpolation=area, threads=1)
        return Small(seconds, pts, packed(tiny, 3).copy())


class DenseFinder(ShotFinder):
    """Every frame comes, every frame is looked at."""

    def __init__(self, cuts_from: Fraction) -> None:
        super().__init__(cuts_from, lag=2 * REACH_SECONDS, context=2 * REACH_SECONDS)
        self._detector = Detector()

    @property
    def decided(self) -> float:
        return self._detector.decided

    def feed(self, pts: int, seconds: float, frame: VideoFrame) -> None:
        self._found += self._place(self._detector.feed(self._shrink.small(pts, seconds, frame)))

    def finish(self) -> None:
        self._found += self._place(self._detector.finish())

    def _place(self, cuts: list[Cut]) -> list[Cut]:
        return cuts


class NonrefFinder(DenseFinder):
    """The detector's cuts lie at the first frame after them that was not skipped; this places them closely.

    What may be a cut among the frames that came, but does not stand out without those between, is decided there.
    """

    def __init__(self, path: str, cuts_from: Fraction) -> None:
        super().__init__(cuts_from)
        self._detector = Detector(sparse=True)
        self._close = CloseLook(path)
        self._seen: deque[tuple[int, float]] = deque()

    def feed(self, pts: int, seconds: float, frame: VideoFrame) -> None:
        self._seen.append((pts, seconds))
        while self._seen[0][1] < seconds - 4 * REACH_SECONDS:
            self._seen.popleft()
        super().feed(pts, seconds, frame)

    def _place(self, cuts: list[Cut]) -> list[Cut]:
        return [
            placed for cut in cuts for placed in (self._place_one(cut) if cut.kind in ("cut", "perhaps") else [cut])
        ]

    def _place_one(self, cut: Cut) -> list[Cut]:
        """The cut where it lies among all frames; the one found if that cannot be told, unless it was in doubt."""
        unplaced = [cut] if cut.kind == "cut" else []
        before = max((pts for pts, _ in self._seen if pts < cut.pts), default=None)
        if before is None or cut.seconds < float(self._cuts_from):
            return unplaced
        detector = Detector()
        found: list[Cut] = []
        for small in self._close.look(cut.seconds - MARGIN_SECONDS, cut.seconds + MARGIN_SECONDS):
            self._extra += 1
            found += detector.feed(small)
        found += detector.finish()
        return [close for close in found if before < close.pts <= cut.pts and close.kind == "cut"][:1] or unplaced


@dataclass(frozen=True)
class _Group:
    """A group of pictures, [begin, end) in seconds, and whether its end looks unlike its beginning."""

    begin: float
    end: float
    suspect: bool


class KeyframeFinder(ShotFinder):
    """Keyframes come; the groups of pictures in which something happens are decoded fully."""

    def __init__(self, path: str, cuts_from: Fraction, key_gap: float) -> None:
        lag = 2 * REACH_SECONDS + MARGIN_SECONDS + 2 * key_gap
        super().__init__(cuts_from, lag, context=lag)
        self._close = CloseLook(path)
        self._last: Small | None = None
        self._groups: deque[_Group] = deque()
        self._known = 0
        self._detector: Detector | None = None
        self._frames: Iterator[Small] = iter(())
        self._ahead: Small | None = None
        self._settled = -math.inf

    @property
    def decided(self) -> float:
        return self._settled if self._detector is None else self._detector.decided

    def feed(self, pts: int, seconds: float, frame: VideoFrame) -> None:
        small = self._shrink.small(pts, seconds, frame)
        if self._last is not None:
            self._groups.append(_Group(self._last.seconds, seconds, differs(self._last, small)))
        self._last = small
        while (
            self._known < len(self._groups) and self._groups[self._known].end + MARGIN_SECONDS <= self._groups[-1].begin
        ):
            self._settle(self._known)
            self._known += 1
        while self._known and self._groups[0].end + MARGIN_SECONDS <= self._groups[self._known].begin:
            self._groups.popleft()
            self._known -= 1

    def finish(self) -> None:
        if self._last is not None:  # what comes after the last keyframe was not seen at all
            self._groups.append(_Group(self._last.seconds, math.inf, True))
        for number in range(self._known, len(self._groups)):
            self._settle(number)
        self._end_run()
        self._settled = math.inf

    def _settle(self, number: int) -> None:
        """Look at a group closely if it, or one within the margin around it, is suspect."""
        group = self._groups[number]
        near = (
            other for other in self._groups
            if other.end + MARGIN_SECONDS > group.begin and other.begin - MARGIN_SECONDS < group.end
        )  # fmt: skip
        if any(other.suspect for other in near):
            self._look_at(group)
        else:
            self._end_run()
        self._settled = group.end

    def _look_at(self, group: _Group) -> None:
        if self._detector is None:
            self._detector = Detector()
            self._frames = self._close.look(group.begin, math.inf)
            self._ahead = next(self._frames, None)
        while self._ahead is not None and self._ahead.seconds < group.end:
            self._extra += 1
            self._found += self._detector.feed(self._ahead)
            self._ahead = next(self._frames, None)

    def _end_run(self) -> None:
        if self._detector is not None:
            self._found += self._detector.finish()
            self._detector, self._frames, self._ahead = None, iter(()), None


class CloseLook:
    """Every frame of a stretch, as the detector sees it, through a reader of its own."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._reader: Reader | None = None
        self._shrink = Shrunk()

    def look(self, begin: float, end: float) -> Iterator[Small]:
        """The frames in [begin, end), ascending; none where the keyframe before them is too far away."""
        if self._reader is None:
            self._reader = Reader(self._path)
        reader, last = self._reader, -math.inf
        aim = Fraction(begin) + reader.base / 2  # a keyframe that begins here must not be missed by a rounding
        for pts, frame in reader.frames_from(max(Fraction(0), aim)):
            seconds = float(reader.moment(pts))
            if (last == -math.inf and begin - seconds > TOO_FAR_SECONDS) or seconds >= end:
                return
            if seconds >= begin and seconds > last:
                yield self._shrink.small(pts, seconds, frame)
            last = max(last, seconds)


class NoShots(ShotFinder):
    """Boundaries were not asked for."""

    def __init__(self, begin: Fraction) -> None:
        super().__init__(begin, lag=0, context=0)
        self.context_from = begin

    @property
    def decided(self) -> float:
        return math.inf

    def feed(self, pts: int, seconds: float, frame: VideoFrame) -> None:
        pass

    def finish(self) -> None:
        pass
