"""Ask a library the twenty-five queries of docs/queries.jsonl, and print how many of the answers are right.

    python benchmarks/queries.py LIBRARY [--write TABLE.md]

The rule is that of docs/queries.md: a moment is right if it lies in the right file, overlaps a true span [s, e),
and begins where it should: within 2 s of s for what is said, in [s − 2, e) for what stands on the screen.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import saccade
from saccade.types import Hit, SearchResult, Span

TABLE = Path(__file__).parents[1] / "docs" / "queries.jsonl"
CLOSE_SECONDS = 2.0


@dataclass(frozen=True)
class Asked:
    """A query of the table with its answer; ``rank`` of the first right moment, None where none of them is."""

    row: dict[str, Any]
    result: SearchResult
    rank: int | None
    seconds: float


def is_right(row: dict[str, Any], hit: Hit) -> bool:
    """The rule of docs/queries.md for one moment."""
    if Path(hit.path).name != row["file"]:
        return False
    return any(_begins_well(row["kind"], hit.span, Span(*truth)) and hit.span.overlap(Span(*truth)) > 0
               for truth in row["truth"])  # fmt: skip


def _begins_well(kind: str, found: Span, truth: Span) -> bool:
    if kind == "said":
        return abs(found.start - truth.start) <= CLOSE_SECONDS
    return truth.start - CLOSE_SECONDS <= found.start < truth.end


def ask_all(library: saccade.Library, rows: Sequence[dict[str, Any]]) -> list[Asked]:
    library.search(rows[0]["query"])  # loads the models
    asked = []
    for row in rows:
        begin = time.perf_counter()
        result = library.search(row["query"])
        seconds = time.perf_counter() - begin
        rank = next((n for n, hit in enumerate(result.hits, 1) if is_right(row, hit)), None)
        asked.append(Asked(row, result, rank, seconds))
    return asked


def report(asked: Sequence[Asked], files: int) -> str:
    """The results as a Markdown table, with the sums above it."""
    there = [one for one in asked if one.row["kind"] != "absent"]
    absent = [one for one in asked if one.row["kind"] == "absent"]
    lines = [
        f"# Answers to docs/queries.md, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"One library of {files} media files; saccade {saccade.__version__}; "
        f"median {1000 * sorted(one.seconds for one in asked)[len(asked) // 2]:.0f} ms a query.",
        "",
        "| queries | right first | right among ten | called present |",
        "|---|---|---|---|",
        *(_sums(name, group) for name, group in _groups(there)),
        "",
        f"Absent queries called present: {sum(one.result.present for one in absent)} of {len(absent)}.",
        "",
        "| id | query | rank | present | first moment | its evidence |",
        "|---|---|---|---|---|---|",
        *(_line(one) for one in asked),
    ]
    return "\n".join(lines) + "\n"


def _groups(there: Sequence[Asked]) -> list[tuple[str, list[Asked]]]:
    kinds = sorted({(field, one.row[field]) for one in there for field in ("kind", "language")})
    named = [(f"{field}: {value}", [one for one in there if one.row[field] == value]) for field, value in kinds]
    return [("all", list(there)), *named]


def _sums(name: str, group: Sequence[Asked]) -> str:
    first = sum(one.rank == 1 for one in group)
    ten = sum(one.rank is not None for one in group)
    present = sum(one.result.present for one in group)
    return f"| {name} ({len(group)}) | {first} | {ten} | {present} |"


def _line(one: Asked) -> str:
    rank = "" if one.row["kind"] == "absent" else str(one.rank or "—")
    present = "yes" if one.result.present else "no"
    hit = one.result.hits[0] if one.result.hits else None
    where = f"{Path(hit.path).name} {hit.span} ({hit.confidence:.3f})" if hit else ""
    texts = "; ".join(f"{match.kind}: {match.text}" for match in hit.matched[:2]) if hit else ""
    return f"| {one.row['id']} | {one.row['query']} | {rank} | {present} | {where} | {_cell(texts)} |"


def _cell(text: str) -> str:
    flat = " ".join(text.replace("|", "/").split())
    return flat if len(flat) <= 120 else flat[:119] + "…"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--write", type=Path, metavar="TABLE.md")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in TABLE.read_text("utf-8").splitlines()]
    with saccade.open(arguments.library, create=False) as library:
        text = report(ask_all(library, rows), len(library.info()))
    print(text, end="")
    if arguments.write:
        arguments.write.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
