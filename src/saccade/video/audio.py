"""Sound of any container as 16 kHz mono, each chunk with its true time.

The clock is the one of the frames: a packet's pts × time base, minus the container's start. Samples are placed by
it: a hole in the stream becomes silence, an overlap is dropped, and a sample clock that drifts is set right once
it is off by more than JITTER_SECONDS.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from saccade.errors import InputError, UnreadableMedia
from saccade.video.worker import Worker

if TYPE_CHECKING:
    import av
    from av.audio.frame import AudioFrame
    from av.container import InputContainer

JITTER_SECONDS = 0.04
"""How far a packet's time may lie from where the samples before it end before the difference is believed."""

PREROLL_SECONDS = 1.0
"""How much is decoded ahead of a start inside a file, so that codecs with memory have settled there."""

Int16 = npt.NDArray[np.int16]


def read_audio(
    path: object,
    *,
    rate: int = 16000,
    begin: float = 0.0,
    end: float | None = None,
    chunk_seconds: float = 30.0,
    worker: Worker | None = None,
) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
    """Yield the first sound track as (seconds, samples): mono float32 (N,) in [-1, 1], ``rate`` a second.

    ``seconds`` is the time of the chunk's first sample since the container's start. Chunks are at most
    ``chunk_seconds`` long and follow one another; holes in the stream are silence, except that one longer than a
    chunk is passed over: trust each chunk's own time. A file without sound yields nothing. Raises SourceGone,
    UnreadableMedia or DecoderCrashed.
    """
    if rate <= 0 or chunk_seconds <= 0 or begin < 0 or (end is not None and end < begin):
        raise InputError(f"sound runs forward at a positive rate, got {rate=} {begin=} {end=} {chunk_seconds=}")
    owned = contextlib.nullcontext(worker) if worker else Worker()
    with owned as worker:
        job = worker.run(
            "saccade.video.audio:decode_sound",
            path=str(path), rate=rate, begin=begin, end=end, chunk_samples=max(1, round(chunk_seconds * rate)),
        )  # fmt: skip
        with contextlib.closing(job):  # type: ignore[type-var]
            for header, (samples,) in job:
                yield header["sample"] / rate, samples.astype(np.float32) / np.float32(32768)


def decode_sound(
    path: str, rate: int, begin: float, end: float | None, chunk_samples: int
) -> Iterator[tuple[dict[str, Any], tuple[Int16, ...]]]:
    """The child's side: yields ({"sample": index since the container's start}, (int16 (N,),))."""
    first = round(begin * rate)
    stop = None if end is None else round(end * rate)
    chunk = _Chunk(first, stop, chunk_samples)
    for position, samples in _placed(path, rate, begin):
        yield from chunk.add(position, samples)
        if stop is not None and chunk.position >= stop:
            break
    yield from chunk.rest()


class _Chunk:
    """Collects placed samples into chunks: silence in holes, nothing twice, nothing outside [position, stop)."""

    def __init__(self, position: int, stop: int | None, size: int) -> None:
        self.position = position
        self._stop = stop
        self._size = size
        self._parts: list[Int16] = []
        self._held = 0

    def add(self, position: int, samples: Int16) -> Iterator[tuple[dict[str, Any], tuple[Int16, ...]]]:
        """Take the samples that stand at ``position``; yield the chunks that are full."""
        if self._stop is not None:
            samples = samples[: max(0, self._stop - position)]
            position = min(position, self._stop)
        if position < self.position:
            samples = samples[self.position - position :]
        elif position - self.position > self._size:
            yield from self.rest()
            self.position = position
        elif position > self.position:
            samples = np.concatenate([np.zeros(position - self.position, np.int16), samples])
        while len(samples):
            taken = samples[: self._size - self._held]
            samples = samples[len(taken) :]
            self._parts.append(taken)
            self._held += len(taken)
            self.position += len(taken)
            if self._held == self._size:
                yield from self.rest()

    def rest(self) -> Iterator[tuple[dict[str, Any], tuple[Int16, ...]]]:
        """Yield what is held."""
        if self._held:
            yield {"sample": self.position - self._held}, (np.concatenate(self._parts),)
        self._parts, self._held = [], 0


def _placed(path: str, rate: int, begin: float) -> Iterator[tuple[int, Int16]]:
    """Resampled pieces with the index of their first sample since the container's start."""
    resampler: av.AudioResampler | None = None
    shape: tuple[object, ...] | None = None
    position = 0
    expected = Fraction(0)
    jitter = Fraction(JITTER_SECONDS)
    for seconds, frame in _decoded(path, begin):
        seconds = expected if seconds is None else seconds
        now = (frame.sample_rate, frame.layout.name, frame.format.name)
        if resampler is None or now != shape or abs(seconds - expected) > jitter:
            if resampler is not None:
                for piece in _resample(resampler, None):
                    yield position, piece
                    position += len(piece)
            resampler, shape = _resampler(rate), now
            position, expected = round(seconds * rate), seconds
        frame.pts = None
        for piece in _resample(resampler, frame):
            yield position, piece
            position += len(piece)
        expected += Fraction(frame.samples, frame.sample_rate)
    if resampler is not None:
        for piece in _resample(resampler, None):
            yield position, piece
            position += len(piece)


def _resampler(rate: int) -> av.AudioResampler:
    # 16 bits, because FFmpeg keeps a downmix within full scale for integers only
    from av import AudioResampler

    return AudioResampler(format="s16", layout="mono", rate=rate)


def _resample(resampler: av.AudioResampler, frame: AudioFrame | None) -> Iterator[Int16]:
    for resampled in resampler.resample(frame):
        yield resampled.to_ndarray()[0]


def _decoded(path: str, begin: float) -> Iterator[tuple[Fraction | None, AudioFrame]]:
    """Decoded frames of the first sound track with their seconds since the container's start, from about ``begin``."""
    from saccade.video.media import open_media

    if begin > PREROLL_SECONDS:
        with open_media(path) as container:
            frames = _frames(container, path, begin - PREROLL_SECONDS)
            first = next(frames, None)
            # Some demuxers seek to a later place, or count from there: then the whole way is walked instead.
            if first is not None and first[0] is not None and first[0] <= begin:
                yield first
                yield from frames
                return
    with open_media(path) as container:
        yield from _frames(container, path, None)


def _frames(container: InputContainer, path: str, seek: float | None) -> Iterator[tuple[Fraction | None, AudioFrame]]:
    import av

    from saccade.video.media import only, start_of

    stream = next((stream for stream in container.streams.audio if stream.codec_context is not None), None)
    if stream is None:
        return
    only(container, stream)
    start = start_of(container)
    if seek is not None and stream.time_base:
        try:
            container.seek(int((Fraction(seek) + start) / stream.time_base), stream=stream)
        except av.FFmpegError:
            return
    decoded, damage = False, None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:  # a file cut off in the middle: what came before it counts
            packet, damage = None, error
        except IndexError:  # PyAV's demuxer trips over streams that turned up on the way
            packet = None
        if packet is None:
            break
        try:
            frames = packet.decode()
        except av.FFmpegError as error:  # the hole it leaves shows in the next frame's time
            damage = error
            continue
        for frame in frames:
            decoded = True
            yield (None if frame.pts is None else frame.pts * Fraction(frame.time_base or 1) - start), frame
    if damage is not None and not decoded and seek is None:
        raise UnreadableMedia(path, f"its sound cannot be decoded ({damage.strerror})")
