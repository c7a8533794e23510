"""Queries, their background, and the vectors that are kept of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saccade.index.fulltext import STOP_WORDS
from saccade.index.query import (
    BACKGROUNDS,
    VectorCache,
    background_queries,
    background_words,
    read_queries,
    split_words,
)


def letters(texts) -> np.ndarray:
    return np.array([[len(text), text.count("a")] for text in texts], np.float32)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_every_background_is_large_enough_to_tell_one_in_a_hundred(name: str) -> None:
    queries = background_queries(name)
    assert len(set(queries)) == len(queries) >= 390


def test_background_words_are_a_pick_of_content_words() -> None:
    words = background_words()
    assert len(set(words)) == len(words) and 500 <= len(words) <= 1500
    assert not STOP_WORDS & set(words) and any("가" <= word[0] <= "힣" for word in words)


def test_a_query_keeps_its_words_together_with_their_tokens() -> None:
    assert split_words("비용을 the cost") == [("비용을", ("비용", "용을")), ("cost", ("cost",))]
    query = read_queries(["the red door"], letters)[0]
    assert [word.surface for word in query.words] == ["red", "door"]
    assert query.meaning is not None and query.meaning.tolist() == [12, 0] and query.seen is None


def test_vectors_are_encoded_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def encode(texts):
        asked.extend(texts)
        return letters(texts)

    cache = VectorCache(tmp_path / "deep" / "cache.npz")
    first = cache.vectors(["banana", "kiwi"], encode)
    again = VectorCache(cache.path).vectors(["kiwi", "plum", "banana", "kiwi"], encode)
    assert asked == ["banana", "kiwi", "plum"]
    assert np.array_equal(again[[2, 0]], first) and np.array_equal(again[0], again[3])


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "cache.npz").write_bytes(b"PK\x03\x04 torn")
    assert VectorCache(tmp_path / "cache.npz").vectors(["kiwi"], letters).tolist() == [[4, 0]]


def test_forgotten_texts_leave_the_file(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "cache.npz")
    cache.vectors(["secret", "kiwi"], letters)
    cache.keep_only(["kiwi"])
    assert b"secret" not in cache.path.read_bytes() and b"s\x00\x00\x00e\x00\x00\x00c" not in cache.path.read_bytes()
    assert VectorCache(cache.path).vectors(["kiwi"], letters).tolist() == [[4, 0]]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert VectorCache(tmp_path / "file" / "cache.npz").vectors(["kiwi"], letters).tolist() == [[4, 0]]
