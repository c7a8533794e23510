from __future__ import annotations

import pytest

from saccade.index.fulltext import content_tokens, tokens


def found(query: str, text: str) -> bool:
    """Whether every token that a query is about stands in a text."""
    return set(content_tokens(query)) <= set(tokens(text))


@pytest.mark.parametrize(
    "query, text",
    [
        ("비용", "비용을 줄이는 방법"),
        ("비용은", "이 비용은 큽니다"),
        ("東京", "東京都の物価"),
        ("物価", "東京都の物価"),
        ("ラーメン", "美味しいラーメン屋"),
        ("ﾗｰﾒﾝ", "ラーメン"),
        ("会議", "明日会议在会議室"),
        ("ราคา", "ราคาเท่าไร"),
        ("हिन्दी", "मैं हिन्दी बोलता हूँ"),
        ("cafe", "Le Café"),
        ("CAFÉ", "le cafe"),
        ("STRASSE", "Straße"),
        ("ελληνικα", "Ελληνικά"),
        ("елка", "Ёлка"),
        ("ﬁne ①", "fine 1"),
        ("don't panic", "DON’T panic"),
        ("dont panic", "don't panic"),
        ("Mary's house", "the house of Mary"),
        ("amour", "l'amour"),
        ("l'amour", "amour fou"),
        ("o'clock", "at five o'clock"),
        ("state of the art", "state-of-the-art"),
        ("state-of-the-art", "the state of this art"),
        ("e-mail", "send an email"),
        ("co-op", "the co-op"),
        ("snake_case", "in snake case"),
        ("1,000", "1000 people"),
        ("3.14", "pi is 3.14."),
        ("2026-11-21", "on 2026-11-21"),
        ("LG전자", "lg전자의 제품"),
        ("سلام", "سَلام"),
    ],
)
def test_found(query: str, text: str) -> None:
    assert content_tokens(query)
    assert found(query, text), (content_tokens(query), tokens(text))


@pytest.mark.parametrize(
    "query, text",
    [("용비", "비용을"), ("京東", "東京"), ("car", "carpet"), ("3.14", "3 and 14"), ("й", "и"), ("cost", "비용")],
)
def test_not_found(query: str, text: str) -> None:
    assert not found(query, text)


def test_a_query_is_about_its_content_words() -> None:
    assert content_tokens("When does the speaker mention the cost?") == ["speaker", "mention", "cost"]
    assert content_tokens("to be or not to be") == ["to", "be", "or", "not"]
    assert content_tokens("I don't know what it's about") == ["know"]
    assert content_tokens("cost cost Cost") == ["cost"]


def test_an_unspaced_query_is_its_pairs() -> None:
    assert content_tokens("비용을") == ["비용", "용을"]
    assert content_tokens("水") == ["水"]


@pytest.mark.parametrize("text", ["", "  ", "?!…", "\u200b", "'", "-", "...", "🙂", "\u0301", "\ud800", "\x00"])
def test_nothing_in_it(text: str) -> None:
    assert tokens(text) == []
    assert content_tokens(text) == []


def test_tokens_hold_no_space() -> None:
    text = "a b\u00a0c\u3000d\te'f-g_h,i.j 1,2.3 ｶﾞ ㈱ ½ x² e\u0301 ก็ 👩‍👩‍👧"
    assert all(token and not any(char.isspace() for char in token) for token in tokens(text))
