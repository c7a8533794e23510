"""Text on screen: what stands there, from when to when, and what is not understood."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from saccade.errors import InputError, MissingExtra
from saccade.types import Shot, Span, Stretch, TimedText
from saccade.video import ocr
from saccade.video.ocr import read_screen
from saccade.video.worker import Worker

FPS = 5
SIZE = (640, 360)


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


@pytest.fixture(autouse=True, scope="module")
def _extra(need):
    """The films here are small and their letters large: they are read as they are, which is quicker."""
    need("rapidocr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ocr, "LONG_SIDE", SIZE[0])
        ocr._reader.cache_clear()
        yield
        ocr._reader.cache_clear()


Draw = Callable[[ImageDraw.ImageDraw, float], None]


def film(path: Path, seconds: float, draw: Draw, background: tuple[int, int, int] = (24, 40, 72)) -> Path:
    """A film on which ``draw(canvas, second)`` draws each frame."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, width=SIZE[0], height=SIZE[1], pix_fmt="yuv420p")
        stream.options = {"preset": "ultrafast", "crf": "20", "g": "10"}
        for number in range(round(seconds * FPS)):
            picture = Image.new("RGB", SIZE, background)
            draw(ImageDraw.Draw(picture), number / FPS)
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def write(canvas: ImageDraw.ImageDraw, text: str, at: tuple[float, float], size: int = 30) -> None:
    canvas.text(at, text, font=ImageFont.load_default(size), fill=(245, 245, 245))


def shots(*edges: float) -> list[Shot]:
    return [Shot(Span(start, end)) for start, end in itertools.pairwise(edges)]


def texts(stretches: list[Stretch]) -> list[TimedText]:
    return [text for stretch in stretches for text in stretch.texts]


def spans(stretches: list[Stretch]) -> dict[str, tuple[float, float]]:
    return {text.text: (text.span.start, text.span.end) for text in texts(stretches)}


def about(start: float, end: float) -> object:
    return (pytest.approx(start, abs=0.4), pytest.approx(end, abs=0.4))


def slides(canvas: ImageDraw.ImageDraw, second: float) -> None:
    write(canvas, "saccade.example", (420, 320), 22)
    if second < 6:
        write(canvas, "The first slide", (60, 60))
    elif second < 8:
        write(canvas, "Blink and it is gone", (60, 150))
    elif second < 16:
        write(canvas, "Costs and benefits", (60, 60))
        write(canvas, "of reading twice", (60, 120))


@pytest.fixture(scope="module")
def talk(tmp_path_factory) -> Path:
    return film(tmp_path_factory.mktemp("ocr") / "talk.mp4", 24, slides)


@pytest.fixture(scope="module")
def found(talk, worker) -> list[Stretch]:
    return list(read_screen(talk, [], 24.0, worker=worker))


def test_lines_have_the_times_at_which_they_stand(found):
    assert spans(found) == {
        "The first slide": about(0, 6),
        "Blink and it is gone": about(6, 8),  # it stands between two frames read, and is looked for
        "Costs and benefits": about(8, 16),
        "of reading twice": about(8, 16),
        "saccade.example": about(0, 24),
    }
    assert {(text.kind, text.source) for text in texts(found)} == {("written", "rapidocr")}
    assert all(not stretch.gaps and not stretch.dropped for stretch in found)
    order = [text.text for text in texts(found)]
    assert order.index("Costs and benefits") < order.index("of reading twice")


def test_what_is_settled_stays_settled(found):
    untils = [stretch.until for stretch in found]
    assert untils == sorted(untils) and untils[-1] == 24.0
    for before, stretch in itertools.pairwise([Stretch(0.0), *found]):
        assert all(text.span.end <= stretch.until for text in stretch.texts)
        assert all(text.span.start >= before.until for text in stretch.texts)


def test_work_resumes_where_it_was_settled(talk, worker):
    rest = list(read_screen(talk, shots(0, 6, 8, 16, 24), 24.0, begin=8.5, worker=worker))
    assert spans(rest) == {
        "Costs and benefits": about(8.5, 16),
        "of reading twice": about(8.5, 16),
        "saccade.example": about(8.5, 24),
    }


