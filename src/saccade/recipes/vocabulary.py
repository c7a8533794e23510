"""Which words a model was taught, in the arrays that encode/known.py asks: its vocabulary, and where it ends.

The trained words are the content words that stand in at least two captions or labels. How far is too far is learned
from two kinds of words: those that often stand in captions, each looked up among the others as if it had not been
trained on (they must pass), and words of the background queries that no caption and no label holds (they should not).
A logistic regression weighs the likeness to the nearest words and the word's own vector, and the line is then moved
to where FALSE_ALARMS of the left-out words lie beyond it. Sentence vectors being what they are, its direction also
holds in languages that it was not drawn in; their place on it is that of translations of well-known sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set

import numpy as np
import numpy.typing as npt

from saccade.encode import sentence_encoder
from saccade.encode.known import NEVER, Vectors, features, unit_rows
from saccade.errors import InputError
from saccade.index.fulltext import content_tokens
from saccade.index.query import background_queries, split_words

DIM = 64
"""Of the trained words' directions: with 5,600 words 0.4 MB in all."""

FEWEST, OFTEN = 2, 20
"""Times a word stands in captions or labels to count as trained; and in captions, to be left out and tried."""

FALSE_ALARMS, FALSE_ALARMS_TRANSLATED = 0.02, 0.08
"""Of the words left out, in English and in translations: of those many carry endings or are compounds, farther from all
English than everyday words are, of which 1 % lie beyond the same line (docs/log.md)."""

FOLDS = 10
PENALTY = 10.0


def known_words(
    captions: Iterable[str], labels: Iterable[str], pairs: Sequence[tuple[str, str]] = ()
) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of ``KnownWords`` for a model trained on these English texts.

    pairs: English sentences and their translations that the text side was aligned with. The words of a translation
    count as trained where all content words of its English sentence are. Raises InputError where fewer than ten words
    stand in captions OFTEN enough to draw a line.
    """
    said, named = _counts(captions), _counts(labels)
    if sum(said[word] >= OFTEN for word in said) < FOLDS:
        raise InputError(f"fewer than {FOLDS} words stand in at least {OFTEN} captions: too little to know words from")
    total = said + named
    english = sorted(word for word in total if total[word] >= FEWEST)
    translated = sorted(_translated(pairs, set(english)) - set(english))
    everyday = _translated(pairs, {word for word in english if said[word] >= OFTEN})
    trained = [*english, *translated]
    encode = sentence_encoder().encode
    vectors = encode(trained)
    basis = _basis(vectors[: len(english)])
    coded = _coded(vectors @ basis)
    known = unit_rows(coded.astype(np.float32))
    strange = features(encode(strange_words(total)), basis, known)
    tried = left_out_features(vectors, basis, known)
    often = np.array([said[word] >= OFTEN for word in english] + [word in everyday for word in translated])
    in_english = np.arange(len(trained)) < len(english)
    line, bias = draw_line(tried[often & in_english], strange, tried[often & ~in_english])
    return {"known_words": coded, "known_basis": basis.astype(np.float16), "known_line": line, "known_bias": bias}


def strange_words(trained: Counter[str]) -> list[str]:
    """Content words of the English background queries that are in no caption and no label."""
    queries = background_queries("en") + background_queries("en.short")
    return sorted({word for query in queries for word in content_tokens(query) if _counts_as_word(word)} - set(trained))


def left_out_features(vectors: Vectors, basis: Vectors, known: Vectors) -> Vectors:
    """The features of the trained words (N, F), each as if a tenth of the words, itself among them, were not known."""
    fold = np.random.default_rng(0).permutation(len(vectors)) % FOLDS
    found = np.zeros((len(vectors), vectors.shape[1] + 2), np.float32)
    for number in range(FOLDS):
        found[fold == number] = features(vectors[fold == number], basis, known[fold != number])
    return found


def draw_line(english: Vectors, strange: Vectors, translated: Vectors) -> tuple[Vectors, Vectors]:
    """Weights (F,) and two biases, with which their share of the English and of the translated words lie below 0.

    The line is drawn in English alone: it would take another language itself for a sign of being known. Its place
    there is that of words it was not drawn with, a tenth of them at a time.
    """
    fold = np.random.default_rng(1).permutation(len(english)) % FOLDS
    heights = np.zeros(len(english))
    for number in range(FOLDS):
        heights[fold == number] = english[fold == number] @ fit(english[fold != number], strange)
    line = fit(english, strange)
    bias = -np.quantile(heights, FALSE_ALARMS)
    other_bias = -np.quantile(translated @ line, FALSE_ALARMS_TRANSLATED) if len(translated) else bias
    return line.astype(np.float32), np.array([bias, other_bias], np.float32)


def fit(above: Vectors, below: Vectors) -> npt.NDArray[np.float64]:
    """Weights (F,) of a logistic regression with an L2 penalty, both classes of equal weight, by Newton's method."""
    rows = np.concatenate([above, below]).astype(np.float64)
    rows = np.column_stack([rows, np.ones(len(rows))])
    truth = np.repeat([1.0, 0.0], [len(above), len(below)])
    share = np.repeat([0.5 / len(above), 0.5 / len(below)], [len(above), len(below)]) * len(rows)
    penalty = PENALTY * np.eye(rows.shape[1])
    penalty[-1, -1] = 0.0
    weights = np.zeros(rows.shape[1])
    for _ in range(30):
        p = 1.0 / (1.0 + np.exp(-np.clip(rows @ weights, -30.0, 30.0)))
        gradient = rows.T @ (share * (p - truth)) + penalty @ weights
        curvature = (rows * (share * p * (1.0 - p))[:, None]).T @ rows + penalty
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    return weights[:-1]


def _counts(texts: Iterable[str]) -> Counter[str]:
    """Word -> texts that it stands in."""
    return Counter(word for text in texts for word in content_tokens(text) if _counts_as_word(word))


def _translated(pairs: Sequence[tuple[str, str]], trained: Set[str]) -> set[str]:
    """The words of translations whose English is all trained words, as they are typed."""
    taught = [other for english, other in pairs if set(_counts([english])) <= trained]
    return {word.casefold() for text in taught for word, _ in split_words(text) if _counts_as_word(word)}


def _counts_as_word(word: str) -> bool:
    return len(word) > 1 and word not in NEVER and not any(char.isdigit() for char in word)


def _basis(vectors: Vectors) -> Vectors:
    """(D, K): the directions in which the trained words differ most from nothing."""
    _, _, right = np.linalg.svd(vectors, full_matrices=False)
    return np.asarray(right[:DIM].T.astype(np.float16), np.float32)


def _coded(coordinates: Vectors) -> npt.NDArray[np.int8]:
    unit = unit_rows(coordinates)
    return np.asarray(np.round(unit * (127.0 / np.abs(unit).max())), np.int8)
