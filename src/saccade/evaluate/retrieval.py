"""How well texts find videos, and videos texts: ranks, R@k, median and mean rank, MRR, with bootstrap intervals.

As the field reports them (CLIP4Clip, arXiv 2104.08860, and its descendants), with three quirks settled:

- Ties. Taking the rank of the right item in a descending sort counts a tie in the system's favour, or twice. Here
  every wrong item that scores as high as the right one stands before it.
- Several captions a video. From text to video each caption is a query of its own. From video to text a video's
  score for another video's captions is their highest, and ranks count videos (MSVD as CLIP4Clip has it), or each
  caption stands alone and the best right one counts (Flickr8k, COCO). The two differ; say which.
- Scores that were normalised over the other queries (dual softmax) know more than a search does. Give plain ones.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from saccade.errors import InputError

Ranks = npt.NDArray[np.int64]
Truth = Sequence[int] | Sequence[Collection[int]] | npt.NDArray[np.integer] | npt.NDArray[np.bool_]

DEPTHS = (1, 5, 10, 50)
RESAMPLES = 2000
_DRAWN_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval, ``low <= high``."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        return f"{self.value:{spec}} ({self.low:{spec}}–{self.high:{spec}})"

    def __str__(self) -> str:
        return format(self)


@dataclass(frozen=True)
class RetrievalScore:
    """What ``queries`` ranks among ``items`` come to.

    recall: depth k -> share of queries with a right item among the first k, in [0, 1]. median_rank, mean_rank:
    from 1. mean_reciprocal_rank: in (0, 1].
    """

    queries: int
    items: int
    recall: dict[int, Interval]
    median_rank: Interval
    mean_rank: Interval
    mean_reciprocal_rank: Interval

    def columns(self) -> dict[str, str]:
        """Heading -> figure with its interval, in the order in which they are reported."""
        recalls = {f"R@{k}": f"{share:.2f}" for k, share in self.recall.items()}
        return recalls | {
            "median rank": f"{self.median_rank:.1f}",
            "mean rank": f"{self.mean_rank:.1f}",
            "MRR": f"{self.mean_reciprocal_rank:.2f}",
        }

    def table(self, name: str = "") -> str:
        """A Markdown table of one row; ``tabulate`` puts several under one head."""
        return tabulate({name: self})

    def __repr__(self) -> str:
        figures = ", ".join(f"{heading} {figure}" for heading, figure in self.columns().items())
        return f"RetrievalScore({self.queries} queries among {self.items}: {figures})"


def tabulate(scores: dict[str, RetrievalScore]) -> str:
    """name -> score, with the same depths, as one Markdown table."""
    if not scores:
        raise InputError("a table needs at least one score")
    headings = list(next(iter(scores.values())).columns())
    lines = [f"| | queries | among | {' | '.join(headings)} |", "|---" * (len(headings) + 3) + "|"]
    for name, score in scores.items():
        columns = score.columns()
        if list(columns) != headings:
            raise InputError(f"the scores of one table have the same depths, but {name} has {', '.join(columns)}")
        lines.append(f"| {name} | {score.queries} | {score.items} | {' | '.join(columns.values())} |")
    return "\n".join(lines)


def ranks(scores: npt.ArrayLike, truth: Truth) -> Ranks:
    """Rank, int64 (Q,) from 1, of each query's best right item: one more than the wrong items as high or higher.

    scores: (Q, N), higher is nearer; −inf marks padding, which stands behind everything real. truth: the right
    item (Q,) of each query, or several for each, or bool (Q, N). Raises InputError for scores that are NaN or
    +inf, a query without a right item, or a right item that is not there (padded, or out of range).

    >>> ranks([[0.9, 0.1, 0.3], [0.5, 0.5, 0.5]], [2, 0])
    array([2, 3])
    >>> ranks([[0.9, 0.1, 0.3]], [[0, 2]])
    array([1])
    """
    scores = _checked(scores)
    right = _mask(truth, scores.shape)
    best = np.max(scores, axis=1, initial=-np.inf, where=right)
    if np.isneginf(best).any():
        raise InputError(f"query {int(np.argmin(best))} has no right item that is not padding")
    return np.asarray(1 + np.count_nonzero((scores >= best[:, None]) & ~right, axis=1), np.int64)


def summarise(
    found: npt.ArrayLike, items: int, *, at: Sequence[int] = DEPTHS, resamples: int = RESAMPLES, seed: int = 0
) -> RetrievalScore:
    """Figures of ranks (Q,) among ``items``, with 95 % percentile intervals over resampled queries.

    at: the depths k of R@k. The same seed gives the same intervals.

    >>> summarise([1, 1, 4, 20], items=39, at=(1, 5)).recall[5].value
    0.75
    """
    found = np.asarray(found)
    if found.ndim != 1 or not len(found) or not np.issubdtype(found.dtype, np.integer):
        raise InputError(f"ranks are integers (Q,), at least one, got {found.dtype} {found.shape}")
    if found.min() < 1 or found.max() > items:
        raise InputError(f"ranks among {items} lie from 1 to {items}, got {found.min()} to {found.max()}")
    if resamples < 1 or not at or min(at) < 1:
        raise InputError(f"depths and the number of resamples are at least 1, got {at} and {resamples}")
    drawn = _figures(found[None], at)[:, 0], _bootstrap(found, at, resamples, seed)
    low, high = np.percentile(drawn[1], [2.5, 97.5], axis=1)
    *recall, median, mean, reciprocal = (
        Interval(float(a), float(b), float(c)) for a, b, c in zip(drawn[0], low, high, strict=True)
    )
    return RetrievalScore(len(found), items, dict(zip(at, recall, strict=True)), median, mean, reciprocal)


def text_to_video(scores: npt.ArrayLike, videos: npt.ArrayLike) -> Ranks:
    """Rank, int64 (Q,), of each caption's video. scores: (Q, N) captions × videos; videos: int (Q,), whose it is.

    >>> text_to_video([[0.9, 0.1], [0.2, 0.3], [0.8, 0.7]], [0, 1, 1])
    array([1, 1, 2])
    """
    return ranks(scores, np.asarray(videos))


def video_to_text(
    scores: npt.ArrayLike, videos: npt.ArrayLike, *, among: Literal["videos", "captions"] = "videos"
) -> Ranks:
    """Rank, int64 (N,), of each video's own captions. scores and videos as in ``text_to_video``.

    among: "videos" takes each video's highest caption and counts videos; "captions" counts captions, the best of
    a video's own being the right one. Raises InputError where a video has no caption.

    >>> scores = [[0.9, 0.1], [0.2, 0.3], [0.95, 0.7]]
    >>> video_to_text(scores, [0, 1, 1]), video_to_text(scores, [0, 0, 1], among="captions")
    (array([2, 1]), array([2, 1]))
    """
    scores = _checked(scores)
    own = _mask(np.asarray(videos), scores.shape)
    if not own.any(axis=0).all():
        raise InputError(f"video {int(np.argmin(own.any(axis=0)))} has no caption")
    if among == "captions":
        return ranks(scores.T, own.T)
    if among != "videos":
        raise InputError(f"ranks count videos or captions, got {among!r}")
    highest = np.full((scores.shape[1], scores.shape[1]), -np.inf)
    np.maximum.at(highest, np.asarray(videos), scores)
    return ranks(highest.T, np.arange(len(highest)))


def _checked(scores: npt.ArrayLike) -> npt.NDArray[np.floating]:
    checked = np.asarray(scores)
    if checked.ndim != 2 or 0 in checked.shape or checked.dtype.kind not in "fiu":
        raise InputError(f"scores are numbers (Q, N), at least one of each, got {checked.dtype} {checked.shape}")
    if checked.dtype.kind != "f":
        checked = checked.astype(np.float64)
    if np.isnan(checked).any() or np.isposinf(checked).any():
        raise InputError("scores hold NaN or +inf; only −inf has a meaning here, padding")
    return checked


def _mask(truth: Truth, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """bool (Q, N): which items are right for which query; each query has one at least."""
    queries, items = shape
    if len(truth) != queries:
        raise InputError(f"{queries} queries need as many right answers, got {len(truth)}")
    if isinstance(truth, np.ndarray) and truth.dtype == np.bool_:
        if truth.shape != shape:
            raise InputError(f"right items as a mask have the scores' shape {shape}, got {truth.shape}")
        right = np.asarray(truth, bool)
    else:
        right = np.zeros(shape, bool)
        for query, answer in enumerate(truth):
            indices = np.asarray(list(answer) if isinstance(answer, Collection) else [answer])
            if len(indices) and (indices.dtype.kind not in "iu" or indices.min() < 0 or indices.max() >= items):
                raise InputError(f"query {query}: right items are indices from 0 to {items - 1}, got {answer}")
            right[query, indices.astype(np.int64)] = True
    if not right.any(axis=1).all():
        raise InputError(f"query {int(np.argmin(right.any(axis=1)))} has no right item")
    return right


def _figures(found: Ranks, at: Sequence[int]) -> npt.NDArray[np.float64]:
    """Ranks (R, Q) to figures (F, R): R@k for each depth, median, mean, mean of the reciprocals."""
    rows = [(found <= k).mean(axis=1) for k in at]
    return np.stack([*rows, np.median(found, axis=1), found.mean(axis=1), (1.0 / found).mean(axis=1)])


def _bootstrap(found: Ranks, at: Sequence[int], resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """Figures (F, resamples) of as many queries each, drawn with replacement, a bounded number at once."""
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWN_AT_ONCE // len(found))
    parts = []
    for begin in range(0, resamples, step):
        drawn = rng.integers(0, len(found), (min(step, resamples - begin), len(found)))
        parts.append(_figures(found[drawn], at))
    return np.concatenate(parts, axis=1)
