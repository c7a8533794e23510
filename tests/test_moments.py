"""From evidence to moments, on libraries whose evidence is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fabricated import Made, library_of
from saccade.encode import sentence_encoder
from saccade.index.board import CONTEXT_SECONDS, Board
from saccade.index.query import Query, background_queries, picture_query
from saccade.moments import Judge, curve, find

KITCHEN = Made(
    "kitchen.mp4",
    60.0,
    said=[
        (0.0, 4.5, "today we are making scrambled eggs"),
        (5.0, 9.0, "crack four eggs into a bowl"),
        (10.0, 14.0, "now add a spoonful of mayonnaise"),
        (15.0, 19.0, "and whisk until it is smooth"),
        (30.0, 36.0, "serve it on toast with pepper"),
    ],
    written=[(2.0, 8.0, "SCRAMBLED EGGS"), (50.0, 58.0, "subscribe for more recipes")],
    cuts=[12.0, 40.0],
)
TALK = Made(
    "talk.mp4",
    90.0,
    said=[
        (0.0, 6.0, "the data set has four hundred million pairs"),
        (8.0, 14.0, "storing it would cost a fortune"),
        (20.0, 26.0, "our community trained an open model"),
        (60.0, 66.0, "비용을 줄이는 방법을 이야기하겠습니다"),
    ],
    written=[(0.0, 30.0, "Large scale datasets"), (30.0, 80.0, "Questions and answers")],
)


def judge_of(catalog, encoder=None) -> Judge:
    return Judge(Board(catalog, sentence_encoder(), encoder))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    catalog = library_of(tmp_path_factory.mktemp("library"), KITCHEN, TALK)
    yield judge_of(catalog)
    catalog.close()


def best(judge: Judge, query: str, **options):
    return find(judge, judge.read(query), k=3, **options)[0]


@pytest.mark.parametrize(
    "query, start, end",
    [
        ("mayonnaise", 10.0, 14.0),
        ("마요네즈", 10.0, 14.0),
        ("マヨネーズ", 10.0, 14.0),
        ("how expensive is it to store all of this", 8.0, 14.0),
        ("비용", 60.0, 66.0),
        ("questions", 30.0, 80.0),
    ],
)
def test_what_is_there_is_found_at_its_time(judge: Judge, query: str, start: float, end: float) -> None:
    hit = best(judge, query)
    assert (hit.span.start, hit.span.end) == (start, end)
    assert hit.matched[0].span == hit.span and hit.matched[0].kind in ("said", "written")
    assert hit.present, hit


@pytest.mark.parametrize("query", ["a helicopter lands on a mountain", "submarine", "말이 사막에서 달린다", "잠수함"])
def test_what_is_not_there_is_not_present(judge: Judge, query: str) -> None:
    hits = find(judge, judge.read(query), k=3)
    assert not any(hit.present for hit in hits), hits


def test_a_sentence_is_not_cut_by_a_cut(judge: Judge) -> None:
    """The film cuts at 12 s, in the middle of the mayonnaise."""
    hit = best(judge, "mayonnaise")
    assert hit.span.start < 12.0 < hit.span.end


def test_both_kinds_of_evidence_add_up(judge: Judge) -> None:
    query = judge.read("scrambled eggs")
    both = find(judge, query, k=1)[0]
    assert {match.kind for match in both.matched} == {"said", "written"}
    assert both.span.start <= 2.0 and both.span.end >= 4.5
    assert both.score > find(judge, query, k=1, evidence=["said"])[0].score


def test_evidence_is_limited_to_what_was_asked(judge: Judge) -> None:
    hits = find(judge, judge.read("scrambled eggs"), k=5, evidence=["written"])
    assert {match.kind for hit in hits for match in hit.matched} == {"written"}


def test_a_search_stays_where_it_may_look(judge: Judge) -> None:
    where = judge.board.cell_starts >= 29.0
    assert all(hit.span.start >= 29.0 for hit in find(judge, judge.read("eggs"), k=5, where=where))


def test_the_curve_covers_the_video_and_peaks_at_the_moment(judge: Judge) -> None:
    video = judge.board.videos[0]
    query = judge.read("mayonnaise")
    points = curve(judge, query, video, KITCHEN.duration)
    assert [point.span.start for point in points] == [2.0 * index for index in range(30)]
    assert points[-1].span.end == KITCHEN.duration
    peak = max(points, key=lambda point: point.score)
    assert 10.0 <= peak.span.start < 14.0 and peak.score == find(judge, query, k=1)[0].score


def test_moments_are_spread_over_videos(tmp_path: Path) -> None:
    many = [(10.0 * i, 10.0 * i + 4, f"the {word} mayonnaise") for i, word in enumerate(["red", "hot", "old", "new"])]
    videos = [Made("a.mp4", 60.0, said=many), Made("b.mp4", 60.0, said=[(0.0, 4.0, "no mayonnaise at all, please")])]
    with library_of(tmp_path, *videos) as catalog:
        judge = judge_of(catalog)
        query = judge.read("mayonnaise")
        names = [hit.video for hit in find(judge, query, k=3, per_video=2)]
        assert len(set(names)) == 2 and len(names) == 3
        everything = find(judge, query, k=5, per_video=1)
        assert len(everything) == 5, "the others cannot fill k, so the first gives more"
        assert [hit.score for hit in everything] == sorted((hit.score for hit in everything), reverse=True)


def test_what_is_no_match_stays_as_short_as_its_text(tmp_path: Path) -> None:
    """Nothing matches, so everything is about as high: still k moments, each of one sentence, none of all."""
    said = [(3.0 * i, 3.0 * i + 3.0, text) for i, text in enumerate(background_queries("en"))]
    with library_of(tmp_path, Made("long.mp4", 3.0 * len(said), said=said)) as catalog:
        judge = judge_of(catalog)
        hits = find(judge, judge.read("the ferry leaves the island at noon"), k=10, per_video=3)
        assert len(hits) == 10 and len({hit.span for hit in hits}) == 10
        assert all(hit.span.duration <= 6.0 for hit in hits)


def unit(*rows: np.ndarray) -> np.ndarray:
    matrix = np.stack(rows)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


@pytest.fixture
def scenes(tmp_path: Path):
    """Twelve videos of 10 s whose two shots are each near a direction of their own."""
    random = np.random.default_rng(0)
    directions = random.normal(size=(24, 32))
    videos = []
    for number in range(12):
        first, second = directions[2 * number], directions[2 * number + 1]
        frames = unit(*[(first if s < 5 else second) + 0.2 * random.normal(size=32) for s in range(10)])
        videos.append(Made(f"{number}.mp4", 10.0, vectors=frames, cuts=[4.5]))
    with library_of(tmp_path, *videos) as catalog:
        yield judge_of(catalog, "tiny@1"), directions


def test_a_picture_finds_its_shot(scenes) -> None:
    judge, directions = scenes
    query = picture_query(unit(directions[7])[0].astype(np.float32))
    hit = find(judge, query, k=3, evidence=["seen"])[0]
    assert hit.video == judge.board.videos[3]
    assert hit.present and hit.matched[0].kind == "seen"
    assert hit.span.start >= 4.5, "the first shot ends at the cut, and what follows it belongs to the second"


def test_strange_pictures_are_seldom_present(scenes) -> None:
    judge, _ = scenes
    strange = unit(*np.random.default_rng(5).normal(size=(40, 32))).astype(np.float32)
    alarms = sum(find(judge, picture_query(vector), k=1, evidence=["seen"])[0].present for vector in strange)
    assert alarms <= 6, "nominally 5 % of 40, from a background of 24 different scenes"


def test_one_video_alone_has_nothing_to_compare_a_picture_with(tmp_path: Path) -> None:
    frames = unit(*np.random.default_rng(0).normal(size=(10, 32)))
    with library_of(tmp_path, Made("alone.mp4", 10.0, vectors=frames)) as catalog:
        judge = judge_of(catalog, "tiny@1")
        query = picture_query(frames[3].astype(np.float32))
        assert not judge.can_tell(query, ["seen"])
        hit = find(judge, query, k=1, evidence=["seen"])[0]
        assert hit.span.start == 3.0 and hit.confidence == 0.0


def test_times_survive_the_axis(scenes) -> None:
    judge, _ = scenes
    assert np.array_equal(judge.board.cell_starts * 2, np.round(judge.board.cell_starts * 2))


def test_frames_end_at_cuts(scenes) -> None:
    judge, _ = scenes
    items = judge.board.items["seen"]
    mine = items.videos == 0
    assert items.ends[mine][4] == 4.5 == items.starts[mine][5]
    assert items.ends[mine][9] == 10.0


def test_the_context_of_a_frame_is_what_lies_near_it_in_its_shot(scenes) -> None:
    judge, directions = scenes
    items = judge.board.items["seen"]
    queries = unit(*directions[:3]).T.astype(np.float32)
    alone = judge.board.frame_scores(queries, in_context=False)
    shot = items.starts >= 4.5
    for row in range(len(items)):
        near = (items.videos == items.videos[row]) & (shot == shot[row])
        near &= np.abs(items.starts - items.starts[row]) <= CONTEXT_SECONDS
        expected = (alone[row] + alone[near].mean(axis=0)) / 2
        np.testing.assert_allclose(judge.board.frame_scores(queries, in_context=True)[row], expected, atol=1e-6)


def test_a_large_library_is_scored_in_smaller_groups(scenes, monkeypatch: pytest.MonkeyPatch) -> None:
    judge, directions = scenes
    queries = [Query("en", seen=vector.astype(np.float32)) for vector in unit(*directions)]
    whole, groups = judge._best_frames(queries), []
    scores = judge.board.frame_scores
    monkeypatch.setattr(
        judge.board, "frame_scores", lambda found, **how: groups.append(found.shape[1]) or scores(found, **how)
    )
    monkeypatch.setattr("saccade.moments.SCORES_AT_ONCE", 5 * len(judge.board.items["seen"]))
    assert judge._best_frames(queries) == pytest.approx(whole, abs=1e-6) and groups == [5, 5, 5, 5, 4]


def test_nothing_indexed_is_nothing_found(tmp_path: Path) -> None:
    with library_of(tmp_path) as catalog:
        judge = judge_of(catalog)
        assert find(judge, judge.read("anything"), k=3) == []


def test_nulls_are_kept_in_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with library_of(tmp_path, KITCHEN, TALK) as catalog:
        judge_of(catalog).prepare()
        again = judge_of(catalog)
        monkeypatch.setattr(again, "_background", lambda name: pytest.fail(f"measured {name} again"))
        assert find(again, again.read("mayonnaise"), k=1)[0].present


def test_nulls_of_another_background_are_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with library_of(tmp_path, KITCHEN) as catalog:
        judge_of(catalog).prepare()
        again = judge_of(catalog)
        asked: list[str] = []
        monkeypatch.setattr("saccade.moments.background_revision", lambda: "00000000")
        monkeypatch.setattr(again, "_background", lambda name: asked.append(name) or [])
        again.confidence(again.read("mayonnaise"), ["said"], 1.0)
        assert asked == ["en.short"]
