"""Which frames a sample takes, and the job that decodes them. Runs in the decoding child.

Times are compared as fractions, so that no grid drifts. ``choose`` is the whole rule: the frame on display at a
time is the last one at or before it; before the first frame the first one stands in.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from saccade.errors import UnreadableMedia
from saccade.video.colour import Painter
from saccade.video.decode import duration_of
from saccade.video.reader import SEEKABLE, Reader, Timed
from saccade.video.timeline import read_timeline

BATCH_BYTES = 8 << 20
BATCH_FRAMES = 64

SEEK_SECONDS = 20
"""Where wanted times lie further apart, a seek is tried instead of decoding all between."""

NEVER = Fraction(2**62)


@dataclass(frozen=True)
class Wish:
    """What to sample, times as fractions of a second since the container's start; at most one of the three.

    every: a grid up to the video's end (at most ``most`` points, else that many spread evenly); count: as many
    spread evenly; at: these, ascending; none of them: each frame.
    """

    every: Fraction | None = None
    most: int | None = None
    count: int | None = None
    at: tuple[Fraction, ...] | None = None


def sample_frames(
    path: str,
    every: str | None,
    most: int | None,
    count: int | None,
    at: list[str] | None,
    mode: str,
    short_side: int | None,
    batch: int | None,
) -> Iterator[tuple[dict[str, Any], tuple[npt.NDArray[np.uint8]]]]:
    """The job behind ``sample``: batches of uint8 (T, H, W, 3) with their pts, time base and start."""
    times = None if at is None else tuple(Fraction(second) for second in at)
    wish = Wish(None if every is None else Fraction(every), most, count, times)
    end = Fraction(0)
    if mode != "exact" or wish.most is not None or wish.count is not None:
        timeline = read_timeline(path)
        mode, end = timeline.choose_mode(mode), timeline.end
    with Reader(path, mode, threads=2) as reader:
        painter = Painter(reader.stream.sample_aspect_ratio, short_side)
        clock = {"time_base": str(reader.base), "start": str(reader.start)}
        any_frame = False
        for pts, images in in_batches(_chosen(reader, wish, mode, end), painter, batch):
            any_frame = True
            yield {"pts": pts, **clock}, (images,)
        if not any_frame and times != ():
            reason = f" ({reader.damage[0].reason})" if reader.damage else ""
            raise UnreadableMedia(path, f"no frame of its video can be decoded{reason}")


def choose(
    frames: Iterable[Timed], times: Iterable[Fraction], reader: Reader, end: Fraction | None = None
) -> Iterator[Timed]:
    """For each of the ascending times the frame on display then, from frames in display order.

    Frames that do not advance are passed over. The last frame stays until ``end``, or until its own end; times
    behind that are not answered.
    """
    wanted = iter(times)
    time = next(wanted, None)
    before, current = None, None
    for timed in frames:
        if time is None:
            return
        if current is not None and timed[0] <= current[0]:
            continue
        moment = reader.moment(timed[0])
        while time is not None and time < moment:
            yield current or timed
            time = next(wanted, None)
        before, current = current, timed
    if current is None:
        return
    pts, frame = current
    if end is None:
        end = reader.moment(pts + duration_of(frame, before and before[0], pts, reader.stream))
    while time is not None and time < end:
        yield current
        time = next(wanted, None)


def in_batches(
    frames: Iterable[Timed], painter: Painter, most: int | None
) -> Iterator[tuple[list[int], npt.NDArray[np.uint8]]]:
    """Painted frames of one size, with their pts, in batches that are bounded in bytes too."""
    batch = Batch(most)
    last: tuple[VideoFrame, npt.NDArray[np.uint8]] | None = None
    for pts, frame in frames:
        if last is None or last[0] is not frame:
            last = frame, painter.paint(frame)
        if batch.is_full_for(last[1]):
            yield batch.take()
        batch.add(pts, last[1])
    if batch:
        yield batch.take()


class Batch:
    """Frames of one size with their pts: at most ``most`` of them, and no more than fit BATCH_BYTES."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._pts: list[int] = []
        self._images: list[npt.NDArray[np.uint8]] = []

    def __len__(self) -> int:
        return len(self._pts)

    def is_full_for(self, image: npt.NDArray[np.uint8]) -> bool:
        """Whether the batch must be taken before this image can be added."""
        if not self._images:
            return False
        most = max(1, min(self._most or BATCH_FRAMES, BATCH_BYTES // image.nbytes))
        return len(self._images) >= most or image.shape != self._images[0].shape

    def add(self, pts: int, image: npt.NDArray[np.uint8]) -> None:
        self._pts.append(pts)
        self._images.append(image)

    def take(self) -> tuple[list[int], npt.NDArray[np.uint8]]:
        """The pts and uint8 (T, H, W, 3); empties the batch."""
        taken = self._pts, np.stack(self._images)
        self._pts, self._images = [], []
        return taken


def spread(count: int, end: Fraction) -> Iterator[Fraction]:
    """The middles of ``count`` equal stretches of [0, end)."""
    return ((2 * i + 1) * end / (2 * count) for i in range(count))


def grid(every: Fraction) -> Iterator[Fraction]:
    """0, every, 2 · every, … without end."""
    return (k * every for k in itertools.count())


def _chosen(reader: Reader, wish: Wish, mode: str, end: Fraction) -> Iterator[Timed]:
    if wish.every is None and wish.count is None and wish.at is None:
        return reader.frames()
    if wish.every is not None and (wish.most is None or end <= wish.every * wish.most):
        return choose(reader.frames(), grid(wish.every), reader, None if mode == "exact" else end)
    times = wish.at if wish.at is not None else tuple(spread(wish.count or wish.most or 1, end))
    runs = _runs(times)
    if mode == "exact" and reader.format in SEEKABLE and (len(runs) > 1 or max(times[:1], default=0) > SEEK_SECONDS):
        return _by_seeking(reader, runs)
    return choose(reader.frames(), times, reader, NEVER)


def _runs(times: Sequence[Fraction]) -> list[Sequence[Fraction]]:
    """The times in runs between which a seek pays."""
    edges = [place for place in range(1, len(times)) if times[place] - times[place - 1] > SEEK_SECONDS]
    return [times[first:last] for first, last in itertools.pairwise([0, *edges, len(times)])]


def _by_seeking(reader: Reader, runs: Iterable[Sequence[Fraction]]) -> Iterator[Timed]:
    for run in runs:
        yield from choose(reader.frames_from(run[0]), run, reader, NEVER)
