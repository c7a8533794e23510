"""The command line: parse, call one public function, format. Everything else is imported inside its command.

Exit codes: 0 done; 1 nothing worked; 2 wrong usage; 3 done in part (the ledger says what failed); 130 interrupted;
141 nobody reads the output any more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saccade.errors import InputError, SaccadeError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from saccade.ingest import IngestReport, Plan, Progress
    from saccade.library import Library, VideoReport
    from saccade.maintain import Check
    from saccade.types import Features, GroundResult, Hit, Moment, SearchResult, Span

NOTHING, PARTLY, INTERRUPTED, UNREAD = 1, 3, 130, 141

LARGE_BYTES = 100 << 20
"""A run over more than this says first how long it will take."""

app = typer.Typer(
    name="saccade",
    epilog="Start with: saccade index FOLDER, then: saccade search 'what you remember of it'",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

LibraryOption = Annotated[
    Path | None, typer.Option("--library", metavar="DIR", help="Default: $SACCADE_LIBRARY, else ./saccade-library.")
]
JsonOption = Annotated[
    bool | None, typer.Option("--json/--text", help="For programs, or for people. Piped output is JSON.")
]
EncoderOption = Annotated[
    str | None, typer.Option(metavar="FOLDER|NAME", help="Frame encoder for what is seen: a folder or a hub id.")
]
EvidenceOption = Annotated[
    str | None, typer.Option(metavar="KINDS", help="Search only these, separated by commas: seen,said,written,heard.")
]
ImageOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Search by this picture instead of words.")]


def _version(wanted: bool) -> None:
    if wanted:
        from saccade import __version__

        _write(f"{__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """Finds, grounds and describes what happens in video: offline, on one laptop."""


def main() -> None:
    """The entry point: runs a command and ends the process with its exit code."""
    code = run(sys.argv[1:])
    sys.stderr.flush()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """One command line; its exit code. Errors become one sentence on stderr."""
    usage_error: type[Any] = typer.BadParameter.__mro__[2]  # ClickException, wherever typer keeps it
    try:
        code = app(list(arguments), standalone_mode=False, prog_name="saccade")
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except usage_error as error:
        error.show()
        return int(error.exit_code)
    except SaccadeError as error:
        _complain(str(error))
        return 2 if isinstance(error, InputError) else NOTHING
    except OSError as error:
        if error.filename is None:  # nothing that a user named: a fault of ours, with its trace
            raise
        _complain(f"{error.filename}: {error.strerror}")
        return NOTHING
    if code == INTERRUPTED:
        _complain("interrupted; what was done is kept, and the same command goes on from there")
    return code if isinstance(code, int) else 0


# ── the commands ──


@app.command()
def index(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, globs or URLs.")],
    library: LibraryOption = None,
    encoder: EncoderOption = None,
    only: Annotated[str | None, typer.Option(metavar="SENSES", help="Of seen,subtitles,said,written: these.")] = None,
    no: Annotated[str | None, typer.Option(metavar="SENSES", help="All senses but these.")] = None,
    every: Annotated[float, typer.Option(help="Seconds between the frames that are encoded.")] = 1.0,
    mode: Annotated[str, typer.Option(help="Decoding: auto, exact, nonref or keyframes.")] = "auto",
    ocr_every: Annotated[float, typer.Option(help="Seconds between the frames that are read for text.")] = 10.0,
    speech_model: Annotated[str | None, typer.Option(help="For speech: a folder or hub id; default Whisper base.")] = (
        None
    ),
    language: Annotated[str | None, typer.Option(help="Of the speech, as a code such as ko; default: heard.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Hash unchanged files anew.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and how long.")] = False,
    as_json: JsonOption = None,
) -> int:
    """Watch, listen and read: everything in these files becomes findable. What is indexed already is skipped."""
    import saccade

    wish: dict[str, Any] = {"senses": _senses(only, no), "every": every, "mode": mode, "ocr_every": ocr_every}
    if dry_run:
        with _opened_without_traces(library, encoder) as lib:
            plan = lib.plan(*paths, **wish)
            _answer(as_json, lambda: _plan_json(plan), lambda: _plan_text(plan))
        return 0
    with saccade.open(library, encoder=encoder) as lib:
        _announce(lib.plan(*paths, **wish))
        with _Meter() as meter:
            report = lib.add(
                *paths, **wish, language=language, speech_model=speech_model, verify=verify, on_progress=meter.update
            )
    _answer(as_json, lambda: _ingest_json(report), lambda: _ingest_text(report))
    return _ingest_code(report)


@contextmanager
def _opened_without_traces(folder: Path | None, encoder: str | None) -> Iterator[Library]:
    """The library as it is; where there is none yet, an empty one elsewhere that is gone afterwards."""
    from tempfile import TemporaryDirectory

    import saccade
    from saccade.library import library_folder

    with TemporaryDirectory() as scratch:
        place = library_folder(folder)
        with saccade.open(place if place.exists() else scratch, encoder=encoder) as lib:
            yield lib


@app.command()
def search(
    query: Annotated[list[str] | None, typer.Argument(help="What you remember, in your own words.")] = None,
    library: LibraryOption = None,
    image: ImageOption = None,
    evidence: EvidenceOption = None,
    per_video: Annotated[int, typer.Option(min=1, help="At most so many moments of one video, at first.")] = 3,
    k: Annotated[int, typer.Option("-k", min=1, help="How many moments.")] = 10,
    video: Annotated[list[str] | None, typer.Option("--in", metavar="VIDEO", help="Only in this; may repeat.")] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="TIME", help="Only from this time of a video.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only up to this time of a video.")] = None,
    after: Annotated[datetime | None, typer.Option(metavar="DATE", help="Only recorded on or after.")] = None,
    before: Annotated[datetime | None, typer.Option(metavar="DATE", help="Only recorded before.")] = None,
    kind: Annotated[str | None, typer.Option(metavar="video|audio", help="Only films, or only sounds.")] = None,
    encoder: EncoderOption = None,
    as_json: JsonOption = None,
) -> int:
    """Find moments across the library, or learn that what you seek is not in here."""
    import saccade
    from saccade.export import to_json

    if kind not in (None, "video", "audio"):
        raise InputError(f"--kind is video or audio, got {kind}")
    span = _limits(start, end)
    with saccade.open(library, create=False, encoder=encoder) as lib:
        result = lib.search(
            _words(query), image=image, k=k, per_video=per_video, evidence=_listed(evidence), videos=video or None,
            start=span[0], end=span[1], after=after, before=before, kind=kind,
        )  # fmt: skip
    _answer(as_json, lambda: to_json(result), lambda: _search_text(result))
    return 0


@app.command()
def ground(
    video: Annotated[str, typer.Argument(help="Its id, path or file name.")],
    query: Annotated[list[str] | None, typer.Argument(help="What happens.")] = None,
    library: LibraryOption = None,
    image: ImageOption = None,
    evidence: EvidenceOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many spans.")] = 5,
    encoder: EncoderOption = None,
    as_json: JsonOption = None,
) -> int:
    """Find when it happens inside one video: spans, and a curve of relevance over time."""
    import saccade
    from saccade.export import to_json

    with saccade.open(library, create=False, encoder=encoder) as lib:
        result = lib.ground(video, _words(query), image=image, k=k, evidence=_listed(evidence))
    _answer(as_json, lambda: to_json(result), lambda: _ground_text(result))
    return 0


@app.command()
def info(
    video: Annotated[str | None, typer.Argument(help="Its id, path or file name; default: all.")] = None,
    library: LibraryOption = None,
    as_json: JsonOption = None,
) -> int:
    """Show the ledger: what was seen, heard and read of each file, and what failed and why."""
    import saccade
    from saccade.export import ledger_to_json

    with saccade.open(library, create=False) as lib:
        reports = lib.info(video)
    _answer(as_json, lambda: ledger_to_json(reports), lambda: _info_text(reports, in_full=video is not None))
    return 0


@app.command()
def export(
    what: Annotated[str, typer.Argument(metavar="VIDEO|RESULT.json", help="A video, or a saved answer of --json.")],
    format: Annotated[str, typer.Option("--format", "-f", metavar="json|vtt|srt|npz|clip")] = "json",
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Default: stdout.")] = None,
    span: Annotated[str | None, typer.Option(metavar="FROM-TO", help="Of the clip, such as 1:02-1:10.5.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Cut to the frame by encoding anew.")] = False,
    rank: Annotated[int, typer.Option(min=1, help="Cut this moment of RESULT.json.")] = 1,
    kinds: Annotated[str | None, typer.Option("--texts", metavar="KINDS", help="Of said,written: these.")] = None,
    video: Annotated[str | None, typer.Option("--in", metavar="VIDEO", help="Only RESULT.json's hits in it.")] = None,
    library: LibraryOption = None,
    as_json: JsonOption = None,
) -> int:
    """Write what was said and written, or an answer, as json, vtt or srt; vectors as npz; or cut out a clip."""
    from saccade import export as exporting

    saved = _saved(what)
    if format == "clip":
        clip = _cut(what, saved, span, rank, exact, output, library)
        _answer(as_json, lambda: exporting.clip_to_json(clip), lambda: _clip_text(clip))
        return 0
    if span is not None or exact:
        raise InputError("--span and --exact belong to --format clip")
    if format == "npz":
        exporting.export_features(_features(what, output, library), output or "")
        return 0
    result = saved if saved is not None else _texts(what, kinds, library)
    text = exporting.export(result, format, output, video=video)
    if output is None:
        _write(text)
    return 0


@app.command()
def remove(
    video: Annotated[str, typer.Argument(help="Its id, path or file name.")],
    library: LibraryOption = None,
    as_json: JsonOption = None,
) -> int:
    """Forget everything about a video. The file itself is not touched."""
    import saccade

    with saccade.open(library, create=False) as lib:
        path = lib.remove(video)
    _answer(
        as_json, lambda: {"removed": path}, lambda: [f"forgotten: {_shown(path)} (the file itself was not touched)"]
    )
    return 0


@app.command()
def doctor(
    library: LibraryOption = None,
    encoder: EncoderOption = None,
    as_json: JsonOption = None,
) -> int:
    """Check this machine, the weights and the library: what works, what is missing, and how to get it."""
    from saccade import maintain

    place = library or os.environ.get("SACCADE_LIBRARY") or "saccade-library"
    checks = maintain.doctor(place, encoder=encoder)
    _answer(as_json, lambda: maintain.checks_to_json(checks), lambda: [_checks_table(checks)])
    return NOTHING if any(check.state == "broken" for check in checks) else 0


# ── what was typed ──


def _listed(text: str | None) -> list[str] | None:
    """``seen,said`` as a list; None where nothing was said."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _words(query: list[str] | None) -> str | None:
    """A query may come in quotes or without."""
    return " ".join(query) if query else None


