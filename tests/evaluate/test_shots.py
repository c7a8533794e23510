from __future__ import annotations

import itertools

import numpy as np
import pytest

from saccade.errors import InputError
from saccade.evaluate.shots import score_boundaries
from saccade.types import Span


def test_perfect_empty_and_hopeless() -> None:
    assert score_boundaries([1.0, 2.0], [2.0, 1.0]).f1 == 1.0
    assert score_boundaries([], []).f1 == 1.0
    assert score_boundaries([1.0], []).precision == 0.0 and score_boundaries([1.0], []).recall == 1.0
    assert score_boundaries([], [1.0]).recall == 0.0 and score_boundaries([], [1.0]).f1 == 0.0


def test_each_true_boundary_is_matched_once() -> None:
    score = score_boundaries([1.0, 1.01, 1.02], [1.0], tolerance=0.1)
    assert len(score.matched) == 1 and len(score.extra) == 2
    assert score.precision == pytest.approx(1 / 3) and score.recall == 1.0 and score.f1 == pytest.approx(0.5)


def test_tolerance_is_inclusive_and_zero_means_the_frame() -> None:
    assert score_boundaries([1.04], [1.0], tolerance=0.04).f1 == 1.0
    assert score_boundaries([1.0 + 1 / 24], [1.0]).f1 == 0.0
    assert score_boundaries([0.1 + 0.2], [0.3]).f1 == 1.0


def test_a_gradual_transition_is_met_anywhere_inside() -> None:
    for at, met in ((3.9, False), (4.0, True), (5.0, True), (6.0, True), (6.1, False)):
        assert bool(score_boundaries([at], [Span(4, 6)]).matched) is met


def test_negative_tolerance_is_refused() -> None:
    with pytest.raises(InputError, match="not negative"):
        score_boundaries([1.0], [1.0], tolerance=-0.1)


@pytest.mark.parametrize("seed", range(30))
def test_as_many_pairs_as_any_matching(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = rng.uniform(0, 3, rng.integers(0, 6)).tolist()
    true = [Span(a, a + w) for a, w in zip(rng.uniform(0, 3, 4), rng.uniform(0, 1, 4), strict=True)]
    best = 0
    for order in itertools.permutations(range(4)):
        for points in itertools.permutations(range(len(found)), min(len(found), 4)):
            pairs = zip(points, order, strict=False)
            best = max(best, sum(true[k].start - 0.1 <= found[i] <= true[k].end + 0.1 for i, k in pairs))
    assert len(score_boundaries(found, true, tolerance=0.1).matched) == best
