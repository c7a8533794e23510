"""Words borrowed by sound."""

from __future__ import annotations

import pytest

from saccade.index.loanwords import is_borrowed_script, sound


@pytest.mark.parametrize(
    "borrowed, word",
    [
        ("마요네즈", "mayonnaise"),
        ("헬리콥터", "helicopter"),
        ("컴퓨터", "computer"),
        ("베이컨", "bacon"),
        ("토마토", "Tomato"),
        ("초콜릿", "chocolate"),
        ("텔레비전", "television"),
        ("워싱턴", "Washington"),
        ("스테이블", "stable"),
        ("マヨネーズ", "mayonnaise"),
        ("ヘリコプター", "helicopter"),
    ],
)
def test_a_borrowed_word_sounds_like_its_original(borrowed: str, word: str) -> None:
    assert sound(borrowed) == sound(word) != ""


def test_words_that_differ_sound_different() -> None:
    words = ["helicopter", "mayonnaise", "computer", "bacon", "pasta", "lemon", "television", "submarine"]
    assert len({sound(word) for word in words}) == len(words)


def test_other_scripts_have_no_sound() -> None:
    assert sound("стол") == sound("蛋黄酱") == sound("42") == ""
    assert not is_borrowed_script("蛋黄酱")
