"""Cutting a clip out of a file: by stream copy at the file's own keyframes, or exactly, by encoding anew.

A stream copy can only begin at a keyframe, so :func:`cut` says which span it really cut. Frames keep their exact
distances in both ways: timestamps are shifted as integers, never resampled.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream

from saccade.errors import InputError, SourceGone, UnreadableMedia
from saccade.types import Span
from saccade.video.decode import Decoder
from saccade.weights import replacing

if TYPE_CHECKING:
    from av import AudioStream, Packet, VideoFrame
    from av.container import InputContainer, OutputContainer
    from av.stream import Stream

    from saccade.video.worker import Worker

CONTAINERS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".mka": "matroska", ".webm": "webm",
    ".ts": "mpegts", ".m2ts": "mpegts", ".flv": "flv", ".gif": "gif", ".m4a": "ipod",
    ".mp3": "mp3", ".wav": "wav", ".flac": "flac", ".ogg": "ogg", ".opus": "opus",
}  # fmt: skip
"""File endings that can be written, and FFmpeg's name of the container behind each."""

EXACT_CONTAINERS = {".mp4", ".m4v", ".mov", ".mkv"}
"""Endings that can hold an exact clip with pictures (H.264 and AAC)."""

_X264_FORMATS = {
    "yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuv420p10le", "yuv422p10le", "yuv444p10le",
}  # fmt: skip
_FAMILY = {"mp4", "mov", "ipod", "mov,mp4,m4a,3gp,3g2,mj2"}
_INTERLEAVE_SECONDS = 2
"""How far apart a container may store sound and picture of the same time."""


@dataclass(frozen=True)
class Clip:
    """A clip that was written.

    span: what was really cut, in seconds of the source; asked: what was asked for. ``left_out`` names the source's
    streams that the target container cannot carry, and what was too damaged to be encoded anew.
    """

    path: str
    span: Span
    asked: Span
    exact: bool
    left_out: tuple[str, ...] = ()


def cut(path: str | Path, span: Span, target: str | Path, *, exact: bool = False, worker: Worker | None = None) -> Clip:
    """Write the clip ``span`` (seconds since the container's start) of ``path`` to ``target``, whole or not at all.

    By default streams are copied: the clip begins at the last keyframe at or before ``span.start`` and ends with
    the last frame shown before ``span.end``. With ``exact`` it begins with the frame on display at ``span.start``,
    encoded anew as H.264 and AAC. Sound, and text tracks that the container can carry, come along.

    Raises InputError for a span outside the file or a target that cannot be written, UnreadableMedia, SourceGone.
    """
    source, destination = Path(path), Path(target)
    _check(source, span, destination)
    arguments = {"path": str(source), "start": span.start, "end": span.end, "container": _container(destination)}
    with replacing(destination) as scratch:
        done = _run({**arguments, "target": str(scratch), "exact": exact}, worker)
    return Clip(str(destination), Span(done["start"], done["end"]), span, exact, tuple(done["left_out"]))


def job(
    path: str, target: str, container: str, start: float, end: float, exact: bool
) -> Iterator[tuple[dict[str, Any], tuple[npt.NDArray[Any], ...]]]:
    """The decoding child's part of :func:`cut`: yields one header, ``start``, ``end`` and ``left_out``."""
    options = {"movflags": "+faststart"} if container in {"mp4", "mov", "ipod"} else {}
    with av.open("file:" + path, metadata_errors="replace", options={"protocol_whitelist": "file"}) as source:
        window = _plan(source, path, Fraction(start), Fraction(end), exact)
        with av.open(target, "w", format=container, options=options) as out:
            left_out = _Writer(source, out, window, exact).write()
        origin = _origin(source)
    yield {"start": float(window.shift - origin), "end": float(window.end - origin), "left_out": left_out}, ()


