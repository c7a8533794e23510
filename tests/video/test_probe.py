"""What a container says of itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from saccade.errors import DecoderCrashed, SourceGone, UnreadableMedia
from saccade.types import VideoInfo
from saccade.video import Worker, probe


def test_a_plain_film(film: Callable[..., Path], worker: Worker) -> None:
    path = film("plain.mp4", range(50), sound_seconds=3)
    info = probe(path, worker=worker)
    assert info.path == str(path) and info.size == path.stat().st_size
    assert "mp4" in info.container and info.start == 0
    assert info.duration == pytest.approx(3, abs=0.07)
    assert (info.width, info.height, info.frame_rate, info.pixel_format) == (128, 64, 25, "yuv420p")
    assert [(stream.kind, stream.codec) for stream in info.streams] == [("video", "h264"), ("audio", "aac")]
    assert info.video is not None and info.video.index == 0
    assert info.recorded is None and info.timecode is None


def test_a_shifted_start_is_kept_as_a_fraction(film: Callable[..., Path], worker: Worker) -> None:
    path = film("late.mkv", range(500, 520), Fraction(1, 100))
    info = probe(path, worker=worker)
    assert info.start == 5 and info.duration == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize(
    "metadata, recorded",
    [
        ({"creation_time": "2024-09-27T15:19:38.000000Z"}, datetime(2024, 9, 27, 15, 19, 38, tzinfo=UTC)),
        (
            {
                "com.apple.quicktime.creationdate": "2021-05-01T10:20:30+0900",
                "creation_time": "2022-01-01T00:00:00.000000Z",
            },
            datetime(2021, 5, 1, 10, 20, 30, tzinfo=timezone(timedelta(hours=9))),
        ),
        ({"creation_time": "1904-01-01T00:00:00.000000Z"}, None),
        ({"date": "2020"}, None),
        ({"date": "not at all a date"}, None),
        ({"date": "2020:02:03 04:05:06"}, datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)),
    ],
)
def test_recording_dates(
    film: Callable[..., Path], worker: Worker, metadata: dict[str, str], recorded: datetime | None
) -> None:
    path = film("dated.mov", [0, 1], metadata=metadata, container_options={"movflags": "use_metadata_tags"})
    info = probe(path, worker=worker)
    assert info.recorded == recorded
    assert info.recorded is None or info.recorded.utcoffset() is not None


def test_a_timecode_track_is_read(film: Callable[..., Path], worker: Worker) -> None:
    path = film("coded.mov", range(10), metadata={"timecode": "01:02:03:04"})
    assert probe(path, worker=worker).timecode == "01:02:03:04"


def test_languages_and_titles(tmp_path: Path, worker: Worker) -> None:
    with av.open(str(tmp_path / "tongues.mkv"), "w") as film:
        streams: list[Any] = [film.add_stream("aac", rate=16000, layout="mono") for _ in range(3)]
        for language, stream in zip(("kor", "und", "eng"), streams, strict=True):
            stream.metadata["language"] = language
            stream.metadata["title"] = f"in {language}"
        for stream in streams:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 16000, 0
            film.mux(stream.encode(frame))
            film.mux(stream.encode(None))
    info = probe(tmp_path / "tongues.mkv", worker=worker)
    assert [stream.language for stream in info.streams] == ["kor", None, "eng"]
    assert info.streams[0].title == "in kor"
    assert (info.width, info.video) == (0, None)


def test_cover_art_is_no_video(tmp_path: Path, worker: Worker) -> None:
    from PIL import Image

    Image.new("RGB", (32, 32), "red").save(tmp_path / "cover.png")
    with av.open(str(tmp_path / "song.mp4"), "w") as song:
        sound: Any = song.add_stream("aac", rate=16000, layout="mono")
        cover: Any = song.add_stream("png", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "rgb24"
        cover.disposition = 1 << 10
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 16000, 0
        song.mux(sound.encode(frame))
        song.mux(sound.encode(None))
        song.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        song.mux(cover.encode(None))
    info = probe(tmp_path / "song.mp4", worker=worker)
    assert info.video is None and info.audio is not None
    assert sorted(stream.kind for stream in info.streams) == ["attachment", "audio"]


def test_a_header_without_a_duration(film: Callable[..., Path], worker: Worker) -> None:
    path = film("live.mkv", range(50), container_options={"live": "1"})
    info = probe(path, worker=worker)
    assert info.duration == pytest.approx(2, abs=0.05)


def test_what_is_no_media(tmp_path: Path, worker: Worker) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello " * 100)
    (tmp_path / "noise.mkv").write_bytes(np.random.default_rng(0).bytes(10_000))
    for name in ("empty.mp4", "text.mp4", "noise.mkv", "."):
        with pytest.raises(UnreadableMedia, match=str(tmp_path)):
            probe(tmp_path / name, worker=worker)
    with pytest.raises(SourceGone, match="not there"):
        probe(tmp_path / "absent.mp4", worker=worker)


def test_no_address_is_followed(tmp_path: Path, worker: Worker) -> None:
    for address in ("http://127.0.0.1:9/film.mp4", "concat:/etc/hostname", "tcp://127.0.0.1:9"):
        with pytest.raises(SourceGone):
            probe(address, worker=worker)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    with pytest.raises(UnreadableMedia, match="playlist"):
        probe(tmp_path / "list.m3u8", worker=worker)


def test_names_of_every_kind(film: Callable[..., Path], worker: Worker) -> None:
    for name in ("한글 이름 #1 %d ?.mp4", "-dash.mp4", "a:b.mp4"):
        assert probe(film(name, [0, 1]), worker=worker).width == 128


def test_without_a_worker(film: Callable[..., Path]) -> None:
    assert probe(str(film("own.mp4", [0, 1]))).width == 128


def test_a_crash_names_the_file(film: Callable[..., Path]) -> None:
    path = film("large.avi", [0], size=(5000, 5000), codec="rawvideo", pixel_format="bgra")
    with Worker(memory_limit=128 << 20) as small, pytest.raises(DecoderCrashed, match=r"large\.avi.*128 MiB"):
        probe(path, worker=small)


def _told_by_ffprobe(program: str, path: Path) -> dict[str, Any]:
    command = [program, "-v", "error", "-show_streams", "-show_format", "-of", "json", str(path)]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return told


def _compare(info: VideoInfo, told: dict[str, Any]) -> None:
    assert float(info.start) == pytest.approx(float(told["format"].get("start_time", 0)), abs=1e-6)
    if info.start == 0:  # FFmpeg's versions differ in whether the time before the start counts
        assert info.duration == pytest.approx(float(told["format"]["duration"]), abs=0.05)
    for stream, facts in zip(info.streams, told["streams"], strict=True):
        if facts["codec_type"] in ("video", "audio", "subtitle"):
            assert stream.codec == facts["codec_name"]
        if facts["codec_type"] != "video":
            continue
        assert (info.coded_width, info.coded_height) == (facts["width"], facts["height"])
        assert info.pixel_format == facts["pix_fmt"]
        if facts["codec_name"] != "gif":  # FFmpeg's versions guess differently
            assert info.frame_rate == Fraction(facts["avg_frame_rate"])
        assert info.time_base == Fraction(facts["time_base"])
        assert info.colour.matrix == facts.get("color_space", "unknown")
        assert info.colour.range == facts.get("color_range", "unknown")
        assert info.colour.primaries == facts.get("color_primaries", "unknown")
        assert info.colour.transfer == facts.get("color_transfer", "unknown")


def test_real_files_as_ffprobe_tells(test_data: Path, need: Any, worker: Worker) -> None:
    program = need.tool("ffprobe")
    files = [path for folder in ("clips", "odd") for path in sorted((test_data / folder).iterdir())]
    films = [path for path in files if path.suffix in (".mp4", ".avi", ".mkv", ".gif")]
    assert len(films) > 40
    for path in films:
        _compare(probe(path, worker=worker), _told_by_ffprobe(program, path))