def _senses(only: str | None, no: str | None) -> list[str] | None:
    if only is None and no is None:
        return None
    if only is not None and no is not None:
        raise InputError("--only and --no exclude each other")
    from saccade.ingest import SENSES

    named = _listed(only if only is not None else no) or []
    if not named or not set(named) <= set(SENSES):
        raise InputError(f"senses are of {','.join(SENSES)}, got {','.join(named) or 'none'}")
    return [sense for sense in SENSES if (sense in named) == (only is not None)]


def _limits(start: str | None, end: str | None) -> tuple[float | None, float | None]:
    """What --from and --to say, in seconds."""
    begin, stop = (None if text is None else _seconds(text) for text in (start, end))
    if begin is not None and stop is not None and stop <= begin:
        raise InputError(f"--from {start} is not before --to {end}")
    return begin, stop


def _seconds(text: str) -> float:
    """``75``, ``1:15`` or ``0:01:15.5`` as seconds."""
    parts = text.strip().split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    whole = all(number == int(number) for number in numbers[:-1] if abs(number) < 1e9)
    if not 1 <= len(numbers) <= 3 or not whole or not all(0 <= number < 1e9 for number in numbers):
        raise InputError(f"{text!r} is no time: write 75.5, 1:15.5 or 1:02:15")
    return float(sum(number * 60**place for place, number in enumerate(reversed(numbers))))