def _check(source: Path, span: Span, target: Path) -> None:
    if not source.is_file():
        raise SourceGone(source, "the file is not there, so nothing can be cut out of it")
    if span.duration <= 0:
        raise InputError(f"a clip needs a length, got {span.start:g} to {span.end:g} s")
    if target.exists() and target.samefile(source):
        raise InputError(f"{target} is the source itself: choose another name for the clip")


def _container(target: Path) -> str:
    try:
        return CONTAINERS[target.suffix.lower()]
    except KeyError:
        raise InputError(f"{target.name}: a clip's name ends in one of {', '.join(CONTAINERS)}") from None


def _run(arguments: dict[str, Any], worker: Worker | None) -> dict[str, Any]:
    from saccade.video.worker import Worker

    if worker is None:
        with Worker() as own:
            return _run(arguments, own)
    ((header, _),) = worker.run("saccade.video.cut:job", **arguments)
    return header


@dataclass(frozen=True)
class _Window:
    """Which packets of the leading stream make the clip. Times are the container's own, not taken from its start.

    key: timestamp of the keyframe that decoding begins at; count: how many packets from it on, in file order;
    shift: when the first frame shown begins, the clip's zero; end: when the last one ends. decoder: of the pictures,
    for an exact clip.
    """

    stream: Stream
    key: int
    count: int
    shift: Fraction
    end: Fraction
    decoder: Decoder | None = None

    @property
    def key_seconds(self) -> Fraction:
        return self.key * _time_base(self.stream)


def _plan(source: InputContainer, path: str, start: Fraction, end: Fraction, exact: bool) -> _Window:
    """Read timestamps only, and choose the packets."""
    stream = _leading_stream(source, path)
    unit, origin = _time_base(stream), _origin(source)
    begin, stop = (origin + start) / unit, (origin + end) / unit
    decoder = Decoder(stream, threads=os.cpu_count() or 1) if exact and isinstance(stream, VideoStream) else None
    packets = _packets_around(source, stream, begin, stop)
    if not packets:
        raise UnreadableMedia(path, "no keyframe was found to begin a clip at")
    count = _count(packets, stop)
    shown = sorted(p for p in packets[:count] if not p.hidden)
    if isinstance(stream, VideoStream) and stream.codec_context.has_b_frames and not all(p.timed for p in packets):
        if decoder is None:
            raise InputError(f"{path} keeps no display times that a copy could keep (AVI does not): cut it exactly")
        packets = _packets_around(source, stream, begin - 1 / unit, stop)  # shown later than decoded, by little
        shown = _decoded(source, decoder, packets[0].time, stop)
    if exact:
        shown = [p for p in shown if p.time < stop]
        shown = shown[max(0, sum(p.time <= begin for p in shown) - 1) :]
    last_end = max((p.time + p.duration for p in shown), default=0)
    if not shown or last_end <= begin:
        seconds = max(0.0, float(last_end * unit - origin))
        raise InputError(f"{path} ends at {seconds:.3f} s, before the clip would begin ({float(start):.3f} s)")
    first, last = shown[0].time * unit, last_end * unit
    if exact and stream.type == "audio":  # sound can be trimmed within a packet
        first, last = max(first, origin + start), min(last, origin + end)
    return _Window(stream, packets[0].time, count, first, last, decoder)


@dataclass(frozen=True, order=True)
class _Stamp:
    """A frame's time and length in its stream's units. hidden: decoded, not shown; timed: its packet has a pts."""

    time: int
    duration: int = field(compare=False)
    hidden: bool = field(default=False, compare=False)
    timed: bool = field(default=True, compare=False)


def _packets_around(source: InputContainer, stream: Stream, begin: Fraction, stop: Fraction) -> list[_Stamp]:
    """From the last keyframe at or before ``begin``, in file order, until all that is shown before ``stop`` has come.

    Containers seek by decoding time or loosely, so look further back until a keyframe lies early enough.
    """
    unit = _time_base(stream)
    for margin in (0, 2, 10, 60, None):
        _seek(source, stream, begin - margin / unit if margin is not None else None)
        packets = _collect(source, stream, begin, stop)
        if packets and (packets[0].time <= begin or margin is None):
            return packets
    return []


