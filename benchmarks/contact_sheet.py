"""Thirty queries of our own on real clips, the five moments each finds, on one sheet to look at.

    SACCADE_TEST_DATA=... python benchmarks/contact_sheet.py SHEET.jpg [--library DIR] [--encoder NAME]
                                                             [--note SEEN.md]

A row is a query; its moments follow, best first, each with its middle frame, its file, the time of that frame and
the confidence that it is there at all. --library keeps the library, or searches the one that is there. Prints the same
as a Markdown table, with a column for what a person says to it; --note writes it, and what it shows, into a file. The
table may be kept; the sheet may not, where the footage may not.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import saccade
from saccade.types import PRESENT, Hit, SearchResult, clock
from saccade.video import sample
from saccade.video.worker import Worker


@dataclass(frozen=True)
class Asked:
    """A query of ours, and whether somebody who watched the clips would say that they show it."""

    text: str
    there: bool = True


QUERIES = (
    Asked("a deer in the forest"),
    Asked("a butterfly on a flower"),
    Asked("a man at the steering wheel"),
    Asked("a knife cutting a tomato"),
    Asked("an open refrigerator"),
    Asked("an autumn leaf on a stone"),
    Asked("a beak and feathers from very near"),
    Asked("three things of the same colour in a row"),
    Asked("white writing on a black screen"),
    Asked("a man with a bow tie"),
    Asked("an old television set"),
    Asked("books on shelves behind people"),
    Asked("a human eye from very near"),
    Asked("a squirrel on a tree"),
    Asked("a boy seen from behind, watching someone play"),
    Asked("breakfast on a plate"),
    Asked("surfers riding a wave", there=False),
    Asked("a bride and a groom in a church", there=False),
    Asked("나뭇가지에 앉은 새"),  # a bird sitting on a branch
    Asked("바위 위의 새끼 고양이"),  # a kitten on a rock
    Asked("프라이팬에 달걀을 붓는다"),  # someone pours egg into a frying pan
    Asked("밤길을 달리는 자동차"),  # a car driving along a road at night
    Asked("격자무늬 매트 위의 손"),  # hands on a mat with a grid
    Asked("빨간 턱받이를 한 아기"),  # a baby with a red bib
    Asked("반바지를 입고 탁자에 앉은 사람"),  # a person in shorts sitting at a table
    Asked("밖에서 뛰어다니는 개"),  # a dog running about outdoors
    Asked("벽에 걸린 사진들"),  # pictures on a wall
    Asked("싱크대에서 설거지하는 손"),  # hands washing up at a sink
    Asked("눈 덮인 산에서 스키를 타는 사람", there=False),  # a skier on a snowy mountain
    Asked("활주로에서 이륙하는 비행기", there=False),  # an aeroplane taking off from a runway
)
MOMENTS = 5
SUFFIXES = (".mp4", ".avi", ".gif")

PANE, LABEL_WIDTH, CAPTION_HEIGHT, GAP = (128, 80), 190, 24, 5
INK, FAINT, PAPER, EMPTY = (230, 230, 230), (150, 150, 150), (24, 24, 24), (48, 48, 48)
LARGEST_BYTES = 700_000
FONTS = ("NotoSansCJK-Regular.ttc", "NotoSansKR-Regular.otf", "NanumGothic.ttf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--library", type=Path, help="where the library is, or is to be made")
    parser.add_argument("--encoder", help="for a library that is made: the built-in by default")
    parser.add_argument("--note", type=Path, metavar="SEEN.md")
    options = parser.parse_args()
    data = os.environ.get("SACCADE_TEST_DATA")
    if not data:
        sys.exit("SACCADE_TEST_DATA is not set: there is nothing to look at")
    with (
        nullcontext(options.library) if options.library else tempfile.TemporaryDirectory() as place,
        saccade.open(place, encoder=options.encoder) as library,
    ):
        library.add(*real_clips(Path(data, "clips")), senses=["seen"])
        results = [library.search(query.text, k=MOMENTS, evidence=["seen"]) for query in QUERIES]
    frames = middle_frames([hit for result in results for hit in result.hits])
    save(draw(results, frames), options.sheet)
    print(table(results))
    if options.note:
        options.note.write_text(note(results), "utf-8")


def real_clips(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)


def middle_frames(hits: Sequence[Hit]) -> dict[tuple[str, float], Image.Image]:
    """(path, second) -> the frame on display there; each file is read once."""
    found: dict[tuple[str, float], Image.Image] = {}
    with Worker() as worker:
        for path in sorted({hit.path for hit in hits}):
            seconds = sorted({hit.span.centre for hit in hits if hit.path == path})
            images = (image for batch in sample(path, at=seconds, short_side=2 * PANE[1], worker=worker)
                      for image in batch.images)  # fmt: skip
            for second, image in zip(seconds, images, strict=True):
                found[path, second] = Image.fromarray(image)
                found[path, second].thumbnail(PANE, Image.Resampling.LANCZOS)
    return found


def draw(results: Sequence[SearchResult], frames: dict[tuple[str, float], Image.Image]) -> Image.Image:
    height = PANE[1] + CAPTION_HEIGHT + GAP
    sheet = Image.new("RGB", (LABEL_WIDTH + MOMENTS * (PANE[0] + GAP), GAP + len(results) * height), PAPER)
    pen = ImageDraw.Draw(sheet)
    words, captions = (ImageFont.truetype(str(font_file()), size) for size in (14, 10))
    for row, (query, result) in enumerate(zip(QUERIES, results, strict=True)):
        top = GAP + row * height
        for line, text in enumerate(wrapped(query.text, words, LABEL_WIDTH - 2 * GAP)):
            pen.text((GAP, top + 18 * line), text, INK, font=words)
        pen.text((GAP, top + PANE[1] - 2), verdict(query, result), FAINT, font=captions)
        for column, hit in enumerate(result.hits):
            left = LABEL_WIDTH + column * (PANE[0] + GAP)
            pen.rectangle((left, top, left + PANE[0] - 1, top + PANE[1] - 1), EMPTY)
            if frame := frames.get((hit.path, hit.span.centre)):
                sheet.paste(frame, (left + (PANE[0] - frame.width) // 2, top + (PANE[1] - frame.height) // 2))
            pen.text((left, top + PANE[1]), cut(Path(hit.path).stem, captions), FAINT, font=captions)
            pen.text((left, top + PANE[1] + 11), where(hit), INK if hit.present else FAINT, font=captions)
    return sheet


def font_file() -> Path:
    """A font with Hangul."""
    found = (path for name in FONTS for path in Path("/usr/share/fonts").rglob(name))
    font = next(found, None)
    if font is None:
        sys.exit(f"none of these fonts is installed: {', '.join(FONTS)}")
    return font


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            yield line
            longer = word
        line = longer
    yield line


def cut(text: str, font: ImageFont.FreeTypeFont) -> str:
    while font.getlength(text) > PANE[0]:
        text = text[:-2] + "…"
    return text


def verdict(query: Asked, result: SearchResult) -> str:
    return f"{'said to be here' if result.present else 'said not to be here'}{'' if query.there else '; it is not'}"


def where(hit: Hit) -> str:
    return f"{clock(hit.span.centre)}  {hit.confidence:.3f}"


def save(sheet: Image.Image, path: Path) -> None:
    """As a JPEG of the best quality that stays small."""
    for quality in range(88, 30, -6):
        held = io.BytesIO()
        sheet.save(held, "JPEG", quality=quality, optimize=True)
        if held.tell() <= LARGEST_BYTES:
            break
    path.write_bytes(held.getvalue())


def note(results: Sequence[SearchResult]) -> str:
    """The page to the sheet; what a person says to each row is written into it by hand."""
    right = sum(result.present == query.there for query, result in zip(QUERIES, results, strict=True))
    return f"""# Thirty queries, looked at

{datetime.now(UTC):%Y-%m-%d}, saccade {saccade.__version__}, {results[0].encoder}. By `benchmarks/contact_sheet.py`: a
library of all real clips of the test material (`$SACCADE_TEST_DATA/clips`; its SOURCES.md names each clip's
repository, commit and licence), searched by what is seen alone with queries that nobody trained or chose anything on.
The footage is not ours to keep here, frames of it neither; with it at hand the same command draws the sheet.

After each moment: the time of its middle frame, and the confidence that it is there at all; from {PRESENT} on a query
is called present. {right} of {len(QUERIES)} queries are called rightly, present or not. The last column says whether a
person who looked at the five agrees.

{table(results)}
"""


def table(results: Sequence[SearchResult]) -> str:
    lines = ["| query | called present | five moments | a person |", "|---|---|---|---|"]
    for query, result in zip(QUERIES, results, strict=True):
        moments = "; ".join(f"{Path(hit.path).stem} {where(hit)}" for hit in result.hits)
        absent = "" if query.there else " (not in the clips)"
        lines.append(f"| {query.text}{absent} | {'yes' if result.present else 'no'} | {moments} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
