"""Queries as the search channels read them, and the background queries that they are judged against."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from saccade.index.fulltext import content_tokens
from saccade.weights import cache_folder

Vectors = npt.NDArray[np.float32]

SHORT_QUERY_WORDS = 2
"""Queries of one or two content words have background queries of their own: they match more easily."""

IMAGE_BACKGROUND = "image"
"""The background of a query by picture: the library's own frames, looked for in other videos."""


class SentenceEncoder(Protocol):
    """What this room needs of the sentence encoder: a name, and (n, D) L2-normalised vectors of n texts."""

    @property
    def name(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> Vectors: ...


class TextTower(Protocol):
    """What this room needs of a frame encoder: a name, and its (n, D) L2-normalised vectors of n texts."""

    @property
    def name(self) -> str: ...

    def encode_text(self, texts: Sequence[str]) -> Vectors: ...


@dataclass(frozen=True, eq=False)
class QueryWord:
    """A word of the query as it was typed, its search tokens, and the sentence vector (512,) of the word alone."""

    surface: str
    tokens: tuple[str, ...]
    vector: Vectors


@dataclass(frozen=True, eq=False)
class Query:
    """A query as the channels read it; ``meaning`` is None for a picture, ``seen`` without a frame encoder."""

    background: str
    words: tuple[QueryWord, ...] = ()
    meaning: Vectors | None = None
    seen: Vectors | None = None


def read_queries(
    texts: Sequence[str],
    encode: Callable[[Sequence[str]], Vectors],
    see: Callable[[Sequence[str]], Vectors] | None = None,
) -> list[Query]:
    """Texts as queries; with ``see``, the text tower of a frame encoder, also to be looked for among the frames."""
    pieces = [split_words(text) for text in texts]
    wanted = list(dict.fromkeys([*texts, *(piece for found in pieces for piece, _ in found)]))
    vectors = dict(zip(wanted, encode(wanted), strict=True))
    seen: Sequence[Vectors | None] = list(see(texts)) if see is not None else [None] * len(texts)
    return [
        Query(
            background_of(text),
            tuple(QueryWord(piece, tokens, vectors[piece]) for piece, tokens in found),
            vectors[text],
            sight,
        )
        for text, found, sight in zip(texts, pieces, seen, strict=True)
    ]


def picture_query(vector: Vectors) -> Query:
    """A query by the frame vector (D,) of a picture."""
    return Query(IMAGE_BACKGROUND, seen=vector)


def split_words(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """The content words of a query, each with its search tokens.

    >>> split_words("When does she mention 비용을?")
    [('mention', ('mention',)), ('비용을?', ('비용', '용을'))]
    """
    content = set(content_tokens(text))
    words = ((piece, tuple(t for t in content_tokens(piece) if t in content)) for piece in text.split())
    return list(dict.fromkeys((piece, found) for piece, found in words if found))


def language_of(text: str) -> str:
    """Whose background queries judge this text: ko where it holds Hangul, else en.

    >>> language_of("마요네즈 jar"), language_of("mayonnaise")
    ('ko', 'en')
    """
    return "ko" if any("가" <= char <= "힣" or "ㄱ" <= char <= "ㅣ" for char in text) else "en"


def background_of(text: str) -> str:
    """The set of background queries that are like this text: its language, and whether it is short.

    >>> background_of("the red door"), background_of("마요네즈를 그릇에 천천히 넣는다")
    ('en.short', 'ko')
    """
    return language_of(text) + (".short" if len(split_words(text)) <= SHORT_QUERY_WORDS else "")


def background_queries(name: str) -> list[str]:
    """The texts of one set of background queries, by the name that ``background_of`` gives."""
    return _backgrounds()[name]


@cache
def _backgrounds() -> dict[str, list[str]]:
    sets: dict[str, list[str]] = {name: [] for name in BACKGROUNDS}
    for line in _background_text().splitlines():
        sets[background_of(line)].append(line)
    return sets


@cache
def _background_text() -> str:
    folder = resources.files("saccade.index").joinpath("background")
    return "".join(folder.joinpath(f"{language}.txt").read_text("utf-8") for language in ("en", "ko"))


@cache
def background_revision() -> str:
    """Eight hex digits that change with the background queries: what was measured with others is not kept."""
    return hashlib.sha256(_background_text().encode()).hexdigest()[:8]


BACKGROUNDS = ("en", "en.short", "ko", "ko.short")


def background_cache(encoder: str) -> VectorCache:
    """Where one encoder's vectors of the background queries are kept, for all libraries of this machine."""
    return VectorCache(cache_folder() / "background" / f"{encoder.replace('/', '--')}.npz")


def background_words() -> list[str]:
    """Content words of every third background query, each once: enough to tell how near a word is to just anything.

    All of them would cost each search its time.
    """
    lines = _background_text().splitlines()[::3]
    return list(dict.fromkeys(piece for line in lines for piece, _ in split_words(line)))


class VectorCache:
    """Vectors of texts in one file that may be deleted at any time: float16, written whole and atomically."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def vectors(self, texts: Sequence[str], encode: Callable[[Sequence[str]], Vectors]) -> Vectors:
        """float32 (n, D) of n texts; those the file does not hold are encoded and written down."""
        known, stored = self._read()
        row = {text: index for index, text in enumerate(known)}
        missing = [text for text in dict.fromkeys(texts) if text not in row]
        if missing:
            fresh = encode(missing).astype(np.float16)
            stored = np.concatenate([stored, fresh]) if known else fresh
            known = [*known, *missing]
            row = {text: index for index, text in enumerate(known)}
            self._write(known, stored)
        if not texts:
            return np.empty((0, stored.shape[1]), np.float32)
        return stored[[row[text] for text in texts]].astype(np.float32)

    def keep_only(self, texts: Sequence[str]) -> None:
        """Forgets every other text."""
        known, stored = self._read()
        wanted = set(texts)
        rows = [index for index, text in enumerate(known) if text in wanted]
        if len(rows) < len(known):
            self._write([known[index] for index in rows], stored[rows])

    def _read(self) -> tuple[list[str], npt.NDArray[np.float16]]:
        try:
            with self.path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return str(file["texts"]).split("\n"), file["vectors"]
        except (FileNotFoundError, NotADirectoryError, EOFError, zipfile.BadZipFile, ValueError, KeyError):
            return [], np.empty((0, 0), np.float16)

    def _write(self, texts: list[str], vectors: npt.NDArray[np.float16]) -> None:
        """A library on a read-only disk works without: then nothing is written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=".", suffix=".npz")
        except OSError:
            return
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, texts=np.array("\n".join(texts)), vectors=vectors)
        os.replace(name, self.path)
