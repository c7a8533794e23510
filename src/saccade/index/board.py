"""Everything a library knows, laid on one axis of time and scored against a query.

A board lays the texts and frames of all videos on one axis, cut into the elementary cells between their edges and
the cuts of the film, so that no span is rounded. A query gives each item of each channel a score.

Two channels read text. *words*: which of the query's words it holds, weighted by rarity; a word of the library
that means the same, in any language, counts in part, so that 마요네즈 finds "mayonnaise". *meaning*: the cosine
of the sentence vectors. *seen* is the cosine of the frame vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from saccade.index.catalog import Catalog
from saccade.index.fulltext import content_tokens
from saccade.index.fusion import covered_cells, highest_per_cell
from saccade.index.loanwords import SHORTEST, is_borrowed_script, sound
from saccade.index.query import (
    Query,
    QueryWord,
    SentenceEncoder,
    VectorCache,
    Vectors,
    background_cache,
    background_words,
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

TEXT_KINDS = ("said", "written")

SAME_WORD, RELATED_WORD = 1.0, 0.45
"""Cosine of two words' sentence vectors at which they count as one, and from which they count at all."""

SOUNDS_ALIKE = 0.3
"""What it adds to the cosine when a word written in Hangul or Kana sounds the same as a word of the library."""

NEIGHBOURS = 12
"""Words of the library that may stand for one word of the query."""

CONTEXT_SECONDS = 4.0
"""How far before and after a frame its context reaches, within its shot."""

_NARROWEST = 0.02
"""Seconds an item takes on the axis at least, so that a text without duration can be found."""


@dataclass(frozen=True, eq=False)
class Items:
    """The items of one kind of evidence, in their videos' own seconds.

    ids: int64 (N,), text ids or frame numbers. videos: int64 (N,), an index into the board's videos. starts, ends:
    float64 (N,). vectors: float32 (N, D). ``pair_item`` and ``pair_cell`` int64 (P,): which cells each item covers.
    """

    ids: Integers
    videos: Integers
    starts: Floats
    ends: Floats
    vectors: Vectors
    pair_item: Integers
    pair_cell: Integers

    def __len__(self) -> int:
        return len(self.ids)


