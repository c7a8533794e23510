"""How well shot boundaries are found: precision, recall and F1 over transitions matched one to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saccade.errors import InputError
from saccade.types import Span


@dataclass(frozen=True)
class BoundaryScore:
    """Pairs (index found, index true) that match, and what is left over on either side."""

    matched: tuple[tuple[int, int], ...]
    extra: tuple[int, ...]
    missed: tuple[int, ...]

    @property
    def precision(self) -> float:
        """Share of the found that are true, in [0, 1]; 1 where nothing was found."""
        found = len(self.matched) + len(self.extra)
        return len(self.matched) / found if found else 1.0

    @property
    def recall(self) -> float:
        """Share of the true that were found, in [0, 1]; 1 where there is nothing to find."""
        true = len(self.matched) + len(self.missed)
        return len(self.matched) / true if true else 1.0

    @property
    def f1(self) -> float:
        """2 · matched / (found + true), in [0, 1]; 1 where both are empty."""
        both = 2 * len(self.matched) + len(self.extra) + len(self.missed)
        return 2 * len(self.matched) / both if both else 1.0


def score_boundaries(found: Sequence[float], true: Sequence[float | Span], *, tolerance: float = 0.0) -> BoundaryScore:
    """Match found boundaries to true ones, as many as possible, each used once.

    found: seconds. true: seconds of a cut, or the span of a gradual transition. A pair may match if the found
    time is at most ``tolerance`` seconds away from the cut, or outside the span (its end belongs to it). Times are
    compared to the microsecond.

    >>> score = score_boundaries([1.0, 1.02, 5.0], [1.0, Span(4, 6), 9.0], tolerance=0.05)
    >>> score.matched, score.extra, score.missed, round(score.f1, 3)
    (((0, 0), (2, 1)), (1,), (2,), 0.667)
    """
    if tolerance < 0:
        raise InputError(f"a tolerance is not negative, got {tolerance}")
    spans = [one if isinstance(one, Span) else Span(one, one) for one in true]
    margin = tolerance + 1e-6
    open_spans = set(range(len(spans)))
    matched: list[tuple[int, int]] = []
    # Points against intervals on a line: giving each point, in order, to the interval that closes first is optimal.
    for index in sorted(range(len(found)), key=found.__getitem__):
        fits = [k for k in open_spans if spans[k].start - margin <= found[index] <= spans[k].end + margin]
        if fits:
            chosen = min(fits, key=lambda k: (spans[k].end, spans[k].start, k))
            open_spans.remove(chosen)
            matched.append((index, chosen))
    used = {index for index, _ in matched}
    extra = tuple(index for index in range(len(found)) if index not in used)
    return BoundaryScore(tuple(sorted(matched)), extra, tuple(sorted(open_spans)))
