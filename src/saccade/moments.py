"""From evidence to moments: how surprising each hit is, where it begins and ends, and whether it is there at all.

    query -> scores of every text and frame (index/board.py) -> surprises (index/fusion.py) -> moments

A score becomes a surprise against the background queries, and each cell of time sums its best surprise of every
kind of evidence. Moments grow from the highest cells while their neighbours are nearly as high, and stop at a cut.
A moment's confidence is 1 − p, p the share of background queries whose best cell in the whole library is as high.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from saccade.errors import LibraryError
from saccade.index.board import CONTEXT_SECONDS, TEXT_KINDS, Board, Floats
from saccade.index.fusion import NEXT_TO_NOTHING, Null
from saccade.index.query import (
    BACKGROUNDS,
    IMAGE_BACKGROUND,
    Query,
    TextTower,
    Vectors,
    background_cache,
    background_queries,
    background_revision,
    picture_query,
    read_queries,
)
from saccade.types import EVIDENCE, CurvePoint, Hit, Match, Span

CURVE_STEP_SECONDS = 2.0

GROWS_FROM = 0.85
"""A neighbouring cell joins a moment when its sum is at least this share of the peak's."""

MATCHES_FROM = 0.5
"""A text is named as a match when its surprise is at least this share of the moment's best of its kind."""

SPEAKS_FROM = 0.1
"""A kind of evidence is named when its best surprise is at least this share of the strongest kind's."""

MOST_MATCHES = 3
BACKGROUND_FRAMES = 200

SCORES_AT_ONCE = 1 << 22
"""Frames times queries that are scored together: a few hundred megabytes at most, however large the library."""


