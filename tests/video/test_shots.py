"""Shot boundaries in drawn video: right to the frame for cuts, inside the transition for the rest, traps left alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from saccade.datasets.gym.demo import FILMS
from saccade.errors import InputError
from saccade.evaluate.shots import score_boundaries
from saccade.types import Span
from saccade.video import Part, watch
from saccade.video.shots import REACH_SECONDS, Cut, Small, detect, differs

Picture = np.ndarray
Scene = Callable[[float], Picture]
HEIGHT, WIDTH = 72, 128


def scene(
    seed: int, *, dark: bool = False, pan: float = 8.0, objects: int = 4, speed: float = 40.0, like: int | None = None
) -> Scene:
    """A drawn place: smooth ground and patches under a panning camera, objects moving over it. Pixels, seconds."""
    rng = np.random.default_rng(seed)
    palette_rng = np.random.default_rng(seed if like is None else like)
    palette = palette_rng.uniform(20, 235, (6, 3))
    wide = np.kron(rng.uniform(-20, 20, (10, 24, 1)), np.ones((16, 24, 1)))
    ground = palette[0] + wide + np.zeros((160, 576, 3))
    for _ in range(40):
        y, x, h, w = rng.integers(0, 140), rng.integers(0, 540), rng.integers(6, 50), rng.integers(6, 70)
        ground[y : y + h, x : x + w] = palette[rng.integers(1, 5)] + rng.uniform(-25, 25, 3)
    movers = [(rng.uniform(0, 90, 2), rng.uniform(-speed, speed, 2), rng.integers(8, 22, 2)) for _ in range(objects)]
    start = rng.uniform(60, 160)

    def draw(t: float) -> Picture:
        x = int(np.clip(start + pan * t, 0, 440))
        image = ground[40 : 40 + HEIGHT, x : x + WIDTH].copy()
        for i, (at, velocity, size) in enumerate(movers):
            top, left = ((at + velocity * t) % [HEIGHT, WIDTH]).astype(int)
            image[top : top + size[0], left : left + size[1]] = palette[(i + 1) % 6] * 0.8 + 40
        return image * 0.1 + 4 if dark else image

    return draw


def small(pictures: list[Picture], fps: float = 25.0, seed: int = 0, noise: float = 1.5) -> list[Small]:
    """Pictures (72, 128, 3) of any float as the detector's input, with sensor noise."""
    rng = np.random.default_rng(seed)
    frames = []
    for i, picture in enumerate(pictures):
        pooled = picture.reshape(36, 2, 64, 2, 3).mean((1, 3)) + rng.normal(0, noise / 2, (36, 64, 3))
        frames.append(Small(i / fps, i, np.clip(pooled.round(), 0, 255).astype(np.uint8)))
    return frames


def shot(source: Scene, frames: int, fps: float = 25.0, start: float = 0.0) -> list[Picture]:
    return [source(start + i / fps) for i in range(frames)]


def found(frames: list[Small]) -> list[tuple[int, str]]:
    return [(cut.pts, cut.kind) for cut in detect(frames)]


