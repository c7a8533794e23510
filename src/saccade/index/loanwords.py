"""Words borrowed by sound: 마요네즈 is mayonnaise and 헬리콥터 a helicopter, though no letter is shared.

A word's *sound* is the sequence of its consonants, in classes coarse enough to survive the borrowing: Korean and
Japanese have one sound for l and r, none for f and v, and put a vowel wherever two consonants meet. Unicode's
own names of Hangul syllables and Kana serve as their romanisation.
"""

from __future__ import annotations

import re
import unicodedata

SHORTEST = 3
"""Consonants that a sound needs to say something about a word."""

_BORROWING_SCRIPTS = ("HANGUL SYLLABLE", "KATAKANA LETTER", "HIRAGANA LETTER")

# Spellings to the sound they stand for, first match wins. A single letter of PTKSMNLH is a class of consonants.
_SPELLINGS = (
    ("tion|sion|cion", "SN"),
    ("sch|tch|sh|ch|ts|dg(?=[ei])|c(?=[eiyh])|[szj]|g(?=[ei])", "S"),
    ("ph|[pbfv]", "P"),
    ("th|[td]", "T"),
    ("x", "KS"),
    ("ck|qu|[kgcq](?=h?)", "K"),
    ("m", "M"),
    ("ng(?![aeiouy])|n", "N"),
    ("l|r(?=[aeiouy])", "L"),
    ("^h", "H"),
)
_SOUND = re.compile("|".join(f"({spelling})" for spelling, _ in _SPELLINGS))


def sound(word: str) -> str:
    """The consonants of a word in Latin letters, Hangul or Kana; empty where it has none or another script.

    >>> sound("마요네즈"), sound("マヨネーズ"), sound("mayonnaise")
    ('MNS', 'MNS', 'MNS')
    >>> sound("헬리콥터"), sound("helicopter"), sound("인터넷"), sound("internet")
    ('HLKPT', 'HLKPT', 'NTNT', 'NTNT')
    """
    letters = "".join(_latin(char) for char in unicodedata.normalize("NFC", word))
    classes = "".join(_SPELLINGS[found.lastindex - 1][1] for found in _SOUND.finditer(letters) if found.lastindex)
    return re.sub(r"(.)\1+", r"\1", classes)


def is_borrowed_script(word: str) -> bool:
    """Whether a word is written in a script that spells foreign words by sound.

    >>> is_borrowed_script("비용"), is_borrowed_script("cost")
    (True, False)
    """
    return any(unicodedata.name(char, "").startswith(_BORROWING_SCRIPTS) for char in word)


def _latin(char: str) -> str:
    """A letter's Latin spelling: its own without accents, or the one in its Unicode name."""
    name = unicodedata.name(char, "")
    if name.startswith(_BORROWING_SCRIPTS):
        spelling = name.rpartition(" ")[2].lower()
        if name.startswith("HANGUL"):
            # A final s is spoken t (넷, net), and c alone is ch; other romanisations write it so.
            spelling = re.sub("s$", "t", spelling)
            spelling = re.sub("^c", "ch", spelling)
        return spelling
    return unicodedata.normalize("NFD", char)[0].lower() if name.startswith("LATIN") else ""