def _span(text: str) -> Span:
    from saccade.types import Span

    start, dash, end = text.replace("–", "-").partition("-")
    if not dash or _seconds(end) <= _seconds(start):
        raise InputError(f"{text!r} is no span: write 62-70.5 or 1:02-1:10.5, from the earlier to the later time")
    return Span(_seconds(start), _seconds(end))


def _saved(what: str) -> Any:
    """The answer in ``what`` where that is a JSON file, else None."""
    if not what.lower().endswith(".json"):
        return None
    import json

    from saccade.export import from_json

    try:
        data = json.loads(Path(what).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{what} cannot be read as a saved answer: {error}") from None
    return from_json(data if isinstance(data, dict) else {})


def _texts(video: str, kinds: str | None, library: Path | None) -> Any:
    import saccade

    wanted = _listed(kinds)
    if wanted is not None and not (wanted and set(wanted) <= {"said", "written"}):
        raise InputError(f"--texts are of said,written, got {kinds}")
    with saccade.open(library, create=False) as lib:
        return lib.texts(video, wanted)


def _features(video: str, output: Path | None, library: Path | None) -> Features:
    import saccade

    if output is None:
        raise InputError("an npz archive is no text for a terminal: say -o FILE.npz")
    with saccade.open(library, create=False) as lib:
        return lib.features(video)


def _cut(
    what: str, saved: Any, span: str | None, rank: int, exact: bool, output: Path | None, library: Path | None
) -> Any:
    """The clip of a span of a video, or of a moment of a saved answer."""
    from saccade.video.cut import cut

    if saved is None and span is None:
        raise InputError("a clip needs --span FROM-TO, or a saved answer of search or ground to cut from")
    wanted = _span(span) if span is not None else None
    if saved is None:
        source = what if Path(what).is_file() else _path_in_library(what, library)
    else:
        source, found = _moment_of(saved, rank)
        wanted = wanted or found
    assert wanted is not None
    return cut(source, wanted, output or Path(_clip_name(Path(source), wanted, exact)), exact=exact)


def _clip_name(source: Path, span: Span, exact: bool) -> str:
    """``talk 62.00-70.50.mp4``: of the source's kind where a clip can be of that kind."""
    from saccade.video.cut import CONTAINERS, EXACT_CONTAINERS

    kept = source.suffix.lower() in (EXACT_CONTAINERS if exact else CONTAINERS)
    return f"{source.stem} {span.start:.2f}-{span.end:.2f}{source.suffix if kept else '.mp4' if exact else '.mkv'}"


def _path_in_library(video: str, library: Path | None) -> str:
    import saccade

    with saccade.open(library, create=False) as lib:
        reports = lib.info(video)
    return next((report.path for report in reports if Path(report.path).is_file()), reports[0].path)


def _moment_of(saved: Any, rank: int) -> tuple[str, Span]:
    moments: Sequence[Any] = getattr(saved, "hits", None) or getattr(saved, "moments", None) or ()
    if rank > len(moments):
        raise InputError(f"the saved answer holds {len(moments)} moments, so there is no number {rank}")
    moment = moments[rank - 1]
    return getattr(moment, "path", None) or saved.path, moment.span


# ── what is printed ──


def _answer(as_json: bool | None, data: Any, people: Any) -> None:
    """Print ``data()`` as JSON, or what ``people()`` renders; as JSON by default where no terminal listens."""
    if as_json or (as_json is None and not sys.stdout.isatty()):
        import json

        plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        _write(json.dumps(data(), ensure_ascii=plain, indent=2) + "\n")
        return
    console = _console(sys.stdout)
    with console.capture() as captured:
        for part in people():
            console.print(part)
    _write(captured.get())


def _write(text: str) -> None:
    """To stdout, what it cannot show as escapes; where nobody reads any more (``| head``), end quietly."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(UNREAD) from None


def _complain(sentence: str) -> None:
    encoding = sys.stderr.encoding or "utf-8"
    print(f"saccade: {sentence}".encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)


def _console(stream: Any) -> Console:
    from rich.console import Console

    return Console(file=stream, highlight=False, emoji=False, markup=False, soft_wrap=not stream.isatty())


def _search_text(result: SearchResult) -> Iterable[RenderableType]:
    if result.unknown_words:
        yield _styled(f"not understood: {', '.join(result.unknown_words)}", "yellow")
    if not result.present:
        yield _styled("It is not in here. The closest were:" if result.hits else "It is not in here.", "bold")
    for rank, hit in enumerate(result.hits, 1):
        yield from _moment_text(rank, hit, result.query, _name(hit.path))
    yield from _warnings(result.warnings)


def _ground_text(result: GroundResult) -> Iterable[RenderableType]:
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
        if text:
            yield _matched_text(kind, text, query)


def _matched_text(kind: str, text: str, query: str) -> Text:
    """One line of evidence, the query's words in it highlighted."""
    from rich.text import Text

    from saccade.index.fulltext import content_tokens

    words = Text(_shown(text if len(text) <= 300 else text[:299] + "…"))
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


def _info_text(reports: Sequence[VideoReport], in_full: bool) -> Iterable[RenderableType]:
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
        table.add_row(report.state, length, *marks, (report.id or "")[:8], _shown(os.path.relpath(report.path, folder)))
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
    return _shown(os.path.basename(path))


def _shown(text: str) -> str:
    """Text of a file with what would disturb a terminal (line breaks, escapes, broken bytes) written out."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _clip_text(clip: Any) -> Iterable[RenderableType]:
    moved = "" if clip.exact else " (whole groups of pictures; --exact cuts to the frame)"
    yield f"{clip.path}: {clip.span.start:.3f} to {clip.span.end:.3f} s{moved}"
    if clip.left_out:
        yield _styled(f"this container cannot carry {'; '.join(clip.left_out)}", "yellow")


def _checks_table(checks: Sequence[Check]) -> RenderableType:
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

    return Text(_shown(text), style)


def _plan_json(plan: Plan) -> dict[str, Any]:
    files = [{"path": item.path, "state": item.state, "due": list(item.due)} for item in plan.items]
    estimate = {"hours": plan.hours, "seconds": plan.seconds, "disk_bytes": plan.disk_bytes}
    return {"counts": plan.counts, "other": plan.other, **estimate, "files": files, "warnings": list(plan.warnings)}


def _plan_text(plan: Plan) -> Iterable[RenderableType]:
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


class _Meter:
    """Progress on stderr: a bar on a terminal, else a line now and then."""

    LINE_SECONDS = 10.0

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._next_line = 0.0

    def __enter__(self) -> _Meter:
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


def _ingest_code(report: IngestReport) -> int:
    lacking = report.failed + report.waiting + report.partly
    if report.done or report.skipped:
        return PARTLY if lacking else 0
    return NOTHING


def _ingest_json(report: IngestReport) -> dict[str, Any]:
    groups = ("done", "skipped", "partly", "waiting", "failed")
    counts = {group: len(getattr(report, group)) for group in groups}
    files = [{"path": file.path, "outcome": file.outcome, "note": file.note} for file in report.files]
    return {**counts, "other": report.other, "warnings": list(report.warnings), "files": files}


def _ingest_text(report: IngestReport) -> Iterable[RenderableType]:
    yield from _warnings(report.warnings)
    outcomes = [file.outcome for file in report.files]
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
    yield f"{counts or 'no media files'}; {report.other} other files"
    for file in report.files:
        if file.outcome in ("failed", "waiting", "partial", "missing"):
            yield _styled(f"  {file.outcome}: {file.path}{': ' * bool(file.note)}{file.note}", "yellow")


def _announce(plan: Plan) -> None:
    """Before a large run: how long each sense will take, and the disk."""
    bytes_due = sum(item.stamp.size for item in plan.pending)
    if bytes_due > LARGE_BYTES:
        console = _console(sys.stderr)
        for part in _plan_text(plan):
            console.print(part)