def test_a_line_that_never_goes_is_handed_out_in_parts(talk, worker, monkeypatch):
    monkeypatch.setattr(ocr, "LONGEST_LINE_SECONDS", 9.0)
    found = list(read_screen(talk, [], 24.0, every=5.0, worker=worker))
    parts = [text.span for text in texts(found) if text.text == "saccade.example"]
    assert len(parts) >= 2
    assert parts[0].start == 0 and parts[-1].end == pytest.approx(24, abs=0.1)
    assert all(before.end == after.start for before, after in itertools.pairwise(parts))
    assert max(stretch.until for stretch in found[:-1]) > 9


def test_rolling_lines_are_followed(tmp_path, worker):
    def roll(canvas: ImageDraw.ImageDraw, second: float) -> None:
        for place, name in enumerate(("Directed by nobody", "Music by the wind", "Lights by the moon")):
            write(canvas, name, (180, 360 + 120 * place - 60 * second), 26)

    found = spans(list(read_screen(film(tmp_path / "roll.mp4", 12, roll), [], 12.0, worker=worker)))
    # each needs about six seconds from the lower edge to the upper one, and starts two seconds after the last
    assert set(found) == {"Directed by nobody", "Music by the wind", "Lights by the moon"}
    for place, name in enumerate(found):
        assert found[name][0] == pytest.approx(0.5 + 2 * place, abs=0.8)
        assert found[name][1] == pytest.approx(6 + 2 * place, abs=0.8)


def test_a_still_picture_is_read_once(tmp_path, worker, monkeypatch):
    def still(canvas: ImageDraw.ImageDraw, second: float) -> None:
        write(canvas, "Nothing moves", (60, 60))

    reads = []
    read = ocr._Reader.read
    monkeypatch.setattr(ocr._Reader, "read", lambda self, image: reads.append(1) or read(self, image))
    path = film(tmp_path / "still.mp4", 20, still)
    assert spans(list(read_screen(path, [], 20.0, every=2.0, worker=worker))) == {"Nothing moves": about(0, 20)}
    assert len(reads) == 1


def test_a_film_without_text(tmp_path, worker):
    path = film(tmp_path / "plain.mp4", 4, lambda canvas, second: canvas.ellipse((100, 100, 200, 200), fill=(90, 9, 9)))
    found = list(read_screen(path, [], 4.0, worker=worker))
    assert texts(found) == [] and found[-1].until == 4.0 and not any(stretch.gaps for stretch in found)
    with pytest.raises(InputError):
        list(read_screen(path, [], 4.0, every=0.0, worker=worker))


def test_moments_are_one_a_shot_and_one_in_so_many_seconds():
    moments = list(ocr._moments(shots(0, 4, 4.5, 30), 30.0, 10.0))
    assert [moment.seconds for moment in moments] == pytest.approx([2.0, 8.75, 17.25, 25.75])  # nobody reads in 0.5 s
    assert [moment.seconds for moment in ocr._moments([], 0.5, 10.0)] == [0.25]
    assert list(ocr._moments([], 0.0, 10.0)) == []


# ---- which scripts are read ----------------------------------------------------------------------------------

BOX = ocr._Box(0.1, 0.1, 0.6, 0.2)


