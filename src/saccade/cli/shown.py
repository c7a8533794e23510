"""What is printed: JSON for programs, text for people, progress and complaints on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from saccade.ingest import IngestReport, Plan, Progress
    from saccade.library import VideoReport
    from saccade.maintain import Check, Migration
    from saccade.types import GroundResult, Hit, Moment, SearchResult

NOTHING, PARTLY, UNREAD = 1, 3, 141

LARGE_BYTES = 100 << 20
"""A run over more than this says first how long it will take."""


def print_answer(as_json: bool | None, data: Any, people: Any) -> None:
    """Print ``data()`` as JSON, or what ``people()`` renders; as JSON by default where no terminal listens."""
    if as_json or (as_json is None and not sys.stdout.isatty()):
        import json

        plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        write_out(json.dumps(data(), ensure_ascii=plain, indent=2) + "\n")
        return
    console = _console(sys.stdout)
    with console.capture() as captured:
        for part in people():
            console.print(part)
    write_out(captured.get())


def write_out(text: str) -> None:
    """To stdout, what it cannot show as escapes; where nobody reads any more (``| head``), end quietly."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(UNREAD) from None


def complain(sentence: str) -> None:
    encoding = sys.stderr.encoding or "utf-8"
    print(f"saccade: {sentence}".encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)


def _console(stream: Any) -> Console:
    from rich.console import Console

    return Console(file=stream, highlight=False, emoji=False, markup=False, soft_wrap=not stream.isatty())


def search_text(result: SearchResult) -> Iterable[RenderableType]:
    if result.unknown_words:
        yield _styled(f"unknown words: {', '.join(result.unknown_words)}", "yellow")
    if not result.present:
        yield _styled("It is not in here. The closest were:" if result.hits else "It is not in here.", "bold")
    for rank, hit in enumerate(result.hits, 1):
        yield from _moment_text(rank, hit, result.query, _name(hit.path))
    yield from _warnings(result.warnings)


def ground_text(result: GroundResult) -> Iterable[RenderableType]:
    if not result.present:
        closest = "It is not in this video. The closest were:" if result.moments else "It is not in this video."
        yield _styled(closest, "bold")
    for rank, moment in enumerate(result.moments, 1):
        yield from _moment_text(rank, moment, result.query, _name(result.path))
    if result.curve:
        yield _curve_text(result)
    yield from _warnings(result.warnings)


def _moment_text(rank: int, moment: Moment | Hit, query: str, name: str) -> Iterable[RenderableType]:
    from rich.text import Text

    style = "bold green" if moment.present else "dim"
    line = Text.assemble((f"{rank:3}  ", "dim"), (f"{moment.span!s:<17}", "bold"), f"  {name}  ")
    line.append(f"confidence {moment.confidence:.3f}", style)
    yield line
    for kind, text in dict.fromkeys((match.kind, " ".join(match.text.split())) for match in moment.matched):
        yield _matched_text(kind, text, query) if text else _styled(f"     {kind}", "dim")


def _matched_text(kind: str, text: str, query: str) -> Text:
    """One line of evidence, the query's words in it highlighted."""
    from rich.text import Text

    from saccade.index.fulltext import content_tokens

    words = Text(printable(text if len(text) <= 300 else text[:299] + "…"))
    words.highlight_words([word for word in content_tokens(query) if word], "bold yellow", case_sensitive=False)
    return Text.assemble((f"     {kind}: ", "dim"), words)


