"""What the built-in text head reads of a text: the meaning of the whole, and the mean of the meanings of its words.

A sentence vector blurs what a long sentence names; the mean of the vectors of its content words keeps it, in every
language of the sentence encoder. Together they retrieve held-out photographs a little better than either alone
(docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from saccade.index.query import split_words

if TYPE_CHECKING:
    from saccade.index.query import SentenceEncoder

_PUNCTUATION = ".,;:!?…\"'’“”()[]「」。、！？"


def text_features(texts: Sequence[str], sentences: SentenceEncoder) -> npt.NDArray[np.float32]:
    """float32 (L, 2 D): the vectors (L, D) of the texts beside the means, normalised again, of their words' vectors.

    Each distinct text and word is encoded once. A text without content words stands for its words itself.
    """
    words = [content_words(text) for text in texts]
    wanted = list(dict.fromkeys([*texts, *(word for found in words for word in found)]))
    row = {text: index for index, text in enumerate(wanted)}
    vectors = sentences.encode(wanted)
    spoken = ([row[word] for word in found or [text]] for text, found in zip(texts, words, strict=True))
    means = np.stack([vectors[rows].mean(axis=0) for rows in spoken])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.concatenate([vectors[[row[text] for text in texts]], means / np.maximum(lengths, 1e-6)], axis=1)


def content_words(text: str) -> list[str]:
    """The words that say something, in lower case and without punctuation.

    >>> content_words("A man, in the Street!")
    ['man', 'street']
    """
    words = (piece.strip(_PUNCTUATION).lower() for piece, _ in split_words(text))
    return [word for word in words if word]
