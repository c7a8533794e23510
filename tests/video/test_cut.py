"""Clips: the span really cut is the span that was returned, frame by frame and sample by sample."""

from __future__ import annotations

import os
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from saccade.errors import InputError, SourceGone, UnreadableMedia
from saccade.types import Span
from saccade.video.cut import cut
from saccade.video.worker import Worker

RATE = 16000
TICK = Fraction(1, 90000)


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


def numbered(n: int, width: int = 128, height: int = 64) -> np.ndarray:
    """A picture that says its number in eight black or white columns."""
    bits = [255 * (n >> bit & 1) for bit in range(8)]
    row = np.repeat(np.array(bits, np.uint8), width // 8)
    return np.repeat(np.tile(row, (height, 1))[:, :, None], 3, axis=2)


def number(image: np.ndarray) -> int:
    columns = image.reshape(image.shape[0], 8, -1).mean((0, 2)) > 127
    return int(sum(1 << bit for bit, on in enumerate(columns) if on))


def draw(
    path: Path,
    times: list[Fraction],
    *,
    codec: str = "libx264",
    group: int = 12,
    sound: bool = True,
    offset: Fraction = Fraction(0),
    subtitles: bool = False,
    **options: str,
) -> Path:
    """Numbered frames at ``times``; one second of sound on, one off (a 440 Hz tone)."""
    settings = {"bf": "2", "g": str(group), "keyint_min": str(group), "sc_threshold": "0", **options}
    with av.open(path, "w") as out:
        video: Any = out.add_stream(codec, rate=25, options=settings)
        video.width, video.height, video.pix_fmt = 128, 64, "yuv420p"
        video.codec_context.time_base = TICK
        audio: Any = out.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for n, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered(n), "rgb24")
            frame.pts, frame.time_base = int((time + offset) / TICK), TICK
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            seconds = np.arange(int(RATE * (times[-1] + Fraction(1, 25)))) / RATE
            tone = (np.sin(2 * np.pi * 440 * seconds) * (seconds % 2 < 1) * 0.5).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, int(offset * RATE), Fraction(1, RATE)
            out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path


def steady(count: int) -> list[Fraction]:
    return [Fraction(n, 25) for n in range(count)]


def seen(path: Path) -> list[tuple[int, float]]:
    """(number, seconds since the container's start) of each frame that a player shows."""
    with av.open(path) as source:
        origin = Fraction(source.start_time or 0, 1_000_000)
        return [
            (number(frame.to_ndarray(format="rgb24")), float(frame.pts * frame.time_base - origin))
            for frame in source.decode(video=0)
        ]


def heard(path: Path) -> np.ndarray:
    """The clip's sound from its zero on, float32, with silence where none is stored."""
    with av.open(path) as source:
        origin = Fraction(source.start_time or 0, 1_000_000)
        samples = np.zeros(60 * RATE, np.float32)
        end = 0
        for frame in source.decode(audio=0):
            at = round((frame.pts * frame.time_base - origin) * RATE)
            values = frame.to_ndarray()[0][max(0, -at) :]
            at = max(0, at)
            samples[at : at + len(values)] = values
            end = max(end, at + len(values))
        return samples[:end]


