"""The one pass: what it yields in each mode, part by part, resumed anywhere, over damage and without pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from numbered_films import make_film, number_in, picture
from saccade.errors import InputError, SourceGone, UnreadableMedia
from saccade.types import Frames, Span
from saccade.video import Part, Worker, sample, watch

MODES = ("exact", "nonref", "keyframes")
RATE = 10
SHOT_SECONDS = (6, 9, 3, 14, 5, 8, 7, 11, 4, 13, 10)
SECONDS = sum(SHOT_SECONDS)
CUTS = [float(second) for second in np.cumsum(SHOT_SECONDS)[:-1]]


def _scene(number: int) -> npt.NDArray[np.uint8]:
    """Frame ``number`` of a film whose shots are differently coloured noise, with a bar that moves."""
    shot = int(np.searchsorted(np.cumsum(SHOT_SECONDS), number / RATE, side="right"))
    tint = np.random.default_rng(shot).integers(30, 220, (4, 8, 3))
    image = np.kron(tint, np.ones((16, 16, 1))).astype(np.uint8)
    left = number * 3 % 120
    image[20:40, left : left + 8] = 255
    return image


@pytest.fixture(scope="module")
def shots_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety seconds with cuts at CUTS, keyframes at most 2 s apart, and a tone."""
    path = tmp_path_factory.mktemp("films") / "shots.mp4"
    options = {"g": "20", "bf": "2", "preset": "veryfast", "crf": "20"}
    pts = range(SECONDS * RATE)
    return make_film(
        path, pts, Fraction(1, RATE), rate=Fraction(RATE), options=options, draw=_scene, sound_seconds=SECONDS + 1
    )


def _split(items: Iterable[Frames | Part]) -> tuple[list[list[int]], list[Part]]:
    """The frames' pts of each part, and the parts."""
    pts: list[list[int]] = [[]]
    parts: list[Part] = []
    for item in items:
        if isinstance(item, Part):
            parts.append(item)
            pts.append([])
        else:
            pts[-1] += item.pts.tolist()
    assert not pts.pop()
    return pts, parts


def _told(parts: list[Part]) -> list[tuple[int, float, str]]:
    return [(cut.pts, cut.seconds, cut.kind) for part in parts for cut in part.cuts]


@pytest.mark.parametrize("mode", MODES)
def test_frames_are_those_of_sample_each_once(shots_film: Path, worker: Worker, mode: str) -> None:
    (pts, parts) = _split(watch(shots_film, every=0.5, mode=mode, part_seconds=1000, shots=False, worker=worker))
    sampled = np.concatenate([frames.pts for frames in sample(shots_film, 0.5, mode=mode, worker=worker)])
    assert pts == [list(dict.fromkeys(sampled.tolist()))]
    assert [part.mode for part in parts] == [mode]


@pytest.mark.parametrize("mode", MODES)
def test_cuts_lie_where_they_were_drawn(shots_film: Path, worker: Worker, mode: str) -> None:
    _, parts = _split(watch(shots_film, mode=mode, part_seconds=20, frames=False, worker=worker))
    assert [(cut.seconds, cut.kind) for part in parts for cut in part.cuts] == [(second, "cut") for second in CUTS]
    assert all(cut.pts == round(cut.seconds * 10240) for part in parts for cut in part.cuts)


def test_parts_tile_the_file(shots_film: Path, worker: Worker) -> None:
    pts, parts = _split(watch(shots_film, part_seconds=20, worker=worker))
    assert [part.index for part in parts] == list(range(len(parts)))
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[0].span.start == 0 and all(a.span.end == b.span.start for a, b in itertools.pairwise(parts))
    assert [part.span.end for part in parts[:-1]] == [20 * (part.index + 1) for part in parts[:-1]]
    assert parts[-1].span.end == pytest.approx(SECONDS + 1, abs=0.1)
    for part, mine in zip(parts, pts, strict=True):
        assert all(part.span.start <= time / 10240 < part.span.end for time in mine)
    untils = [part.cuts_until for part in parts]
    assert untils == sorted(untils) and untils[-1] == parts[-1].span.end
    assert all(part.cuts_until <= part.span.end for part in parts)


