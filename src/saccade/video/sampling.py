"""Which frames a sample takes, and the job that decodes them. Runs in the decoding child.

Times are compared as fractions, so that no grid drifts. ``choose`` is the whole rule: the frame on display at a
time is the last one at or before it; before the first frame the first one stands in.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from saccade.errors import UnreadableMedia
from saccade.video.colour import Painter
from saccade.video.decode import Decoder, Skip, duration_of
from saccade.video.media import only, open_media, packets_of, start_of, video_of
from saccade.video.timeline import read_timeline

BATCH_BYTES = 16 << 20
BATCH_FRAMES = 64

SEEK_SECONDS = 20
"""From this mean distance between wanted times on, seeking to each is tried instead of decoding all between."""

SEEK_BACK_SECONDS = (0, 2, 10, 60)
"""How far before a wanted time a seek aims, where it landed too late before."""

SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers with an index that a seek can be trusted in."""

SKIPS: dict[str, Skip] = {"exact": "DEFAULT", "nonref": "NONREF", "keyframes": "NONKEY"}

Shown = tuple[int, VideoFrame]


@dataclass(frozen=True)
class Wish:
    """What to sample, times as fractions of a second since the container's start; exactly one of the four.

    every: a grid up to the video's end (at most ``most`` points, else that many spread evenly); count: as many
    spread evenly; at: these, ascending; all of them None: each frame.
    """

    every: Fraction | None = None
    most: int | None = None
    count: int | None = None
    at: tuple[Fraction, ...] | None = None

    @property
    def needs_end(self) -> bool:
        """Whether the end must be known before the first time is."""
        return self.count is not None or self.most is not None


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
    with open_media(path) as container:
        stream = video_of(container)
        if stream is None:
            raise UnreadableMedia(path, "it holds no video that can be decoded")
        base, start = base_of(stream), start_of(container)
        painter = Painter(stream.sample_aspect_ratio, short_side)
        chosen = _chosen(path, container, stream, wish, mode)
        for pts, images in _batches(chosen, painter, batch):
            yield {"pts": pts, "time_base": str(base), "start": str(start)}, (images,)


def choose(
    frames: Iterable[Shown], times: Iterable[Fraction], stream: VideoStream, start: Fraction, hold: bool
) -> Iterator[Shown]:
    """For each of the ascending times the frame on display then, from frames in display order.

    Frames that do not advance are passed over. Behind the last frame's end, times stay unanswered, unless it is
    to ``hold``.
    """
    base = base_of(stream)
    wanted = iter(times)
    time = next(wanted, None)
    before, current = None, None
    for shown in frames:
        if time is None:
            return
        if current is not None and shown[0] <= current[0]:
            continue
        moment = shown[0] * base - start
        while time is not None and time < moment:
            yield current or shown
            time = next(wanted, None)
        before, current = current, shown
    if current is None:
        return
    pts, frame = current
    end = (pts + duration_of(frame, before and before[0], pts, stream)) * base - start
    while time is not None and (hold or time < end):
        yield current
        time = next(wanted, None)


def decoded(container: InputContainer, stream: VideoStream, mode: str, threads: int) -> Iterator[Shown]:
    """(pts, frame) of a whole stream in display order, as far as it can be read.

    Raises UnreadableMedia where packets came but no frame did.
    """
    only(container, stream)
    decoder = Decoder(stream, SKIPS[mode], threads)
    any_frame = False
    for packet in packets_of(container, stream):
        if mode == "keyframes" and packet.size and not packet.is_keyframe:
            continue
        for shown in decoder.decode(packet):
            any_frame = True
            yield shown
    if not any_frame:
        reason = f"no frame decodes ({decoder.damage[0].reason})" if decoder.damage else "its video stream is empty"
        raise UnreadableMedia(container.name.removeprefix("file:"), reason)


def base_of(stream: VideoStream) -> Fraction:
    """The unit of the stream's timestamps, in seconds."""
    base = stream.time_base
    assert base is not None  # every stream of an opened container has one
    return base


def spread(count: int, end: Fraction) -> Iterator[Fraction]:
    """The middles of ``count`` equal stretches of [0, end)."""
    return ((2 * i + 1) * end / (2 * count) for i in range(count))


def grid(every: Fraction) -> Iterator[Fraction]:
    """0, every, 2 · every, … without end."""
    return (k * every for k in itertools.count())


def _chosen(path: str, container: InputContainer, stream: VideoStream, wish: Wish, mode: str) -> Iterator[Shown]:
    start = start_of(container)
    end = Fraction(0)
    if mode != "exact" or wish.needs_end:
        timeline = read_timeline(path)
        mode, end = timeline.choose_mode(mode), timeline.end
    if wish.every is None and wish.count is None and wish.at is None:
        return decoded(container, stream, mode, threads=2)
    if wish.every is not None and (wish.most is None or end <= wish.every * wish.most):
        return choose(decoded(container, stream, mode, threads=2), grid(wish.every), stream, start, hold=False)
    times = wish.at if wish.at is not None else tuple(spread(wish.count or wish.most or 1, end))
    if mode == "exact" and container.format.name in SEEKABLE and _are_sparse(times):
        return _by_seeking(container, stream, times, start)
    return choose(decoded(container, stream, mode, threads=2), times, stream, start, hold=True)


def _are_sparse(times: Sequence[Fraction]) -> bool:
    return bool(times) and times[-1] > SEEK_SECONDS * len(times)


def _by_seeking(
    container: InputContainer, stream: VideoStream, times: Iterable[Fraction], start: Fraction
) -> Iterator[Shown]:
    """For each time the frame on display, decoding only from the keyframe before it."""
    only(container, stream)
    decoder = Decoder(stream)
    for time in times:
        for back in SEEK_BACK_SECONDS:
            frames = _frames_from(container, stream, decoder, max(Fraction(0), time - back) + start)
            first = next(frames, None)
            if first is not None and (first[0] * base_of(stream) - start <= time or back >= time):
                break
        else:
            raise UnreadableMedia(container.name.removeprefix("file:"), f"no frame is found at {float(time):g} s")
        yield from choose(itertools.chain([first], frames), [time], stream, start, hold=True)


def _frames_from(container: InputContainer, stream: VideoStream, decoder: Decoder, time: Fraction) -> Iterator[Shown]:
    """Frames from the last keyframe at or before a time on the container's own clock."""
    container.seek(math.floor(time / base_of(stream)), stream=stream)
    decoder.restart()
    for packet in packets_of(container, stream):
        yield from decoder.decode(packet)


def _batches(
    frames: Iterable[Shown], painter: Painter, most: int | None
) -> Iterator[tuple[list[int], npt.NDArray[np.uint8]]]:
    """Painted frames of one size in batches that are bounded in bytes too."""
    pts: list[int] = []
    images: list[npt.NDArray[np.uint8]] = []
    last: tuple[VideoFrame, npt.NDArray[np.uint8]] | None = None
    for time, frame in frames:
        if last is None or last[0] is not frame:
            last = frame, painter.paint(frame)
        image = last[1]
        full = len(images) >= (most or max(1, min(BATCH_FRAMES, BATCH_BYTES // image.nbytes)))
        if images and (full or image.shape != images[0].shape):
            yield pts, np.stack(images)
            pts, images = [], []
        pts.append(time)
        images.append(image)
    if images:
        yield pts, np.stack(images)
