"""The proxy: a small stand-in for a film that keeps its true times.

One part file holds one stretch: H.264 with a short side of at most 256, one picture on display at each half
second at its own timestamp, and 16 kHz mono Opus. Part files are complete by themselves and join by stream copy.
A proxy's clock is its source's clock minus the source's start: it begins at 0 even where the first picture or
sound comes later.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from saccade.errors import InputError, MediaError, UnreadableMedia
from saccade.video.audio import decode_sound
from saccade.video.colour import (
    EXACT,
    Painter,
    Upright,
    fit_short_side,
    has_alpha,
    has_high_range,
    shown_size,
    state_colour,
)
from saccade.video.media import PROXY_MARK, first_frame, open_media
from saccade.video.reader import Reader

SHORT_SIDE = 256
EVERY = Fraction(1, 2)

RATE = 16_000
OPUS_SAMPLES = 320
"""Samples of one Opus packet, 20 ms: parts begin and end between packets."""

PREROLL_PACKETS = 50
"""Packets that are encoded and thrown away before a part begins: Opus takes half a second to settle on a mode, and a
change of mode at a seam would be heard."""

LONGEST_SILENCE = 3600 * RATE
"""A hole of more samples than this in a sound track is the work of a broken clock; what comes behind it is lost."""

MICROSECONDS = 1_000_000

VIDEO_OPTIONS = {"preset": "veryfast", "crf": "26", "bf": "0", "g": "20", "x264-params": "repeat-headers=1"}


def clock_of(time_base: Fraction, start: Fraction) -> int:
    """Units a second in which a stream's times minus its start are whole; microseconds where that is not to be had.

    >>> clock_of(Fraction(1, 15360), Fraction(0)), clock_of(Fraction(1, 12800), Fraction(1, 3))
    (15360, 1000000)
    """
    units = time_base.denominator
    if (start * units).denominator != 1 or units > 2 * MICROSECONDS:
        return MICROSECONDS
    while units < 10_000:  # as FFmpeg's muxer would
        units *= 2
    return units


class Shrinker:
    """Decoded frames to the proxy's one picture size: upright, square pixels, BT.709 limited, even sides.

    Every part of a film has the size of the film's first picture; a frame of another shape is fitted into it.
    """

    def __init__(self, first: VideoFrame, aspect: Fraction | None) -> None:
        self._source = (first.width, first.height)
        self._upright = Upright.of(first)
        shown = shown_size(first.width, first.height, aspect or Fraction(1), self._upright)
        width, height = fit_short_side(*shown, SHORT_SIDE)
        self.size = max(2, width // 2 * 2), max(2, height // 2 * 2)
        self._painter = Painter(aspect)
        self._scaler, self._fitter = VideoReformatter(), VideoReformatter()

    def shrink(self, frame: VideoFrame) -> VideoFrame:
        """yuv420p of the proxy's size."""
        plain = not (has_alpha(frame) or has_high_range(frame)) and self._upright == Upright()
        if (frame.width, frame.height) != self._source or not plain:
            frame = VideoFrame.from_ndarray(self._painted(frame), "rgb24")
        else:
            state_colour(frame)
        return self._scaler.reformat(
            frame, *self.size, "yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )

    def _painted(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        width, height = self.size
        image = self._painter.paint(frame)
        scale = min(Fraction(width, image.shape[1]), Fraction(height, image.shape[0]))
        inner = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        rgb = VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
        fitted = self._fitter.reformat(rgb, *inner, "rgb24", interpolation=EXACT, threads=1).to_ndarray()
        canvas = np.zeros((height, width, 3), np.uint8)
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        canvas[top : top + inner[1], left : left + inner[0]] = fitted
        return canvas


class Sound:
    """A file's first sound track from ``begin`` seconds on, handed out part by part as int16 samples.

    The samples of a part come with a preroll in front. A file whose sound cannot be read has none here; what is
    wrong with it is for the pass that listens to say.
    """

    def __init__(self, path: str, begin: Fraction) -> None:
        first = max(0, _packet_at(begin) - PREROLL_PACKETS) * OPUS_SAMPLES
        self._chunks = decode_sound(path, RATE, first / RATE, None, RATE)
        self._held = np.zeros(0, np.int16)
        self._position = first
        self._coming = self._next()

    def take(self, begin: Fraction, end: Fraction | None) -> tuple[int, npt.NDArray[np.int16]] | None:
        """The part's samples and where the first one stands (samples since the start); None where there are none."""
        first = max(0, _packet_at(begin) - PREROLL_PACKETS) * OPUS_SAMPLES
        stop = None if end is None else (_packet_at(end) + 1) * OPUS_SAMPLES
        while self._coming is not None and (stop is None or self._reached < stop):
            self._pull(stop)
        samples = self._held[first - self._position :]
        if end is not None:
            kept = max(self._position, (_packet_at(end) - PREROLL_PACKETS) * OPUS_SAMPLES)
            self._held, self._position = self._held[kept - self._position :], kept
        heard = len(samples) - (_packet_at(begin) * OPUS_SAMPLES - first)
        return (first, samples) if heard > 0 else None

    @property
    def _reached(self) -> int:
        return self._position + len(self._held)

    def _pull(self, stop: int | None) -> None:
        """Take what comes next, or the silence before it."""
        assert self._coming is not None
        position, samples = self._coming
        silence = min(position, position if stop is None else stop) - self._reached
        if silence > LONGEST_SILENCE:
            self._coming = None
            return
        if silence > 0:
            samples = np.zeros(silence, np.int16)
        else:
            self._coming = self._next()
        self._held = np.concatenate([self._held, samples])

    def _next(self) -> tuple[int, npt.NDArray[np.int16]] | None:
        try:
            item = next(self._chunks, None)
        except MemoryError:
            raise
        except (MediaError, av.FFmpegError):
            return None
        return None if item is None else (item[0]["sample"], item[1][0])


class PartWriter:
    """Collects one part's pictures and sound, encoded, and writes its file. Seconds are the proxy's clock."""

    def __init__(self, path: Path, size: tuple[int, int] | None, clock: int) -> None:
        self.path = path
        self._size = size
        self._clock = clock
        self._container: OutputContainer | None = None
        self._video: VideoStream | None = None
        self._packets: list[Packet[Any]] = []

    def add_picture(self, seconds: Fraction, frame: VideoFrame) -> None:
        """frame: as Shrinker makes it; given in ascending order."""
        if self._video is None:
            self._video = self._add_video()
        frame.pts, frame.time_base = round(seconds * self._clock), Fraction(1, self._clock)
        frame.pict_type = 0  # the source's picture types mean nothing here
        self._packets += self._video.encode(frame)

    def add_sound(self, first: int, samples: npt.NDArray[np.int16], begin: Fraction, end: Fraction | None) -> None:
        """Encode the samples (N,) that start at ``first`` and keep the packets between begin and end."""
        stream: AudioStream = self._open().add_stream("libopus", rate=RATE, layout="mono")
        stream.bit_rate = 24_000
        packets: list[Packet[AudioStream]] = []
        for offset in range(0, len(samples), OPUS_SAMPLES):
            piece = samples[offset : offset + OPUS_SAMPLES]
            piece = np.pad(piece, (0, OPUS_SAMPLES - len(piece)))
            frame = AudioFrame.from_ndarray(piece[None], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, first + offset, Fraction(1, RATE)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        wanted = range(_packet_at(begin), _packet_at(end) if end is not None else 2**62)
        number = first // OPUS_SAMPLES
        self._packets += [packet for n, packet in enumerate(packets, number) if n in wanted]

    def close(self, end: Fraction) -> bool:
        """Finish and flush the file to disk; the last picture stays until ``end``. False where nothing came."""
        if self._container is None:
            return False
        if self._video is not None:
            self._packets += self._video.encode(None)
            _last_until([p for p in self._packets if p.stream is self._video], round(end * self._clock))
        for packet in sorted(self._packets, key=lambda packet: (packet.dts or 0) * packet.time_base):
            self._container.mux(packet)
        self._container.close()
        _flush_to_disk(self.path)
        return True

    def _open(self) -> OutputContainer:
        if self._container is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self.path), "w", format="mp4", options=_mp4_options(self._clock))
            self._container.metadata["comment"] = PROXY_MARK
        return self._container

    def _add_video(self) -> VideoStream:
        assert self._size is not None
        stream: VideoStream = self._open().add_stream("libx264", rate=2, options=VIDEO_OPTIONS)
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, self._clock)
        context.thread_count = 1
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
        return stream


