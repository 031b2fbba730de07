"""Words of a text, as borders that a copied value must keep to.

A value that is copied begins and ends where a word does, so that no half of a name or of a number is ever taken for
the whole. Scripts that are written without spaces have a border behind every character.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator

__all__ = ["borders", "chunks", "occurrences"]

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uac00-\ud7af"  # Hangul: written with spaces, but particles are joined to the word
)

# Accents and vowel signs that stand behind their letter, and the joiners: to `re` they are no part of a word.
_MARKS = "".join(chr(code) for code in range(0x300, 0x3100) if unicodedata.category(chr(code))[0] == "M")
_JOINED = f"{re.escape(_MARKS)}\u200c\u200d\ufe0e\ufe0f\U0001f3fb-\U0001f3ff"

_CHUNK = re.compile(rf"[{_UNSPACED}][{_JOINED}]*|(?:(?![{_UNSPACED}])\w[{_JOINED}]*)+|\s|[^\w\s][{_JOINED}]*")


def chunks(text: str) -> list[str]:
    """Cut a text into words, signs and single white space characters; `"".join(chunks(text)) == text`."""
    return _CHUNK.findall(text)


def borders(text: str) -> frozenset[int]:
    """Give the places, in characters, at which a word, a sign or white space begins or ends."""
    return frozenset((0, *(match.end() for match in _CHUNK.finditer(text))))


def occurrences(value: str, text: str, at: frozenset[int], start: int = 0, end: int = sys.maxsize) -> Iterator[int]:
    """Yield where `value` begins in `text[start:end]`, both of its ends on borders `at`; occurrences may overlap."""
    place = text.find(value, start, end)
    while place >= 0 and value:
        if place in at and place + len(value) in at:
            yield place
        place = text.find(value, place + 1, end)