class Board:
    """What a library knows, for one frame encoder (or none), as it stood when the board was made.

    cells: how many there are. cell_videos int64, cell_starts and cell_ends float64 (cells,), in their video's
    seconds; cell_opens_shot bool (cells,): whether a cut lies at its start.
    """

    def __init__(self, catalog: Catalog, sentences: SentenceEncoder, encoder: str | None = None) -> None:
        self.catalog = catalog
        self.version = catalog.version
        self.sentences = sentences
        self.encoder = encoder
        self.videos = tuple(video.id for video in catalog.videos())
        self._postings: dict[tuple[str, str], Integers] = {}
        starts = catalog.shot_starts()
        shots = [starts.get(video, np.empty(0)) for video in self.videos]
        items = {kind: self._texts(kind) for kind in TEXT_KINDS}
        if encoder is not None:
            items["seen"] = self._frames(encoder, shots)
        self.items = self._cut_into_cells({kind: found for kind, found in items.items() if len(found)}, shots)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.catalog, self.sentences)

    def _texts(self, kind: str) -> Items:
        table = self.catalog.text_table(kind)
        videos = self._numbers(table.video_ids, table.videos)
        return _unplaced(table.ids, videos, table.starts, table.ends, table.vectors)

    def _frames(self, encoder: str, shots: Sequence[Floats]) -> Items:
        """A frame lasts until the next one or the next cut; what lies between a cut and a frame is that frame's."""
        table = self.catalog.vector_table(encoder)
        videos = self._numbers(table.video_ids, table.videos)
        starts, ends = table.seconds.copy(), table.ends.copy()
        for video in np.unique(videos):
            mine = np.flatnonzero(videos == video)
            cuts = np.append(shots[video], np.inf)
            next_cut = cuts[np.searchsorted(cuts, starts[mine], side="right")]
            last_cut = cuts[np.searchsorted(cuts, ends[mine], side="left") - 1]
            crossed = np.flatnonzero(next_cut < ends[mine])
            followed = crossed[crossed + 1 < len(mine)]
            starts[mine[followed + 1]] = last_cut[followed]
            ends[mine[crossed]] = next_cut[crossed]
        return _unplaced(np.arange(len(table)), videos, starts, ends, table.vectors)

    def _numbers(self, ids: Sequence[str], rows: Integers) -> Integers:
        number = {video: index for index, video in enumerate(self.videos)}
        return np.array([number[video] for video in ids], np.int64)[rows]

    def _cut_into_cells(self, items: dict[str, Items], shots: Sequence[Floats]) -> dict[str, Items]:
        """One axis for all videos, each moved behind the one before it."""
        last = np.array([starts.max(initial=0.0) for starts in shots], np.float64)
        for found in items.values():
            np.maximum.at(last, found.videos, found.ends)
        offsets = np.cumsum(last + 2.0) - last - 1.0
        cuts = np.concatenate([np.empty(0), *(offset + starts for offset, starts in zip(offsets, shots, strict=True))])
        starts = {kind: offsets[found.videos] + found.starts for kind, found in items.items()}
        ends = {
            kind: offsets[found.videos] + np.maximum(found.ends, found.starts + _NARROWEST)
            for kind, found in items.items()
        }
        edges = np.unique(np.concatenate([cuts, *starts.values(), *ends.values()]))
        self.cells = max(0, len(edges) - 1)
        self.cell_videos = np.searchsorted(offsets - 1.0, edges[: self.cells], side="right") - 1
        # Moving a time along the axis and back costs its last digits: back to whole microseconds.
        self.cell_starts = np.round(edges[: self.cells] - offsets[self.cell_videos], 6)
        self.cell_ends = np.round(edges[1:] - offsets[self.cell_videos], 6)
        self.cell_opens_shot = np.isin(edges[: self.cells], cuts)
        placed = {}
        for kind, found in items.items():
            pairs = covered_cells(np.searchsorted(edges, starts[kind]), np.searchsorted(edges, ends[kind]))
            placed[kind] = Items(found.ids, found.videos, found.starts, found.ends, found.vectors, *pairs)
        return placed

    def frame_scores(self, queries: Vectors, *, in_context: bool) -> Vectors:
        """Likeness (N, n) of every frame to n query vectors, float32 (D, n).

        ``in_context``: half of it the frame's own, half the mean of the frames around it in its shot. What is asked in
        words lasts longer than a frame, and one frame may look like anything by chance.
        """
        scores: Vectors = self.items["seen"].vectors @ queries
        if not in_context:
            return scores
        order, first, stop = self._context
        sums = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores[order], axis=0, dtype=np.float64)])
        means = (sums[stop] - sums[first]) / (stop - first)[:, None]
        return np.asarray((scores + means) / 2, np.float32)

    @cached_property
    def _context(self) -> tuple[Integers, Integers, Integers]:
        """The frames in order of time, and which of these, [first, stop) (N,), are near each one and in its shot."""
        items = self.items["seen"]
        shots = np.cumsum(self.cell_opens_shot | (np.diff(self.cell_videos, prepend=-1) != 0))
        opening = items.pair_cell[np.unique(items.pair_item, return_index=True)[1]]
        place = items.starts + shots[opening] * (items.ends.max() + 2 * CONTEXT_SECONDS)  # shots far apart
        order = np.argsort(place, kind="stable")
        first = np.searchsorted(place[order], place - CONTEXT_SECONDS, side="left")
        stop = np.searchsorted(place[order], place + CONTEXT_SECONDS, side="right")
        return order, first, stop

    def scores(self, query: Query, evidence: Sequence[str]) -> Iterator[tuple[str, str, npt.NDArray[np.floating]]]:
        """(channel, kind, scores (N,)) for each channel of these kinds that the query and the library have."""
        for kind in evidence:
            if kind not in self.items:
                continue
            if kind == "seen":
                if query.seen is not None:
                    in_words = query.meaning is not None
                    yield "seen", kind, self.frame_scores(query.seen[:, None], in_context=in_words)[:, 0]
            elif query.meaning is not None:
                yield f"{kind}.words", kind, self._word_scores(query.words, kind)
                yield f"{kind}.meaning", kind, self.items[kind].vectors @ query.meaning

    def cell_sums(self, item_scores: dict[str, Floats]) -> Floats:
        """kind -> scores (N,) >= 0 of its items, as one sum (cells,) over the best item of each kind in a cell."""
        total = np.zeros(self.cells)
        for kind, scores in item_scores.items():
            items = self.items[kind]
            total += highest_per_cell(scores, items.pair_item, items.pair_cell, self.cells)
        return total

    def holds(self, word: str) -> bool:
        """Whether a word stands in one of the library's texts, letter for letter."""
        wanted = set(content_tokens(word)) or {word}
        found = (self.catalog.text_matches(sorted(wanted), kind).values() for kind in TEXT_KINDS)
        return any(held == wanted for texts in found for held in texts)

    def text_of(self, ids: Integers) -> dict[int, str]:
        """Text ids to what they say."""
        return {found.id: found.text.text for found in self.catalog.texts(ids=[int(id_) for id_ in ids])}

    def _word_scores(self, words: Sequence[QueryWord], kind: str) -> Floats:
        """Share (N,) of the query's words, weighted by rarity, that each text holds or nearly holds."""
        held, whole = np.zeros(len(self.items[kind])), 0.0
        for word in words:
            rarity = np.array([self._rarity(token, kind) for token in word.tokens])
            likeness = np.zeros(len(held))
            for token, weight in zip(word.tokens, rarity / rarity.sum(), strict=True):
                likeness[self._holding(token, kind)] += weight
            for token, nearness in self._vocabulary.like(word):
                rows = self._holding(token, kind)
                likeness[rows] = np.maximum(likeness[rows], nearness)
            held += rarity.mean() * likeness
            whole += float(rarity.mean())
        return held / whole if whole else held

    def _rarity(self, token: str, kind: str) -> float:
        """Inverse document frequency, log(1 + N / n); a word nobody uses counts as used once."""
        return float(np.log1p(len(self.items[kind]) / max(1, len(self._holding(token, kind)))))

    def _holding(self, token: str, kind: str) -> Integers:
        """Rows of the texts that hold a token (texts that came after this board was made are left out)."""
        key = (token, kind)
        if key not in self._postings:
            ids = self.items[kind].ids
            self._postings[key] = np.flatnonzero(np.isin(ids, list(self.catalog.text_matches([token], kind))))
        return self._postings[key]