class Proxy:
    """The proxy of one file, part after part: pictures go in, files come out."""

    def __init__(self, path: str, stem: str, begin: Fraction, index: int, film: Reader | None, sound: bool) -> None:
        self._stem = Path(stem)
        self._begin = begin
        self._index = index
        first = first_frame(path) if film is not None else None
        self._shrinker = Shrinker(first, film.stream.sample_aspect_ratio) if first is not None and film else None
        self._clock = clock_of(film.base, film.start) if film is not None else MICROSECONDS
        self._sound = Sound(path, begin) if sound else None
        self._writer = self._next_writer()

    def add_picture(self, seconds: Fraction, frame: VideoFrame) -> None:
        """A decoded frame of the part that is open, at its true time."""
        assert self._shrinker is not None
        self._writer.add_picture(seconds, self._shrinker.shrink(frame))

    def close_part(self, end: Fraction, last: bool, following: int) -> str | None:
        """Take the sound up to ``end`` (the last part: all the rest), finish the file; None where it is empty.

        following: the next part's index.
        """
        heard = self._sound.take(self._begin, None if last else end) if self._sound else None
        if heard is not None:
            self._writer.add_sound(*heard, self._begin, None if last else end)
        written = str(self._writer.path) if self._writer.close(end) else None
        self._begin, self._index = end, following
        self._writer = self._next_writer()
        gc.collect()  # a container and its encoders hold each other: megabytes that must not wait for their turn
        return written

    def _next_writer(self) -> PartWriter:
        path = self._stem.with_name(f"{self._stem.name}.part{self._index:04d}.mp4")
        return PartWriter(path, self._shrinker.size if self._shrinker else None, self._clock)


