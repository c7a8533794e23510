"""Sound: the right samples at the right time, from any container."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from saccade.errors import InputError, SourceGone, UnreadableMedia
from saccade.video.audio import _Chunk, read_audio
from saccade.video.worker import Worker

RATE = 16000


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


def beeps(seconds: float, at: list[float], rate: int = 48000, channels: int = 1) -> np.ndarray:
    """int16 (N, channels): silence with a 0.1 s tone of 1 kHz at each of these times."""
    time = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * 1000 * time) * 0.5
    on = np.any([(time >= start) & (time < start + 0.1) for start in at], axis=0)
    return np.repeat((tone * on * 32767).astype(np.int16)[:, None], channels, axis=1)


def write(path: Path, codec: str, sound: np.ndarray, rate: int = 48000, container: str | None = None,
          starts: list[tuple[int, int]] | None = None, options: dict[str, str] | None = None) -> Path:  # fmt: skip
    """Write int16 (N, channels). ``starts``: (index into sound, pts in samples) where the clock jumps."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[sound.shape[1]]
    jumps = dict(starts or [])
    with av.open(str(path), "w", format=container, options=options or {}) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        resampler = av.AudioResampler(stream.format.name if stream.format else "s16", layout, rate)
        size = stream.codec_context.frame_size or 960
        shift = 0
        edges = sorted({*range(0, len(sound), size), *jumps, len(sound)})
        for start, end in itertools.pairwise(edges):
            shift = jumps[start] - start if start in jumps else shift
            frame = av.AudioFrame.from_ndarray(sound[start:end].reshape(1, -1), "s16", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start + shift, Fraction(1, rate)
            for ready in resampler.resample(frame):
                out.mux(stream.encode(ready))
        out.mux(stream.encode(None))
    return path


def read(path: Path, worker: Worker, **options) -> np.ndarray:
    """All chunks as one array, checked to follow one another from ``begin``."""
    expected = options.get("begin", 0.0)
    chunks = []
    for seconds, samples in read_audio(path, worker=worker, **options):
        assert samples.dtype == np.float32 and samples.ndim == 1
        assert seconds == pytest.approx(expected, abs=1 / RATE)
        expected = seconds + len(samples) / RATE
        chunks.append(samples)
    return np.concatenate(chunks)


def onsets(sound: np.ndarray) -> list[float]:
    """Where tones begin, in seconds."""
    loud = np.abs(sound) > 0.1
    quiet_before = np.convolve(loud, np.ones(400), "full")[: len(loud)]
    return [round(at / RATE, 4) for at in np.flatnonzero(loud & (np.roll(quiet_before, 1) == 0))]


@pytest.mark.parametrize(
    "name, codec, rate, channels",
    [
        ("a.wav", "pcm_s16le", 44100, 2),
        ("a.wav", "pcm_u8", 11025, 1),
        ("a.flac", "flac", 48000, 2),
        ("a.m4a", "aac", 44100, 6),
        ("a.mp3", "libmp3lame", 44100, 2),
        ("a.mkv", "libopus", 48000, 1),
        ("a.mp4", "libopus", 48000, 1),
        ("a.ogg", "libopus", 48000, 2),
    ],
)
def test_tones_stand_where_they_were_written(tmp_path, worker, name, codec, rate, channels):
    path = write(tmp_path / name, codec, beeps(4.0, [0.5, 2.25, 3.5], rate, channels), rate)
    sound = read(path, worker)
    assert onsets(sound) == pytest.approx([0.5, 2.25, 3.5], abs=0.006)
    assert len(sound) / RATE == pytest.approx(4.0, abs=0.06)
    assert 0.3 < np.abs(sound).max() <= 1.0


def test_samples_of_a_lossless_file_are_its_samples(tmp_path, worker):
    wave = np.random.default_rng(0).integers(-9000, 9000, (RATE * 2, 1)).astype(np.int16)
    sound = read(write(tmp_path / "a.wav", "pcm_s16le", wave, RATE), worker)
    np.testing.assert_array_equal(sound, wave[:, 0] / np.float32(32768))


@pytest.mark.parametrize("name, codec", [("a.wav", "pcm_s16le"), ("a.mp3", "libmp3lame"), ("a.mkv", "libopus")])
def test_begin_and_end_cut_out_the_same_samples(tmp_path, worker, name, codec):
    path = write(tmp_path / name, codec, beeps(12.0, [1.0, 6.5, 9.75]))
    whole = read(path, worker)
    part = read(path, worker, begin=6.0, end=10.0)
    assert len(part) == 4 * RATE
    assert onsets(part) == pytest.approx([0.5, 3.75], abs=0.006)
    # Matroska keeps milliseconds: a run may begin one of them earlier or later
    lags = range(-16, 17)
    alike = [np.dot(part, whole[6 * RATE + lag : 10 * RATE + lag]) for lag in lags]
    assert max(alike) > 0.98 * np.dot(part, part)


def test_chunks_are_bounded(tmp_path, worker):
    path = write(tmp_path / "a.wav", "pcm_s16le", beeps(5.0, [1.0], RATE), RATE)
    assert [len(samples) for _, samples in read_audio(path, chunk_seconds=2, worker=worker)] == [32000, 32000, 16000]


def test_a_hole_becomes_silence(tmp_path, worker):
    rate = 48000
    sound = beeps(6.0, [1.0, 3.0], rate)
    path = write(tmp_path / "a.mkv", "pcm_s16le", sound, rate, starts=[(0, 0), (2 * rate, 4 * rate)])
    heard = read(path, worker)
    assert onsets(heard) == pytest.approx([1.0, 5.0], abs=0.002)
    assert not heard[2 * RATE + 100 : 4 * RATE - 100].any()


def test_what_comes_twice_is_taken_once():
    chunk = _Chunk(0, stop=25, size=20)
    pieces = [(0, np.arange(10)), (5, np.arange(5, 12)), (14, np.arange(14, 30))]
    given = [item for piece in pieces for item in chunk.add(piece[0], piece[1].astype(np.int16))]
    given += chunk.rest()
    assert [header["sample"] for header, _ in given] == [0, 20]
    whole = np.concatenate([samples for _, (samples,) in given])
    np.testing.assert_array_equal(whole, [*range(12), 0, 0, *range(14, 25)])


def test_a_hole_longer_than_a_chunk_is_passed_over(tmp_path, worker):
    rate = 48000
    sound = beeps(4.0, [0.5, 2.5], rate)
    path = write(tmp_path / "a.mkv", "pcm_s16le", sound, rate, starts=[(0, 0), (2 * rate, 100 * rate)])
    chunks = [(seconds, len(samples) / RATE) for seconds, samples in read_audio(path, worker=worker)]
    assert chunks == [(0.0, 2.0), (100.0, 2.0)]


def test_the_clock_starts_with_the_container(tmp_path, worker):
    rate = 48000
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        sound = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        for number in range(20):
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts, frame.time_base = 70 + number, Fraction(1, 10)
            out.mux(picture.encode(frame))
        frame = av.AudioFrame.from_ndarray(beeps(1.0, [0.25], rate).reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 8 * rate, Fraction(1, rate)
        out.mux(sound.encode(frame))
        out.mux(picture.encode(None))
    # pictures from 7 s, sound from 8 s: on the container's clock the tone stands at 1.25 s
    assert onsets(read(path, worker)) == pytest.approx([1.25], abs=0.002)


def test_the_sample_rate_may_change(tmp_path, worker):
    parts = [
        write(tmp_path / f"{rate}.aac", "aac", beeps(2.0, [1.0], rate), rate, "adts").read_bytes()
        for rate in (44100, 32000)
    ]
    path = tmp_path / "both.aac"
    path.write_bytes(b"".join(parts))
    heard = onsets(read(path, worker))
    # such a file has no timestamps, and its reader guesses them from the first rate
    assert len(heard) == 2 and heard[1] - heard[0] == pytest.approx(2.0, abs=0.3)


def test_a_wrong_suffix_does_not_matter(tmp_path, worker):
    path = write(tmp_path / "a.mp3", "libmp3lame", beeps(1.0, [0.5])).rename(tmp_path / "a.mp4")
    assert onsets(read(path, worker)) == pytest.approx([0.5], abs=0.006)


def test_damage_costs_only_what_is_damaged(tmp_path, worker):
    path = write(tmp_path / "a.mp3", "libmp3lame", beeps(8.0, [1.0, 7.0]))
    data = bytearray(path.read_bytes())
    middle = slice(len(data) * 3 // 8, len(data) * 5 // 8)
    data[middle] = bytes(len(data[middle]))
    path.write_bytes(data)
    heard = onsets(read(path, worker))
    assert heard[0] == pytest.approx(1.0, abs=0.01)
    path.write_bytes(data[: len(data) // 3])
    assert onsets(read(path, worker)) == pytest.approx([1.0], abs=0.01)


def test_what_is_no_sound(tmp_path, worker):
    with av.open(str(tmp_path / "mute.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        out.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        out.mux(stream.encode(None))
    assert list(read_audio(tmp_path / "mute.mp4", worker=worker)) == []
    (tmp_path / "text.mp4").write_text("no film at all")
    with pytest.raises(UnreadableMedia):
        list(read_audio(tmp_path / "text.mp4", worker=worker))
    with pytest.raises(SourceGone):
        list(read_audio(tmp_path / "none.mp4", worker=worker))
    with pytest.raises(InputError):
        list(read_audio(tmp_path / "none.mp4", begin=3, end=2, worker=worker))


def test_leaving_early_frees_the_worker(tmp_path, worker):
    path = write(tmp_path / "a.wav", "pcm_s16le", beeps(60.0, [1.0], RATE), RATE)
    chunks = read_audio(path, chunk_seconds=1, worker=worker)
    next(chunks)
    chunks.close()
    assert len(list(read_audio(path, worker=worker))) == 2
