"""Export: the JSON shapes that others script against, and subtitles that players and our own reader take."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from saccade.errors import InputError
from saccade.export import clip_to_json, export, export_features, from_json, ledger_to_json, to_json
from saccade.types import (
    Coverage,
    CurvePoint,
    Features,
    Gap,
    GroundResult,
    Hit,
    Match,
    Moment,
    SearchResult,
    Span,
    TimedText,
    Word,
)  # fmt: skip


def hit(start: float, end: float, text: str = "", video: str = "v1", path: str = "/films/talk.mp4") -> Hit:
    matched = (Match("said", text, Span(start, end)),) if text else (Match("seen", "", Span(start, end)),)
    return Hit(Span(start, end), 2.5, 0.98, matched, video, path)


SEARCH = SearchResult(
    "red door", None, (hit(61.5, 64, "she opens <the> red & blue door"), hit(3, 4.25)), ("zxcv",), ("no encoder",)
)
GROUND = GroundResult(
    "v1",
    "/films/talk.mp4",
    "the demo fails",
    (Moment(Span(5, 6), 1.0, 0.4),),
    (CurvePoint(Span(0, 2), 0.1), CurvePoint(Span(2, 4), 0.7)),
)
TEXTS = [
    TimedText(Span(3600, 3601.2346), "마요네즈\n\n한 티스푼 --> 섞는다", "said", "whisper-base", "ko"),
    TimedText(Span(1, 1), "Agenda", "written", "rapidocr", None, (Word("Agenda", Span(1, 1), 0.5),)),
]


def test_a_search_has_the_promised_shape() -> None:
    assert to_json(SEARCH) == {
        "query": "red door",
        "encoder": None,
        "present": True,
        "unknown_words": ["zxcv"],
        "warnings": ["no encoder"],
        "hits": [
            {
                "video": "v1",
                "path": "/films/talk.mp4",
                "start": 61.5,
                "end": 64,
                "score": 2.5,
                "confidence": 0.98,
                "matched": [{"kind": "said", "text": "she opens <the> red & blue door", "start": 61.5, "end": 64}],
            },
            {
                "video": "v1",
                "path": "/films/talk.mp4",
                "start": 3,
                "end": 4.25,
                "score": 2.5,
                "confidence": 0.98,
                "matched": [{"kind": "seen", "text": "", "start": 3, "end": 4.25}],
            },
        ],
    }


def test_a_grounding_has_the_promised_shape() -> None:
    data = to_json(GROUND)
    assert data["present"] is False
    assert data["moments"][0].items() >= {"start": 5, "end": 6, "score": 1.0, "confidence": 0.4}.items()
    assert data["curve"] == [{"start": 0, "end": 2, "score": 0.1}, {"start": 2, "end": 4, "score": 0.7}]


def test_the_ledger_has_the_promised_shape() -> None:
    from saccade.library import VideoReport

    coverage = Coverage("said", "partial", 10.0, gaps=(Gap(Span(3, 4), "noise"),))
    recorded = datetime(2026, 5, 1, tzinfo=UTC)
    good = VideoReport("/films/talk.mp4", "v1", "indexed", "", 12.5, 0.5, "video", recorded, (coverage,))
    bad = VideoReport("/films/broken.mp4", None, "failed", "no stream")
    videos = json.loads(json.dumps(ledger_to_json([good, bad])))["videos"]
    assert [video["path"] for video in videos] == ["/films/talk.mp4", "/films/broken.mp4"]
    assert videos[0]["duration"] == 12.5 and videos[0]["start_seconds"] == 0.5 and videos[0]["id"] == "v1"
    assert videos[0]["recorded"] == "2026-05-01T00:00:00+00:00"
    assert videos[0]["coverage"][0]["sense"] == "said"
    assert videos[0]["coverage"][0]["gaps"] == [{"start": 3, "end": 4, "reason": "noise"}]
    assert videos[1]["state"] == "failed" and videos[1]["error"] == "no stream" and videos[1]["duration"] is None


def test_a_clip_says_what_was_cut() -> None:
    from saccade.video.cut import Clip

    data = clip_to_json(Clip("c.mp4", Span(0.96, 2.52), Span(1, 2.5), False, ("stream 2: subtitle ass",)))
    assert data["start"] == 0.96 and data["asked"] == {"start": 1, "end": 2.5}
    assert data["left_out"] == ["stream 2: subtitle ass"] and data["exact"] is False


@pytest.mark.parametrize("result", [SEARCH, GROUND, TEXTS], ids=["search", "ground", "texts"])
def test_json_comes_back_whole(result, tmp_path: Path) -> None:
    export(result, "json", tmp_path / "result.json")
    assert from_json(json.loads((tmp_path / "result.json").read_text("utf-8"))) == result


@pytest.mark.parametrize("data", [{}, {"hits": [{}]}, {"moments": 3}, {"texts": [{"kind": "said"}]}, {"videos": []}])
def test_json_of_others_is_refused(data: dict) -> None:
    with pytest.raises(InputError, match="not a result"):
        from_json(data)


def test_webvtt_is_ordered_escaped_and_timed() -> None:
    assert export(SEARCH, "vtt") == (
        "WEBVTT\n\n"
        "00:00:03.000 --> 00:00:04.250\nred door\n\n"
        "00:01:01.500 --> 00:01:04.000\nshe opens &lt;the&gt; red &amp; blue door\n"
    )


def test_subrip_is_numbered_and_nothing_in_a_cue_breaks_it() -> None:
    assert export(TEXTS, "srt") == (
        "1\n00:00:01,000 --> 00:00:01,001\nAgenda\n\n2\n01:00:00,000 --> 01:00:01,235\n마요네즈\n한 티스푼 → 섞는다\n"
    )


def test_our_own_reader_takes_what_we_wrote() -> None:
    from saccade.video.subtitles import parse_subtitles

    texts = [TimedText(Span(n, n + 0.5), f"line {n} <b>&", "said", "x") for n in range(5)]
    for format in ("vtt", "srt"):
        again = parse_subtitles(export(texts, format).encode(), f".{format}", "x")
        assert [text.span for text in again] == [text.span for text in texts]
    again = parse_subtitles(export(texts, "vtt").encode(), ".vtt", "x")
    assert [text.text for text in again] == [text.text for text in texts]


def test_nothing_found_is_still_a_file() -> None:
    nothing = SearchResult("red door", None, ())
    assert export(nothing, "vtt") == "WEBVTT\n" and export(nothing, "srt") == ""
    assert json.loads(export(nothing, "json"))["hits"] == []


def test_subtitles_of_several_videos_need_a_choice() -> None:
    both = SearchResult("door", None, (hit(1, 2, "a"), hit(3, 4, "b", "v2", "/films/other.mp4")))
    with pytest.raises(InputError, match=r"other\.mp4, talk\.mp4"):
        export(both, "vtt")
    for name in ("v2", "other.mp4", "/films/other.mp4"):
        assert export(both, "srt", video=name) == "1\n00:00:03,000 --> 00:00:04,000\nb\n"
    with pytest.raises(InputError, match="none of the hits"):
        export(both, "srt", video="third.mp4")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "cues.vtt"
    text = export(TEXTS, "vtt", target)
    assert target.read_text("utf-8") == text and list(target.parent.iterdir()) == [target]
    with pytest.raises(InputError, match="json, vtt, srt"):
        export(TEXTS, "docx", target)
    assert target.read_text("utf-8") == text


def test_features_are_a_plain_archive(tmp_path: Path) -> None:
    features = Features("v1", "clip@1", np.eye(3, 4, dtype=np.float32), np.array([0.0, 1.0, 2.5]))
    export_features(features, tmp_path / "features.npz")
    with np.load(tmp_path / "features.npz", allow_pickle=False) as archive:
        assert (archive["vectors"] == features.vectors).all() and archive["vectors"].dtype == np.float32
        assert (archive["seconds"] == features.seconds).all()
        assert (str(archive["encoder"]), str(archive["video"])) == ("clip@1", "v1")
    assert list(tmp_path.iterdir()) == [tmp_path / "features.npz"]