def _collect(source: InputContainer, stream: Stream, begin: Fraction, stop: Fraction) -> list[_Stamp]:
    """Stamps in file order. Frames come out of order, but none is shown before the decoding time that was reached."""
    stamps: list[_Stamp] = []
    top: int | None = None
    following: float = math.inf
    for packet in source.demux(stream):
        time = _time(packet)
        if time is None:
            continue
        if packet.is_keyframe and time <= begin:
            stamps.clear()
        if not (stamps or packet.is_keyframe) or (stamps and time < stamps[0].time):
            continue  # frames that lead an open group cannot be decoded without the group before
        stamps.append(_Stamp(time, packet.duration or 0, packet.is_discard, packet.pts is not None))
        if packet.dts is None or packet.dts < stop:
            continue
        if top is None:
            top = max(stamp.time for stamp in stamps[:-1] or stamps)
        following = min(following, time if time > top else math.inf)
        if packet.dts >= following:
            break
    return _with_durations(stamps)


def _with_durations(stamps: list[_Stamp]) -> list[_Stamp]:
    """A frame lasts until the next one in display order: packets give lengths in file order. The last keeps its own."""
    times = sorted({stamp.time for stamp in stamps})
    following = dict(pairwise(times))
    last = times[-1] - times[-2] if len(times) > 1 else 1

    def length(stamp: _Stamp) -> int:
        return following[stamp.time] - stamp.time if stamp.time in following else stamp.duration or last

    return [replace(stamp, duration=length(stamp)) for stamp in stamps]


def _decoded(source: InputContainer, decoder: Decoder, key: int, stop: Fraction) -> list[_Stamp]:
    """Stamps of the frames from a keyframe on, in display order, where only decoding tells when they are shown."""
    stamps: list[_Stamp] = []
    _seek(source, decoder.stream, Fraction(key))
    begun = False
    for packet in source.demux(decoder.stream):
        begun = begun or (packet.is_keyframe and _time(packet) == key)
        stamps += [_Stamp(pts, frame.duration) for pts, frame in decoder.decode(packet)] if begun else []
        if stamps and stamps[-1].time > stop:
            break
    decoder.restart()
    return _with_durations(stamps) if stamps else []


def _count(packets: Sequence[_Stamp], stop: Fraction) -> int:
    """How many packets, in file order, hold all frames before ``stop`` and leave no hole among those they hold."""
    limit = stop
    while True:
        count = max((n for n, packet in enumerate(packets, 1) if packet.time < limit), default=1)
        top = max(packet.time for packet in packets[:count])
        if top < limit:
            return count
        limit = Fraction(top + 1)


