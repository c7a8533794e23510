"""Scores to surprises: monotone, calibrated, blind to background queries that the library answers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from saccade.index.fusion import Null, covered_cells, highest_per_cell

SCORES = st.lists(st.floats(-1, 1).map(lambda score: round(score, 6)), min_size=8, max_size=60)


@given(SCORES, SCORES)
def test_surprise_rises_with_the_score(background: list[float], scores: list[float]) -> None:
    ordered = np.sort(np.array(scores))
    surprise = Null.of(background).surprise(ordered)
    assert (np.diff(surprise) >= -1e-12).all()
    assert (surprise >= 0).all()


@given(SCORES, st.floats(-2, 2))
def test_p_is_the_share_of_background_that_scores_as_high(background: list[float], score: float) -> None:
    null = Null.of(background)
    as_high = sum(value >= score for value in null.values)
    assert null.p(score) == (1 + as_high) / (1 + len(null.values))


def test_surprise_is_minus_log_p_at_the_background_scores() -> None:
    null = Null.of(np.random.default_rng(0).normal(size=200))
    assert np.allclose(null.surprise(null.values), [-np.log(null.p(value)) for value in null.values], atol=1e-3)


def test_surprise_still_ranks_beyond_the_background() -> None:
    null = Null.of(np.linspace(0, 1, 100))
    assert (np.diff(null.surprise(np.array([1.0, 1.01, 1.1, 1.5]))) > 0).all()


def test_there_is_always_a_closest_hit() -> None:
    null = Null.of(np.linspace(0.5, 1, 100))
    faint = null.surprise(np.array([-1.0, 0.0, 0.3]))
    assert (np.diff(faint) > 0).all() and (faint > 0).all() and faint.max() < 0.01


def test_background_queries_that_the_library_answers_are_trimmed() -> None:
    ordinary = np.random.default_rng(1).gumbel(0.3, 0.03, size=200)
    assert np.array_equal(Null.of([*ordinary, 0.95, 0.97]).values, np.sort(ordinary))


def test_too_few_background_queries_say_nothing() -> None:
    null = Null.of([0.1, 0.2])
    assert not null and null.p(9.0) == 1.0 and null.surprise(np.array([9.0, -1.0])).tolist() == [9.0, 0.0]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6), st.floats(0, 9)), max_size=30))
def test_highest_per_cell_equals_the_slow_loop(items: list[tuple[int, int, float]]) -> None:
    first = np.array([item[0] for item in items], np.int64)
    stop = first + np.array([item[1] for item in items], np.int64)
    scores = np.array([item[2] for item in items], np.float64)
    slow = np.zeros(30)
    for start, end, score in zip(first, stop, scores, strict=True):
        for cell in range(start, end):
            slow[cell] = max(slow[cell], score)
    assert np.array_equal(highest_per_cell(scores, *covered_cells(first, stop), 30), slow)