@pytest.mark.parametrize(
    "text, score, proportion, words, unread",
    [
        # as the recogniser answers to: slides, Hangul, Hangul with Latin, Cyrillic, Thai; blocks, cups, noise
        ("Source: Common Crawl", 1.0, 9.0, ["Source: Common Crawl"], 0),
        ("客厅一定要装修吊顶吗", 1.0, 9.0, ["客厅一定要装修吊顶吗"], 0),
        ("  ", 0.68, 7.3, [], 1),
        ("Python  2026 ", 0.97, 7.4, ["Python 2026"], 1),
        ("   ", 0.93, 9.2, [], 1),
        ("", 0.0, 3.8, [], 1),
        ("回", 1.0, 1.0, [], 0),
        ("599", 1.0, 0.9, ["599"], 0),
        ("7", 0.99, 0.8, ["7"], 0),
        ("ObA", 0.42, 1.0, [], 0),
        ("", 0.0, 1.3, [], 0),
    ],
)
def test_what_counts_as_read_and_what_as_not_understood(text, score, proportion, words, unread):
    lines = ocr._judged(text, score, BOX, proportion)
    assert [line.text for line in lines if line.text] == words
    assert sum(not line.text for line in lines) == unread


FONTS = {
    "Hangul": ("비용이 너무 많이 듭니다", ("NotoSansCJK-Regular.ttc", "NanumGothic.ttf")),
    "Cyrillic": ("Съешь ещё этих булок", ("DejaVuSans.ttf", "LiberationSans-Regular.ttf")),
    "Han": ("今天天气很好", ("NotoSansCJK-Regular.ttc",)),
    "Katakana": ("こんにちはテスト", ("NotoSansCJK-Regular.ttc",)),
    "Latin": ("Größe, çà et là, żółw", ("DejaVuSans.ttf", "LiberationSans-Regular.ttf")),
}


@pytest.mark.parametrize("script", FONTS)
def test_scripts_that_are_read_and_scripts_that_are_not(script, tmp_path, worker, need):
    text, names = FONTS[script]
    font = ImageFont.truetype(str(need.font(*names)), 40)
    shown = film(tmp_path / "a.mp4", 2, lambda canvas, second: canvas.text((60, 150), text, font=font, fill="white"))
    found = list(read_screen(shown, [], 2.0, worker=worker))
    if script in ocr.SCRIPTS_READ:
        assert [line.text.replace(" ", "") for line in texts(found)] == [text.replace(" ", "")]
        assert not any(stretch.gaps for stretch in found)
    else:
        assert texts(found) == []
        (gap,) = [gap for stretch in found for gap in stretch.gaps]
        assert gap.span == Span(0.0, 2.0) and gap.reason.startswith("1 line of text not understood")


# ---- real clips ----------------------------------------------------------------------------------------------


def test_slides_of_a_real_talk(test_data, worker):
    clip = test_data / "clips" / "video2dataset_test_video.mp4"
    found = spans(list(read_screen(clip, shots(105.0, 122.6), 122.6, begin=109.0, worker=worker)))
    # by eye: "Get it" is still there at 113.5 s, "Connect" at 113.9 s
    assert found["Get it"] == (109.0, pytest.approx(113.7, abs=0.5))
    assert found["contact@laion.ai"] == (pytest.approx(113.7, abs=0.5), pytest.approx(122.6, abs=0.1))


def test_without_the_extra(monkeypatch, tmp_path):
    ocr._reader.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"saccade\[ocr\]"):
        next(read_screen(tmp_path / "none.mp4", [], 1.0))


def test_reading_order():
    line = lambda text, left, top: ocr._Line(text, 1.0, ocr._Box(left, top, left + 0.2, top + 0.05))  # noqa: E731
    lines = [line("d", 0.6, 0.31), line("a", 0.1, 0.1), line("c", 0.1, 0.3), line("b", 0.6, 0.11)]
    assert [line.text for line in ocr._in_reading_order(lines)] == ["a", "b", "c", "d"]


def test_pictures_that_hardly_differ_are_the_same():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (360, 640, 3)).astype(np.uint8)
    noisy = np.clip(image.astype(int) + rng.integers(-6, 7, image.shape), 0, 255).astype(np.uint8)
    assert not ocr._changed(ocr._small(image), ocr._small(noisy))
    canvas = Image.fromarray(np.full((360, 640, 3), 40, np.uint8))
    before = ocr._small(np.asarray(canvas))
    write(ImageDraw.Draw(canvas), "one word", (300, 200), 20)
    assert ocr._changed(before, ocr._small(np.asarray(canvas)))
