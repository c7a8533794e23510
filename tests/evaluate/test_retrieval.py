from __future__ import annotations

import statistics

import numpy as np
import pytest

from saccade.errors import InputError
from saccade.evaluate.retrieval import (
    Interval,
    ranks,
    summarise,
    tabulate,
    text_to_video,
    video_to_text,
)


def slow_rank(row: list[float], right: set[int]) -> int:
    """The list a person would read, wrong items first where they tie."""
    order = sorted(range(len(row)), key=lambda item: (-row[item], item in right))
    return min(order.index(item) for item in right) + 1


def coarse_scores(seed: int, queries: int = 30, items: int = 12) -> np.ndarray:
    """Few distinct values, so that many tie."""
    return np.random.default_rng(seed).integers(0, 6, (queries, items)) / 5.0


@pytest.mark.parametrize("seed", range(10))
def test_ranks_are_those_of_a_slow_reader(seed: int) -> None:
    scores = coarse_scores(seed)
    rng = np.random.default_rng(seed + 100)
    several = [set(rng.choice(12, rng.integers(1, 4), replace=False).tolist()) for _ in scores]
    expected = [slow_rank(row, right) for row, right in zip(scores.tolist(), several, strict=True)]
    mask = np.array([[item in right for item in range(12)] for right in several])
    assert ranks(scores, several).tolist() == expected == ranks(scores, mask).tolist()
    single = rng.integers(0, 12, len(scores))
    assert ranks(scores, single).tolist() == [
        slow_rank(row, {int(one)}) for row, one in zip(scores.tolist(), single, strict=True)
    ]


def test_ties_count_against_the_system() -> None:
    assert ranks(np.zeros((3, 5)), [0, 2, 4]).tolist() == [5, 5, 5]
    assert ranks([[1.0, 1.0, 0.0]], [[0, 1]]).tolist() == [1], "right items do not stand in each other's way"


def test_padding_stands_behind_everything() -> None:
    scores = coarse_scores(1).astype(np.float32)
    truth = np.arange(len(scores)) % 12
    padded = np.concatenate([scores, np.full((len(scores), 4), -np.inf, np.float32)], axis=1)
    assert ranks(padded, truth).tolist() == ranks(scores, truth).tolist()


