"""The job behind ``watch``: one decode feeds the encoder's frames, the shot detector and the proxy.

A chosen frame belongs to the part that its own timestamp lies in. A part is closed when a frame at or behind its
end has come, so that nothing chosen can still fall into it. Runs in the decoding child.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from saccade.errors import UnreadableMedia
from saccade.video.colour import Painter
from saccade.video.decode import duration_of, step_of
from saccade.video.media import Contents, contents
from saccade.video.proxy import EVERY, Proxy
from saccade.video.reader import Reader
from saccade.video.sampling import Batch
from saccade.video.shotfinder import NoShots, shot_finder
from saccade.video.timeline import Timeline, read_timeline

Item = tuple[dict[str, Any], tuple[npt.NDArray[np.uint8], ...]]

BREAKS_OFF_SECONDS = 1
"""A header that promises this much more than there is tells of a file that breaks off."""


JUMP_PARTS = 100
"""More empty parts than this in a row become one: a broken clock must not fill the ledger."""

BATCH_FRAMES = 8
"""Frames handed out together: few, so that the encoder is not idle while the first are decoded."""


@dataclass(frozen=True)
class Wish:
    """What a pass is asked for; times in seconds since the container's start."""

    path: str
    every: Fraction
    begin: Fraction
    cuts_from: Fraction
    part_seconds: Fraction
    mode: str
    proxy: str | None
    shots: bool
    frames: bool
    short_side: int | None


@dataclass(frozen=True)
class Shown:
    """A decoded frame: its pts and its seconds since the container's start."""

    pts: int
    moment: Fraction
    frame: VideoFrame


def watch_file(
    path: str,
    every: str,
    begin: str,
    cuts_from: str,
    part_seconds: str,
    mode: str,
    proxy: str | None,
    shots: bool,
    frames: bool,
    short_side: int | None,
) -> Iterator[Item]:
    """Items are ({"pts", "time_base", "start"}, (images,)) or ({"part": …}, ())."""
    steps = Fraction(every), Fraction(begin), Fraction(cuts_from), Fraction(part_seconds)
    wish = Wish(path, *steps, mode, proxy, shots, frames, short_side)
    held = contents(path)
    if held.video:
        yield from _watch_video(wish, held)
    elif held.sound:
        yield from _watch_sound(wish, held.end)
    else:
        raise UnreadableMedia(path, "it holds neither video nor sound that can be decoded")


def _watch_video(wish: Wish, held: Contents) -> Iterator[Item]:
    timeline = read_timeline(wish.path)
    mode = timeline.choose_mode(wish.mode)
    packets = _PacketTimes()
    with Reader(wish.path, mode, threads=1 if mode == "keyframes" else 2, on_packet=packets.add) as reader:
        yield from _Pass(reader, wish, held, timeline, mode, packets).run()


def _watch_sound(wish: Wish, end: Fraction) -> Iterator[Item]:
    parts = _Parts(wish, end, "exact")
    proxy = Proxy(wish.path, wish.proxy, wish.begin, parts.index, None, True) if wish.proxy else None
    while not parts.over:
        closing = min(parts.boundary, end)
        written = proxy.close_part(closing, closing == end, parts.index_at(closing)) if proxy else None
        yield parts.close(closing, proxy=written, cuts_until=closing)


class Picker:
    """Chooses the frames on display at the points of a grid, each frame once, from frames in display order."""

    def __init__(self, every: Fraction, begin: Fraction) -> None:
        self._every = every
        self._next = math.ceil(begin / every)
        self._current: Shown | None = None
        self._picked: int | None = None

    def feed(self, shown: Shown) -> tuple[Shown, Fraction] | None:
        """Take the next frame; the one that it replaces, if that was chosen, and its last grid point."""
        picked = self._pick(shown.moment, self._current or shown)
        self._current = shown
        return picked

    def finish(self, end: Fraction) -> tuple[Shown, Fraction] | None:
        """The last frame stays on display until ``end``."""
        return self._pick(end, self._current) if self._current else None

    def _pick(self, until: Fraction, shown: Shown) -> tuple[Shown, Fraction] | None:
        if self._next * self._every >= until:
            return None
        self._next = math.ceil(until / self._every)
        if self._picked == shown.pts:
            return None
        self._picked = shown.pts
        return shown, (self._next - 1) * self._every


class _PacketTimes:
    """When every frame of the film would be on display, decoded or not: its packets' pts, as far as needed."""

    def __init__(self) -> None:
        self._pts: list[int] = []

    def add(self, packet: Packet[VideoStream]) -> None:
        if packet.pts is not None:
            insort(self._pts, packet.pts)

    def forget(self, before: int) -> None:
        del self._pts[: bisect_left(self._pts, before)]

    def last_until(self, pts: int) -> int | None:
        """The last pts at or before one."""
        at = bisect_right(self._pts, pts)
        return self._pts[at - 1] if at else None


