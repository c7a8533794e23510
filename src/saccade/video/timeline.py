"""What demuxing alone tells: where keyframes lie and where the video ends. Runs in the decoding child."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from saccade.errors import UnreadableMedia
from saccade.video.decode import step_of
from saccade.video.media import only, open_media, packets_of, start_of, video_of

KEYFRAME_SECONDS = 2
"""Keyframes at most this far apart are dense enough to stand for the film."""

SKIPPABLE = frozenset(
    "av1 dnxhd h264 hevc mjpeg mpeg1video mpeg2video mpeg4 prores theora vc1 vp8 vp9 vvc wmv3".split()  # noqa: SIM905
)
"""Codecs whose keyframe flags and skipping of frames can be trusted."""


@dataclass(frozen=True)
class Timeline:
    """A video stream's extent, in seconds since the container's start.

    key_gap: the largest distance between neighbouring keyframes, the end of the last one included; keys: how many
    there are. timed: whether
    each packet carries its own pts; where not (AVI), only decoding tells the times.
    """

    end: Fraction
    key_gap: Fraction
    timed: bool
    codec: str
    keys: int

    def choose_mode(self, mode: str) -> str:
        """The mode to really use: auto resolved, and exact where nothing else can keep the times true."""
        if not self.timed or self.codec not in SKIPPABLE:
            return "exact"
        if mode == "auto":
            return "keyframes" if self.key_gap <= KEYFRAME_SECONDS else "nonref"
        return mode


def read_timeline(path: str) -> Timeline:
    """Demux a whole file once, without decoding; about 3000 × real time."""
    with open_media(path) as container:
        stream = video_of(container)
        if stream is None or stream.time_base is None:
            raise UnreadableMedia(path, "it holds no video that can be decoded")
        only(container, stream)
        timed, end, key, key_gap, keys = True, None, None, 0, 0
        for packet in packets_of(container, stream):
            if packet.size == 0 or packet.is_discard:
                continue
            pts = packet.pts if packet.pts is not None else packet.dts
            timed = timed and packet.pts is not None
            if pts is None:
                continue
            after = pts + (packet.duration or step_of(stream))
            end = after if end is None else max(end, after)
            if packet.is_keyframe:
                key_gap = max(key_gap, pts - (pts if key is None else key))
                key, keys = pts, keys + 1
        if end is None:
            raise UnreadableMedia(path, "its video stream is empty")
        key_gap = max(key_gap, end - (end if key is None else key))
        base = stream.time_base
        codec = stream.codec_context.codec.canonical_name
        return Timeline(end * base - start_of(container), key_gap * base, timed and keys > 0, codec, keys)
