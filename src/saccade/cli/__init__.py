"""The command line: parse, call one public function, format. Everything else is imported inside its command.

Exit codes: 0 done; 1 nothing worked; 2 wrong usage; 3 done in part (the ledger says what failed); 130 interrupted;
141 nobody reads the output any more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saccade.cli import shown, typed
from saccade.cli.shown import NOTHING, Meter, complain, print_answer, printable, write_out
from saccade.cli.typed import joined_words, listed
from saccade.errors import InputError, SaccadeError

if TYPE_CHECKING:
    from saccade.library import Library

INTERRUPTED = 130

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
    str | None,
    typer.Option(metavar="NAME|FOLDER", help="Frame encoder for what is seen: builtin, a folder or a hub id."),
]
DownloadOption = Annotated[
    bool, typer.Option("--download", help="The model hub may be asked for what is missing of the encoder.")
]
EvidenceOption = Annotated[
    str | None, typer.Option(metavar="KINDS", help="Search only these, separated by commas: seen,said,written,heard.")
]
ImageOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Search by this picture instead of words.")]


def _version(wanted: bool) -> None:
    if wanted:
        from saccade import __version__

        write_out(f"{__version__}\n")
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
        complain(str(error))
        return 2 if isinstance(error, InputError) else NOTHING
    except OSError as error:
        if error.filename is None:  # nothing that a user named: a fault of ours, with its trace
            raise
        complain(f"{error.filename}: {error.strerror}")
        return NOTHING
    if code == INTERRUPTED:
        complain("interrupted; what was done is kept, and the same command goes on from there")
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
    download: DownloadOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and how long.")] = False,
    as_json: JsonOption = None,
) -> int:
    """Watch, listen and read: everything in these files becomes findable. What is indexed already is skipped."""
    import saccade

    senses = typed.chosen_senses(only, no)
    wish: dict[str, Any] = {"senses": senses, "every": every, "mode": mode, "ocr_every": ocr_every}
    if dry_run:
        with _opened_without_traces(library, encoder) as lib:
            plan = lib.plan(*paths, **wish)
            print_answer(as_json, lambda: shown.plan_json(plan), lambda: shown.plan_text(plan))
        return 0
    if download:
        from saccade.encode import load_encoder

        if encoder is None:
            raise InputError("--download fetches the encoder that --encoder names: name one")
        load_encoder(encoder, download=True)
    with saccade.open(library, encoder=encoder) as lib:
        shown.announce(lib.plan(*paths, **wish))
        with Meter() as meter:
            report = lib.add(
                *paths, **wish, language=language, speech_model=speech_model, verify=verify, on_progress=meter.update
            )
    print_answer(as_json, lambda: shown.ingest_json(report), lambda: shown.ingest_text(report))
    return shown.ingest_code(report)


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
    span = typed.limits(start, end)
    with saccade.open(library, create=False, encoder=encoder) as lib:
        result = lib.search(
            joined_words(query), image=image, k=k, per_video=per_video, evidence=listed(evidence), videos=video or None,
            start=span[0], end=span[1], after=after, before=before, kind=kind,
        )  # fmt: skip
    print_answer(as_json, lambda: to_json(result), lambda: shown.search_text(result))
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
        result = lib.ground(video, joined_words(query), image=image, k=k, evidence=listed(evidence))
    print_answer(as_json, lambda: to_json(result), lambda: shown.ground_text(result))
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
    print_answer(as_json, lambda: ledger_to_json(reports), lambda: shown.info_text(reports, in_full=video is not None))
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

    saved = typed.saved_answer(what)
    if format == "clip":
        clip = typed.cut_clip(what, saved, span, rank, exact, output, library)
        print_answer(as_json, lambda: exporting.clip_to_json(clip), lambda: shown.clip_text(clip))
        return 0
    if span is not None or exact:
        raise InputError("--span and --exact belong to --format clip")
    if format == "npz":
        exporting.export_features(typed.features_of(what, output, library), output or "")
        return 0
    result = saved if saved is not None else typed.texts_of(what, kinds, library)
    text = exporting.export(result, format, output, video=video)
    if output is None:
        write_out(text)
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
    print_answer(
        as_json, lambda: {"removed": path}, lambda: [f"forgotten: {printable(path)} (the file itself was not touched)"]
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
    print_answer(as_json, lambda: maintain.checks_to_json(checks), lambda: [shown.checks_table(checks)])
    return NOTHING if any(check.state == "broken" for check in checks) else 0


@app.command()
def migrate(
    encoder: Annotated[str, typer.Option(metavar="NAME|FOLDER", help="To this one: builtin, a folder or a hub id.")],
    library: LibraryOption = None,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Keep the former encoder's vectors beside.")] = False,
    download: DownloadOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and how long.")] = False,
    as_json: JsonOption = None,
) -> int:
    """Let another frame encoder see everything anew, from the proxies; search goes over to it once all is done."""
    from saccade import maintain
    from saccade.library import library_folder

    place = library_folder(library)
    if dry_run:
        left = maintain.plan_migration(place, encoder, download=download)
        print_answer(as_json, lambda: maintain.migration_to_json(left), lambda: shown.migration_text(left))
        return 0
    with Meter() as meter:
        done = maintain.migrate(place, encoder, keep_old=keep_old, download=download, on_progress=meter.update)
    print_answer(as_json, lambda: maintain.migration_to_json(done), lambda: shown.migration_text(done))
    return shown.migration_code(done)
