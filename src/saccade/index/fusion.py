"""Scores to p-values: how surprising is a hit, measured against queries that are about something else.

Every channel of evidence (words spoken, meaning of what is written, what is seen, …) has its own scale. What
makes them comparable is their null: for each of some hundreds of background queries, the best score it reaches
anywhere in the library. A hit's p is the share of background queries whose best hit scores as high; surprises,
−log p, add over channels; the sum has a null of its own, from the same background queries, and confidence is
1 − p there. So no labels are needed, and the scale is right for any encoder and any library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FEWEST = 8
"""A null of fewer background queries says nothing."""

_ANSWERED_SPREADS = 8.0
_FARTHEST_EXCESS = 20.0
_FAINTEST = 1e-3

NEXT_TO_NOTHING = 10 * _FAINTEST
"""Sums of surprises below this only order what is no match at all."""


@dataclass(frozen=True, eq=False)
class Null:
    """Best-hit scores (n,) of background queries, ascending, those that the library answers trimmed off.

    >>> null = Null.of(np.linspace(0.0, 0.98, 99))
    >>> null.p(0.5), null.p(2.0)
    (0.5, 0.01)
    >>> null.surprise(np.array([-1.0, 0.0, 0.98, 1.5])).round(1)
    array([0. , 0. , 3.9, 9.4])
    """

    values: Floats

    @classmethod
    def of(cls, best_scores: npt.ArrayLike) -> Null:
        """Sorts and trims: a background query far above all others is one that the library answers.

        The cut lies eight upper quartile spreads above the median. The maxima of ordinary scores (Gumbel) reach
        that once in a thousand queries.
        """
        values = np.sort(np.asarray(best_scores, np.float64))
        values = values[np.isfinite(values)]
        if len(values) < FEWEST:
            return cls(np.empty(0))
        median, upper = np.quantile(values, [0.5, 0.75])
        return cls(values[values <= median + _ANSWERED_SPREADS * max(upper - median, 0.01)])

    def __bool__(self) -> bool:
        return len(self.values) > 0

    def p(self, score: float) -> float:
        """Share of background queries that score at least this, in (0, 1]; 1 where there is no null."""
        if not self:
            return 1.0
        as_high = len(self.values) - int(np.searchsorted(self.values, score, side="left"))
        return (1 + as_high) / (1 + len(self.values))

    def surprise(self, scores: npt.NDArray[np.floating]) -> Floats:
        """−log p of scores (N,), continuous and strictly rising in the upper tail, so that it can rank.

        Between background scores it is interpolated; beyond the highest it goes on as an exponential tail. Below
        them it is next to nothing, but still rises, so that there is always a closest hit.
        Without a null nothing is known of surprise, and the scores themselves rank, those below 0 as 0.
        """
        if not self:
            return np.maximum(np.asarray(scores, np.float64), 0.0)
        n = len(self.values)
        unique, first = np.unique(self.values, return_index=True)
        levels = -np.log((1 + n - first) / (1 + n))
        surprise = np.interp(scores, unique, levels, left=0.0)
        shoulder = self.values[int(0.8 * n) :]
        scale = max(float(np.mean(shoulder) - shoulder[0]), 1e-3 * max(1.0, abs(float(unique[-1]))))
        excess = np.clip((scores - unique[-1]) / scale, 0.0, _FARTHEST_EXCESS)
        faint = _FAINTEST / (1.0 + np.exp(np.clip((unique[0] - scores) / scale, -50.0, 50.0)))
        beyond = np.where(scores > unique[-1], math.log((1 + n) / (1 + n - first[-1])), 0.0)
        return np.asarray(np.maximum(surprise, beyond) + excess + faint, np.float64)


def highest_per_cell(scores: Floats, item: npt.NDArray[np.int64], cell: npt.NDArray[np.int64], cells: int) -> Floats:
    """Largest score (cells,) of the items that cover each cell; 0 where none does.

    item, cell: int64 (P,), the pairs "this item covers this cell". Scores are >= 0.

    >>> highest_per_cell(np.array([1.0, 3.0]), np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    array([1., 3., 0.])
    """
    highest = np.zeros(cells)
    np.maximum.at(highest, cell, scores[item])
    return highest


def covered_cells(
    first: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The pairs (item, cell) of items that cover the cells [first, stop), both int64 (N,).

    >>> covered_cells(np.array([0, 4]), np.array([2, 5]))
    (array([0, 0, 1]), array([0, 1, 4]))
    """
    lengths = stop - first
    item = np.repeat(np.arange(len(first)), lengths)
    ahead = np.arange(len(item)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return item, first[item] + ahead
