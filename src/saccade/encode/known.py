"""Which words the eyes of a model were taught: the nearest trained words, and the kind of word they are.

A word is unknown when the words of the training captions and labels are far from its sentence vector, in whatever
language it is asked. recipes/vocabulary.py makes the arrays and says how the line between near and far was drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from saccade.index.fulltext import STOP_WORDS

Vectors = npt.NDArray[np.float32]

NEIGHBOURS = 5
"""Trained words whose mean likeness counts beside that of the nearest."""

SAME_WORD = 0.98
"""Likeness from which a word is one of the trained ones."""

LIKENESS_WEIGHT, VECTOR_WEIGHT = 10.0, 3.0
"""Scales of the features, so that one penalty fits all of them when the line is drawn."""

NEVER = STOP_WORDS | frozenset(
    """
    someone somebody something anyone anybody anything everyone everybody everything nobody nothing many much another
    one two three four five six seven eight nine ten first second third last next near behind beside inside outside
    english korean japanese chinese french german spanish italian portuguese russian dutch polish turkish thai arabic
    그 이 저 그리고 그러나 하지만 또는 및 등 때 것 곳 수 더 매우 아주 모두 함께 누군가 무언가 어떤 여러 한 두 세 네
    둘 셋 넷 명 마리 개 위 위에 위에서 아래 아래에서 앞 앞에 앞에서 뒤 뒤에 뒤에서 옆 옆에 옆에서 안 안에 안에서 밖
    밖에서 속 속에서 사이 사이로 근처에서 있는 있다 없는 없다 하는 한다 하다 되는 된다 나오는 나온다 보이는 보인다
    모습 장면 영상 화면 사진
    영어 한국어 일본어 중국어 프랑스어 독일어 스페인어 이탈리아어 포르투갈어 러시아어 네덜란드어 폴란드어 터키어 태국어
    아랍어
    """.split()  # noqa: SIM905
)
"""Words that say how and where rather than what, and names of languages."""


class KnownWords:
    """The words that one model was trained on, to be asked about others.

    arrays: ``known_words`` int8 (N, K), the trained words' directions; ``known_basis`` (D, K), from sentence vectors
    to those; ``known_line`` (D + 2,), weights of the features; ``known_bias`` (2,), for words in ASCII and others.
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        self._basis = np.asarray(arrays["known_basis"], np.float32)
        self._words = unit_rows(np.asarray(arrays["known_words"], np.float32))
        self._line = np.asarray(arrays["known_line"], np.float32)
        self._bias = np.asarray(arrays["known_bias"], np.float32)

    def unknown(self, words: Sequence[str], vectors: Vectors) -> list[str]:
        """Those of the words that are far from all trained ones; vectors: float32 (N, D), each word's alone.

        Function words, numbers, names of languages and Korean verbs as they end a sentence are never among them.
        """
        found = features(vectors, self._basis, self._words)
        far = found @ self._line + self._bias[[0 if word.isascii() else 1 for word in words]] < 0
        far &= found[:, 0] < SAME_WORD * LIKENESS_WEIGHT
        return [word for word, is_far in zip(words, far, strict=True) if is_far and _says_what(word)]


def features(vectors: Vectors, basis: Vectors, known: Vectors) -> Vectors:
    """float32 (N, D + 2): likeness to the nearest of the known words and to the nearest few, and the vector itself."""
    likeness = unit_rows(vectors @ basis) @ known.T
    near = np.partition(likeness, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
    columns = [LIKENESS_WEIGHT * near.max(axis=1), LIKENESS_WEIGHT * near.mean(axis=1), VECTOR_WEIGHT * vectors]
    return np.column_stack(columns).astype(np.float32)


def unit_rows(vectors: Vectors) -> Vectors:
    """Each row scaled to length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def _says_what(word: str) -> bool:
    korean_verb = len(word) > 2 and word.endswith("다")
    return word.casefold() not in NEVER and not korean_verb and not any(char.isdigit() for char in word)
