"""Proxies keep true times, play alone, and join without a seam."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from numbered_films import number_in, picture
from saccade.errors import InputError, UnreadableMedia
from saccade.video import Part, Worker, join_proxy, probe, sample, watch
from saccade.video.audio import read_audio


def _proxy(path: Path, folder: Path, worker: Worker, **choice: Any) -> tuple[Path, list[Path]]:
    """Watch a film and join its proxy: the joined file and its parts."""
    options = {"every": 1, "mode": "exact", "shots": False, **choice}
    items = watch(path, proxy=folder / "film", worker=worker, **options)
    parts = [Path(item.proxy) for item in items if isinstance(item, Part) and item.proxy]
    join_proxy(parts, folder / "joined.mp4")
    return folder / "joined.mp4", parts


def _frames(path: Path, worker: Worker, **choice: Any) -> list[tuple[float, int]]:
    """(seconds, number in the picture) of each frame."""
    return [
        (second, number_in(image))
        for frames in sample(path, worker=worker, **choice)
        for second, image in zip(frames.seconds.tolist(), frames.images, strict=True)
    ]


CLOCKS = [
    (Fraction(1, 25), range(0, 250), "mp4"),
    (Fraction(1, 1000), [n * n for n in range(1, 90)], "mkv"),  # a rising frame distance
    (Fraction(1001, 30000), range(240), "mp4"),
    (Fraction(1, 90000), [7 * n + 90_000 * n // 10 for n in range(80)], "ts"),
    (Fraction(1, 1_000_000), [37 * n + 100_000 * n for n in range(80)], "mp4"),
    (Fraction(1, 12800), [13760 + 512 * n for n in range(200)], "mp4"),  # starts late
]


@pytest.mark.parametrize("base, pts, kind", CLOCKS, ids=[f"{base}.{kind}" for base, _, kind in CLOCKS])
def test_times_are_the_sources_own(
    film: Callable[..., Path], tmp_path: Path, worker: Worker, base: Fraction, pts: list[int], kind: str
) -> None:
    path = film(f"film.{kind}", pts, base, rate=Fraction(10))
    joined, parts = _proxy(path, tmp_path, worker, part_seconds=3)
    source = {number: second for second, number in _frames(path, worker)}
    for files in ([joined], parts):
        frames = [frame for file in files for frame in _frames(file, worker)]
        assert len(frames) > 10
        assert all(abs(second - source[number]) < 1e-6 for second, number in frames)
    grid = sorted({number for _, number in _frames(path, worker, every=0.5)})
    assert [number for _, number in _frames(joined, worker)] == grid


def test_a_first_picture_that_comes_late_stays_late(film: Callable[..., Path], tmp_path: Path, worker: Worker) -> None:
    path = film("late.mp4", range(75, 150), sound_seconds=7)
    joined, _ = _proxy(path, tmp_path, worker, part_seconds=2)
    assert _frames(joined, worker)[0] == (3.0, 0)
    silent, _ = _proxy(film("alone.mkv", range(75, 150)), tmp_path / "alone", worker, part_seconds=2)
    assert _frames(silent, worker)[0] == (0.0, 0)


def test_keyframes_are_the_proxy_of_a_keyframe_pass(film: Callable[..., Path], tmp_path: Path, worker: Worker) -> None:
    path = film("keys.mp4", range(250), options={"g": "30", "sc_threshold": "0"})
    joined, _ = _proxy(path, tmp_path, worker, mode="keyframes", part_seconds=4)
    assert _frames(joined, worker) == [(n / 25, n) for n in range(0, 250, 30)]


def test_sound_keeps_its_times_over_the_seams(film: Callable[..., Path], tmp_path: Path, worker: Worker) -> None:
    path = film("sound.mp4", range(0, 325), sound_seconds=13)
    joined, parts = _proxy(path, tmp_path, worker, part_seconds=3)
    assert len(parts) == 5
    info = probe(joined, worker=worker)
    assert info.audio is not None and info.audio.codec == "opus" and info.start == 0
    whole, copy = (
        np.concatenate([samples for _, samples in read_audio(file, worker=worker)]) for file in (path, joined)
    )
    assert abs(len(whole) - len(copy)) < 1600
    for second in (0.5, 2.9, 3.0, 3.1, 5.95, 6.0, 8.99, 9.0, 11.9):  # at the seams too: in phase and as loud
        first = round(second * 16000)
        a, b = whole[first : first + 800], copy[first : first + 800]
        assert np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)) > 0.98
        assert 0.9 < np.linalg.norm(b) / np.linalg.norm(a) < 1.1
    with av.open(str(joined)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
    steps = {b.pts - a.pts for a, b in itertools.pairwise(packets)}  # type: ignore[operator]
    assert steps == {960}


def test_size_codec_and_colours(film: Callable[..., Path], tmp_path: Path, worker: Worker) -> None:
    path = film("large.mp4", range(50), size=(902, 502), aspect=Fraction(4, 3), sound_seconds=1)
    joined, _ = _proxy(path, tmp_path, worker)
    info = probe(joined, worker=worker)
    assert (info.width, info.height, info.pixel_format) == (612, 256, "yuv420p")
    assert [stream.codec for stream in info.streams] == ["h264", "opus"]
    assert info.colour.matrix == info.colour.primaries == info.colour.transfer == "bt709"
    assert info.colour.range == "tv"
    source = next(iter(sample(path, short_side=256, worker=worker))).images[0]
    copy = next(iter(sample(joined, worker=worker))).images[0]
    assert np.abs(source[:, :612].astype(int) - copy).mean() < 4
    assert joined.read_bytes().index(b"moov") < joined.read_bytes().index(b"mdat")


def test_small_pictures_are_not_enlarged(film: Callable[..., Path], tmp_path: Path, worker: Worker) -> None:
    path = film("odd.mp4", range(10), size=(131, 67), pixel_format="yuv444p")
    joined, _ = _proxy(path, tmp_path, worker)
    info = probe(joined, worker=worker)
    assert (info.width, info.height) == (130, 66)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_pictures_stand_upright(film: Callable[..., Path], tmp_path: Path, worker: Worker, degrees: int) -> None:
    path = film("turned.mp4", range(20), turn=(degrees, False, False), options={"crf": "4"})
    joined, _ = _proxy(path, tmp_path, worker)
    info = probe(joined, worker=worker)
    assert info.rotation == 0
    upright = np.rot90(picture(0), degrees // 90)
    copy = next(iter(sample(joined, worker=worker))).images[0]
    assert copy.shape == upright.shape and np.abs(copy.astype(int) - upright).mean() < 15


def test_a_changing_size_is_fitted_in(tmp_path: Path, worker: Worker) -> None:
    raw = b""
    for size in ((128, 64), (64, 128)):
        context: Any = av.CodecContext.create("mpeg2video", "w")
        context.width, context.height = size
        context.pix_fmt, context.framerate, context.time_base = "yuv420p", Fraction(25), Fraction(1, 25)
        context.gop_size = 1
        for _ in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 200, np.uint8), "rgb24")
            raw += b"".join(bytes(packet) for packet in context.encode(frame))
        raw += b"".join(bytes(packet) for packet in context.encode(None))
    (tmp_path / "change.m2v").write_bytes(raw)
    joined, _ = _proxy(tmp_path / "change.m2v", tmp_path, worker)
    (frames,) = sample(joined, worker=worker)
    assert frames.images.shape[1:] == (64, 128, 3)
    last = frames.images[-1]
    assert last[:, 58:70].mean() > 190 and last[:, :40].mean() < 10 and last[:, -40:].mean() < 10


def test_a_join_is_whole_or_not_at_all(film: Callable[..., Path], tmp_path: Path, worker: Worker) -> None:
    with pytest.raises(InputError, match="at least one"):
        join_proxy([], tmp_path / "none.mp4")
    joined, parts = _proxy(film("film.mp4", range(200)), tmp_path, worker, part_seconds=2)
    before = joined.read_bytes()
    parts[2].write_bytes(parts[2].read_bytes()[:100])
    with pytest.raises(UnreadableMedia):
        join_proxy(parts, joined)
    assert joined.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if "joining" in path.name] == []


def test_ffprobe_reads_the_same_times(film: Callable[..., Path], tmp_path: Path, need: Any, worker: Worker) -> None:
    program = need.tool("ffprobe")
    pts = [n * n for n in range(1, 90)]
    joined, _ = _proxy(film("film.mkv", pts, Fraction(1, 1000)), tmp_path, worker, part_seconds=3)
    entries = "frame=best_effort_timestamp_time"
    command = [program, "-v", "error", "-select_streams", "v", "-show_frames", "-show_entries", entries, "-of", "json"]
    told = json.loads(subprocess.run([*command, str(joined)], capture_output=True, check=True).stdout)
    seconds = [float(frame["best_effort_timestamp_time"]) for frame in told["frames"]]
    assert seconds == pytest.approx([second for second, _ in _frames(joined, worker)], abs=2e-6)


def test_real_files(test_data: Path, tmp_path: Path, worker: Worker) -> None:
    names = ["odd/delayed_start.mp4", "odd/issue-236-split-copy.mkv", "clips/imageio_newtonscradle.gif"]
    names += ["clips/charades_OHOFG.mp4", "clips/mmaction2_test.avi", "clips/videoagent_talking_segment_10.mp4"]
    for name in names:
        joined, _ = _proxy(test_data / name, tmp_path / Path(name).stem, worker, part_seconds=2)
        source = {
            round(s * 1e6) for frames in sample(test_data / name, short_side=16, worker=worker) for s in frames.seconds
        }
        copies = [round(s * 1e6) for frames in sample(joined, short_side=16, worker=worker) for s in frames.seconds]
        assert copies and all(any(copy + d in source for d in (-1, 0, 1)) for copy in copies), name