class _Writer:
    """Writes one clip: every stream through its own track, in file order."""

    def __init__(self, source: InputContainer, out: OutputContainer, window: _Window, exact: bool) -> None:
        self.source, self.out, self.window, self.exact = source, out, window, exact
        self.left_out: list[str] = []
        self.tracks: dict[int, _Track] = {}
        out.metadata.update(source.metadata)
        for stream in source.streams:
            self._add(stream)

    def write(self) -> list[str]:
        _seek(self.source, self.window.stream, (self.window.key_seconds - _INTERLEAVE_SECONDS) / self._unit)
        streams = [self.source.streams[index] for index in self.tracks]
        late = self.window.end + 5 * _INTERLEAVE_SECONDS
        for packet in self.source.demux(streams):
            time = _time(packet)
            if time is None:
                continue
            self.tracks[packet.stream.index].take(packet)
            done = all(track.done for track in self.tracks.values())
            if done or (packet.stream is self.window.stream and time * self._unit > late):
                break
        for track in self.tracks.values():
            track.finish()
            if track.damaged:
                self.left_out.append(f"{track.damaged} damaged packets of {_name(track.source)}")
        return self.left_out

    @property
    def _unit(self) -> Fraction:
        return _time_base(self.window.stream)

    def _add(self, stream: Stream) -> None:
        leading = stream is self.window.stream
        if stream.type == "attachment":
            self._attach(stream)
            return
        if stream.type not in ("video", "audio", "subtitle") or (stream.type == "video" and not leading):
            self.left_out.append(_name(stream))
            return
        try:
            self.tracks[stream.index] = self._track(stream, leading)
        except InputError:
            raise
        except ValueError as error:
            if leading:
                raise InputError(f"{self.out.format.name} cannot carry {_name(stream)}: choose .mkv") from error
            self.left_out.append(_name(stream))

    def _track(self, stream: Stream, leading: bool) -> _Track:
        if self.exact and stream.type == "video":
            return _Pictures(self.out, stream, self.window)
        if self.exact and stream.type == "audio":
            return _Sound(self.out, stream, self.window)
        return (_LeadingCopy if leading else _Copy)(self.out, stream, self.window)

    def _attach(self, stream: Any) -> None:
        if self.out.format.name != "matroska":
            self.left_out.append(_name(stream))
            return
        name = stream.metadata.get("filename", f"attachment {stream.index}")
        self.out.add_attachment(name, stream.mimetype or "application/octet-stream", stream.data)


class _Track(ABC):
    """One stream's way into the clip. done: nothing of it is wanted any more; damaged: packets it could not decode."""

    damaged = 0

    def __init__(self, out: OutputContainer, stream: Stream, window: _Window) -> None:
        self.out, self.source, self.window = out, stream, window
        self.unit = _time_base(stream)
        self.done = stream.type == "subtitle"  # sparse: nobody waits for the next one

    @abstractmethod
    def take(self, packet: Packet[Any]) -> None:
        """Take the stream's next packet."""

    def finish(self) -> None:
        """Write what is still held back."""
        self.done = True

    def _describe(self, target: Stream) -> None:
        target.metadata.update(self.source.metadata)
        target.disposition = self.source.disposition


class _Copy(_Track):
    """Copies packets that begin within the clip."""

    def __init__(self, out: OutputContainer, stream: Stream, window: _Window) -> None:
        super().__init__(out, stream, window)
        if stream.codec_context is None:
            raise ValueError(f"{_name(stream)} is of no codec that is known")
        self.target: Any = out.add_stream_from_template(stream, opaque=True)
        if out.format.name in _FAMILY and stream.container.format.name in _FAMILY:
            self.target.codec_tag = stream.codec_tag  # players tell hvc1 from hev1
        self._describe(self.target)
        self.shift = round(window.shift / self.unit)

    def take(self, packet: Packet[Any]) -> None:
        time = _time(packet)
        assert time is not None
        if time * self.unit >= self.window.end:
            self.done = True
        elif time * self.unit >= self.window.shift:
            self._mux(packet)

    def _mux(self, packet: Packet[Any]) -> None:
        """Shifted, with a display time in any case: without reordering it is the decoding time."""
        time = _time(packet)
        assert time is not None
        packet.pts = time - self.shift
        if packet.dts is not None:
            packet.dts -= self.shift
        packet.stream = self.target
        self.out.mux(packet)


class _LeadingCopy(_Copy):
    """Copies exactly the packets that the plan chose."""

    def __init__(self, out: OutputContainer, stream: Stream, window: _Window) -> None:
        super().__init__(out, stream, window)
        self.left = window.count
        self.begun = False

    def take(self, packet: Packet[Any]) -> None:
        time = _time(packet)
        assert time is not None
        self.begun = self.begun or (packet.is_keyframe and time == self.window.key)
        if self.begun and self.left and time >= self.window.key:
            self.left -= 1
            self._mux(packet)
        self.done = self.left == 0


