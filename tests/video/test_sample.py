"""Which frames come, and when: exact times on every grid, in every mode."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from numbered_films import number_in, picture
from saccade.errors import InputError, SourceGone, UnreadableMedia
from saccade.types import Frames
from saccade.video import Worker, sample
from saccade.video.decode import BestEffort

UNEVEN = [0, 3, 4, 9, 20, 21, 22, 40, 41, 60, 75, 76, 77, 99]


def _rows(batches: Iterable[Frames]) -> list[tuple[int, int]]:
    """(pts, number in the picture) of every row."""
    return [
        (int(pts), number_in(image)) for frames in batches for pts, image in zip(frames.pts, frames.images, strict=True)
    ]


def _on_display(pts: list[int], base: Fraction, start: Fraction, time: Fraction) -> int:
    """The index of the frame on display, the slow way."""
    shown = [i for i, p in enumerate(pts) if p * base - start <= time]
    return shown[-1] if shown else 0


def test_every_frame_comes_once_with_its_own_time(film: Callable[..., Path], worker: Worker) -> None:
    path = film("uneven.mp4", UNEVEN, Fraction(1, 30), rate=Fraction(30))
    batches = list(sample(path, worker=worker))
    assert _rows(batches) == [(pts * batches[0].time_base.denominator // 30, n) for n, pts in enumerate(UNEVEN)]
    seconds = np.concatenate([frames.seconds for frames in batches])
    assert seconds.tolist() == [pts / 30 for pts in UNEVEN]


@pytest.mark.parametrize("every", [1.0, 0.5, 0.1, Fraction(1, 30), 1 / 30, 0.7, 10])
@pytest.mark.parametrize("late", [0, 45])
def test_a_grid_gives_the_frame_on_display(
    film: Callable[..., Path], worker: Worker, every: float | Fraction, late: int
) -> None:
    pts = [p + late for p in UNEVEN]
    path = film("uneven.mkv", pts, Fraction(1, 30), rate=Fraction(30), codec="mpeg4")
    (whole,) = sample(path, worker=worker)
    start, base = whole.start, whole.time_base
    assert start == whole.pts[0] * base
    step = every if isinstance(every, Fraction) else Fraction(every).limit_denominator(1000)
    end = (int(whole.pts[-1]) + 33) * base - start  # 1/30 s in Matroska's milliseconds
    times = [k * step for k in range(1000) if k * step < end]
    expected = [_on_display(whole.pts.tolist(), base, start, time) for time in times]
    rows = _rows(sample(path, every, worker=worker))
    assert [number for _, number in rows] == expected
    assert [pts for pts, _ in rows] == [int(whole.pts[i]) for i in expected]


def test_before_the_first_frame_the_first_stands_in(film: Callable[..., Path], worker: Worker) -> None:
    path = film("late.mp4", range(75, 125), sound_seconds=6)
    (frames,) = sample(path, 1.0, worker=worker)
    assert frames.start == 0
    assert frames.seconds.tolist() == [3, 3, 3, 3, 4]


def test_long_grids_do_not_drift(film: Callable[..., Path], worker: Worker) -> None:
    rate = Fraction(30000, 1001)
    path = film("ntsc.mp4", [1001 * n for n in range(300)], Fraction(1, 30000), rate=rate)
    rows = _rows(sample(path, Fraction(1001, 30000), worker=worker))
    assert [number for _, number in rows] == list(range(300))


def test_count_at_and_fps(film: Callable[..., Path], worker: Worker) -> None:
    path = film("even.mp4", range(100))
    numbers = lambda **choice: [n for _, n in _rows(sample(path, worker=worker, **choice))]  # noqa: E731
    assert numbers(count=4) == [12, 37, 62, 87]
    assert numbers(count=1) == [50]
    assert numbers(at=[2, 0.5, 0.5, 100]) == [12, 12, 50, 99]
    assert numbers(at=[]) == []
    assert numbers(fps=2) == [0, 12, 25, 37, 50, 62, 75, 87]
    assert numbers(fps=2, max_frames=8) == numbers(fps=2)
    assert numbers(fps=2, max_frames=4) == numbers(count=4)


def test_seeking_finds_what_decoding_finds(film: Callable[..., Path], worker: Worker) -> None:
    pts = list(range(0, 4 * 900, 4))  # 144 seconds
    path = film("long.mp4", pts, options={"g": "50", "bf": "3", "preset": "veryfast"})
    times = [0.0, 17.3, 71.99, 72.0, 143.9, 500.0]
    sought = _rows(sample(path, at=times, worker=worker))
    every = _rows(sample(path, 0.01, worker=worker))
    assert [n for _, n in sought] == [every[min(len(every) - 1, round(time * 100))][1] for time in times]


def test_batches_are_bounded(film: Callable[..., Path], worker: Worker) -> None:
    path = film("even.mp4", range(100))
    assert [len(frames) for frames in sample(path, batch=30, worker=worker)] == [30, 30, 30, 10]
    assert [len(frames) for frames in sample(path, worker=worker)] == [64, 36]
    large = film("large.mp4", range(5), size=(1920, 1088))
    assert [len(frames) for frames in sample(large, worker=worker)] == [1] * 5
    assert [len(frames) for frames in sample(large, short_side=64, worker=worker)] == [5]


def test_modes_keep_their_promises(film: Callable[..., Path], worker: Worker) -> None:
    path = film("b.mp4", range(150), options={"g": "25", "bf": "2", "preset": "fast", "sc_threshold": "0"})
    exact = _rows(sample(path, 0.2, worker=worker))
    nonref = _rows(sample(path, 0.2, mode="nonref", worker=worker))
    keys = _rows(sample(path, 0.2, mode="keyframes", worker=worker))
    assert all(0 <= a - b <= 1 for (_, a), (_, b) in zip(exact, nonref, strict=True))
    assert any(a != b for a, b in zip(exact, nonref, strict=True))
    assert [n for _, n in keys] == [n // 25 * 25 for _, n in exact]
    assert all(pts == number * 512 for pts, number in exact + nonref + keys)
    assert _rows(sample(path, 0.2, mode="auto", worker=worker)) == keys
    sparse = film("sparse.mp4", range(150), options={"g": "100", "bf": "2", "preset": "fast", "sc_threshold": "0"})
    auto, nonref = (_rows(sample(sparse, 0.2, mode=mode, worker=worker)) for mode in ("auto", "nonref"))
    assert auto == nonref


def test_a_size_that_changes_begins_a_new_batch(tmp_path: Path, worker: Worker) -> None:
    raw = b""
    for size in ((128, 64), (64, 128)):
        context: Any = av.CodecContext.create("mpeg2video", "w")
        context.width, context.height = size
        context.pix_fmt, context.framerate, context.time_base = "yuv420p", Fraction(25), Fraction(1, 25)
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), "rgb24")
            frame.pts = number
            raw += b"".join(bytes(packet) for packet in context.encode(frame))
        raw += b"".join(bytes(packet) for packet in context.encode(None))
    (tmp_path / "change.m2v").write_bytes(raw)
    shapes = [frames.images.shape for frames in sample(tmp_path / "change.m2v", worker=worker)]
    assert {shape[1:] for shape in shapes} == {(64, 128, 3), (128, 64, 3)}
    assert sum(shape[0] for shape in shapes) >= 9  # FFmpeg drops the last frame before the change


def test_damage_is_passed_over(film: Callable[..., Path], tmp_path: Path, worker: Worker) -> None:
    path = film("whole.mkv", range(250), options={"g": "25"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 10] = bytes(len(data) // 10)
    (tmp_path / "hurt.mkv").write_bytes(data)
    (tmp_path / "cut.mkv").write_bytes(path.read_bytes()[:middle])
    numbers = [n for _, n in _rows(sample(tmp_path / "hurt.mkv", worker=worker))]
    assert numbers[:100] == list(range(100)) and numbers[-50:] == list(range(200, 250))
    numbers = [n for _, n in _rows(sample(tmp_path / "cut.mkv", worker=worker))]
    assert len(numbers) > 90 and numbers == list(range(len(numbers)))


def test_stopping_early_is_cheap(film: Callable[..., Path], worker: Worker) -> None:
    path = film("even.mp4", range(100))
    for _ in range(3):
        frames = next(sample(path, batch=2, worker=worker))
        assert len(frames) == 2


def test_what_cannot_be_asked(film: Callable[..., Path]) -> None:
    wrong: list[dict[str, Any]] = [
        {"every": 0}, {"every": -1.0}, {"every": float("nan")}, {"fps": 0}, {"count": 0}, {"at": [-1.0]},
        {"every": 1, "count": 3}, {"max_frames": 3}, {"mode": "best"}, {"short_side": 0}, {"batch": 0},
    ]  # fmt: skip
    for choice in wrong:
        with pytest.raises(InputError):
            sample("film.mp4", **choice)


def test_what_cannot_be_read(tmp_path: Path, film: Callable[..., Path], worker: Worker) -> None:
    with pytest.raises(SourceGone):
        list(sample(tmp_path / "absent.mp4", worker=worker))
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(UnreadableMedia):
        list(sample(tmp_path / "text.mp4", worker=worker))
    path = film("hollow.mp4", range(20))
    data = path.read_bytes()
    at, size = data.index(b"mdat") + 4, int.from_bytes(data[data.index(b"mdat") - 4 : data.index(b"mdat")])
    path.write_bytes(data[:at] + b"\xff" * (size - 8) + data[at + size - 8 :])
    with pytest.raises(UnreadableMedia, match="no frame"):
        list(sample(path, worker=worker))


def test_the_best_effort_rule() -> None:
    clock = BestEffort()
    assert [clock.time(pts, dts) for pts, dts in [(None, 3), (5, 4), (6, 5), (None, None)]] == [3, 5, 6, None]
    backwards = BestEffort()
    assert [backwards.time(pts, dts) for pts, dts in [(9, 0), (3, 1), (2, 2), (1, 3)]] == [9, 1, 2, 3]


UNTIMED = {"mmaction2_test.avi": [163], "msvd_j2Dhf-xFUxU_13_20.avi": [105]}
"""Frames to which ffprobe gives no time at all, N/A: the last one of an AVI, which a drained decoder hands out
without any. Here it follows one frame duration after the one before it."""


def _times_told(program: str, path: Path) -> list[int | None]:
    """Microseconds since the format's start, as ffprobe prints them; None where it prints none."""
    entries = "frame=best_effort_timestamp_time:format=start_time"
    command = [program, "-v", "error", "-select_streams", "v:0", "-show_frames", "-show_entries", entries]
    told = json.loads(subprocess.run([*command, "-of", "json", str(path)], capture_output=True, check=True).stdout)
    start = Fraction(told["format"]["start_time"])
    key = "best_effort_timestamp_time"
    return [round((Fraction(frame[key]) - start) * 10**6) if key in frame else None for frame in told["frames"]]


def _compare_with_ffprobe(program: str, path: Path, worker: Worker) -> None:
    batches = sample(path, short_side=16, worker=worker)
    mine = [round(second * 10**6) for frames in batches for second in frames.seconds.tolist()]
    told = _times_told(program, path)
    differing = [i for i, (a, b) in enumerate(zip(mine, told, strict=True)) if a != b and (b is None or abs(a - b) > 1)]
    assert differing == UNTIMED.get(path.name, []), path.name
    assert all(told[i] is None and mine[i] > mine[i - 1] for i in differing)


def _films(folder: Path) -> list[Path]:
    kinds = (".mp4", ".avi", ".mkv", ".gif")
    return [path for part in ("clips", "odd") for path in sorted((folder / part).iterdir()) if path.suffix in kinds]


@pytest.mark.parametrize("large", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_times_equal_ffprobes_on_real_files(test_data: Path, need: Any, worker: Worker, large: bool) -> None:
    program = need.tool("ffprobe")
    films = [path for path in _films(test_data) if (path.stat().st_size > 1_000_000) == large]
    assert len(films) > 20
    for path in films:
        _compare_with_ffprobe(program, path, worker)
