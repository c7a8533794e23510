"""The vocabulary of a model: the words it was taught pass, words of another world do not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from saccade.encode import sentence_encoder
from saccade.encode.known import KnownWords
from saccade.errors import InputError
from saccade.index.fulltext import content_tokens
from saccade.recipes.vocabulary import draw_line, known_words

RECIPES = Path(__file__).parents[2] / "src" / "saccade" / "recipes"

# Neither the vocabulary nor the line was made with these words.
STRANGE = """
    alembic bouzouki caduceus ceilidh cyclotron dialysis kefir kombucha ombudsman papyrus quinoa sauerkraut tardigrade
    zeppelin marimba pestle invoice pension parliament referendum vaccine hovercraft lyre nebula gazpacho
""".split()  # noqa: SIM905
STRANGE_KOREAN = """
    제세동기 심전도 매너티 백신 연금 국회 국민투표 명세서 청구서 나노입자 단백질 호버크라프트 세금 특허 증류기 성운
    인공위성 확성기 잠수정 향로
""".split()  # noqa: SIM905
EVERYDAY_KOREAN = """
    남자아이 여자아이 아저씨 아줌마 아기 친구들 사람들 관중 공원 들판 숲 모래 바위 물가 수영복 반바지 청바지 티셔츠 헬멧
    자동차 트럭 오토바이 버스 배 기차 비행기 길 골목 계단 울타리 벽 지붕 의자 벤치 컵 접시 음식 과일 개 강아지 고양이
    말 소 새 오리 물고기 공 축구공 농구 스케이트보드 서핑 등산 낚시 달리기 점프 춤 노래
""".split()  # noqa: SIM905
EVERYDAY_ELSEWHERE = """
    hombre mujer niño perro agua nieve árbol flor casa puente Frau Mädchen Wasser Schnee Baum Straße homme garçon neige
    arbre maison donna ragazzo spiaggia albero 男 女 子供 水 雪 花 家 橋 мужчина женщина мальчик снег цветок дом
""".split()  # noqa: SIM905


def pairs(name: str) -> list[tuple[str, str]]:
    rows = (RECIPES / name).read_text("utf-8").splitlines()[1:]
    return [(english, korean) for english, korean in (row.split("\t") for row in rows)]


def share(known: KnownWords, words: list[str]) -> float:
    return len(known.unknown(words, sentence_encoder().encode(words))) / len(words)


@pytest.mark.parametrize("name, count", [("sentences.tsv", 700), ("sentences_heldout.tsv", 150)])
def test_sentences_come_in_pairs(name: str, count: int) -> None:
    found = pairs(name)
    assert len(found) >= count
    assert len({english for english, _ in found}) == len({korean for _, korean in found}) == len(found)
    for english, korean in found:
        assert english.isascii() and any("가" <= char <= "힣" for char in korean), (english, korean)


def test_held_out_sentences_are_not_trained_on() -> None:
    taught, held = pairs("sentences.tsv"), pairs("sentences_heldout.tsv")
    assert not {english for english, _ in taught} & {english for english, _ in held}
    assert not {korean for _, korean in taught} & {korean for _, korean in held}


def test_the_line_leaves_its_share_of_the_known_below() -> None:
    random = np.random.default_rng(0)
    above = random.normal(1.0, 1.0, size=(500, 4)).astype(np.float32)
    below = random.normal(-1.0, 1.0, size=(200, 4)).astype(np.float32)
    line, bias = draw_line(above, below, above[:0])
    assert bias[0] == bias[1] and 0.005 < np.mean(above @ line + bias[0] < 0) < 0.04
    assert np.mean(below @ line + bias[0] < 0) > 0.9


def test_a_few_captions_already_know_their_words() -> None:
    captions = [english for english, _ in pairs("sentences.tsv")] * 25
    known = KnownWords(known_words(captions, [], pairs("sentences.tsv")))
    words = sorted({word for caption in captions for word in content_tokens(caption) if len(word) > 1})
    assert share(known, words) == 0.0


def test_too_few_captions_teach_nothing() -> None:
    with pytest.raises(InputError, match="20 captions"):
        known_words(["a dog runs"] * 5, ["dog"])


@pytest.fixture(scope="module")
def taught(test_data: Path) -> KnownWords:
    rows = [
        json.loads(line)
        for file in sorted((test_data / "train").glob("*/labels.jsonl"))
        for line in file.read_text("utf-8").splitlines()
    ]
    rows = [row for row in rows if row["split"] == "train"]
    captions = [caption for row in rows for caption in row["captions"]]
    return KnownWords(known_words(captions, [label for row in rows for label in row["labels"]], pairs("sentences.tsv")))


def test_strange_words_are_mostly_unknown(taught: KnownWords) -> None:
    assert share(taught, STRANGE) > 0.7
    assert share(taught, STRANGE_KOREAN) > 0.5


def test_everyday_words_of_other_languages_are_known(taught: KnownWords) -> None:
    assert share(taught, EVERYDAY_KOREAN) <= 0.02
    assert share(taught, EVERYDAY_ELSEWHERE) <= 0.02