class Judge:
    """Scores queries on one board and says how surprising the answers are.

    ``tower`` is the frame encoder's text side, needed only where frames are searched by words.
    """

    def __init__(self, board: Board, tower: TextTower | None = None) -> None:
        self.board = board
        self.tower = tower
        self._nulls: dict[str, Null] = {}
        self._best: dict[tuple[str, str], dict[str, list[float]]] = {}
        self._asked: dict[tuple[str, str], list[Query]] = {}

    def read(self, text: str) -> Query:
        """A query in words."""
        see = self.tower.encode_text if self.tower is not None else None
        return read_queries([text], self.board.sentences.encode, see)[0]

    def surprises(self, query: Query, evidence: Sequence[str]) -> dict[str, Floats]:
        """kind -> the surprise (N,) of each of its items, summed over the channels that read it."""
        found: dict[str, Floats] = {}
        for channel, kind, scores in self.board.scores(query, evidence):
            surprise = self._null(query.background, channel).surprise(scores)
            found[kind] = found[kind] + surprise if kind in found else surprise
        return found

    def confidence(self, query: Query, evidence: Sequence[str], score: float) -> float:
        """1 − p of a moment's score, in [0, 1)."""
        return 1.0 - self._fused_null(query.background, self._readable(query, evidence)).p(score)

    def can_tell(self, query: Query, evidence: Sequence[str]) -> bool:
        """Whether there is enough to compare with; if not, confidence is 0 throughout."""
        return bool(self._fused_null(query.background, self._readable(query, evidence)))

    def prepare(self) -> None:
        """Measures every null that searches in words will ask for, so that they need not."""
        for background in BACKGROUNDS:
            for query in self._background(background)[:1]:
                self._fused_null(background, self._readable(query, EVIDENCE))
        self._asked.clear()
        self._best.clear()

    def _readable(self, query: Query, evidence: Sequence[str]) -> tuple[str, ...]:
        """The kinds of evidence that this library has and this query can be compared with."""
        unread = {"seen"} if query.seen is None else set(TEXT_KINDS) if query.meaning is None else set()
        return tuple(kind for kind in EVIDENCE if kind in evidence and kind in self.board.items and kind not in unread)

    def _null(self, background: str, channel: str) -> Null:
        kind = channel.partition(".")[0]

        def best(queries: Sequence[Query]) -> list[float]:
            if background == IMAGE_BACKGROUND:
                return self._best_in_other_videos(queries)
            return self._best_frames(queries) if kind == "seen" else self._best_texts(background, kind)[channel]

        return self._kept(background, channel, best)

    def _best_texts(self, background: str, kind: str) -> dict[str, list[float]]:
        """channel -> the best score of each query among the texts of one kind."""
        if (background, kind) not in self._best:
            found: dict[str, list[float]] = {}
            for query in self._background(background):
                for channel, _, scores in self.board.scores(query, [kind]):
                    found.setdefault(channel, []).append(float(scores.max()))
            self._best[background, kind] = found
        return self._best[background, kind]

    def _best_frames(self, queries: Sequence[Query]) -> list[float]:
        """The best score of each query among the frames, many queries at a time."""
        asked = [query.seen for query in queries if query.seen is not None]
        many = min(32, max(1, SCORES_AT_ONCE // len(self.board.items["seen"])))
        groups = (asked[first : first + many] for first in range(0, len(asked), many))
        scores = (self.board.frame_scores(np.stack(group, axis=1), in_context=True) for group in groups)
        return [float(best) for found in scores for best in found.max(axis=0)]

    def _fused_null(self, background: str, kinds: Sequence[str]) -> Null:
        def best(queries: Sequence[Query]) -> list[float]:
            if background == IMAGE_BACKGROUND:
                seen = self._null(background, "seen")
                return [float(surprise) for surprise in seen.surprise(seen.values)]
            sums = (self.board.cell_sums(self.surprises(query, kinds)) for query in queries)
            return [float(cells.max(initial=0.0)) for cells in sums]

        return self._kept(background, "sum of " + "+".join(kinds), best)

    def _kept(self, background: str, what: str, measure: Callable[[Sequence[Query]], list[float]]) -> Null:
        """A null from memory, else from the library while that is about as large as then, else measured now."""
        name = f"{background}:{what}:{background_revision()}:{CONTEXT_SECONDS:g}:{self.board.encoder}"
        if name not in self._nulls:
            kept = self.board.catalog.null(name)
            if kept is not None and abs(kept[1] - self.board.cells) <= 0.1 * self.board.cells:
                self._nulls[name] = Null(kept[0])
            else:
                self._nulls[name] = Null.of(measure(self._background(background)))
                with suppress(LibraryError):  # a library that cannot be written is searched all the same
                    self.board.catalog.put_null(name, self._nulls[name].values, self.board.cells)
        return self._nulls[name]

    def _background(self, background: str) -> list[Query]:
        if background == IMAGE_BACKGROUND:
            return [picture_query(self.board.items["seen"].vectors[frame]) for frame in self._background_frames()]
        key = background, "" if self.tower is None else self.tower.name
        if key not in self._asked:
            see = None if self.tower is None else _remembered(self.tower.name, self.tower.encode_text)
            encode = _remembered(self.board.sentences.name, self.board.sentences.encode)
            self._asked[key] = read_queries(background_queries(background), encode, see)
        return self._asked[key]

    def _background_frames(self) -> npt.NDArray[np.int64]:
        frames = len(self.board.items["seen"])
        return np.unique(np.linspace(0, frames - 1, min(BACKGROUND_FRAMES, frames)).astype(np.int64))

    def _best_in_other_videos(self, queries: Sequence[Query]) -> list[float]:
        """The background of pictures: each of the library's own frames, looked for in all videos but its own."""
        items = self.board.items["seen"]
        best = []
        for query, frame in zip(queries, self._background_frames(), strict=True):
            elsewhere = items.videos != items.videos[frame]
            if query.seen is not None and elsewhere.any():
                best.append(float((items.vectors[elsewhere] @ query.seen).max()))
        return best


def _remembered(encoder: str, encode: Callable[[Sequence[str]], Vectors]) -> Callable[[Sequence[str]], Vectors]:
    """The same encoder, for texts that are asked for again on every library."""
    cache = background_cache(encoder)
    return lambda texts: cache.vectors(texts, encode)


def find(
    judge: Judge,
    query: Query,
    *,
    k: int,
    evidence: Sequence[str] = EVIDENCE,
    per_video: int | None = None,
    where: npt.NDArray[np.bool_] | None = None,
) -> list[Hit]:
    """The best k moments, best first. ``where``, bool (cells,), limits the search; paths are left empty.

    At most ``per_video`` moments of one video, as long as the others fill k.
    """
    board = judge.board
    surprises = judge.surprises(query, evidence)
    sums = board.cell_sums(surprises)
    if where is not None:
        sums = np.where(where, sums, 0.0)
    chosen = _spread(board, _regions(board, surprises, sums, per_video or k, k), k, per_video)
    return [
        Hit(
            span=span,
            score=float(sums[peak]),
            confidence=judge.confidence(query, evidence, float(sums[peak])),
            matched=tuple(_matches(board, surprises, int(board.cell_videos[peak]), span)),
            video=board.videos[board.cell_videos[peak]],
        )
        for peak, span in chosen
    ]


def curve(
    judge: Judge, query: Query, video: str, duration: float, evidence: Sequence[str] = EVIDENCE
) -> list[CurvePoint]:
    """How relevant each two-second clip of one video is, on the scale of the moments' scores."""
    board = judge.board
    sums = board.cell_sums(judge.surprises(query, evidence))
    mine = np.flatnonzero(board.cell_videos == board.videos.index(video))
    length = duration or float(board.cell_ends[mine].max(initial=0.0))  # some containers do not know theirs
    clips = max(1, int(np.ceil(length / CURVE_STEP_SECONDS)))
    edges = np.arange(clips + 1) * CURVE_STEP_SECONDS
    heights = np.zeros(clips)
    for cell in mine:
        first = int(board.cell_starts[cell] // CURVE_STEP_SECONDS)
        stop = int(np.ceil(board.cell_ends[cell] / CURVE_STEP_SECONDS))
        heights[first:stop] = np.maximum(heights[first:stop], sums[cell])
    edges[-1] = max(length, edges[-2])
    return [CurvePoint(Span(float(a), float(b)), float(h)) for a, b, h in zip(edges, edges[1:], heights, strict=False)]


def _regions(
    board: Board, surprises: dict[str, Floats], sums: Floats, per_video: int, k: int
) -> list[tuple[int, Span]]:
    """(peak cell, span) of the highest regions, best first: enough of them to fill k from other videos too."""
    free = sums > 0
    regions: list[tuple[int, Span]] = []
    counts: dict[int, int] = {}
    enough = 0
    for peak in np.argsort(-sums, kind="stable"):
        if sums[peak] <= 0 or enough >= k:
            break
        if not free[peak]:
            continue
        video = int(board.cell_videos[peak])
        span = _edges(board, surprises, int(peak), *_grow(board, sums, free, int(peak)))
        free &= (board.cell_videos != video) | (board.cell_ends <= span.start) | (board.cell_starts >= span.end)
        regions.append((int(peak), span))
        counts[video] = counts.get(video, 0) + 1
        enough += counts[video] <= per_video
        if counts[video] == k:  # more of one video is never asked for
            free &= board.cell_videos != video
    return regions


def _grow(board: Board, sums: Floats, free: npt.NDArray[np.bool_], peak: int) -> tuple[int, int]:
    """The cells [first, stop) around a peak that are nearly as high, without crossing a cut.

    What is no match at all does not grow: there everything is about as high as everything else.
    """
    if sums[peak] < NEXT_TO_NOTHING:
        return peak, peak + 1
    lowest = GROWS_FROM * sums[peak]

    def joins(cell: int, neighbour: int) -> bool:
        adjacent = board.cell_videos[cell] == board.cell_videos[neighbour]
        return bool(adjacent and free[neighbour] and sums[neighbour] >= lowest)

    first, stop = peak, peak + 1
    while first > 0 and not board.cell_opens_shot[first] and joins(first, first - 1):
        first -= 1
    while stop < board.cells and not board.cell_opens_shot[stop] and joins(stop - 1, stop):
        stop += 1
    return first, stop


def _edges(board: Board, surprises: dict[str, Floats], peak: int, first: int, stop: int) -> Span:
    """The grown cells, widened to the whole of the text that made the peak: a sentence is not cut by a cut."""
    span = Span(float(board.cell_starts[first]), float(board.cell_ends[stop - 1]))
    best: tuple[float, Span] | None = None
    for kind, surprise in surprises.items():
        items = board.items[kind]
        covering = items.pair_item[items.pair_cell == peak]
        if kind == "seen" or not len(covering):
            continue
        item = covering[np.argmax(surprise[covering])]
        if surprise[item] > (best[0] if best else 0.0):
            best = float(surprise[item]), Span(float(items.starts[item]), float(items.ends[item]))
    return span.union(best[1]) if best else span


def _spread(board: Board, regions: list[tuple[int, Span]], k: int, per_video: int | None) -> list[tuple[int, Span]]:
    """The first k regions, at most ``per_video`` of each video unless the others cannot fill k; best first."""
    taken: list[int] = []
    spare: list[int] = []
    counts: dict[int, int] = {}
    for index, (peak, _) in enumerate(regions):
        video = int(board.cell_videos[peak])
        counts[video] = counts.get(video, 0) + 1
        (spare if per_video is not None and counts[video] > per_video else taken).append(index)
    return [regions[index] for index in sorted((taken + spare)[:k])]


def _matches(board: Board, surprises: dict[str, Floats], video: int, within: Span) -> list[Match]:
    """What speaks for a moment, strongest kind first: the best frame, and the texts nearly as surprising as the best.

    A kind that adds next to nothing is left out.
    """
    best: list[tuple[float, str, npt.NDArray[np.int64]]] = []
    for kind, surprise in surprises.items():
        items = board.items[kind]
        inside = np.flatnonzero((items.videos == video) & (items.starts < within.end) & (items.ends > within.start))
        inside = inside[np.argsort(-surprise[inside], kind="stable")]
        if len(inside):
            most = 1 if kind == "seen" else MOST_MATCHES
            near = inside[:most][surprise[inside[:most]] >= MATCHES_FROM * surprise[inside[0]]]
            best.append((float(surprise[inside[0]]), kind, near))
    best.sort(reverse=True, key=lambda found: found[0])
    return [
        match
        for height, kind, near in best
        if height >= SPEAKS_FROM * best[0][0]
        for match in _named(board, kind, near)
    ]


def _named(board: Board, kind: str, rows: npt.NDArray[np.int64]) -> list[Match]:
    items = board.items[kind]
    texts = {} if kind == "seen" else board.text_of(items.ids[rows])
    return [
        Match(kind, texts.get(int(items.ids[row]), ""), Span(float(items.starts[row]), float(items.ends[row])))
        for row in rows
    ]