class Vocabulary:
    """The library's own words, to be found by meaning and by sound."""

    def __init__(self, catalog: Catalog, sentences: SentenceEncoder) -> None:
        self.words = tuple(token for token in catalog.vocabulary() if len(token) > 1 and not token.isdigit())
        self._vectors = vocabulary_cache(catalog, sentences).vectors(self.words, sentences.encode)
        self._hubness = self._nearness_to_anything(sentences) if self.words else np.empty(0, np.float32)
        self._liked: dict[str, list[tuple[str, float]]] = {}

    def like(self, word: QueryWord) -> list[tuple[str, float]]:
        """Words that mean about the same as a query's, or sound the same; likeness in (0, 1].

        Some short words are near to everything; half of what a word is near to anyway is taken off, as in
        cross-domain similarity local scaling (arXiv 1710.04087).
        """
        if not self.words:
            return []
        if word.surface not in self._liked:
            self._liked[word.surface] = self._look_for(word)
        return self._liked[word.surface]

    def _look_for(self, word: QueryWord) -> list[tuple[str, float]]:
        cosines = np.minimum(self._vectors @ word.vector, SAME_WORD) - 0.5 * self._hubness
        if is_borrowed_script(word.surface):
            cosines[self._sounding.get(sound(word.surface), [])] += SOUNDS_ALIKE
        nearest = np.argpartition(-cosines, min(NEIGHBOURS, len(cosines) - 1))[:NEIGHBOURS]
        likeness = np.minimum((cosines[nearest] - RELATED_WORD) / (SAME_WORD - RELATED_WORD), 1.0)
        return [(self.words[index], float(like)) for index, like in zip(nearest, likeness, strict=True) if like > 0]

    @cached_property
    def _sounding(self) -> dict[str, list[int]]:
        """Sounds long enough to say something, and the words in Latin letters that have them."""
        found: dict[str, list[int]] = {}
        for index, word in enumerate(self.words):
            if word.isascii() and len(heard := sound(word)) >= SHORTEST:
                found.setdefault(heard, []).append(index)
        return found

    def _nearness_to_anything(self, sentences: SentenceEncoder) -> Vectors:
        """How near each word is to words about something else, less the average of that: float32 (V,)."""
        others = background_cache(sentences.name).vectors(background_words(), sentences.encode)
        nearest = np.sort(self._vectors @ others.T, axis=1)[:, -10:].mean(axis=1)
        return np.asarray(nearest - nearest.mean(), np.float32)


def vocabulary_cache(catalog: Catalog, sentences: SentenceEncoder) -> VectorCache:
    """Where the vectors of the library's own words are kept from one search to the next."""
    return VectorCache(catalog.folder / "cache" / f"words-{sentences.name}.npz")


def _unplaced(ids: Integers, videos: Integers, starts: Floats, ends: Floats, vectors: Vectors) -> Items:
    nowhere = np.empty(0, np.int64)
    return Items(ids, videos, starts, ends, vectors, nowhere, nowhere)
