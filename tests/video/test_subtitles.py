"""Subtitles: what stands in real files, in the encodings they come in."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.errors import MediaError, SourceGone
from saccade.types import Span
from saccade.video.subtitles import parse_subtitles, read_subtitles
from saccade.video.worker import Worker


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


def cues(data: str | bytes, suffix: str = ".srt", source: str = "talk.srt") -> list[tuple[float, float, str]]:
    data = data.encode() if isinstance(data, str) else data
    return [(text.span.start, text.span.end, text.text) for text in parse_subtitles(data, suffix, source)]


# ---- srt -----------------------------------------------------------------------------------------------------


def test_srt_as_it_should_be():
    data = "1\n00:00:01,000 --> 00:00:02,500\nHello there,\nyou two.\n\n2\n01:02:03,004 --> 01:02:05,000\nBye.\n"
    assert cues(data) == [(1.0, 2.5, "Hello there,\nyou two."), (3723.004, 3725.0, "Bye.")]


@pytest.mark.parametrize(
    "timing, span",
    [
        ("00:00:01.500 --> 00:00:02.750", (1.5, 2.75)),
        ("00:01,5 --> 00:02,75", (1.5, 2.75)),
        ("0:0:1,500-->0:0:2,750", (1.5, 2.75)),
        ("00:00:01,500 -> 00:00:02,750", (1.5, 2.75)),
        ("00:00:01:500 --> 00:00:02:750", (1.5, 2.75)),
        ("  00:00:01,500 --> 00:00:02,750 X1:40 X2:600 Y1:20 Y2:50", (1.5, 2.75)),
        ("00:00:01 --> 00:00:02", (1.0, 2.0)),
        ("100:00:00,000 --> 100:00:01,000", (360000.0, 360001.0)),
        ("-00:00:01,000 --> 00:00:02,000", (0.0, 2.0)),
    ],
)
def test_srt_timing_lines_as_people_write_them(timing, span):
    assert cues(f"1\n{timing}\nwords\n") == [(*span, "words")]


def test_srt_without_numbers_blank_lines_or_newline_at_the_end():
    data = "00:01,000 --> 00:02,000\r\none\r\n2\r\n00:02,000 --> 00:03,000\r\ntwo\r\n00:04,000 --> 00:05,000\r\n1984"
    assert [text for *_, text in cues(data)] == ["one", "two", "1984"]


def test_srt_text_may_hold_blank_lines_and_numbers():
    data = "1\n00:00:01,000 --> 00:00:02,000\n\nabove\n\nbelow\n\n2\n00:00:03,000 --> 00:00:04,000\n42\n\n"
    assert [text for *_, text in cues(data)] == ["above\nbelow", "42"]


def test_times_that_run_backward_stand_still_or_overlap():
    data = """1\n00:00:05,000 --> 00:00:04,000\nThis ends before it begins.\n
2\n00:00:01,000 --> 00:00:01,000\nshort\n
3\n00:00:01,500 --> 00:00:09,000\nlong\n
4\n-00:00:09,000 --> -00:00:08,000\nbefore the film\n"""
    assert cues(data) == [
        (1.0, 1.5, "short"),
        (1.5, 9.0, "long"),
        (5.0, pytest.approx(6.8), "This ends before it begins."),
    ]


def test_markup_goes_and_words_stay():
    text = """{\\an8}<i>Fish</i> &amp; <font color="#fff">chips</font> <3 \\Nnow\u200e"""
    data = f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n"
    assert cues(data) == [(1.0, 2.0, "Fish & chips <3\nnow")]


def test_a_cue_written_twice_is_kept_once_and_an_empty_one_not_at_all():
    cue = "1\n00:00:01,000 --> 00:00:02,000\nonce\n\n"
    assert len(cues(cue + cue + "3\n00:00:03,000 --> 00:00:04,000\n<i></i>\n\n")) == 1


# ---- vtt and ass ---------------------------------------------------------------------------------------------


def test_vtt_with_everything_the_format_has():
    data = """WEBVTT - a title

STYLE
::cue { color: red }

REGION
id:one

NOTE a note of
two lines

intro
00:01.000 --> 00:02.500 align:start position:10%
<v Bob>Hello <00:01.500><c.loud>world</c> &lt;3&nbsp;

01:00:00.000 --> 01:00:01.000
- 안녕
- bye

NOTE the end"""
    assert cues(data, ".vtt") == [(1.0, 2.5, "Hello world <3"), (3600.0, 3601.0, "- 안녕\n- bye")]


def test_vtt_that_rolls_up_says_each_line_once():
    data = """WEBVTT
Kind: captions

