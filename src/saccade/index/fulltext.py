"""Text to search tokens: words where a script puts spaces, single characters and pairs where it does not.

Both sides of a search go through here, the stored text (``tokens``) and the query (``content_tokens``), so that
비용 finds 비용을, 東京 finds 東京都, and "cafe" finds "Café". Text is compared after NFKC and case folding, and
without the accents of scripts that are commonly typed without them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

# Scripts written without spaces, and Hangul, whose endings stick to the word.
UNSPACED = (
    (0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF),  # Hangul
    (0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),  # Han
    (0x3041, 0x3096), (0x3099, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF),  # Kana
    (0x0E01, 0x0E3A), (0x0E40, 0x0E4E), (0x0E80, 0x0ECE), (0x1000, 0x103F), (0x1780, 0x17D3),  # Thai to Khmer
)  # fmt: skip
BARE = ("LATIN", "GREEK", "ARABIC", "HEBREW")
"""Scripts whose marks are dropped: people type them without."""
APOSTROPHES = "'’ʼ＇"
HYPHENS = "-‐‑­"
ENDINGS = ("s", "re", "ll", "ve", "d", "m")
"""What follows an apostrophe without changing what a word is about: Mary's is about Mary."""

STOP_WORDS = frozenset(
    """
    a about above after again all also am an and any are arent as at be because been before being below between
    both but by can cant cannot could couldnt did didnt do does doesnt doing dont down during each few for from
    further had hadnt has hasnt have havent having he her here hers herself him himself his how i if in into is isnt
    it its itself just lets me more most my myself no nor not of off on once only or other our ours ourselves out
    over own same she should shouldnt so some such than that the their theirs them themselves then there these they
    this those through to too under until up very was wasnt we were werent what when where which while who whom why
    will with wont would wouldnt you your yours yourself yourselves im ive youre youve hes shes theyre weve thats
    whats theres
    """.split()  # noqa: SIM905
)


def tokens(text: str) -> list[str]:
    """Every token of a stored text, in order, repeats kept.

    >>> tokens("Don't pay the COST: 비용을")
    ['dont', 'don', 'pay', 'the', 'cost', '비', '비용', '용', '용을', '을']
    """
    return [token for run, unspaced in _runs(text) for token in (_grams(run) if unspaced else _word_forms(run))]


def content_tokens(query: str) -> list[str]:
    """The tokens of a query that say what it is about, each once, in order.

    Words without English stop words (unless nothing else is left); of an unspaced run its pairs, or its only
    character.

    >>> content_tokens("When does she mention the state-of-the-art 비용?")
    ['mention', 'state', 'art', '비용']
    """
    found: list[str] = []
    stops: list[str] = []
    for run, unspaced in _runs(query):
        if unspaced:
            clusters = _clusters(run)
            found += [a + b for a, b in pairwise(clusters)] or clusters
            continue
        for word in _query_words(run):
            (stops if word in STOP_WORDS else found).append(word)
    return list(dict.fromkeys(found or stops))


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """Maximal runs of word characters, and whether each is of an unspaced script."""
    text = _folded(text)
    run, unspaced = "", False
    for index, char in enumerate(text):
        kind = _kind(char)
        joins = kind == "mark" or (not unspaced and kind == "joiner" and _joins(text, index))
        if run and (joins or kind == ("unspaced" if unspaced else "word")):
            run += char
            continue
        if run:
            yield run, unspaced
        run, unspaced = (char, kind == "unspaced") if kind in ("word", "unspaced") else ("", False)
    if run:
        yield run, unspaced


def _folded(text: str) -> str:
    """NFKC and case folded, without the marks of BARE scripts; ё as е."""
    text = unicodedata.normalize("NFKC", text).casefold()
    if text.isascii():
        return text
    kept: list[str] = []
    base = ""
    for char in unicodedata.normalize("NFD", text):
        if unicodedata.category(char) != "Mn":
            base = char
        elif _script(base) in BARE or (base == "е" and char == "\u0308"):
            continue
        kept.append(char)
    return unicodedata.normalize("NFKC", "".join(kept)).casefold()


@lru_cache(maxsize=4096)
def _script(char: str) -> str:
    return unicodedata.name(char, "").partition(" ")[0] if char else ""


@lru_cache(maxsize=65536)
def _kind(char: str) -> str:
    """word, unspaced, mark (belongs to what stands before it), joiner (inside a word only) or other."""
    category = unicodedata.category(char)
    if category[0] == "M":
        return "mark"
    if any(first <= ord(char) <= last for first, last in UNSPACED):
        return "unspaced"
    if category[0] in "LN":
        return "word"
    return "joiner" if char in APOSTROPHES or char in HYPHENS or char in ".,_\u200c\u200d" else "other"


def _joins(text: str, index: int) -> bool:
    """Whether the joiner at ``index`` stands inside a word: 1,000 and 3.14 do, the comma of a sentence does not."""
    if not 0 < index < len(text) - 1:
        return False
    before, after = text[index - 1], text[index + 1]
    if text[index] in ".,":
        return before.isdigit() and after.isdigit()
    return _kind(before) in ("word", "mark") and _kind(after) == "word"


def _parts(word: str) -> list[str]:
    """A word cut at its apostrophes, hyphens and underscores; thousands separators are dropped."""
    for joiner in (",", "\u200c", "\u200d"):
        word = word.replace(joiner, "")
    for joiner in APOSTROPHES + HYPHENS:
        word = word.replace(joiner, "_")
    return word.split("_")


def _word_forms(word: str) -> list[str]:
    """A stored word as one token and, where it is put together, its parts of two letters or more."""
    parts = _parts(word)
    return ["".join(parts)] + ([part for part in parts if len(part) > 1] if len(parts) > 1 else [])


def _query_words(word: str) -> list[str]:
    parts = _parts(word)
    joined = "".join(parts)
    if len(parts) == 1 or joined in STOP_WORDS:
        return [joined]
    if any(mark in word for mark in APOSTROPHES):
        # Mary's → mary; l'homme → homme
        if parts[-1] in ENDINGS and len(parts[0]) > 1:
            return parts[:-1]
        return [parts[-1]] if len(parts[0]) <= 2 and len(parts[-1]) > 2 else [joined]
    return parts if all(len(part) > 1 for part in parts) else [joined]


def _clusters(run: str) -> list[str]:
    """Characters with the marks that sit on them (Thai vowels and tones)."""
    clusters: list[str] = []
    for char in run:
        if clusters and _kind(char) == "mark":
            clusters[-1] += char
        else:
            clusters.append(char)
    return clusters


def _grams(run: str) -> list[str]:
    """Unigrams and bigrams in reading order: 비용을 → 비 비용 용 용을 을."""
    clusters = _clusters(run)
    found = []
    for index, cluster in enumerate(clusters):
        found.append(cluster)
        if index + 1 < len(clusters):
            found.append(cluster + clusters[index + 1])
    return found
