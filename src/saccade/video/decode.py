"""Packets in, frames out, each with its true timestamp. Runs in the decoding child."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Literal

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

SMALLEST = -(2**63)

Skip = Literal["DEFAULT", "NONREF", "NONKEY"]


@dataclass
class BestEffort:
    """FFmpeg's rule for a frame's time: its pts, unless pts ran backwards more often than dts, or it has none.

    PyAV hands out pts and dts but not the best-effort timestamp, so the rule is kept here.
    """

    _faulty_pts: int = 0
    _faulty_dts: int = 0
    _last_pts: int = SMALLEST
    _last_dts: int = SMALLEST

    def time(self, pts: int | None, dts: int | None) -> int | None:
        """The best-effort timestamp of the next frame in output order."""
        if dts is not None:
            self._faulty_dts += dts <= self._last_dts
            self._last_dts = dts
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._faulty_pts += pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        if pts is not None and (dts is None or self._faulty_pts <= self._faulty_dts):
            return pts
        return dts

    def restart(self) -> None:
        """The decoder was flushed: the next frame may lie anywhere."""
        self._last_pts = self._last_dts = SMALLEST


@dataclass(frozen=True)
class Damage:
    """A packet that could not be decoded: its time in the stream's units, None where unknown, and why."""

    pts: int | None
    reason: str


@dataclass
class Decoder:
    """One stream's decoder. ``damage`` collects what it could not read; reading goes on behind it.

    skip: FFmpeg's skip_frame, DEFAULT, NONREF or NONKEY. A frame without any timestamp (the last ones of an AVI)
    is placed one frame duration after the one before it.
    """

    stream: VideoStream
    skip: Skip = "DEFAULT"
    threads: int = 1
    damage: list[Damage] = field(default_factory=list)
    _clock: BestEffort = field(default_factory=BestEffort)
    _last: int | None = None
    _step: int = 1

    def __post_init__(self) -> None:
        context = self.stream.codec_context
        context.thread_count = self.threads
        context.thread_type = "FRAME" if self.threads > 1 else "SLICE"
        context.skip_frame = self.skip
        self._step = step_of(self.stream)

    def decode(self, packet: Packet[VideoStream]) -> list[tuple[int, VideoFrame]]:
        """(pts, frame) in display order, as far as this packet completes any; the empty last packet drains."""
        try:
            frames = self.stream.decode(packet)
        except MemoryError:
            raise
        except EOFError:
            return []
        except av.FFmpegError as error:
            self.damage.append(
                Damage(packet.pts if packet.pts is not None else packet.dts, error.strerror or str(error))
            )
            return []
        return [(self._place(frame), frame) for frame in frames]

    def decode_alone(self, packet: Packet[VideoStream]) -> list[tuple[int, VideoFrame]]:
        """The frames of a packet that stands by itself, such as a keyframe, without waiting for others."""
        known = len(self.damage)
        frames = self.decode(packet)
        with contextlib.suppress(EOFError):
            frames += [(self._place(frame), frame) for frame in self.stream.decode(None)]
        if not frames and len(self.damage) == known:
            self.damage.append(Damage(packet.pts, "a keyframe gives no picture"))
        self.restart()
        return frames

    def restart(self) -> None:
        """Forget everything: the next packet comes from elsewhere."""
        self.stream.codec_context.flush_buffers()
        self._clock.restart()

    def _place(self, frame: VideoFrame) -> int:
        pts = self._clock.time(frame.pts, frame.dts)
        if pts is None:
            pts = 0 if self._last is None else self._last + self._step
        elif self._last is not None and pts > self._last:
            self._step = pts - self._last
        self._last = pts
        return pts


def duration_of(frame: VideoFrame, before: int | None, pts: int, stream: VideoStream) -> int:
    """How long a last frame stays, in the stream's units: as it says, else as long as the one before it."""
    if frame.duration > 0:
        return frame.duration
    return pts - before if before is not None and pts > before else step_of(stream)


def step_of(stream: VideoStream) -> int:
    """The usual distance of two frames in the stream's units, at least 1."""
    rate, base = stream.average_rate, stream.time_base
    return max(1, round(1 / (rate * base))) if rate and base else 1