00:00:00.000 --> 00:00:02.000 align:start position:0%
·
hello<00:00:00.500><c> there</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
hello there
·

00:00:02.010 --> 00:00:04.000 align:start position:0%
hello there
this<00:00:02.500><c> rolls</c>

00:00:09.000 --> 00:00:10.000
this rolls
"""
    assert cues(data.replace("·", " "), ".vtt") == [
        (0.0, 2.0, "hello there"),
        (2.01, 4.0, "this rolls"),
        (9.0, 10.0, "this rolls"),
    ]


def test_ass_keeps_words_and_drops_the_rest():
    data = r"""[Script Info]
Title: x

[V4+ Styles]
Format: Name, Fontname
Style: Default,Arial

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,not shown
Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\pos(1,2)\i1}Hello,{\i0} world\Nsecond\hline
Dialogue: 1,0:00:01.00,0:00:02.50,Top,,0,0,0,,{\blur2}Hello, world\Nsecond line
Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,{\p1}m 0 0 l 100 0 100 100{\p0}after
Dialogue: 0,0:00:05.00,0:00:06.00,Default,,0,0,0,,{\p2}m 0 0 l 1 1
Dialogue: 0,broken
"""
    assert cues(data, ".ass") == [(1.0, 2.5, "Hello, world\nsecond line"), (3.0, 4.0, "after")]


def test_ssa_without_a_format_line():
    data = "[Events]\nDialogue: Marked=0,0:00:01.00,0:00:02.00,Default,,0,0,0,,Hi, you\n"
    assert cues(data, ".ssa") == [(1.0, 2.0, "Hi, you")]


# ---- encodings -----------------------------------------------------------------------------------------------

KOREAN = "비용이 너무 많이 들었어요"
TEXTS = [
    (KOREAN, ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp949", "euc-kr"]),
    ("네", ["utf-8", "cp949"]),
    ("안녕하세요", ["cp949"]),
    ("費用がかかりすぎました", ["cp932", "euc_jp", "utf-8"]),
    ("ありがとう", ["cp932", "euc_jp"]),
    ("我不知道你在说什么", ["gb18030", "gbk"]),
    ("這個問題我不會回答", ["big5", "utf-16"]),
    ("Il était où, le garçon ? Ça va bien", ["cp1252", "utf-8"]),
    ("¿Qué pasó ayer con el niño?", ["cp1252"]),
    ("It’s a “test” – really…", ["cp1252"]),
    ("Я не знаю, что ты говоришь", ["cp1251", "koi8_r", "utf-8"]),
    ("Καλημέρα, τι κάνεις σήμερα", ["cp1253"]),
    ("Cześć, jak się masz? Źle, że żółw śpi", ["cp1250"]),
    ("Günaydın, nasılsın? Şöyle böyle, çok iyiyim", ["cp1254"]),
]


@pytest.mark.parametrize("text, encoding", [(text, name) for text, names in TEXTS for name in names])
def test_encodings_are_found(text, encoding):
    data = f"1\r\n00:00:01,000 --> 00:00:02,000\r\n{text}\r\n".encode(encoding)
    assert cues(data) == [(1.0, 2.0, text)]


def test_the_language_in_the_name_decides_between_code_pages():
    data = "1\n00:00:01,000 --> 00:00:02,000\nשלום עולם\n".encode("cp1255")
    (found,) = parse_subtitles(data, ".srt", "film.he.srt")
    assert (found.text, found.language) == ("שלום עולם", "he")


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"just some words\n", "no subtitle was found"),
        (bytes(range(256)) * 8, "not a text file"),
    ],
)
def test_what_is_no_subtitle_file_is_told(data, reason):
    with pytest.raises(MediaError, match=reason):
        parse_subtitles(data, ".srt", "talk.srt")


TOKENS = [
    "1",
    "\n",
    "\n\n",
    " ",
    "00:00:01,000",
    "-->",
    " --> ",
    "0:0:9",
    "99999:99:99,999999999",
    "-",
    "WEBVTT",
    "[Events]",
    "Dialogue:",
    "Format: Start, End, Text",
    ",",
    "{\\p1}",
    "{",
    "}",
    "<i>",
    "<",
    "&amp;",
    "&#0;",
    "words",
    "비용",
]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(TOKENS), max_size=40).map("".join), st.sampled_from([".srt", ".vtt", ".ass"]))
def test_any_mixture_of_what_subtitles_are_made_of_is_cues_or_a_clear_no(text, suffix):
    with contextlib.suppress(MediaError):
        for cue in parse_subtitles(text.encode(), suffix, "talk.srt"):
            assert cue.text and 0 <= cue.span.start < cue.span.end


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_cues_or_a_clear_no(data):
    with contextlib.suppress(MediaError):
        parse_subtitles(b"1\n00:00:01,000 --> 00:00:02,000\n" + data, ".srt", "talk.srt")


# ---- beside and inside a video -------------------------------------------------------------------------------

SRT = "1\n00:00:01,000 --> 00:00:02,500\n{}\n"


@pytest.fixture(scope="module")
def film(need, tmp_path_factory) -> Path:
    """A film of 4 s that starts at 5 s on its own clock, with an English and a Korean text track."""
    ffmpeg = need.tool("ffmpeg")
    folder = tmp_path_factory.mktemp("film")
    (folder / "en.srt").write_text(SRT.format("<i>Hello</i> there"))
    (folder / "ko.ass").write_text(
        "[Script Info]\nScriptType: v4.00+\n\n"
        "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\i1}안녕\\N하세요\n"
    )
    target = folder / "film.mkv"
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "color=s=32x32:r=10:d=4", "-i", folder / "en.srt",
         "-i", folder / "ko.ass", "-map", "0", "-map", "1", "-map", "2", "-c:s:0", "srt", "-c:s:1", "ass",
         "-metadata:s:s:0", "language=eng", "-metadata:s:s:1", "language=kor", "-output_ts_offset", "5", target],
        check=True,
    )  # fmt: skip
    return target


def test_tracks_are_read_on_the_containers_clock(film, worker):
    found = read_subtitles(film, worker=worker)
    assert found.notes == ()
    assert [(text.source, text.language, text.text) for text in found.texts] == [
        ("track 1 (eng)", "en", "Hello there"),
        ("track 2 (kor)", "ko", "안녕\n하세요"),
    ]
    for text in found.texts:
        assert text.kind == "said"
        assert (text.span.start, text.span.end) == (pytest.approx(1.0, abs=0.002), pytest.approx(2.5, abs=0.002))


@pytest.mark.parametrize("name, codec", [("a.mp4", "mov_text"), ("a.webm", "webvtt"), ("a.mkv", "webvtt")])
def test_other_kinds_of_track(need, tmp_path, worker, name, codec):
    (tmp_path / "a.srt").write_text(SRT.format("Grüße\nan alle"))
    picture = "libvpx" if name.endswith("webm") else "mpeg4"
    subprocess.run(
        [need.tool("ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "color=s=32x32:r=10:d=4", "-i", tmp_path / "a.srt",
         "-map", "0", "-map", "1", "-c:v", picture, "-c:s", codec, tmp_path / name],
        check=True,
    )  # fmt: skip
    (tmp_path / "a.srt").unlink()
    (text,) = read_subtitles(tmp_path / name, worker=worker).texts
    assert (text.text, text.span, text.source) == ("Grüße\nan alle", Span(1.0, 2.5), "track 1")


def test_a_track_of_pictures_is_told(film, tmp_path, worker):
    path = tmp_path / "pictures.mkv"
    path.write_bytes(film.read_bytes().replace(b"S_TEXT/UTF8", b"S_HDMV/PGS\0"))
    found = read_subtitles(path, worker=worker)
    assert [text.source for text in found.texts] == ["track 2 (kor)"]
    assert len(found.notes) == 1
    assert found.notes[0].startswith("track 1 (eng): it holds pictures of text (pgssub)")


def test_sidecars_by_name(film, tmp_path, worker):
    video = tmp_path / "Talk.part1.mp4"
    video.write_bytes(film.read_bytes())
    (tmp_path / "Talk.mp4").write_bytes(b"")
    (tmp_path / "Talk.part1.srt").write_text(SRT.format("plain"))
    (tmp_path / "talk.PART1.ko.forced.SRT").write_bytes(SRT.format(KOREAN).encode("cp949"))
    (tmp_path / "Talk.part1.pt-BR.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\noi\n")
    (tmp_path / "Talk.part1.en.srt").write_bytes(b"")
    (tmp_path / "Talk.ko.srt").write_text(SRT.format("another film's"))
    (tmp_path / "Talk.part10.srt").write_text(SRT.format("another film's too"))
    found = read_subtitles(video, worker=worker)
    beside = [(text.source, text.language, text.text) for text in found.texts if not text.source.startswith("track")]
    assert beside == [
        ("Talk.part1.pt-BR.vtt", "pt", "oi"),
        ("Talk.part1.srt", None, "plain"),
        ("talk.PART1.ko.forced.SRT", "ko", KOREAN),
    ]
    assert found.notes == ("Talk.part1.en.srt: the subtitle file is empty",)


def test_a_film_that_is_gone(tmp_path, worker):
    with pytest.raises(SourceGone):
        read_subtitles(tmp_path / "none.mp4", worker=worker)