@pytest.mark.parametrize("mode", MODES)
def test_resuming_gives_what_an_uninterrupted_pass_gives(
    shots_film: Path, tmp_path: Path, worker: Worker, mode: str
) -> None:
    def proxy_times(parts: list[Part]) -> list[list[float]]:
        names = [part.proxy for part in parts if part.proxy]
        return [np.concatenate([f.seconds for f in sample(name, worker=worker)]).tolist() for name in names]

    choice: dict[str, Any] = {"every": 0.7, "mode": mode, "part_seconds": 20, "worker": worker}
    pts, parts = _split(watch(shots_film, proxy=tmp_path / "whole", **choice))
    assert len(parts) == 5
    whole_proxies = proxy_times(parts)
    for at in range(len(parts) - 1):
        done = parts[at]
        again = watch(
            shots_film, begin=done.span.end, cuts_from=done.cuts_until, proxy=tmp_path / f"from{at}", **choice
        )
        resumed_pts, resumed = _split(again)
        assert resumed_pts == pts[at + 1 :]
        assert _told(resumed) == _told(parts[at + 1 :])
        assert [(part.index, part.span) for part in resumed] == [(part.index, part.span) for part in parts[at + 1 :]]
        assert [part.time_error for part in resumed] == [part.time_error for part in parts[at + 1 :]]
        assert proxy_times(resumed) == whole_proxies[at + 1 :]


def test_auto_chooses_and_states_its_error(film: Callable[..., Path], worker: Worker) -> None:
    options = {"bf": "2", "preset": "fast", "sc_threshold": "0"}
    dense = film("dense.mp4", range(150), options={**options, "g": "50"})
    _, (part,) = _split(watch(dense, every=0.2, worker=worker))
    assert part.mode == "keyframes" and part.time_error == pytest.approx(1.8)
    sparse = film("sparse.mp4", range(150), options={**options, "g": "100"})
    _, (part,) = _split(watch(sparse, every=0.2, worker=worker))
    assert part.mode == "nonref" and part.time_error == pytest.approx(0.04)
    _, (part,) = _split(watch(sparse, every=0.2, mode="exact", worker=worker))
    assert part.mode == "exact" and part.time_error == 0
    assert part.frames_decoded == 150


def test_a_container_without_timestamps_is_read_exactly(film: Callable[..., Path], worker: Worker) -> None:
    path = film("old.avi", range(100), options={"g": "12"})
    pts, parts = _split(watch(path, mode="keyframes", part_seconds=2, worker=worker))
    assert {part.mode for part in parts} == {"exact"}
    again, _ = _split(watch(path, begin=2, cuts_from=parts[0].cuts_until, part_seconds=2, worker=worker))
    assert again == pts[1:]


def test_frames_are_small_enough(film: Callable[..., Path], worker: Worker) -> None:
    path = film("large.mp4", range(30), size=(1280, 720))
    assert {item.images.shape[1:] for item in watch(path, worker=worker) if isinstance(item, Frames)} == {(480, 853, 3)}
    sizes = {item.images.shape[1:] for item in watch(path, short_side=None, worker=worker) if isinstance(item, Frames)}
    assert sizes == {(720, 1280, 3)}


def test_a_long_still_frame_spans_parts(film: Callable[..., Path], worker: Worker) -> None:
    path = film("still.mp4", [0, 25, 25 * 50, 25 * 51])
    pts, parts = _split(watch(path, part_seconds=10, mode="exact", worker=worker))
    assert [len(mine) for mine in pts] == [2, 0, 0, 0, 0, 2]
    assert [part.span for part in parts[:5]] == [Span(10 * n, 10 * n + 10) for n in range(5)]