@pytest.mark.parametrize("fps", [12, 24, 25, 30, 60])
@pytest.mark.parametrize("seed", range(4))
def test_hard_cuts_are_right_to_the_frame(seed: int, fps: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(fps // 2, fps * 2, 8)
    pictures = [p for k, n in enumerate(lengths) for p in shot(scene(100 * seed + k), int(n), fps)]
    assert found(small(pictures, fps)) == [(int(c), "cut") for c in np.cumsum(lengths)[:-1]]


@pytest.mark.parametrize("seed", range(6))
def test_cuts_between_dark_shots(seed: int) -> None:
    pictures = shot(scene(seed, dark=True), 30) + shot(scene(seed + 50, dark=True), 30)
    assert found(small(pictures, noise=1.0)) == [(30, "cut")]


@pytest.mark.parametrize("seed", range(6))
def test_cuts_between_shots_of_the_same_colours(seed: int) -> None:
    pictures = shot(scene(seed), 30) + shot(scene(seed + 50, like=seed), 30)
    assert found(small(pictures)) == [(30, "cut")]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("length", [2, 3, 5, 8])
def test_shots_of_a_few_frames(seed: int, length: int) -> None:
    a, b, c = (scene(seed + k) for k in (0, 50, 90))
    pictures = shot(a, 30) + shot(b, length) + shot(c, 30)
    assert found(small(pictures)) == [(30, "cut"), (30 + length, "cut")]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("length", [3, 5, 8])
def test_a_short_shot_between_two_halves_of_another(seed: int, length: int) -> None:
    a, b = scene(seed), scene(seed + 50)
    pictures = shot(a, 30) + shot(b, length) + shot(a, 30, start=30 / 25)
    assert found(small(pictures)) == [(30, "cut"), (30 + length, "cut")]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("light", [(90.0,), (140.0, 120.0), (200.0, 60.0), (-255.0,), (255.0, 255.0)])
def test_a_flash_is_no_cut(seed: int, light: tuple[float, ...]) -> None:
    pictures = shot(scene(seed), 75)
    for k, extra in enumerate(light):
        pictures[30 + k] = np.clip(pictures[30 + k] * (1 + extra / 255) + extra, 0, 255)
    assert found(small(pictures)) == []


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("frames", [5, 8, 12])
def test_a_whip_pan_is_no_cut(seed: int, frames: int) -> None:
    place = whip(seed)
    steps = np.concatenate([np.zeros(30), np.full(frames, 380 / frames), np.zeros(30)])
    at = 20 + np.concatenate([[0], np.cumsum(steps)])
    pictures = [place(x, x + step) for x, step in zip(at[:-1], steps, strict=True)]
    assert found(small(pictures)) == []


def whip(seed: int) -> Callable[[float, float], Picture]:
    """A still place seen while the camera turns from one column to another during the exposure."""
    ground = wide_ground(seed)

    def draw(begin: float, end: float) -> Picture:
        columns = np.linspace(begin, end, 12).astype(int)
        return np.mean([ground[:, x : x + WIDTH] for x in columns], axis=0)

    return draw


def wide_ground(seed: int) -> Picture:
    place = scene(seed, objects=0, pan=WIDTH)
    still = scene(seed + 7, objects=0, pan=WIDTH)
    return np.concatenate([place(-1), place(0), place(1), still(-1), still(1)], axis=1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("frames", [6, 12, 25, 40])
def test_a_dissolve_is_one_boundary_inside_it(seed: int, frames: int) -> None:
    a, b = scene(seed, speed=8), scene(seed + 50, speed=8)
    pictures = shot(a, 50) + mixed(a, b, frames) + shot(b, 50, start=(50 + frames) / 25)
    [(pts, kind)] = found(small(pictures))
    assert kind == "dissolve" and 50 <= pts < 50 + frames


def mixed(a: Scene, b: Scene, frames: int, begin: int = 50) -> list[Picture]:
    weights = (np.arange(frames) + 1) / (frames + 1)
    return [a((begin + i) / 25) * (1 - w) + b((begin + i) / 25) * w for i, w in enumerate(weights)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("colour", [0.0, 255.0])
@pytest.mark.parametrize("frames", [6, 12, 30])
@pytest.mark.parametrize("hold", [0, 1, 10])
def test_a_fade_out_and_in_is_one_boundary(seed: int, colour: float, frames: int, hold: int) -> None:
    a, b = scene(seed), scene(seed + 50)
    fading = shot(a, frames, start=2) + shot(b, frames, start=4)
    weights = np.concatenate([np.linspace(0, 1, frames, endpoint=False), np.linspace(1, 0, frames, endpoint=False)])
    sinking = [p * (1 - w) + colour * w for p, w in zip(fading, weights, strict=True)]
    black = [np.full((HEIGHT, WIDTH, 3), colour)] * hold
    pictures = shot(a, 50) + sinking[:frames] + black + sinking[frames:] + shot(b, 50, start=4 + frames / 25)
    [(pts, kind)] = found(small(pictures))
    assert kind == "fade" and 50 <= pts < 50 + 2 * frames + hold


@pytest.mark.parametrize("seed", range(6))
def test_fast_objects_are_no_cut(seed: int) -> None:
    assert found(small(shot(scene(seed, objects=8, speed=300), 120))) == []


@pytest.mark.parametrize("seed", range(6))
def test_a_large_object_passing_is_no_cut(seed: int) -> None:
    pictures = shot(scene(seed), 75)
    for i in range(30, 42):
        edge = (i - 30) * 24 - 96
        pictures[i][:, max(0, edge) : max(0, edge + 96)] = (60, 40, 30)
    assert found(small(pictures)) == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("repeat", [2, 3, 5])
def test_repeated_frames(seed: int, repeat: int) -> None:
    real = shot(scene(seed, speed=120, pan=40), 15, 25 / repeat) + shot(
        scene(seed + 50, speed=120, pan=40), 15, 25 / repeat
    )
    pictures = [p for p in real for _ in range(repeat)]
    assert found(small(pictures, noise=0.0)) == [(15 * repeat, "cut")]


@pytest.mark.parametrize("seed", range(4))
def test_telecine(seed: int) -> None:
    film = shot(scene(seed), 24, 24) + shot(scene(seed + 50), 24, 24)
    pictures = [film[int(i * 24 / 30)] for i in range(60)]
    assert found(small(pictures, 30)) == [(30, "cut")]


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_between_two_fields(seed: int) -> None:
    a, b = shot(scene(seed), 31), shot(scene(seed + 50), 30)
    torn = a[-1].copy()
    torn[1::2] = b[0][1::2]
    [(pts, kind)] = found(small([*a[:-1], torn, *b]))
    assert kind == "cut" and pts in (30, 31)


@pytest.mark.parametrize("seed", range(4))
def test_variable_frame_rate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.choice([0.01, 0.03, 0.05, 0.4], 120))
    a, b = scene(seed), scene(seed + 50)
    pictures = [(a if i < 60 else b)(times[i]) for i in range(120)]
    frames = [Small(float(t), int(t * 1000), frame.image) for t, frame in zip(times, small(pictures), strict=True)]
    assert found(frames) == [(int(times[60] * 1000), "cut")]


@pytest.mark.parametrize("seed", range(6))
def test_light_that_changes_is_no_boundary(seed: int) -> None:
    gain = np.concatenate([np.ones(40), np.linspace(1, 0.45, 30), np.full(40, 0.45)])
    assert found(small([p * g for p, g in zip(shot(scene(seed), 110), gain, strict=True)])) == []


@pytest.mark.parametrize("seed", range(6))
def test_a_slow_or_quick_pan_is_no_boundary(seed: int) -> None:
    for speed in (20, 60, 120):
        assert found(small(shot(scene(seed, pan=speed), 75))) == []


def film(seed: int) -> Iterator[Small]:
    """Half a minute of everything."""
    rng = np.random.default_rng(seed)
    pictures: list[Picture] = []
    for k in range(14):
        a, b, n = scene(seed + k), scene(seed + k + 1), int(rng.integers(20, 60))
        pictures += shot(a, n)
        if k % 3 == 0:
            pictures += mixed(a, b, 20)
        elif k % 3 == 1:
            pictures += [p * w for p, w in zip(shot(a, 12, start=2), np.linspace(1, 0, 12), strict=True)]
    yield from small(pictures)


@pytest.mark.parametrize("seed", range(3))
def test_a_pass_that_resumes_decides_the_same(seed: int) -> None:
    frames = list(film(seed))
    whole = list(detect(frames))
    for resume in (7.3, 11.0, 16.48):
        again = list(detect(f for f in frames if f.seconds >= resume - 2 * REACH_SECONDS))
        assert [c for c in again if c.seconds >= resume] == [c for c in whole if c.seconds >= resume]


def test_boundaries_stream_out_before_the_film_ends() -> None:
    frames = list(film(1))
    read = 0

    def feed() -> Iterator[Small]:
        nonlocal read
        for frame in frames:
            read += 1
            yield frame

    first = next(detect(feed()))
    assert isinstance(first, Cut) and read < len(frames)


@pytest.mark.parametrize("seed", range(6))
def test_differs_is_a_cautious_question(seed: int) -> None:
    a, b = small(shot(scene(seed, objects=1), 25))[0], small(shot(scene(seed + 50), 25))[24]
    assert differs(a, b)
    assert not differs(a, a)


def test_frames_out_of_order_and_of_another_size_are_refused() -> None:
    frames = small(shot(scene(0), 3))
    with pytest.raises(InputError, match="display order"):
        list(detect(reversed(frames)))
    with pytest.raises(InputError, match="36, 64, 3"):
        Small(0.0, 0, np.zeros((64, 36, 3), np.uint8))


def test_nothing_in_nothing_out() -> None:
    assert list(detect([])) == []
    assert list(detect(small(shot(scene(0), 1)))) == []


# Real film.


def real_frames(path: Path, begin: float = 0.0, end: float = np.inf) -> Iterator[Small]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        container.seek(int(max(0.0, begin) / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            seconds = float(frame.pts * stream.time_base)
            if seconds >= end:
                break
            image = frame.reformat(width=64, height=36, format="rgb24", interpolation="AREA").to_ndarray()
            yield Small(seconds, frame.pts, image)


def test_the_fades_of_a_known_clip_are_found_within_each(test_data: Path) -> None:
    """PySceneDetect's threshold detector puts them at frames 15, 198 and 377, in the middle of each dark stretch."""
    cuts = list(detect(real_frames(test_data / "clips" / "pyscenedetect_testvideo.mp4")))
    frames = [round(cut.seconds * 30000 / 1001) for cut in cuts]
    for dark_from, bright_again in ((0, 30), (180, 235), (340, 415)):
        assert any(dark_from <= frame <= bright_again for frame in frames)
    assert [cut.kind for cut in cuts] == ["cut", "cut", "fade", "fade", "dissolve"]
    assert frames[:2] == [30, 180], "out of black and into black by a hard cut"


def test_three_minutes_of_film_labelled_by_eye(test_data: Path) -> None:
    labels = json.loads((Path(__file__).parents[2] / "docs/labels/big_buck_bunny_shots.json").read_text())
    begin, end = labels["begin"], labels["end"]
    frames = real_frames(test_data / "clips" / labels["file"], begin - 2 * REACH_SECONDS, end + REACH_SECONDS)
    found = [cut.seconds for cut in detect(frames) if begin <= cut.seconds < end]
    true = [Span(one["begin"], one["end"]) if "end" in one else one["seconds"] for one in labels["boundaries"]]
    assert score_boundaries(found, true).f1 >= 0.98


@pytest.mark.parametrize("mode", ["exact", "nonref", "keyframes"])
def test_cuts_amid_motion_are_found_in_every_mode(tmp_path: Path, mode: str) -> None:
    """A car drives through three shots: with frames missing, its motion looks nearly as large as the cuts."""
    film = next(film for film in FILMS if film.__name__ == "_street")(tmp_path / "street.mp4")
    parts = [part for part in watch(film.path, mode=mode, frames=False) if isinstance(part, Part)]
    assert [cut.pts for part in parts for cut in part.cuts] == [boundary.pts for boundary in film.boundaries]