@pytest.mark.parametrize(
    ("scores", "truth", "complaint"),
    [
        ([[np.nan, 1.0]], [0], "NaN"),
        ([[np.inf, 1.0]], [0], "NaN or"),
        ([[-np.inf, 1.0]], [0], "padding"),
        ([[0.0, 1.0]], [2], "from 0 to 1"),
        ([[0.0, 1.0]], [-1], "from 0 to 1"),
        ([[0.0, 1.0]], [0.0], "indices"),
        ([[0.0, 1.0]], [[]], "no right item"),
        ([[0.0, 1.0]], np.zeros((1, 2), bool), "no right item"),
        ([[0.0, 1.0]], np.ones((1, 3), bool), "shape"),
        ([[0.0, 1.0]], [0, 1], "as many"),
        ([0.0, 1.0], [0, 1], r"\(Q, N\)"),
        (np.zeros((0, 3)), [], "at least one"),
        ([["a", "b"]], [0], "numbers"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores: object, truth: object, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        ranks(scores, truth)


def test_figures_by_hand() -> None:
    score = summarise([1, 3, 6, 11, 60, 2], items=100)
    assert {k: share.value for k, share in score.recall.items()} == pytest.approx(
        {1: 1 / 6, 5: 0.5, 10: 4 / 6, 50: 5 / 6}
    )
    assert score.median_rank.value == 4.5
    assert score.mean_rank.value == pytest.approx(83 / 6)
    assert score.mean_reciprocal_rank.value == pytest.approx(statistics.fmean(1 / r for r in (1, 3, 6, 11, 60, 2)))


def test_intervals_are_the_bootstraps_and_repeat() -> None:
    found = np.random.default_rng(3).integers(1, 40, 39)
    score = summarise(found, 39, at=(5,), resamples=500, seed=7)
    rng = np.random.default_rng(7)
    drawn = [found[row] for row in rng.integers(0, 39, (500, 39))]
    shares = [float(np.mean([rank <= 5 for rank in one])) for one in drawn]
    medians = [statistics.median(one.tolist()) for one in drawn]
    assert [score.recall[5].low, score.recall[5].high] == pytest.approx(np.percentile(shares, [2.5, 97.5]).tolist())
    assert [score.median_rank.low, score.median_rank.high] == np.percentile(medians, [2.5, 97.5]).tolist()
    assert score == summarise(found, 39, at=(5,), resamples=500, seed=7)
    assert score != summarise(found, 39, at=(5,), resamples=500, seed=8)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    scores = [summarise(rng.integers(1, 11, 80), 10, at=(5,), resamples=200, seed=n) for n in range(200)]
    covered = np.mean([score.recall[5].low <= 0.5 <= score.recall[5].high for score in scores])
    assert 0.88 <= covered <= 0.99


def test_many_queries_are_drawn_in_bounded_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = np.random.default_rng(0).integers(1, 100, 50)
    at_once = summarise(found, 100, resamples=64)
    monkeypatch.setattr("saccade.evaluate.retrieval._DRAWN_AT_ONCE", 500)
    assert summarise(found, 100, resamples=64) == at_once


@pytest.mark.parametrize(
    ("found", "items", "options"),
    [
        ([], 3, {}),
        ([0], 3, {}),
        ([4], 3, {}),
        ([1.0], 3, {}),
        ([[1]], 3, {}),
        ([1], 3, {"at": ()}),
        ([1], 3, {"at": (0,)}),
        ([1], 3, {"resamples": 0}),
    ],
)
def test_ranks_out_of_range_are_refused(found: object, items: int, options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        summarise(found, items, **options)


@pytest.mark.parametrize("seed", range(5))
def test_both_directions_with_several_captions_a_video(seed: int) -> None:
    videos = np.concatenate([np.arange(6), np.random.default_rng(seed).integers(0, 6, 14)])
    scores = coarse_scores(seed, len(videos), 6)
    assert text_to_video(scores, videos).tolist() == [
        slow_rank(row, {int(video)}) for row, video in zip(scores.tolist(), videos, strict=True)
    ]
    highest = [[max(scores[videos == other, video]) for other in range(6)] for video in range(6)]
    assert video_to_text(scores, videos).tolist() == [slow_rank(row, {video}) for video, row in enumerate(highest)]
    alone = [slow_rank(scores[:, video].tolist(), set(np.flatnonzero(videos == video).tolist())) for video in range(6)]
    assert video_to_text(scores, videos, among="captions").tolist() == alone


def test_a_caption_each_is_the_same_in_both_readings() -> None:
    scores = coarse_scores(4, 12, 12)
    own = np.arange(12)
    assert video_to_text(scores, own).tolist() == video_to_text(scores, own, among="captions").tolist()
    assert video_to_text(scores, own).tolist() == text_to_video(scores.T, own).tolist()


def test_videos_without_captions_and_unknown_counts_are_refused() -> None:
    with pytest.raises(InputError, match="video 1 has no caption"):
        video_to_text([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]], [0, 2])
    with pytest.raises(InputError, match="videos or captions"):
        video_to_text([[0.0]], [0], among="words")


def test_tables_and_representations() -> None:
    score = summarise([1, 2, 6], items=39, at=(1, 5))
    head, rule, row = score.table("English").splitlines()
    assert head == "| | queries | among | R@1 | R@5 | median rank | mean rank | MRR |"
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| English | 3 | 39 | 0.33 (0.00–1.00) | 0.67 (") and " 2.0 (1.0–6.0) " in row
    assert "3 queries among 39: R@1 0.33 (0.00–1.00)" in repr(score)
    assert tabulate({"a": score, "b": score}).count("\n") == 3
    assert str(Interval(0.5, 0.25, 0.75)) == "0.50 (0.25–0.75)"
    with pytest.raises(InputError, match="same depths"):
        tabulate({"a": score, "b": summarise([1], items=39)})
    with pytest.raises(InputError, match="at least one"):
        tabulate({})
