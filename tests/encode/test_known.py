"""Words that a model was not taught: asked of arrays whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.encode import sentence_encoder
from saccade.encode.known import KnownWords, features


def known(*vectors: list[float], bias: float = -8.0) -> KnownWords:
    """Knows these directions of three, and asks only how near the nearest is: unknown below 0.8."""
    words = np.round(127 * np.array(vectors)).astype(np.int8)
    line = np.array([1.0, 0.0, 0.0, 0.0, 0.0], np.float32)
    return KnownWords(
        {
            "known_words": words,
            "known_basis": np.eye(3, dtype=np.float16),
            "known_line": line,
            "known_bias": np.array([bias, -np.inf], np.float32),
        }
    )


DIRECTIONS = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.8, 0.0], [0.8, 0.6, 0.0], [0.0, -1.0, 0.0])


def test_what_is_near_a_trained_word_is_known() -> None:
    vectors = np.array([[1.0, 0.0, 0.0], [0.9, 0.1, 0.1], [0.0, 0.1, 1.0]], np.float32)
    assert known(*DIRECTIONS).unknown(["dog", "puppy", "sextant"], vectors) == ["sextant"]


def test_trained_words_are_known_wherever_the_line_lies() -> None:
    vectors = np.array([[0.6, 0.8, 0.0], [0.3, -0.4, 0.0]], np.float32)
    assert known(*DIRECTIONS, bias=-100.0).unknown(["dog", "cat"], vectors) == ["cat"]


@pytest.mark.parametrize(
    "word", ["the", "The", "seven", "1984", "3rd", "english", "한국어", "그리고", "모습", "칠한다"]
)
def test_words_that_say_not_what_are_never_unknown(word: str) -> None:
    assert known(*DIRECTIONS).unknown([word, "sextant"], np.eye(3, dtype=np.float32)[[2, 2]]) == ["sextant"]


def test_other_scripts_have_a_place_of_their_own_on_the_line() -> None:
    vectors = np.eye(3, dtype=np.float32)[[2, 2]]
    assert known(*DIRECTIONS).unknown(["육분의", "sextant"], vectors) == ["육분의", "sextant"]
    near = np.array([[0.7, 0.7, 0.14]] * 2, np.float32)
    assert known(*DIRECTIONS, bias=0.0).unknown(["개", "dog"], near) == []


def test_no_words_are_no_unknown_words() -> None:
    assert known(*DIRECTIONS).unknown([], np.zeros((0, 3), np.float32)) == []


def test_features_are_the_nearest_the_nearest_few_and_the_vector() -> None:
    basis, words = np.eye(3, dtype=np.float32), np.array(DIRECTIONS, np.float32)
    found = features(np.array([[2.0, 0.0, 0.0]], np.float32), basis, words)
    assert np.allclose(found, [[10.0, 10 * (1.0 + 0.0 + 0.6 + 0.8 + 0.0) / 5, 6.0, 0.0, 0.0]])


def test_sentence_vectors_fit() -> None:
    """The width that recipes/vocabulary.py codes is the sentence encoder's."""
    assert sentence_encoder().encode(["dog"]).shape == (1, 512)
