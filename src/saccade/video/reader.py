"""One file's video, decoded from any time on. Runs in the decoding child."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from saccade.errors import UnreadableMedia
from saccade.video.decode import Damage, Decoder, Skip
from saccade.video.media import base_of, only, open_media, packets_of, start_of, video_of

SKIPS: dict[str, Skip] = {"exact": "DEFAULT", "nonref": "NONREF", "keyframes": "NONKEY"}

SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers with an index that a seek can be trusted in."""

SEEK_BACK_SECONDS = (0, 2, 10, 60)
"""How far before a wanted time a seek aims, where it landed too late before. In other containers the first frames
behind a seek may carry wrong times, so the first try aims earlier there."""

Timed = tuple[int, VideoFrame]


class Reader:
    """Decodes the first video stream of a file; a context manager.

    mode: exact, nonref or keyframes. ``damage`` collects what did not decode. ``on_packet`` hears every packet
    that belongs to the film, decoded or not. Raises UnreadableMedia where there is no video that any decoder knows.
    """

    def __init__(
        self,
        path: str,
        mode: str = "exact",
        threads: int = 1,
        on_packet: Callable[[Packet[VideoStream]], None] | None = None,
    ) -> None:
        self._path, self._mode, self._threads, self._on_packet = path, mode, threads, on_packet
        self._files = contextlib.ExitStack()
        self.damage: list[Damage] = []
        self._open()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def _open(self) -> None:
        self._files.close()
        self._container = self._files.enter_context(open_media(self._path))
        stream = video_of(self._container)
        if stream is None:
            raise UnreadableMedia(self._path, "it holds no video that can be decoded")
        only(self._container, stream)
        self.stream = stream
        self.format = self._container.format.name
        self.base, self.start = base_of(stream), start_of(self._container)
        self._decoder = Decoder(stream, SKIPS[self._mode], self._threads, self.damage)
        self._fresh = True

    def moment(self, pts: int) -> Fraction:
        """Seconds since the container's start."""
        return pts * self.base - self.start

    def frames(self) -> Iterator[Timed]:
        """(pts, frame) of everything that can be read, in display order."""
        if not self._fresh:
            self._open()
        yield from self._decode()

    def frames_from(self, time: Fraction) -> Iterator[Timed]:
        """The same from the last keyframe at or before ``time`` (since the container's start) on.

        Where no seek finds that, reading begins at the beginning.
        """
        if time > 0:
            for back in SEEK_BACK_SECONDS if self.format in SEEKABLE else SEEK_BACK_SECONDS[1:]:
                frames = self._after_seek(time - back)
                first = next(frames, None)
                if first is not None and self.moment(first[0]) <= time:
                    yield first
                    yield from frames
                    return
            self._open()
        yield from self.frames()

    def _after_seek(self, time: Fraction) -> Iterator[Timed]:
        try:
            self._container.seek(math.floor((time + self.start) / self.base), stream=self.stream)
        except av.FFmpegError:
            return
        self._decoder.restart()
        self.damage.clear()
        yield from self._decode()

    def _decode(self) -> Iterator[Timed]:
        self._fresh = False
        for packet in packets_of(self._container, self.stream):
            if self._on_packet and packet.size and not packet.is_discard:
                self._on_packet(packet)
            if self._mode != "keyframes":
                yield from self._decoder.decode(packet)
            elif packet.size and packet.is_keyframe:
                yield from self._decoder.decode_alone(packet)
