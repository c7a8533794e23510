"""One result, every format: JSON for programs, WebVTT and SubRip for players, and the clip itself.

The shapes of the JSON are what the command line prints; fields may be added, none changes its meaning.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.errors import InputError
from saccade.types import (
    Coverage,
    CurvePoint,
    Features,
    GroundResult,
    Hit,
    Match,
    Moment,
    SearchResult,
    Span,
    TimedText,
    Word,
)
from saccade.weights import replacing

if TYPE_CHECKING:
    from saccade.library import VideoReport
    from saccade.video.cut import Clip

FORMATS = ("json", "vtt", "srt")
"""What :func:`export` writes. Features have :func:`export_features`; a clip is cut by ``saccade.video.cut``."""

Exportable = SearchResult | GroundResult | Sequence[TimedText]


def export(
    result: Exportable, format: str, path: str | os.PathLike[str] | None = None, *, video: str | None = None
) -> str:
    """The result as text in ``format``; with ``path`` also written there, whole or not at all.

    vtt and srt hold one cue a moment or text, in order of time. They belong to one video: of a search over
    several, ``video`` (id, path or file name) picks whose moments are meant.

    >>> print(export([TimedText(Span(0, 2.5), "she opens the door", "said", "talk.srt")], "srt"))
    1
    00:00:00,000 --> 00:00:02,500
    she opens the door
    <BLANKLINE>

    Raises InputError for an unknown format, or several videos where one is needed.
    """
    if format not in FORMATS:
        raise InputError(f"a result is exported as {', '.join(FORMATS)}, got {format!r}")
    if format == "json":
        text = json.dumps(to_json(_of_video(result, video)), ensure_ascii=False, indent=2) + "\n"
    else:
        cues = _cues(result, video)
        text = _vtt(cues) if format == "vtt" else _srt(cues)
    if path is not None:
        with replacing(Path(path)) as scratch:
            scratch.write_text(text, encoding="utf-8", errors="surrogateescape")
    return text


def export_features(features: Features, path: str | os.PathLike[str]) -> None:
    """Stored vectors as a NumPy archive: vectors float32 (T, D), seconds float64 (T,), and encoder and video by name.

    ``numpy.load(path)`` reads it without pickle. The file is written whole or not at all.
    """
    with replacing(Path(path)) as scratch, scratch.open("wb") as file:
        np.savez(
            file, vectors=features.vectors, seconds=features.seconds, encoder=features.encoder, video=features.video
        )


def to_json(result: Exportable) -> dict[str, Any]:
    """The result as JSON-able dicts and lists, seconds as numbers.

    A search: query, encoder, present, unknown_words, warnings, hits (video, path, start, end, score, confidence,
    matched: kind, text, start, end). A grounding: query, video, path, present, warnings, moments, curve (start, end,
    score). Texts: ``{"texts": [...]}``.
    """
    if isinstance(result, SearchResult):
        return {
            "query": result.query,
            "encoder": result.encoder,
            "present": result.present,
            "unknown_words": list(result.unknown_words),
            "warnings": list(result.warnings),
            "hits": [{"video": hit.video, "path": hit.path, **_moment(hit)} for hit in result.hits],
        }
    if isinstance(result, GroundResult):
        return {
            "query": result.query,
            "video": result.video,
            "path": result.path,
            "present": result.present,
            "warnings": list(result.warnings),
            "moments": [_moment(moment) for moment in result.moments],
            "curve": [{**_span(point.span), "score": point.score} for point in result.curve],
        }
    return {"texts": [_text(text) for text in result]}


def ledger_to_json(reports: Iterable[VideoReport]) -> dict[str, Any]:
    """``{"videos": [...]}``: a row for each file, with path, id, state, duration, start_seconds, coverage, ..."""
    return {"videos": [_report(report) for report in reports]}


def clip_to_json(clip: Clip) -> dict[str, Any]:
    """path, start and end (the span really cut), asked, exact, left_out."""
    fields = {"path": clip.path, **_span(clip.span), "asked": _span(clip.asked)}
    return {**fields, "exact": clip.exact, "left_out": list(clip.left_out)}


def from_json(data: Mapping[str, Any]) -> SearchResult | GroundResult | list[TimedText]:
    """The result that :func:`to_json` wrote: a search, a grounding, or texts. Raises InputError for anything else."""
    try:
        if "hits" in data:
            return SearchResult(
                data["query"],
                data["encoder"],
                tuple(Hit(**_moment_fields(hit), video=hit["video"], path=hit["path"]) for hit in data["hits"]),
                tuple(data["unknown_words"]),
                tuple(data["warnings"]),
            )
        if "moments" in data:
            return GroundResult(
                data["video"],
                data["path"],
                data["query"],
                tuple(Moment(**_moment_fields(moment)) for moment in data["moments"]),
                tuple(CurvePoint(_span_of(point), point["score"]) for point in data["curve"]),
                tuple(data["warnings"]),
            )
        return [_text_of(text) for text in data["texts"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"this is not a result that saccade wrote as JSON: {error!r} is missing or odd") from None


# ── JSON ──


def _span(span: Span) -> dict[str, float]:
    return {"start": span.start, "end": span.end}


def _span_of(data: Mapping[str, Any]) -> Span:
    return Span(data["start"], data["end"])


def _moment(moment: Moment) -> dict[str, Any]:
    matched = [{"kind": match.kind, "text": match.text, **_span(match.span)} for match in moment.matched]
    return {**_span(moment.span), "score": moment.score, "confidence": moment.confidence, "matched": matched}


def _moment_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    matched = tuple(Match(match["kind"], match["text"], _span_of(match)) for match in data["matched"])
    return {"span": _span_of(data), "score": data["score"], "confidence": data["confidence"], "matched": matched}


def _text(text: TimedText) -> dict[str, Any]:
    words = [{"text": word.text, **_span(word.span), "probability": word.probability} for word in text.words]
    fields = {"kind": text.kind, **_span(text.span), "text": text.text, "source": text.source}
    return {**fields, "language": text.language, "words": words}


def _text_of(data: Mapping[str, Any]) -> TimedText:
    words = tuple(Word(word["text"], _span_of(word), word["probability"]) for word in data["words"])
    return TimedText(_span_of(data), data["text"], data["kind"], data["source"], data["language"], words)


def _report(report: VideoReport) -> dict[str, Any]:
    recorded = None if report.recorded is None else report.recorded.isoformat()
    return {**asdict(report), "recorded": recorded, "coverage": [_coverage(row) for row in report.coverage]}


def _coverage(row: Coverage) -> dict[str, Any]:
    return {**asdict(row), "gaps": [{**_span(gap.span), "reason": gap.reason} for gap in row.gaps]}


# ── subtitles ──


@dataclass(frozen=True)
class _Cue:
    span: Span
    text: str


def _of_video(result: Exportable, video: str | None) -> Exportable:
    """The result, a search limited to the hits of ``video`` where one is named."""
    if video is None or not isinstance(result, SearchResult):
        return result
    hits = tuple(hit for hit in result.hits if video in (hit.video, hit.path, Path(hit.path).name))
    if not hits:
        raise InputError(f"none of the hits lies in {video}")
    return SearchResult(result.query, result.encoder, hits, result.unknown_words, result.warnings)


def _cues(result: Exportable, video: str | None) -> list[_Cue]:
    result = _of_video(result, video)
    if isinstance(result, SearchResult):
        paths = {hit.video: hit.path for hit in result.hits}
        if len(paths) > 1:
            raise InputError(
                f"subtitles belong to one video, and these hits lie in {len(paths)}: "
                f"choose one ({', '.join(sorted(Path(path).name for path in paths.values()))})"
            )
        moments: Sequence[Moment] = result.hits
    elif isinstance(result, GroundResult):
        moments = result.moments
    else:
        return sorted((_Cue(text.span, text.text) for text in result), key=lambda cue: cue.span)
    return sorted((_Cue(moment.span, _words_of(moment, result.query)) for moment in moments), key=lambda cue: cue.span)


def _words_of(moment: Moment, query: str) -> str:
    """What was said or written there; the query itself where it was only seen."""
    return "\n".join(dict.fromkeys(match.text for match in moment.matched if match.text)) or query


def _vtt(cues: Sequence[_Cue]) -> str:
    return "\n".join(["WEBVTT\n", *(f"{_times(cue.span, '.')}\n{_escape(_lines(cue.text))}\n" for cue in cues)])


def _srt(cues: Sequence[_Cue]) -> str:
    return "\n".join(f"{n}\n{_times(cue.span, ',')}\n{_lines(cue.text)}\n" for n, cue in enumerate(cues, 1))


def _times(span: Span, point: str) -> str:
    """Players drop a cue that ends where it begins, so each lasts a millisecond at least."""
    start = max(0, round(span.start * 1000))
    end = max(start + 1, round(span.end * 1000))
    return f"{_stamp(start, point)} --> {_stamp(end, point)}"


def _stamp(milliseconds: int, point: str) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{milliseconds:03d}"


def _lines(text: str) -> str:
    """A blank line would end the cue early, and an arrow would begin a new one."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip()).replace("-->", "→") or "…"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