class _Pictures(_Track):
    """Decodes from the keyframe on and encodes the frames of the clip as H.264, each with its own time."""

    def __init__(self, out: OutputContainer, stream: Any, window: _Window) -> None:
        super().__init__(out, stream, window)
        if out.format.name not in {CONTAINERS[suffix] for suffix in EXACT_CONTAINERS}:
            raise InputError(f"an exact clip is H.264: name it {', '.join(sorted(EXACT_CONTAINERS))}")
        self.context = stream.codec_context
        assert window.decoder is not None
        self.decoder = window.decoder
        self.graph: Any = None
        self.on_its_side = False
        self.begun = False
        self.first, self.stop = round(window.shift / self.unit), round(window.end / self.unit)
        rate = stream.average_rate or Fraction(25)
        self.target: Any = out.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "medium"})
        self._describe(self.target)
        self._configure(self._upright(_first_frame(self.decoder, window.key)))

    def take(self, packet: Packet[Any]) -> None:
        time = _time(packet)
        self.begun = self.begun or (packet.is_keyframe and time == self.window.key)
        if self.begun and not self.done:
            self._encode(self.decoder.decode(packet))

    def finish(self) -> None:
        if not self.done:
            self._encode(self.decoder.decode(cast(Any, av.Packet())))  # drains
        self.damaged = len(self.decoder.damage)
        self.out.mux(self.target.encode(None))

    def _encode(self, frames: Sequence[tuple[int, VideoFrame]]) -> None:
        for pts, frame in frames:
            if pts < self.first:
                continue
            if pts >= self.stop:
                self.done = True
                return
            frame.pts, frame.time_base = pts - self.first, self.unit
            upright = self._upright(frame)
            upright.pict_type = 0
            self.out.mux(self.target.encode(self._convert(upright)))

    def _configure(self, frame: VideoFrame) -> None:
        """Size, colour and time base, before the first packet of any track opens the encoder."""
        from av.video.reformatter import ColorRange, Colorspace

        encoder = self.target.codec_context
        encoder.width, encoder.height = frame.width, frame.height
        encoder.time_base = self.unit
        encoder.pix_fmt = frame.format.name if frame.format.name in _X264_FORMATS else "yuv420p"
        if encoder.pix_fmt == frame.format.name:
            for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
                setattr(encoder, name, getattr(self.context, name))
        else:
            encoder.color_range, encoder.colorspace = ColorRange.MPEG, Colorspace.ITU709
        if aspect := self.context.sample_aspect_ratio:
            encoder.sample_aspect_ratio = 1 / aspect if self.on_its_side else aspect

    def _convert(self, frame: VideoFrame) -> VideoFrame:
        """The encoder's pixel format; RGB and the like become BT.709 of limited range, and the clip says so."""
        from av.video.reformatter import ColorRange, Colorspace

        if frame.format.name == self.target.pix_fmt:
            return frame
        return frame.reformat(
            format=self.target.pix_fmt, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )

    def _upright(self, frame: VideoFrame) -> VideoFrame:
        """The frame as displayed, with even sides, which H.264 needs."""
        turn = {90: "transpose=cclock", 180: "hflip,vflip", 270: "transpose=clock"}.get(frame.rotation % 360)
        self.on_its_side = frame.rotation % 180 == 90
        filters = ([turn] if turn else []) + (
            ["pad=ceil(iw/2)*2:ceil(ih/2)*2"] if frame.width % 2 or frame.height % 2 else []
        )
        if not filters:
            return frame
        if self.graph is None:
            self.graph = _graph(self.source, frame, ",".join(filters).split(","))
        self.graph.push(frame)
        turned: VideoFrame = self.graph.pull()
        return turned


