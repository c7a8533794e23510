"""What was typed on the command line, as the library takes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.errors import InputError

if TYPE_CHECKING:
    from saccade.types import Features, Span


def listed(text: str | None) -> list[str] | None:
    """``seen,said`` as a list; None where nothing was said."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def joined_words(query: list[str] | None) -> str | None:
    """A query may come in quotes or without."""
    return " ".join(query) if query else None


def chosen_senses(only: str | None, no: str | None) -> list[str] | None:
    if only is None and no is None:
        return None
    if only is not None and no is not None:
        raise InputError("--only and --no exclude each other")
    from saccade.ingest import SENSES

    named = listed(only if only is not None else no) or []
    if not named or not set(named) <= set(SENSES):
        raise InputError(f"senses are of {','.join(SENSES)}, got {','.join(named) or 'none'}")
    return [sense for sense in SENSES if (sense in named) == (only is not None)]


def limits(start: str | None, end: str | None) -> tuple[float | None, float | None]:
    """What --from and --to say, in seconds."""
    begin, stop = (None if text is None else read_seconds(text) for text in (start, end))
    if begin is not None and stop is not None and stop <= begin:
        raise InputError(f"--from {start} is not before --to {end}")
    return begin, stop


def read_seconds(text: str) -> float:
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


def read_span(text: str) -> Span:
    from saccade.types import Span

    start, dash, end = text.replace("–", "-").partition("-")
    if not dash or read_seconds(end) <= read_seconds(start):
        raise InputError(f"{text!r} is no span: write 62-70.5 or 1:02-1:10.5, from the earlier to the later time")
    return Span(read_seconds(start), read_seconds(end))


def saved_answer(what: str) -> Any:
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


def texts_of(video: str, kinds: str | None, library: Path | None) -> Any:
    import saccade

    wanted = listed(kinds)
    if wanted is not None and not (wanted and set(wanted) <= {"said", "written"}):
        raise InputError(f"--texts are of said,written, got {kinds}")
    with saccade.open(library, create=False) as lib:
        return lib.texts(video, wanted)


def features_of(video: str, output: Path | None, library: Path | None) -> Features:
    import saccade

    if output is None:
        raise InputError("an npz archive is no text for a terminal: say -o FILE.npz")
    with saccade.open(library, create=False) as lib:
        return lib.features(video)


def cut_clip(
    what: str, saved: Any, span: str | None, rank: int, exact: bool, output: Path | None, library: Path | None
) -> Any:
    """The clip of a span of a video, or of a moment of a saved answer."""
    from saccade.video.cut import cut

    if saved is None and span is None:
        raise InputError("a clip needs --span FROM-TO, or a saved answer of search or ground to cut from")
    wanted = read_span(span) if span is not None else None
    if saved is None:
        source = what if Path(what).is_file() else path_in_library(what, library)
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


def path_in_library(video: str, library: Path | None) -> str:
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