def test_a_clock_that_jumps_does_not_fill_the_ledger(film: Callable[..., Path], worker: Worker) -> None:
    path = film("jump.mkv", [0, 25, 50, 25 * 86_400, 25 * 86_401], sound_seconds=3)
    pts, parts = _split(watch(path, part_seconds=10, mode="exact", worker=worker))
    assert len(parts) < 10 and sum(map(len, pts)) == 5
    assert any("jumps" in gap.reason and gap.span.duration > 86_000 for part in parts for gap in part.gaps)
    assert parts[-1].last and [part.index for part in parts] == [int(part.span.start // 10) for part in parts]


def test_only_what_is_asked(shots_film: Path, worker: Worker) -> None:
    items = list(watch(shots_film, frames=False, shots=False, worker=worker))
    assert all(isinstance(item, Part) and not item.cuts for item in items)
    assert items[-1].cuts_until == items[-1].span.end  # type: ignore[union-attr]


def test_sound_alone_gives_parts_without_frames(film: Callable[..., Path], tmp_path: Path, worker: Worker) -> None:
    import av

    with av.open(str(tmp_path / "talk.m4a"), "w") as talk:
        stream: Any = talk.add_stream("aac", rate=16000, layout="mono")
        for start in range(0, 16000 * 25, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 16000, start
            talk.mux(stream.encode(frame))
        talk.mux(stream.encode(None))
    pts, parts = _split(watch(tmp_path / "talk.m4a", part_seconds=10, proxy=tmp_path / "p", worker=worker))
    assert pts == [[], [], []]
    assert [part.last for part in parts] == [False, False, True]
    assert all(part.proxy and Path(part.proxy).is_file() for part in parts)


def test_damage_becomes_gaps(film: Callable[..., Path], tmp_path: Path, worker: Worker) -> None:
    path = film("whole.mp4", range(250), options={"g": "25", "sc_threshold": "0"})
    data = bytearray(path.read_bytes())
    begin, size = data.index(b"mdat") + 4, int.from_bytes(data[data.index(b"mdat") - 4 : data.index(b"mdat")])
    data[begin + size * 4 // 10 : begin + size // 2] = b"\xff" * (size // 2 - size * 4 // 10)
    (tmp_path / "hurt.mp4").write_bytes(data)
    for mode in ("exact", "nonref"):
        pts, (part,) = _split(watch(tmp_path / "hurt.mp4", every=0.04, mode=mode, worker=worker))
        assert part.gaps, mode
        assert all(3 < gap.span.start < gap.span.end < 7 and gap.reason for gap in part.gaps)
        seconds = [time / 12800 for time in pts[0]]
        assert min(seconds) == 0 and max(seconds) > 8.9
        assert sum(gap.span.duration for gap in part.gaps) < 3
    # The keyframe lost its mark with its bytes: a pass over keyframes sees only that the next one is far away.
    _, (part,) = _split(watch(tmp_path / "hurt.mp4", every=0.04, mode="keyframes", worker=worker))
    assert part.time_error == pytest.approx(1.96)


def test_a_file_that_breaks_off(film: Callable[..., Path], tmp_path: Path, worker: Worker) -> None:
    path = film("whole.mp4", range(250), container_options={"movflags": "faststart"})
    data = path.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    pts, parts = _split(watch(tmp_path / "cut.mp4", part_seconds=4, mode="exact", worker=worker))
    last = max(time for mine in pts for time in mine) / 12800
    assert 4 <= last < 8 and parts[-1].last and parts[-1].span.end == 10
    gaps = [gap for part in parts for gap in part.gaps]
    assert gaps[0].span.start == pytest.approx(last, abs=1.1) and gaps[-1].span.end == 10
    assert "before its header says" in gaps[-1].reason


def test_nothing_to_see_or_hear(film: Callable[..., Path], tmp_path: Path, worker: Worker) -> None:
    path = film("hollow.mp4", range(20))
    data = path.read_bytes()
    at, size = data.index(b"mdat") + 4, int.from_bytes(data[data.index(b"mdat") - 4 : data.index(b"mdat")])
    path.write_bytes(data[:at] + b"\xff" * (size - 8) + data[at + size - 8 :])
    with pytest.raises(UnreadableMedia):
        list(watch(path, worker=worker))
    (tmp_path / "words.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    with pytest.raises(UnreadableMedia):
        list(watch(tmp_path / "words.srt", worker=worker))
    with pytest.raises(SourceGone):
        list(watch(tmp_path / "absent.mp4", worker=worker))
    for choice in ({"every": 0}, {"begin": -1}, {"part_seconds": 0}, {"mode": "best"}):
        with pytest.raises(InputError):
            watch(path, **choice)  # type: ignore[arg-type]


def test_pictures_say_their_numbers(film: Callable[..., Path], worker: Worker) -> None:
    path = film("numbers.mp4", range(100))
    batches = [item for item in watch(path, every=0.2, mode="exact", worker=worker) if isinstance(item, Frames)]
    assert [number_in(image) for batch in batches for image in batch.images] == list(range(0, 100, 5))
    assert number_in(picture(77)) == 77


def _peak(tmp_path: Path, path: Path) -> int:
    """Peak resident KiB of a decoding child of its own that watches a film to its end."""
    with Worker() as worker:
        for _ in watch(path, proxy=tmp_path / "p", part_seconds=30, worker=worker):
            pass
        ((header, _),) = worker.run("saccade.video.child:peak_memory")
    return int(header["kib"])


def test_memory_does_not_grow_with_length(film: Callable[..., Path], tmp_path: Path) -> None:
    options = {"g": "20", "sc_threshold": "0"}
    choice: dict[str, Any] = {"rate": Fraction(4), "options": options, "size": (320, 180)}
    short, long = (film(f"{minutes}.mp4", range(minutes * 240), Fraction(1, 4), **choice) for minutes in (2, 12))
    assert _peak(tmp_path, long) < 1.1 * _peak(tmp_path, short)