class _Sound(_Track):
    """Decodes sound, trims it to the sample, and encodes it anew; what is damaged becomes silence."""

    def __init__(self, out: OutputContainer, stream: Any, window: _Window) -> None:
        super().__init__(out, stream, window)
        audio: AudioStream = stream
        self.rate = audio.codec_context.sample_rate
        codec = "aac" if window.stream.type == "video" else out.default_audio_codec
        self.target: Any = out.add_stream(codec, rate=self.rate, layout=audio.codec_context.layout.name)
        self._describe(self.target)
        self.length = round((window.end - window.shift) * self.rate)
        self.written = 0
        self.resampler: Any = None

    def take(self, packet: Packet[Any]) -> None:
        time = _time(packet)
        assert time is not None
        if self.done or time * self.unit <= self.window.shift - 1:  # a second to settle the decoder
            return
        try:
            self._encode(packet.decode())
        except MemoryError:
            raise
        except av.FFmpegError:
            self.damaged += 1

    def finish(self) -> None:
        self.out.mux(self.target.encode(None))

    def _encode(self, frames: Sequence[Any]) -> None:
        if self.resampler is None:
            self.resampler = av.AudioResampler(format="fltp", layout=self.target.layout, rate=self.rate)
        for frame in frames:
            if frame.pts is None or frame.time_base is None:
                continue
            begin = round((frame.pts * frame.time_base - self.window.shift) * self.rate)
            for part in self.resampler.resample(frame):
                samples = part.to_ndarray()
                self._place(samples, begin)
                begin += samples.shape[1]
        self.done = self.written >= self.length

    def _place(self, samples: npt.NDArray[np.float32], begin: int) -> None:
        """Write samples (C, N) that begin ``begin`` samples into the clip; holes become silence."""
        samples = samples[:, max(0, self.written - begin) : max(0, self.length - begin)]
        if not samples.shape[1]:
            return
        hole = max(0, begin - self.written)
        self._mux(np.pad(samples, ((0, 0), (hole, 0))) if hole else samples)

    def _mux(self, samples: npt.NDArray[np.float32]) -> None:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", self.target.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self.written, Fraction(1, self.rate)
        self.written += samples.shape[1]
        self.out.mux(self.target.encode(frame))


def _first_frame(decoder: Decoder, key: int) -> VideoFrame:
    """The first frame that can be decoded from a keyframe on, to learn what the decoder gives."""
    source = cast(Any, decoder.stream.container)
    _seek(source, decoder.stream, Fraction(key))
    try:
        for packet in source.demux(decoder.stream):
            for _, frame in decoder.decode(packet):
                return frame
    finally:
        decoder.restart()
    raise UnreadableMedia(source.name, "no frame could be decoded where the clip would begin")


def _graph(stream: Stream, frame: VideoFrame, filters: Sequence[str]) -> Any:
    from av.filter import Graph

    graph = Graph()
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base)
    for text in filters:
        name, _, arguments = text.partition("=")
        step = graph.add(name, arguments or None)
        last.link_to(step)
        last = step
    last.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _leading_stream(source: InputContainer, path: str) -> Stream:
    """The first real video stream (cover art is not one), else the first sound."""
    from av.stream import Disposition

    for stream in source.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    if source.streams.audio:
        return source.streams.audio[0]
    raise UnreadableMedia(path, "it holds neither pictures nor sound, so nothing can be cut out of it")


def _seek(source: InputContainer, stream: Stream, time: Fraction | None) -> None:
    """To a keyframe at or before ``time`` (the stream's units); None: to the very beginning."""
    earliest = stream.start_time if stream.start_time is not None else 0
    wanted = earliest - round(60 / _time_base(stream)) if time is None else max(math.floor(time), earliest)
    source.seek(wanted, stream=stream, backward=True)


def _origin(source: InputContainer) -> Fraction:
    return Fraction(source.start_time or 0, 1_000_000)


def _time_base(stream: Stream) -> Fraction:
    assert stream.time_base is not None
    return stream.time_base


def _time(packet: Packet[Any]) -> int | None:
    """Display time in the stream's units; AVI knows decoding times only. None: the empty packet that ends a stream."""
    return packet.pts if packet.pts is not None else packet.dts


def _name(stream: Stream) -> str:
    language = f" ({stream.language})" if stream.language else ""
    codec = stream.codec_context.name if stream.codec_context else "unknown"
    return f"stream {stream.index}: {stream.type} {codec}{language}"
