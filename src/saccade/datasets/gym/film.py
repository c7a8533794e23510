"""Takes joined into a film by cuts, dissolves and fades, with text, subtitles and sound, and its exact truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from saccade.datasets.gym.paint import Pen
from saccade.datasets.gym.scenes import HEIGHT, WIDTH, Scene
from saccade.datasets.gym.write import Sound, TextTrack, write_srt, write_video
from saccade.errors import InputError
from saccade.types import Shot, Span, TimedText

ENTRANCES = ("cut", "dissolve", "fade", "white")


@dataclass(frozen=True)
class Take:
    """One shot: its scene, its seconds, and how it follows the shot before.

    enter: cut; dissolve (``over`` seconds in which both are seen, taken from both shots); fade or white (the
    shot before sinks into black or white for half of ``over``, this one rises out of it for the other half).
    flash: seconds into the take at which a flash of two frames goes off, a trap.
    """

    scene: Scene
    seconds: float
    enter: str = "cut"
    over: float = 0.8
    flash: float | None = None

    def __post_init__(self) -> None:
        if self.enter not in ENTRANCES:
            raise InputError(f"a take enters by {', '.join(ENTRANCES)}, got {self.enter!r}")


@dataclass(frozen=True)
class Boundary:
    """Where one shot ends. Frames [begin, end) belong to the change; a cut's is its new shot's first frame alone.

    frame: the cut's, or the middle of the change; pts and seconds are that frame's. kind: cut, fade or dissolve.
    """

    kind: str
    frame: int
    begin: int
    end: int
    pts: int
    seconds: float


@dataclass(frozen=True)
class Truth:
    """Everything that is known about a drawn film. Seconds are counted from the container's start."""

    path: Path
    frame_rate: Fraction
    time_base: Fraction
    pts: tuple[int, ...]
    duration: float
    shots: tuple[Shot, ...]
    boundaries: tuple[Boundary, ...]
    seen: tuple[TimedText, ...]
    """What each shot shows, in a sentence."""
    texts: tuple[TimedText, ...]
    """Text in the picture, kind "written"."""
    subtitles: tuple[TimedText, ...]
    """Kind "said"; in a sidecar or an embedded track."""
    sidecar: Path | None = None

    @property
    def cuts(self) -> tuple[Boundary, ...]:
        """The hard cuts alone."""
        return tuple(one for one in self.boundaries if one.kind == "cut")


def draw_film(
    path: str | Path,
    takes: Sequence[Take],
    *,
    fps: int | Fraction = 25,
    captions: Sequence[tuple[float, float, str]] = (),
    subtitles: Sequence[tuple[float, float, str]] = (),
    language: str = "en",
    embedded: bool = False,
    music: int | None = 0,
) -> Truth:
    """Draw, write and describe a film.

    captions: (begin, end, text) in seconds, drawn over the lower part of the picture.
    subtitles: the same, written beside the film as SubRip, or into it as a text track (``embedded``).
    music: a seed for the sound, None for a silent film.
    """
    rate = Fraction(fps)
    plan = _Plan(takes, rate)
    said = tuple(TimedText(Span(begin, end), text, "said", "gym", language) for begin, end, text in subtitles)
    written = tuple(TimedText(Span(begin, end), text, "written", "gym") for begin, end, text in captions)
    tracks = [TextTrack(said, {"en": "eng", "ko": "kor"}.get(language, "und"))] if embedded and said else []
    sound = None if music is None else Sound(_music(music, plan.starts, plan.frames, float(rate)))
    quick = {"preset": "veryfast"}
    path = write_video(path, _pictures(plan, written), fps=rate, sound=sound, text_tracks=tracks, codec_options=quick)
    sidecar = write_srt(path.with_suffix(f".{language}.srt"), said) if said and not embedded else None
    return plan.truth(path, written, said, sidecar)