class _Gaps:
    """Turns packets that did not decode into stretches of time without pictures."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._step = step_of(reader.stream) * reader.base
        self._seen_until = Fraction(0)
        self._found: list[tuple[Fraction, Fraction, str]] = []

    def end_at(self, moment: Fraction) -> None:
        """A frame comes out here, or the film ends: what was broken before it ends."""
        damage = self._reader.damage
        if damage:
            times = [self._reader.moment(piece.pts) for piece in damage if piece.pts is not None]
            self.add(max(self._seen_until, min(times, default=moment)), moment, damage[0].reason)
            damage.clear()
        self._seen_until = moment + self._step

    def add(self, begin: Fraction, end: Fraction, reason: str) -> None:
        if begin < end:
            self._found.append((begin, end, reason))

    def take(self, begin: Fraction, end: Fraction) -> list[tuple[float, float, str]]:
        """What lies in [begin, end); what goes on behind it is kept."""
        mine = [(max(begin, b), min(end, e), why) for b, e, why in self._found if b < end and e > begin]
        self._found = [gap for gap in self._found if gap[1] > end]
        return [(float(b), float(e), why) for b, e, why in mine]


class _Parts:
    """Which part is open, and the items that close them."""

    def __init__(self, wish: Wish, end: Fraction, mode: str) -> None:
        self._wish, self._end, self._mode = wish, end, mode
        self._begin = wish.begin
        self.index = self.index_at(wish.begin)
        self.over = False

    @property
    def boundary(self) -> Fraction:
        """Where the open part would end."""
        return (self.index + 1) * self._wish.part_seconds

    @property
    def begin(self) -> Fraction:
        return self._begin

    def index_at(self, moment: Fraction) -> int:
        """The index of the part that begins at, or holds, a moment."""
        return math.floor(moment / self._wish.part_seconds)

    def boundary_before(self, moment: Fraction) -> Fraction:
        """The last boundary at or before a moment that is not the end of the film."""
        boundary = math.floor(moment / self._wish.part_seconds) * self._wish.part_seconds
        return boundary if boundary < self._end else boundary - self._wish.part_seconds

    def close(self, end: Fraction, cuts_until: Fraction, proxy: str | None, **facts: Any) -> Item:
        self.over = end >= self._end
        part = {
            "index": self.index, "span": (float(self._begin), float(end)), "cuts": [],
            "cuts_until": float(cuts_until), "frames_decoded": 0, "gaps": [], "mode": self._mode, "time_error": 0.0,
            "proxy": proxy, "last": self.over, **facts,
        }  # fmt: skip
        self.index = self.index_at(end)
        self._begin = end
        return {"part": part}, ()


class _Pass:
    """The pass over a file with video."""

    def __init__(
        self, reader: Reader, wish: Wish, held: Contents, timeline: Timeline, mode: str, packets: _PacketTimes
    ) -> None:
        self._reader, self._wish, self._timeline, self._mode, self._packets = reader, wish, timeline, mode, packets
        self._end = max(held.end, timeline.end, wish.begin)
        self._parts = _Parts(wish, self._end, mode)
        self._gaps = _Gaps(reader)
        self._shots = shot_finder(wish.path, mode, timeline, wish.cuts_from) if wish.shots else NoShots(wish.begin)
        self._encoder_picker = Picker(wish.every, wish.begin) if wish.frames else None
        self._proxy_picker = Picker(EVERY, wish.begin)
        # In a pass over keyframes the proxy keeps them all, unless there are more of them than it has pictures.
        self._every_key = mode == "keyframes" and timeline.keys * EVERY <= timeline.end + EVERY
        self._proxy = (
            Proxy(wish.path, wish.proxy, wish.begin, self._parts.index, reader, held.sound) if wish.proxy else None
        )
        self._painter = Painter(reader.stream.sample_aspect_ratio, wish.short_side)
        self._clock = {"time_base": str(reader.base), "start": str(reader.start)}
        self._batch = Batch(BATCH_FRAMES)
        self._time_error = Fraction(0)
        self._decoded = 0
        self._cuts_until = wish.cuts_from

    def run(self) -> Iterator[Item]:
        last, before = None, None
        for shown in self._frames():
            if last is not None and shown.pts <= last.pts:
                continue
            self._gaps.end_at(shown.moment)
            self._decoded += not self._is_before(shown)
            self._shots.feed(shown.pts, float(shown.moment), shown.frame)
            yield from self._choose(shown)
            yield from self._close_until(shown.moment)
            self._packets.forget(shown.pts)
            before, last = last, shown
        if last is not None:
            yield from self._choose_last(self._film_end(last, before))
        elif not self._wish.begin:
            reason = self._reader.damage[0].reason if self._reader.damage else "it is empty"
            raise UnreadableMedia(self._wish.path, f"no frame of its video can be decoded ({reason})")
        yield from self._finish()

    def _film_end(self, last: Shown, before: Shown | None) -> Fraction:
        """Until when the last frame stays on display."""
        if self._mode != "exact":
            return self._timeline.end
        stays = duration_of(last.frame, None if before is None else before.pts, last.pts, self._reader.stream)
        return last.moment + stays * self._reader.base

    def _frames(self) -> Iterator[Shown]:
        begin = min(self._wish.begin, self._shots.context_from)
        reader = self._reader
        timed = reader.frames_from(begin) if self._timeline.timed else reader.frames()
        return (Shown(pts, reader.moment(pts), frame) for pts, frame in timed)

    def _choose(self, shown: Shown) -> Iterator[Item]:
        if self._encoder_picker:
            yield from self._use_for_encoder(self._encoder_picker.feed(shown))
        if self._proxy:
            yield from self._use_for_proxy((shown, shown.moment) if self._every_key else self._proxy_picker.feed(shown))

    def _choose_last(self, end: Fraction) -> Iterator[Item]:
        if self._encoder_picker:
            yield from self._use_for_encoder(self._encoder_picker.finish(end))
        if self._proxy and not self._every_key:
            yield from self._use_for_proxy(self._proxy_picker.finish(end))

    def _use_for_encoder(self, pick: tuple[Shown, Fraction] | None) -> Iterator[Item]:
        if pick is None or self._is_before(pick[0]):
            return
        shown, point = pick
        yield from self._close_until(shown.moment)
        self._time_error = max(self._time_error, self._error_of(shown, point))
        image = self._painter.paint(shown.frame)
        if self._batch.is_full_for(image):
            yield self._batch_item()
        self._batch.add(shown.pts, image)

    def _use_for_proxy(self, pick: tuple[Shown, Fraction] | None) -> Iterator[Item]:
        if pick is None or self._is_before(pick[0]) or pick[0].moment < 0:  # a proxy's clock begins at 0
            return
        shown, _ = pick
        yield from self._close_until(shown.moment)
        assert self._proxy is not None
        self._proxy.add_picture(shown.moment, shown.frame)

    def _is_before(self, shown: Shown) -> bool:
        """Whether a frame belongs to a part that was stored before this pass began."""
        return shown.moment < self._wish.begin and self._wish.begin > 0

    def _error_of(self, shown: Shown, point: Fraction) -> Fraction:
        """How much later than the frame used the one on display at a grid point was."""
        on_display = self._packets.last_until(math.floor((point + self._reader.start) / self._reader.base))
        return max(Fraction(0), (on_display - shown.pts) * self._reader.base) if on_display is not None else Fraction(0)

    def _batch_item(self) -> Item:
        pts, images = self._batch.take()
        return {"pts": pts, **self._clock}, (images,)

    def _close_until(self, moment: Fraction) -> Iterator[Item]:
        """Close the parts that end at or before a moment, but never the last one."""
        while self._parts.boundary <= moment and self._parts.boundary < self._end:
            jump = self._parts.boundary_before(min(moment, self._end))
            if jump - self._parts.begin > JUMP_PARTS * self._wish.part_seconds:
                self._gaps.add(self._parts.begin, jump, "the clock jumps: no pictures for very long")
                yield from self._close_part(jump)
            else:
                yield from self._close_part(self._parts.boundary)

    def _finish(self) -> Iterator[Item]:
        self._gaps.end_at(self._timeline.end)
        promised = self._promised_end()
        if promised > self._timeline.end + BREAKS_OFF_SECONDS:
            self._gaps.add(self._timeline.end, promised, "the file ends before its header says")
        self._shots.finish()
        yield from self._close_until(self._end)
        yield from self._close_part(self._end)

    def _promised_end(self) -> Fraction:
        stream = self._reader.stream
        if not stream.duration or stream.start_time is None:
            return Fraction(0)
        return self._reader.moment(stream.start_time + stream.duration)

    def _close_part(self, end: Fraction) -> Iterator[Item]:
        last = end >= self._end
        if self._batch:
            yield self._batch_item()
        settled = end if last else min(end - self._shots.lag, Fraction(min(max(self._shots.decided, 0.0), 2.0**62)))
        self._cuts_until = max(self._cuts_until, settled)
        cuts = self._shots.take(math.inf if last else float(self._cuts_until))
        facts = {
            "cuts": [(cut.pts, cut.seconds, cut.kind) for cut in cuts],
            "frames_decoded": self._decoded + self._shots.take_decoded(),
            "gaps": self._gaps.take(self._parts.begin, end),
            "time_error": float(self._time_error),
        }
        proxy = self._proxy.close_part(end, last, self._parts.index_at(end)) if self._proxy else None
        self._time_error, self._decoded = Fraction(0), 0
        yield self._parts.close(end, cuts_until=self._cuts_until, proxy=proxy, **facts)
