"""Words as they are compared: folded, in parts, and by the beginning that their forms share."""

import re
import unicodedata
from functools import lru_cache

__all__ = ["CODE", "WORD", "fold", "folded", "parts", "stem"]

_ALIKE = str.maketrans(dict.fromkeys("‘’‚‛´`", "'") | dict.fromkeys("“”„‟«»", '"') | dict.fromkeys("‐‑‒–—−", "-"))
_INVISIBLE = "\u00ad\u200b\ufeff"

WORD = re.compile(rf"\w+(?:(?:['’-]|[{_INVISIBLE}]+)\w+)*")
"""A word with its hyphens, apostrophes and soft hyphens. Both sides of a comparison are cut by it before they are
folded, so that what is copied is always found: `Acme™` folds to `acmetm`, but its word is `Acme`."""

CODE = re.compile(r"\d\w*(?:[.:/-]\w*\d\w*)*")
"""Digits that may mean no number, with what is joined to them: `0042`, `1.2.3` of `v1.2.3`, `0171/0042`."""

_PART = re.compile(r"\w+")
_ENDING = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|e)$")

STEM_LETTERS = 5
"""Words count as the same when they begin alike: `refunded` and `refund`. Crude, and good enough for a share."""


def fold(text: str) -> tuple[str, list[int]]:
    """Fold a text; and for each character of it, which one of the text it comes from."""
    characters: list[str] = []
    origins: list[int] = []
    for at, character in enumerate(text):
        for each in _folded_character(character):
            if each != " " or not characters or characters[-1] != " ":
                characters.append(each)
                origins.append(at)
    return "".join(characters), origins


@lru_cache(4096)
def _folded_character(character: str) -> str:
    if character in _INVISIBLE:
        return ""
    plain = unicodedata.normalize("NFKC", character).casefold().translate(_ALIKE)
    return "".join(" " if each.isspace() else each for each in plain)


def folded(text: str) -> str:
    """Text as it is compared: compatibility forms, case, quotes and dashes made alike, white space made one blank."""
    return fold(text)[0].strip()


def parts(word: str) -> list[str]:
    """Cut a folded word at hyphens and apostrophes; the `'s` of a possessive is no part of it."""
    return _PART.findall(word.removesuffix("'s"))


def stem(part: str) -> str:
    """Give what the forms of a word have in common, roughly and for English: `lamps`, `lamp`; `moved`, `moving`."""
    return _ENDING.sub("", part)[:STEM_LETTERS]
