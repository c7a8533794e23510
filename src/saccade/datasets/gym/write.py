"""Frames to a video file, with everything about its times and tracks under control.

    write_video("red.mp4", (np.full((72, 128, 3), (200, 30, 30), np.uint8) for _ in range(50)), fps=25)

The container follows from the suffix (mp4, mov, m4v, mkv, webm, avi, ts, gif ...). The same frames and
arguments give the same pictures and the same timestamps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from saccade.errors import InputError
from saccade.types import Colour, TimedText

if TYPE_CHECKING:
    import av
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Sound:
    """Mono float32 (samples,) in [-1, 1] at ``rate`` samples a second, from the film's first moment on."""

    samples: npt.NDArray[np.float32]
    rate: int = 24000


@dataclass(frozen=True)
class TextTrack:
    """An embedded subtitle track: lines in order, seconds from the film's first moment on."""

    lines: Sequence[TimedText]
    language: str = "eng"
    """ISO 639-2, as containers keep it."""


def write_video(
    path: str | Path,
    frames: Iterable[Image],
    *,
    fps: float | Fraction = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    start: float | Fraction = 0,
    rotation: int = 0,
    codec: str | None = None,
    pixel_format: str | None = None,
    crf: int | None = 23,
    keyframe_every: int | None = None,
    codec_options: Mapping[str, str] | None = None,
    pixel_aspect: Fraction = Fraction(1),
    colour: Colour | None = None,
    sound: Sound | None = None,
    text_tracks: Sequence[TextTrack] = (),
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write uint8 (H, W, 3) RGB frames, all of one size, to ``path``, and return it.

    fps: constant frame rate, used where ``pts`` is None.
    pts, time_base: explicit timestamps, one a frame, rising, in units of ``time_base`` (1/1000 where None):
        variable frame rate, repeated or dropped frames. mp4 may multiply the time base, which keeps every time.
    start: seconds by which all tracks begin late (mp4 writes an edit list, others shift the timestamps). AAC
        begins 1024 samples before its first sound, and so does then the container.
    rotation: degrees counter-clockwise, a multiple of 90, by which players turn the picture (mp4, mov).
    codec: libx264 where the container takes it; ``crf`` its quality (None: the codec's own), ``keyframe_every``
        the most frames between keyframes (None: the codec's own), ``codec_options`` anything else it knows.
    pixel_format: yuv420p where None. It halves the colour planes, so H and W are even unless another is named.
    colour: matrix and range as ffprobe names them (bt709, smpte170m, bt2020nc; tv, pc); frames are converted with
        them and the stream is tagged. None: BT.601 limited, untagged.
    """
    import av

    path = Path(path)
    stream_of_frames = iter(frames)
    first = next(stream_of_frames, None)
    if first is None:
        raise InputError(f"{path.name}: there are no frames to write")
    options = {"scenecut": "0"} if codec in (None, "libx264") else {}
    options |= {} if crf is None else {"crf": str(crf)}
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        container.metadata.update(metadata or {})
        codec = codec or {"webm": "libvpx-vp9", "gif": "gif"}.get(container.format.name, "libx264")
        rate = Fraction(fps).limit_denominator(1001)
        base = time_base or (_common_unit(1 / rate, Fraction(start)) if pts is None else Fraction(1, 1000))
        options |= dict(codec_options or {})
        stream = cast("VideoStream", container.add_stream(codec, rate=rate, options=options))
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pixel_format or _pixel_format_for(codec)
        stream.codec_context.time_base = stream.time_base = base
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        stream.codec_context.thread_count = 2
        if keyframe_every:
            stream.codec_context.gop_size = keyframe_every
        if rotation:
            stream.set_display_rotation(rotation)
        if colour:
            _tag(stream, colour)
        sounds = _sound_packets(container, sound, start) if sound else iter(())
        texts = _text_packets(container, text_tracks, start)
        times = itertools.count(0, round(1 / rate / base)) if pts is None else iter(pts)
        offset = round(Fraction(start) / base)
        others = _by_time(sounds, texts)
        waiting = next(others, None)
        for image, time in zip(itertools.chain([first], stream_of_frames), times, strict=pts is not None):
            frame = _frame(image, stream, colour)
            frame.pts, frame.time_base = time + offset, base
            while waiting is not None and waiting[0] <= float((time + offset) * base):
                container.mux(waiting[1])
                waiting = next(others, None)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        while waiting is not None:
            container.mux(waiting[1])
            waiting = next(others, None)
    return path


def write_srt(path: str | Path, lines: Iterable[TimedText], *, encoding: str = "utf-8") -> Path:
    """Write lines as a SubRip sidecar: ``talk.ko.srt`` beside ``talk.mp4``."""
    path = Path(path)
    blocks = [
        f"{i}\n{_srt_time(line.span.start)} --> {_srt_time(line.span.end)}\n{line.text}\n"
        for i, line in enumerate(lines, start=1)
    ]
    path.write_text("\n".join(blocks), encoding=encoding)
    return path


def _srt_time(seconds: float) -> str:
    """
    >>> _srt_time(3661.5)
    '01:01:01,500'
    """
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"


def _common_unit(a: Fraction, b: Fraction) -> Fraction:
    """The largest unit that both are whole multiples of.

    >>> _common_unit(Fraction(1, 25), Fraction(5, 2))
    Fraction(1, 50)
    """
    return Fraction(math.gcd(a.numerator * b.denominator, b.numerator * a.denominator), a.denominator * b.denominator)


def _pixel_format_for(codec: str) -> str:
    return {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")


_MATRICES = {"bt709": 1, "bt470bg": 5, "smpte170m": 6, "bt2020nc": 9}
_RANGES = {"tv": 1, "pc": 2}


def _tag(stream: VideoStream, colour: Colour) -> None:
    if colour.matrix not in _MATRICES or colour.range not in _RANGES:
        raise InputError(f"colour is a matrix of {', '.join(_MATRICES)} and a range tv or pc, got {colour}")
    stream.codec_context.colorspace = _MATRICES[colour.matrix]
    stream.codec_context.color_range = _RANGES[colour.range]


def _frame(image: Image, stream: VideoStream, colour: Colour | None) -> av.VideoFrame:
    import av

    if image.dtype != np.uint8 or image.shape != (stream.height, stream.width, 3):
        raise InputError(
            f"a frame is uint8 ({stream.height}, {stream.width}, 3) like the first, got {image.dtype} {image.shape}"
        )
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    if not colour:
        return frame.reformat(format=stream.pix_fmt)
    matrix = {"bt709": "ITU709", "bt2020nc": "BT2020"}.get(colour.matrix, "ITU601")
    converted = frame.reformat(
        format=stream.pix_fmt,
        dst_colorspace=matrix,
        dst_color_range="MPEG" if colour.range == "tv" else "JPEG",
    )
    converted.colorspace, converted.color_range = _MATRICES[colour.matrix], _RANGES[colour.range]
    return converted


_TEXT_CODECS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
Timed = tuple[float, Any]


def _sound_packets(container: OutputContainer, sound: Sound, start: float | Fraction) -> Iterator[Timed]:
    codec = {"webm": "libopus", "avi": "pcm_s16le"}.get(container.format.name, "aac")
    stream = cast("AudioStream", container.add_stream(codec, rate=sound.rate, layout="mono"))
    return _encoded_sound(stream, sound, round(Fraction(start) * sound.rate))


def _encoded_sound(stream: AudioStream, sound: Sound, offset: int) -> Iterator[Timed]:
    import av

    resampler = av.AudioResampler(format=stream.format, layout="mono", rate=sound.rate)
    for begin in range(0, len(sound.samples), sound.rate):
        chunk = np.ascontiguousarray(sound.samples[begin : begin + sound.rate], np.float32)
        frame = av.AudioFrame.from_ndarray(chunk[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = sound.rate, begin + offset, Fraction(1, sound.rate)
        for ready in resampler.resample(frame):
            yield (begin + offset) / sound.rate, stream.encode(ready)
    yield (len(sound.samples) + offset) / sound.rate, stream.encode(None)


def _text_packets(container: OutputContainer, tracks: Sequence[TextTrack], start: float | Fraction) -> Iterator[Timed]:
    codec = _TEXT_CODECS.get(container.format.name, "")
    if tracks and not codec:
        raise InputError(f"a {container.format.name} file holds no text track here: {', '.join(_TEXT_CODECS)} do")
    streams = []
    for track in tracks:
        stream = container.add_mux_stream(codec, time_base=Fraction(1, 1000))
        stream.metadata["language"] = track.language
        streams.append(stream)
    return _by_time(*(_lines(stream, track, codec, start) for stream, track in zip(streams, tracks, strict=True)))


def _lines(stream: Stream, track: TextTrack, codec: str, start: float | Fraction) -> Iterator[Timed]:
    import av

    for line in track.lines:
        data = line.text.encode()
        packet = av.Packet(len(data).to_bytes(2, "big") + data if codec == "mov_text" else data)
        packet.stream = stream
        packet.time_base = Fraction(1, 1000)
        packet.pts = packet.dts = round((line.span.start + start) * 1000)
        packet.duration = round(line.span.duration * 1000)
        packet.is_keyframe = True
        yield float(line.span.start + start), packet


def _by_time(*sources: Iterator[Timed]) -> Iterator[Timed]:
    heads = [(head, i) for i, source in enumerate(sources) if (head := next(source, None)) is not None]
    while heads:
        head, i = min(heads, key=lambda pair: pair[0][0])
        yield head
        heads.remove((head, i))
        if (following := next(sources[i], None)) is not None:
            heads.append((following, i))