def join_proxy(parts: Sequence[Path], target: Path) -> None:
    """Join part files in order into one, by stream copy; ``target`` appears whole or not at all.

    Raises InputError where there is nothing to join, UnreadableMedia where a part is damaged.
    """
    if not parts:
        raise InputError("a proxy is joined from at least one part")
    target = Path(target)
    unfinished = target.with_name(f"{target.name}.joining")
    clocks = [clock for part in parts if (clock := _video_clock(part))]
    options = _mp4_options(clocks[0] if clocks else MICROSECONDS)
    try:
        with av.open(str(unfinished), "w", format="mp4", options=options) as joined:
            joined.metadata["comment"] = PROXY_MARK
            tracks = _tracks(parts, joined)
            for part in parts:
                for packet in _copied(part):
                    packet.stream = tracks[packet.stream.type]
                    joined.mux(packet)
        _flush_to_disk(unfinished)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
    _flush_to_disk(target.parent)


def _tracks(parts: Sequence[Path], joined: OutputContainer) -> dict[str, Stream]:
    """One video and one sound track, as the first part that has them."""
    tracks: dict[str, Stream] = {}
    for part in parts:
        with open_media(str(part)) as container:
            if not container.streams:
                raise UnreadableMedia(part, "this part of the proxy is damaged")
            for stream in container.streams:
                if stream.type not in tracks:
                    tracks[stream.type] = joined.add_stream_from_template(stream)
    return tracks


def _copied(part: Path) -> Iterator[Packet[Any]]:
    with open_media(str(part)) as container:
        yield from (packet for packet in container.demux() if packet.size)


def _video_clock(part: Path) -> int | None:
    with open_media(str(part)) as container:
        stream = next(iter(container.streams.video), None)
        return stream.time_base.denominator if stream is not None and stream.time_base else None


def _mp4_options(clock: int) -> dict[str, str]:
    # The movie's own clock measures how late a first picture comes, by default in milliseconds only.
    return {"movflags": "+faststart", "video_track_timescale": str(clock), "movie_timescale": str(MICROSECONDS)}


def _last_until(packets: Sequence[Packet[Any]], end: int) -> None:
    """Give each packet the time until the next one as its duration, the last one the time until ``end``."""
    times = [packet.pts or 0 for packet in packets] + [end]
    for packet, time, after in zip(packets, times, times[1:], strict=False):
        packet.duration = max(1, after - time)


def _packet_at(seconds: Fraction) -> int:
    return round(seconds * RATE / OPUS_SAMPLES)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