def onsets(samples: np.ndarray) -> list[float]:
    """Seconds at which the tone begins or stops, from the energy of 5 ms windows."""
    window = RATE // 200
    loud = np.abs(samples[: len(samples) // window * window]).reshape(-1, window).max(1) > 0.1
    return [(n + 1) / 200 for n in np.flatnonzero(np.diff(loud.astype(int)))]


def check(source: Path, clip: Path, span: Span, tolerance: float = 1e-4) -> list[int]:
    """The clip's frames are the source's of that span, at their distances; the numbers shown."""
    expected = [(n, t - span.start) for n, t in seen(source) if span.start - 1e-6 <= t < span.end - 1e-6]
    found = seen(clip)
    assert [n for n, _ in found] == [n for n, _ in expected]
    assert np.allclose([t for _, t in found], [t for _, t in expected], atol=tolerance)
    return [n for n, _ in found]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
def test_a_copy_begins_at_the_keyframe_before_and_says_so(tmp_path: Path, worker: Worker, suffix: str) -> None:
    source = draw(tmp_path / f"film.{suffix}", steady(100))
    clip = cut(source, Span(1.3, 2.5), tmp_path / f"clip.{suffix}", worker=worker)
    assert clip.span.start == pytest.approx(seen(source)[24][1], abs=1e-5)  # groups of 12 frames: 0, 12, 24, ...
    numbers = check(source, Path(clip.path), clip.span, tolerance=1.1e-3)
    assert numbers[0] == 24 and clip.span.end == pytest.approx(2.5, abs=0.1)
    assert not clip.exact and clip.left_out == () and clip.asked == Span(1.3, 2.5)


def test_an_open_group_of_pictures_loses_only_its_leading_frames(tmp_path: Path, worker: Worker) -> None:
    source = draw(tmp_path / "film.mkv", steady(100), **{"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3"})
    clip = cut(source, Span(1.3, 2.5), tmp_path / "clip.mkv", worker=worker)
    check(source, Path(clip.path), clip.span, tolerance=1.1e-3)


@pytest.mark.parametrize("group", [12, 250])
@pytest.mark.parametrize("begin, end", [(0.0, 0.5), (1.3, 2.5), (1.301, 1.999), (3.9, 9.0)])
def test_an_exact_clip_holds_the_frames_on_display_in_the_span(
    tmp_path: Path, worker: Worker, begin: float, end: float, group: int
) -> None:
    source = draw(tmp_path / "film.mp4", steady(100), group=group)
    clip = cut(source, Span(begin, end), tmp_path / "clip.mp4", exact=True, worker=worker)
    first, last = int(begin * 25 + 1e-9), min(100, int(np.ceil(end * 25 - 1e-9)))
    assert check(source, Path(clip.path), clip.span) == list(range(first, last))
    assert clip.span.start == pytest.approx(first / 25) and clip.span.end == pytest.approx(last / 25)


@pytest.mark.parametrize("exact", [False, True])
def test_uneven_frames_and_a_shifted_start_keep_their_times(tmp_path: Path, worker: Worker, exact: bool) -> None:
    times = list(np.cumsum([Fraction(k, 1000) for k in [0] + [40, 13, 97, 400, 21] * 12]))
    source = draw(tmp_path / "film.mp4", times, offset=Fraction(3, 2))
    clip = cut(source, Span(2.0, 3.5), tmp_path / "clip.mp4", exact=exact, worker=worker)
    numbers = check(source, Path(clip.path), clip.span)
    assert len(numbers) > 10
    assert clip.span.start <= 2.0 and clip.span.end >= 3.5 - 0.4
    assert seen(Path(clip.path))[0][1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("exact", [False, True])
def test_sound_stays_beside_its_pictures(tmp_path: Path, worker: Worker, exact: bool) -> None:
    source = draw(tmp_path / "film.mp4", steady(150))
    clip = cut(source, Span(1.3, 5.1), tmp_path / "clip.mp4", exact=exact, worker=worker)
    samples = heard(Path(clip.path))
    begins = [second - clip.span.start for second in (2, 3, 4, 5)]
    assert [t for t in onsets(samples) if t > 0.2] == pytest.approx([t for t in begins if t > 0.2], abs=0.012)
    assert len(samples) / RATE == pytest.approx(clip.span.duration, abs=0.07)


def test_a_late_sound_stays_late(tmp_path: Path, worker: Worker) -> None:
    source = tmp_path / "late.mkv"
    with av.open(source, "w") as out:
        video: Any = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 128, 64, "yuv420p"
        audio: Any = out.add_stream("aac", rate=RATE, layout="mono")
        for n in range(75):
            out.mux(video.encode(av.VideoFrame.from_ndarray(numbered(n), "rgb24")))
        tone = np.full((1, RATE), 0.5, np.float32) * np.sin(np.arange(RATE) / 5, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, RATE, Fraction(1, RATE)
        out.mux([*video.encode(None), *audio.encode(frame), *audio.encode(None)])
    clip = cut(source, Span(0.4, 2.5), tmp_path / "clip.mp4", exact=True, worker=worker)
    assert onsets(heard(Path(clip.path)))[0] == pytest.approx(1 - clip.span.start, abs=0.02)


def test_a_turned_film_is_turned_when_encoded_and_stays_marked_when_copied(
    tmp_path: Path, worker: Worker, need: Any
) -> None:
    plain = draw(tmp_path / "plain.mp4", steady(50), sound=False)
    turned = tmp_path / "turned.mp4"
    rotate = ["-metadata:s:v:0", "rotate=90"]
    command = [need.tool("ffmpeg"), "-v", "error", "-i", plain, "-c", "copy", *rotate, turned]
    subprocess.run(command, check=True)
    cut(turned, Span(0.5, 1.5), tmp_path / "copy.mp4", worker=worker)
    cut(turned, Span(0.5, 1.5), tmp_path / "exact.mp4", exact=True, worker=worker)
    with av.open(tmp_path / "copy.mp4") as copy, av.open(tmp_path / "exact.mp4") as exact:
        frame = next(copy.decode(video=0))
        assert (frame.width, frame.height, frame.rotation % 180) == (128, 64, 90)
        again = next(exact.decode(video=0))
        assert (again.width, again.height, again.rotation) == (64, 128, 0)
        upright = np.rot90(frame.to_ndarray(format="rgb24")[:, :, 0], frame.rotation // 90)
        assert np.abs(upright.astype(int) - again.to_ndarray(format="rgb24")[:, :, 0].astype(int)).mean() < 12


def test_odd_sides_are_padded(tmp_path: Path, worker: Worker) -> None:
    source = tmp_path / "odd.mkv"
    with av.open(source, "w") as out:
        video: Any = out.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 75, 41, "bgr0"
        for n in range(25):
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.full((41, 75, 3), 9 * n, np.uint8), "rgb24")))
        out.mux(video.encode(None))
    clip = cut(source, Span(0.2, 0.6), tmp_path / "clip.mp4", exact=True, worker=worker)
    with av.open(clip.path) as copy:
        frames = [frame.to_ndarray(format="rgb24") for frame in copy.decode(video=0)]
    assert frames[0].shape == (42, 76, 3) and len(frames) == 10
    assert abs(int(frames[0][20, 30, 0]) - 45) < 6


def test_sound_alone_is_cut_too(tmp_path: Path, worker: Worker) -> None:
    source = tmp_path / "sound.wav"
    with av.open(source, "w") as out:
        audio: Any = out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        wave = (np.arange(4 * RATE) % 30000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        out.mux([*audio.encode(frame), *audio.encode(None)])
    clip = cut(source, Span(1.0, 2.0), tmp_path / "clip.wav", exact=True, worker=worker)
    assert clip.span == Span(1.0, 2.0)
    with av.open(clip.path) as copy:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in copy.decode(audio=0)])
    assert len(samples) == RATE and abs(int(samples[0]) - 16000) <= 2 and abs(int(samples[-1]) - 1999) <= 2


def test_text_tracks_come_along_where_they_can(tmp_path: Path, worker: Worker, need: Any) -> None:
    (tmp_path / "film.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nthe red door\n\n")
    film, both = draw(tmp_path / "film.mp4", steady(100)), tmp_path / "both.mkv"
    command = [need.tool("ffmpeg"), "-v", "error", "-i", film, "-i", tmp_path / "film.srt", "-c", "copy", both]
    subprocess.run(command, check=True)
    clip = cut(both, Span(0.7, 3.0), tmp_path / "clip.mkv", worker=worker)
    assert clip.left_out == () and clip.span.start > 0.4
    with av.open(tmp_path / "clip.mkv") as copy:
        texts = [p for p in copy.demux(copy.streams.subtitles[0]) if p.size]
    assert [bytes(p) for p in texts] == [b"the red door"]
    assert float(texts[0].pts * texts[0].time_base) == pytest.approx(1.0 - clip.span.start, abs=0.07)
    left_out = cut(both, Span(0.5, 3.0), tmp_path / "clip.mp4", worker=worker).left_out
    assert len(left_out) == 1 and "subtitle" in left_out[0]


def test_bad_wishes_are_refused_and_leave_nothing(tmp_path: Path, worker: Worker) -> None:
    source = draw(tmp_path / "film.mp4", steady(30), sound=False)
    (tmp_path / "note.mp4").write_text("no film")
    before = sorted(os.listdir(tmp_path))
    for span, target, exact, error, match in [
        (Span(1, 1), "clip.mp4", False, InputError, "length"),
        (Span(5, 6), "clip.mp4", False, InputError, "ends at 1.200 s"),
        (Span(0, 1), "clip.docx", False, InputError, "ends in one of"),
        (Span(0, 1), "clip", False, InputError, "ends in one of"),
        (Span(0, 1), "clip.webm", True, InputError, "H.264"),
        (Span(0, 1), "clip.wav", False, InputError, "cannot carry"),
        (Span(0, 1), "film.mp4", False, InputError, "source itself"),
    ]:
        with pytest.raises(error, match=match):
            cut(source, span, tmp_path / target, exact=exact, worker=worker)
    with pytest.raises(UnreadableMedia):
        cut(tmp_path / "note.mp4", Span(0, 1), tmp_path / "clip.mp4", worker=worker)
    with pytest.raises(SourceGone):
        cut(tmp_path / "gone.mp4", Span(0, 1), tmp_path / "clip.mp4", worker=worker)
    assert sorted(os.listdir(tmp_path)) == before


def test_damage_is_counted_not_fatal(tmp_path: Path, worker: Worker) -> None:
    content = bytearray(draw(tmp_path / "film.mp4", steady(100)).read_bytes())
    for at in range(len(content) // 3, len(content) * 2 // 3, 997):
        content[at] ^= 0xFF
    (tmp_path / "damaged.mp4").write_bytes(bytes(content))
    clip = cut(tmp_path / "damaged.mp4", Span(0.5, 3.5), tmp_path / "clip.mp4", exact=True, worker=worker)
    assert len(seen(Path(clip.path))) > 20 and any("damaged packets" in what for what in clip.left_out)


def test_a_clip_has_the_permissions_of_any_new_file(tmp_path: Path, worker: Worker) -> None:
    clip = cut(draw(tmp_path / "film.mp4", steady(30), sound=False), Span(0, 1), tmp_path / "c.mp4", worker=worker)
    (tmp_path / "any").touch()
    assert Path(clip.path).stat().st_mode == (tmp_path / "any").stat().st_mode


def test_real_clips_are_cut_where_they_say(test_data: Path, tmp_path: Path, worker: Worker) -> None:
    def shown(path: Path) -> list[float]:
        with av.open(path) as source:
            origin = Fraction(source.start_time or 0, 1_000_000)
            return [float(frame.pts * frame.time_base - origin) for frame in source.decode(video=0)]

    names = ["clips/charades_OHOFG.mp4", "odd/h265_video.mp4", "odd/av1_video.mkv", "odd/issue-236-split-copy.mkv"]
    for name in names:
        source = test_data / name
        times = shown(source)
        target = tmp_path / f"clip{source.suffix}"
        clip = cut(source, Span(times[-1] * 0.4, times[-1] * 0.6), target, worker=worker)
        expected = [t - clip.span.start for t in times if clip.span.start - 1e-6 <= t < clip.span.end - 1e-6]
        assert shown(target) == pytest.approx(expected, abs=2e-3), name
