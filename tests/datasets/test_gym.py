"""What the gym says about a film is what the file holds."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from saccade.datasets.gym import Sound, TextTrack, Truth, demo_films, random_film, write_srt, write_video
from saccade.errors import InputError
from saccade.types import Colour, Span, TimedText
from saccade.video.shots import Small, detect
from saccade.video.subtitles import parse_subtitles

LINES = (TimedText(Span(0.5, 1.2), "Hello there", "said", "x"), TimedText(Span(1.5, 1.9), "안녕하세요", "said", "x"))


def plain(count: int, size: tuple[int, int] = (72, 128)) -> list[np.ndarray]:
    return [np.full((*size, 3), (40 + 4 * i % 200, 90, 200), np.uint8) for i in range(count)]


def times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.pts * stream.time_base for frame in container.decode(stream)]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "m4v", "mkv", "webm", "ts", "gif"])
def test_frames_lie_at_their_times_in_every_container(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"film.{suffix}", plain(20), fps=25)
    first, *_ = found = times(path)  # an MPEG transport stream begins as late as its frames are reordered
    assert [float(time - first) for time in found] == pytest.approx([i / 25 for i in range(20)], abs=1e-9)
    assert first == 0 or suffix == "ts"


@pytest.mark.parametrize("fps", [12, Fraction(24000, 1001), 14.985, 60])
def test_frame_rates_are_exact(tmp_path: Path, fps: float | Fraction) -> None:
    exact = {14.985: Fraction(2997, 200)}.get(fps, Fraction(fps))
    assert times(write_video(tmp_path / "film.mp4", plain(9), fps=fps)) == [i / exact for i in range(9)]


def test_explicit_times_keep_their_values(tmp_path: Path) -> None:
    pts = [0, 7, 8, 90, 1000]
    assert times(write_video(tmp_path / "film.mp4", plain(5), pts=pts)) == [Fraction(t, 1000) for t in pts]
    base = Fraction(1, 90000)
    path = write_video(tmp_path / "ts.mp4", plain(5), pts=pts, time_base=base)
    assert times(path) == [t * base for t in pts]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_late_start(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"late.{suffix}", plain(5), start=Fraction(5, 2))
    assert times(path) == [Fraction(5, 2) + Fraction(i, 25) for i in range(5)]


def test_rotation_and_pixel_aspect_are_written(tmp_path: Path) -> None:
    path = write_video(tmp_path / "turned.mp4", plain(3), rotation=90, pixel_aspect=Fraction(4, 3))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation == 90
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("levels", ["tv", "pc"])
def test_colours_survive_under_their_tag(tmp_path: Path, matrix: str, levels: str) -> None:
    bars = np.zeros((64, 96, 3), np.uint8)
    for k, colour in enumerate(
        [(255, 255, 255), (235, 20, 20), (20, 220, 30), (30, 30, 230), (128, 128, 128), (0, 0, 0)]
    ):
        bars[:, 16 * k : 16 * (k + 1)] = colour
    path = write_video(tmp_path / "bars.mp4", [bars] * 3, crf=4, colour=Colour(matrix, levels))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        source = {"bt709": "ITU709", "bt2020nc": "BT2020"}.get(matrix, "ITU601")
        back = frame.reformat(
            format="rgb24", src_colorspace=source, src_color_range="MPEG" if levels == "tv" else "JPEG"
        ).to_ndarray()
    assert np.abs(back[:, 8::16].astype(int) - bars[:, 8::16]).max() <= 4


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_sound_and_text_tracks(tmp_path: Path, suffix: str) -> None:
    tone = np.sin(np.arange(48000) / 24000 * 2 * np.pi * 440).astype(np.float32) * 0.3
    tracks = [TextTrack(LINES), TextTrack(LINES, "kor")]
    path = write_video(tmp_path / f"film.{suffix}", plain(50), sound=Sound(tone), text_tracks=tracks)
    with av.open(str(path)) as container:
        assert [stream.language for stream in container.streams.subtitles] == ["eng", "kor"]
        packets = list(container.demux(container.streams.subtitles[1]))
        [korean] = [packet for packet in packets if "안녕하세요".encode() in bytes(packet)]
        assert float(korean.pts * korean.time_base) == pytest.approx(1.5, abs=0.01)
    with av.open(str(path)) as container:
        samples = sum(frame.samples / frame.rate for frame in container.decode(audio=0))
        assert samples == pytest.approx(2.0, abs=0.1)


def test_a_sidecar_reads_back(tmp_path: Path) -> None:
    path = write_srt(tmp_path / "film.ko.srt", LINES)
    back = parse_subtitles(path.read_bytes(), ".srt", "film.ko.srt")
    assert [(line.span, line.text) for line in back] == [(line.span, line.text) for line in LINES]


def test_the_same_frames_give_the_same_file(tmp_path: Path) -> None:
    one, two = (write_video(tmp_path / name, plain(20)).read_bytes() for name in ("a.mp4", "b.mp4"))
    assert one == two


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frames"):
        write_video(tmp_path / "none.mp4", [])
    with pytest.raises(InputError, match="like the first"):
        write_video(tmp_path / "sizes.mp4", [*plain(1), *plain(1, (36, 64))])
    with pytest.raises(InputError, match="text track"):
        write_video(tmp_path / "text.gif", plain(2), text_tracks=[TextTrack(LINES)])
    with pytest.raises(InputError, match="bt709"):
        write_video(tmp_path / "colour.mp4", plain(2), colour=Colour("purple", "tv"))


# Films.


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Truth]:
    return demo_films(tmp_path_factory.mktemp("demo"))


def small_frames(path: Path) -> list[Small]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            Small(
                float(frame.pts * stream.time_base),
                frame.pts,
                frame.reformat(width=64, height=36, format="rgb24", interpolation="AREA").to_ndarray(),
            )
            for frame in container.decode(stream)
        ]


def check_boundaries(truth: Truth) -> None:
    """Every boundary is found: cuts at their own frame, the others inside; and nothing else is."""
    found = list(detect(small_frames(truth.path)))
    assert [cut.kind for cut in found] == [boundary.kind for boundary in truth.boundaries]
    for cut, boundary in zip(found, truth.boundaries, strict=True):
        if boundary.kind == "cut":
            assert cut.pts == boundary.pts
        else:
            assert truth.pts[boundary.begin] <= cut.pts < truth.pts[boundary.end]


def test_demo_films_are_as_described(films: list[Truth]) -> None:
    assert len({truth.path.name for truth in films}) == len(films) >= 6
    for truth in films:
        assert 8 <= truth.duration <= 25
        assert times(truth.path) == [pts * truth.time_base for pts in truth.pts]
        assert [shot.span.start for shot in truth.shots[1:]] == [boundary.seconds for boundary in truth.boundaries]
        assert truth.shots[0].entered_by == "start" and truth.shots[-1].span.end == pytest.approx(truth.duration)
        assert truth.texts and truth.subtitles and len(truth.seen) == len(truth.shots)
        for text in (*truth.texts, *truth.subtitles):
            assert 0 <= text.span.start < text.span.end <= truth.duration
    assert sum(truth.sidecar is not None for truth in films) >= 2
    assert any("\uac00" <= letter <= "\ud7a3" for truth in films for line in truth.subtitles for letter in line.text)


def test_boundaries_of_the_demo_films_are_found(films: list[Truth]) -> None:
    for truth in films:
        check_boundaries(truth)


@pytest.mark.parametrize("seed", range(4))
def test_boundaries_of_random_films_are_found(tmp_path: Path, seed: int) -> None:
    check_boundaries(random_film(tmp_path / "film.mp4", seed, fps=(24, 25, 30, 12)[seed]))
