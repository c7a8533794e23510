"""Opening a container and saying what it holds. Runs in the decoding child."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from saccade.errors import UnreadableMedia
from saccade.video.colour import Upright, bit_depth, colour_of, shown_size
from saccade.video.decode import Decoder

COVER = Disposition.attached_pic | Disposition.timed_thumbnails
"""Pictures that a file carries beside its film: no video stream to us."""

PROXY_MARK = "saccade proxy: times count from 0"
"""The comment in a proxy, whose clock begins at 0 whatever its first picture's time."""

GENERATE_PTS = 0x0001
"""FFmpeg's AVFMT_FLAG_GENPTS, which PyAV sets."""

DEMUX_ERRORS = (av.FFmpegError, IndexError)
"""How a container that breaks off shows; PyAV's demuxer trips over streams that turned up on the way."""

FIRST_FRAME_PACKETS = 200
"""How many packets are tried for a first frame, which alone knows the rotation."""


@contextlib.contextmanager
def open_media(path: str) -> Iterator[InputContainer]:
    """Open a local file and nothing else: no URL, and no playlist that leads out of the machine."""
    with open(path, "rb") as file:
        if file.read(16).lstrip(b"\xef\xbb\xbf").startswith((b"#EXTM3U", b"ffconcat")):
            raise UnreadableMedia(path, "it is a playlist, not a media file")
    options = {"protocol_whitelist": "file"}
    with av.open("file:" + path, metadata_errors="replace", options=options) as container:
        # Timestamps that a container lacks are not made up by the demuxer: the decoder's order says more.
        container.flags &= ~GENERATE_PTS
        yield container


def start_of(container: InputContainer) -> Fraction:
    """The container's start in seconds, what ffprobe calls the format's start_time; 0 where it has none."""
    if container.metadata.get("comment") == PROXY_MARK:
        return Fraction(0)
    return Fraction(container.start_time or 0, av.time_base)


def base_of(stream: Stream) -> Fraction:
    """The unit of a stream's timestamps, in seconds."""
    base = stream.time_base
    assert base is not None  # every stream of an opened container has one
    return base


def video_of(container: InputContainer) -> VideoStream | None:
    """The first video stream that is not cover art and that some decoder understands."""
    for stream in container.streams.video:
        if not stream.disposition & COVER and stream.codec_context is not None:
            return stream
    return None


def only(container: InputContainer, *streams: Stream) -> None:
    """Let the demuxer pass over all other streams."""
    for stream in container.streams:
        if stream not in streams:
            stream.discard = Discard.all


@dataclass(frozen=True)
class Contents:
    """Whether some video stream and some sound track can be tried, and seconds from the start to the longest's end."""

    video: bool
    sound: bool
    end: Fraction


def contents(path: str) -> Contents:
    """What a file holds, as far as its header tells; a duration that it does not tell is found by reading."""
    with open_media(path) as container:
        video = video_of(container) is not None
        sound = any(stream.codec_context is not None for stream in container.streams.audio)
        end = _duration_in_header(container)
    return Contents(video, sound, _duration_by_reading(path) if end is None else end)


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The stream's packets and the empty one that drains its decoder.

    A container that breaks off ends there: what came before it counts.
    """
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise
        except DEMUX_ERRORS:
            yield cast("Packet[VideoStream]", Packet())
            return
        if packet is None:
            return
        yield packet


def first_frame(path: str) -> VideoFrame | None:
    """The first frame that decodes near the beginning, or None. It alone knows how the picture is turned."""
    with open_media(path) as container:
        stream = video_of(container)
        if stream is None:
            return None
        only(container, stream)
        decoder = Decoder(stream)
        for packet in itertools.islice(packets_of(container, stream), FIRST_FRAME_PACKETS):
            for _, frame in decoder.decode(packet):
                return frame
    return None


def describe(path: str) -> Iterator[tuple[dict[str, Any], tuple[()]]]:
    """The job behind ``probe``: one item that holds VideoInfo's fields in JSON-able form."""
    first = first_frame(path)
    with open_media(path) as container:
        if not any(stream.type in ("video", "audio", "subtitle") for stream in container.streams):
            raise UnreadableMedia(path, "it holds neither video nor sound")
        facts = {
            "path": path,
            "container": container.format.name,
            "start": str(start_of(container)),
            "size": os.path.getsize(path),
            "recorded": _recorded(container),
            "timecode": _timecode(container),
            "streams": [_stream_facts(stream) for stream in container.streams],
        }
        stream = video_of(container)
        if stream is not None:
            facts |= _video_facts(stream, first)
        duration = _duration_in_header(container)
    yield {**facts, "duration": float(_duration_by_reading(path) if duration is None else duration)}, ()