class _Plan:
    """Which frames each take has: take k is seen in frames [starts[k], ends[k]), neighbours overlap in dissolves."""

    def __init__(self, takes: Sequence[Take], rate: Fraction) -> None:
        self.takes, self.rate = takes, rate
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.changes = [0 if k == 0 or take.enter == "cut" else round(take.over * rate) for k, take in enumerate(takes)]
        for take, change in zip(takes, self.changes, strict=True):
            start = (self.ends[-1] if self.ends else 0) - (change if take.enter == "dissolve" else 0)
            self.starts.append(start)
            self.ends.append(start + round(take.seconds * rate))

    @property
    def frames(self) -> int:
        return self.ends[-1]

    def change(self, k: int) -> tuple[int, int]:
        """Frames [begin, end) of the change into take k."""
        start, length = self.starts[k], self.changes[k]
        if self.takes[k].enter == "cut":
            return start, start + 1
        begin = start if self.takes[k].enter == "dissolve" else start - length // 2
        return begin, begin + length

    def truth(
        self, path: Path, captions: tuple[TimedText, ...], said: tuple[TimedText, ...], sidecar: Path | None
    ) -> Truth:
        pts, base = _written_times(path)
        boundaries = []
        for k in range(1, len(self.takes)):
            begin, end = self.change(k)
            enter = self.takes[k].enter
            frame = begin if enter == "cut" else (begin + end) // 2
            kind = "fade" if enter == "white" else enter
            boundaries.append(Boundary(kind, frame, begin, end, pts[frame], float(frame / self.rate)))
        edges = [0.0, *(one.seconds for one in boundaries), float(self.frames / self.rate)]
        spans = [Span(begin, end) for begin, end in pairwise(edges)]
        kinds = ["start", *(one.kind for one in boundaries)]
        texts = list(captions)
        for start, span, take in zip(self.starts, spans, self.takes, strict=True):
            for text, after in take.scene.words:
                if (shown := float(start / self.rate) + after) < span.end:
                    texts.append(TimedText(Span(max(shown, span.start), span.end), text, "written", "gym"))
        return Truth(
            path=path,
            frame_rate=self.rate,
            time_base=base,
            pts=pts,
            duration=edges[-1],
            shots=tuple(Shot(span, kind) for span, kind in zip(spans, kinds, strict=True)),
            boundaries=tuple(boundaries),
            seen=tuple(
                TimedText(span, take.scene.about, "seen", "gym", "en")
                for span, take in zip(spans, self.takes, strict=True)
            ),
            texts=tuple(sorted(texts, key=lambda text: text.span)),
            subtitles=said,
            sidecar=sidecar,
        )


def _written_times(path: Path) -> tuple[tuple[int, ...], Fraction]:
    """The timestamps that the container keeps, in display order."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pts = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        assert stream.time_base is not None
        return tuple(pts), stream.time_base


def _pictures(plan: _Plan, captions: Sequence[TimedText]) -> Iterator[npt.NDArray[np.uint8]]:
    plates = [(caption, _plate(caption.text)) for caption in captions]
    for frame in range(plan.frames):
        picture = _joined(plan, frame)
        seconds = float(frame / plan.rate)
        for caption, plate in plates:
            if caption.span.start <= seconds < caption.span.end:
                picture.paste(plate, (0, HEIGHT - 62), plate)
        yield np.asarray(picture)


def _plate(text: str) -> Image.Image:
    pen = Pen(WIDTH, 54)
    pen.box(24, 4, WIDTH - 24, 48, (24, 26, 34, 215), 10)
    pen.words(WIDTH / 2, 26, text, 25, (255, 250, 240), "mm")
    return pen.done()


def _joined(plan: _Plan, frame: int) -> Image.Image:
    seen = [k for k, (start, end) in enumerate(zip(plan.starts, plan.ends, strict=True)) if start <= frame < end]
    picture = _take(plan, seen[0], frame)
    if len(seen) > 1:
        begin, end = plan.change(seen[1])
        return Image.blend(picture, _take(plan, seen[1], frame), (frame - begin + 1) / (end - begin + 1))
    for k in (seen[0], seen[0] + 1):
        if 0 < k < len(plan.takes) and plan.takes[k].enter in ("fade", "white"):
            begin, end = plan.change(k)
            if begin <= frame < end:
                veil = 1 - abs(frame - plan.starts[k] + 0.5) / (plan.changes[k] / 2)
                ground = (0, 0, 0) if plan.takes[k].enter == "fade" else (255, 255, 255)
                return Image.blend(picture, Image.new("RGB", picture.size, ground), min(1.0, max(0.0, veil * 1.15)))
    return picture


def _take(plan: _Plan, k: int, frame: int) -> Image.Image:
    take, since = plan.takes[k], frame - plan.starts[k]
    picture = take.scene.draw(float(since / plan.rate))
    if take.flash is not None and 0 <= since - round(take.flash * plan.rate) < 2:
        return picture.point(lambda level: min(255, int(level * 1.5 + 100)))
    return picture


SOUND_RATE = 24000


def _music(seed: int, starts: Sequence[int], frames: int, rate: float) -> npt.NDArray[np.float32]:
    """A soft chord for each shot and a few plucked notes over it."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(int(frames / rate * SOUND_RATE), np.float64)
    edges = [*(round(start / rate * SOUND_RATE) for start in starts), len(samples)]
    scale = 220 * 2 ** (np.array([0, 2, 4, 7, 9, 12, 14, 16]) / 12)
    for begin, end in pairwise(edges):
        t = np.arange(end - begin) / SOUND_RATE
        swell = np.minimum(1, np.minimum(t, t[-1] - t) / 0.3)
        root = rng.choice(scale[:4])
        for ratio in (1, 1.25, 1.5):
            samples[begin:end] += 0.05 * swell * np.sin(2 * np.pi * root * ratio * t)
        for at in np.arange(0, t[-1], 0.5):
            since = np.maximum(0, t - at)
            samples[begin:end] += (
                0.09 * (t >= at) * np.exp(-4 * since) * np.sin(2 * np.pi * rng.choice(scale) * 2 * since)
            )
    return samples.astype(np.float32)