def _curve_text(result: GroundResult) -> Text:
    """The relevance curve as a row of bars, from the video's lowest to its highest score."""
    scores = [point.score for point in result.curve]
    width = min(len(scores), 72)
    low, high = min(scores), max(scores)
    peaks = [max(scores[n * len(scores) // width : (n + 1) * len(scores) // width]) for n in range(width)]
    bars = "".join("▁▂▃▄▅▆▇█"[round(7 * (peak - low) / (high - low)) if high > low else 0] for peak in peaks)
    return _styled(f"     {bars}  0 to {result.curve[-1].span.end:.0f} s", "cyan")


SENSE_COLUMNS = ("shots", "seen", "subtitles", "said", "written")
STATE_MARKS = {"done": "✓", "partial": "part", "failed": "✗", "running": "…", "waiting": "-", "absent": "none"}


def info_text(reports: Sequence[VideoReport], in_full: bool) -> Iterable[RenderableType]:
    from rich.table import Table

    from saccade.types import clock

    if not reports:
        yield "Nothing is indexed here yet: saccade index FOLDER"
        return
    folder = os.path.commonpath([os.path.dirname(report.path) for report in reports])
    table = Table(box=None, pad_edge=False)
    for heading in ("state", "length", *SENSE_COLUMNS, "id", "file"):
        table.add_column(heading, no_wrap=heading != "file", overflow="fold")
    for report in reports:
        length = "" if report.duration is None else clock(report.duration)
        states = {row.sense: row.state for row in report.coverage}
        marks = [STATE_MARKS.get(states.get(sense, ""), "") for sense in SENSE_COLUMNS]
        name = printable(os.path.relpath(report.path, folder))
        table.add_row(report.state, length, *marks, (report.id or "")[:8], name)
    yield _styled(f"in {folder}", "dim")
    yield table
    for report in reports:
        if report.error:
            yield _styled(f"{report.state}: {os.path.relpath(report.path, folder)}: {report.error}", "yellow")
    if in_full:
        for report in reports:
            yield from (_styled(line, "dim") for row in report.coverage for line in _coverage_lines(row))


def _coverage_lines(row: Any) -> Iterable[str]:
    line = f"{row.sense}{' by ' * bool(row.tool)}{row.tool}: {row.state}"
    if row.seconds_seen and row.state != "absent":
        line += f", {row.seconds_seen:.1f} s of the {row.made_from}, {row.items} found"
    if row.frames_decoded:
        line += f", {row.frames_decoded} frames decoded ({row.mode}, at most {row.time_error:.3f} s off)"
    yield line + f"; {row.note}" * bool(row.note)
    yield from (f"    not {gap.span}: {gap.reason}" for gap in row.gaps)


def _name(path: str) -> str:
    return printable(os.path.basename(path))


def printable(text: str) -> str:
    """Text of a file with what would disturb a terminal (line breaks, escapes, broken bytes) written out."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def clip_text(clip: Any) -> Iterable[RenderableType]:
    moved = "" if clip.exact else " (whole groups of pictures; --exact cuts to the frame)"
    yield f"{clip.path}: {clip.span.start:.3f} to {clip.span.end:.3f} s{moved}"
    if clip.left_out:
        yield _styled(f"this container cannot carry {'; '.join(clip.left_out)}", "yellow")


def checks_table(checks: Sequence[Check]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    marks = {"ok": ("✓", "green"), "absent": ("–", "yellow"), "broken": ("✗", "bold red")}
    for check in checks:
        detail = Text(check.detail)
        if check.fix:
            detail.append(f"\n{check.fix}", "yellow")
        if check.licence:
            detail.append(f" ({check.licence})", "dim")
        table.add_row(Text(*marks[check.state]), check.name, detail)
    return table


def _warnings(warnings: Sequence[str]) -> Iterable[Text]:
    return (_styled(f"note: {warning}", "yellow") for warning in warnings)


def _styled(text: str, style: str) -> Text:
    from rich.text import Text

    return Text(printable(text), style)


def plan_json(plan: Plan) -> dict[str, Any]:
    files = [{"path": item.path, "state": item.state, "due": list(item.due)} for item in plan.items]
    estimate = {"hours": plan.hours, "seconds": plan.seconds, "disk_bytes": plan.disk_bytes}
    return {"counts": plan.counts, "other": plan.other, **estimate, "files": files, "warnings": list(plan.warnings)}


def plan_text(plan: Plan) -> Iterable[RenderableType]:
    yield from _warnings(plan.warnings)
    counts = ", ".join(f"{count} {state}" for state, count in plan.counts.items() if count) or "no media files"
    yield f"{counts}; {plan.other} other files"
    if plan.pending:
        for sense, seconds in plan.seconds.items():
            yield f"  {sense:<10} {_long(seconds)} of media, about {_long(plan.hours[sense] * 3600)}"
        yield f"  on disk    about {plan.disk_bytes / 1e6:.0f} MB"


def _long(seconds: float) -> str:
    """A stretch of time, as people say it."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Meter:
    """Progress on stderr: a bar on a terminal, else a line now and then."""

    LINE_SECONDS = 10.0

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._next_line = 0.0

    def __enter__(self) -> Meter:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, TextColumn

            columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rest]}")]
            self._bar = Progress(*columns, console=_console(sys.stderr), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("looking", total=None, rest="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, progress: Progress) -> None:
        """Show one step; called often, shows as often as eyes can follow."""
        number = min(progress.done_files + 1, progress.total_files)
        what = f"{progress.sense} {number}/{progress.total_files} {_name(progress.path)}"
        rest = f"{progress.speed:.0f} × real time, {_long(progress.eta_seconds)} left"
        if self._bar is not None:
            done = {"completed": progress.seconds_done, "total": progress.seconds_total}
            self._bar.update(self._task, description=what, rest=rest, **done)
            return
        import time

        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + self.LINE_SECONDS
            share = 100 * progress.seconds_done / progress.seconds_total if progress.seconds_total else 0.0
            print(f"saccade: {what}, {share:.0f} %, {rest}", file=sys.stderr, flush=True)


def ingest_code(report: IngestReport) -> int:
    lacking = report.failed + report.waiting + report.partly
    if report.done or report.skipped:
        return PARTLY if lacking else 0
    return NOTHING


def ingest_json(report: IngestReport) -> dict[str, Any]:
    groups = ("done", "skipped", "partly", "waiting", "failed")
    counts = {group: len(getattr(report, group)) for group in groups}
    files = [{"path": file.path, "outcome": file.outcome, "note": file.note} for file in report.files]
    return {**counts, "other": report.other, "warnings": list(report.warnings), "files": files}


def ingest_text(report: IngestReport) -> Iterable[RenderableType]:
    yield from _warnings(report.warnings)
    outcomes = [file.outcome for file in report.files]
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
    yield f"{counts or 'no media files'}; {report.other} other files"
    for file in report.files:
        if file.outcome in ("failed", "waiting", "partial", "missing"):
            yield _styled(f"  {file.outcome}: {file.path}{': ' * bool(file.note)}{file.note}", "yellow")


def migration_text(migration: Migration) -> Iterable[RenderableType]:
    for file in migration.files:
        if file.outcome in ("partial", "elsewhere"):
            yield _styled(f"  {file.outcome}: {file.path}{': ' * bool(file.note)}{file.note}", "yellow")
    before = migration.before or "no encoder"
    if migration.switched:
        yield f"{len(migration.files)} videos seen anew; search went over from {before} to {migration.after}"
        return
    if migration.files and not migration.videos:
        yield f"{migration.after} could see none of the videos; search goes on with {before}"
        return
    yield f"{migration.videos} videos to see anew with {migration.after}; until then search uses {before}"
    if migration.videos:
        sources = f", {migration.without_proxy} of them from their source" * bool(migration.without_proxy)
        yield f"  {_long(migration.seconds)} of video{sources}, about {_long(migration.hours * 3600)}"


def migration_code(migration: Migration) -> int:
    lacking = any(file.outcome in ("partial", "elsewhere") for file in migration.files)
    if migration.switched:
        return PARTLY if lacking else 0
    return PARTLY if any(file.outcome == "extended" for file in migration.files) else NOTHING


def announce(plan: Plan) -> None:
    """Before a large run: how long each sense will take, and the disk."""
    bytes_due = sum(item.stamp.size for item in plan.pending)
    if bytes_due > LARGE_BYTES:
        console = _console(sys.stderr)
        for part in plan_text(plan):
            console.print(part)