def _stream_facts(stream: Stream) -> dict[str, Any]:
    cover = stream.type == "video" and stream.disposition & COVER
    context = stream.codec_context
    language = stream.metadata.get("language", "und")
    return {
        "index": stream.index,
        "kind": "attachment" if cover else stream.type,
        "codec": stream.metadata.get("mimetype", "unknown") if context is None else context.codec.canonical_name,
        "language": None if language in ("und", "") else language,
        "title": stream.metadata.get("title"),
    }


def _video_facts(stream: VideoStream, frame: VideoFrame | None) -> dict[str, Any]:
    context = stream.codec_context
    upright = Upright.of(frame) if frame is not None else Upright()
    width, height = (frame.width, frame.height) if frame is not None else (context.width, context.height)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    shown = shown_size(width, height, aspect, upright)
    rate = stream.average_rate
    colour = colour_of(frame if frame is not None else context)
    return {
        "width": shown[0],
        "height": shown[1],
        "coded_width": width,
        "coded_height": height,
        "pixel_aspect": str(aspect),
        "rotation": upright.degrees,
        "frame_rate": str(rate) if rate else None,
        "time_base": str(stream.time_base),
        "pixel_format": frame.format.name if frame is not None else context.pix_fmt,
        "bit_depth": bit_depth(frame) if frame is not None else 8,
        "colour": {name: getattr(colour, name) for name in ("matrix", "range", "primaries", "transfer")},
    }


def _duration_in_header(container: InputContainer) -> Fraction | None:
    """The end of the longest stream minus the container's start, as far as the header tells."""
    ends = [
        (stream.start_time + stream.duration) * stream.time_base
        for stream in container.streams
        if stream.type in ("video", "audio")
        and not stream.disposition & COVER
        and stream.duration and stream.time_base and stream.start_time is not None
    ]  # fmt: skip
    if not ends and container.start_time:
        return None  # Matroska's headers count from 0 or from the start, as the muxer liked
    known = [Fraction(container.duration, av.time_base)] if container.duration else []
    if ends and not known:
        known = [max(ends) - start_of(container)]
    elif ends and abs(max(ends) - start_of(container) - known[0]) <= Fraction(1, 1000):
        known = [max(ends) - start_of(container)]  # the same to the millisecond, and not rounded
    return known[0] if known and known[0] > 0 else None


def _duration_by_reading(path: str) -> Fraction:
    """The end of the last packet minus the container's start, for headers that do not tell."""
    end = Fraction(0)
    with open_media(path) as container, contextlib.suppress(*DEMUX_ERRORS):
        start = start_of(container)
        for packet in container.demux():
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and packet.stream.type in ("video", "audio"):
                end = max(end, (time + (packet.duration or 0)) * packet.time_base - start)
    return end


def _recorded(container: InputContainer) -> str | None:
    """When the file says it was recorded, ISO 8601 with an offset; a bare time is taken as UTC."""
    places = [container.metadata, *(stream.metadata for stream in container.streams)]
    for name in ("com.apple.quicktime.creationdate", "creation_time", "DATE_RECORDED", "date"):
        for metadata in places:
            when = _parse_date(metadata.get(name, ""))
            if when is not None:
                return when.isoformat()
    return None


def _parse_date(text: str) -> datetime | None:
    text = text.strip()
    if len(text) < len("2026-01-01"):
        return None
    if text[4] == text[7] == ":":  # as in EXIF
        text = text[:10].replace(":", "-") + text[10:]
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    unset = when.astimezone(UTC).year in (1904, 1970)  # the epochs of QuickTime and Unix, written by clocks not set
    return None if unset else when


def _timecode(container: InputContainer) -> str | None:
    places = [container.metadata, *(stream.metadata for stream in container.streams)]
    return next((metadata["timecode"] for metadata in places if metadata.get("timecode")), None)
