"""What prose claims that can be looked up without understanding it: numbers, times, dates and names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tools_server.evidence.numbers import Mention, dates, numbers
from tools_server.evidence.source import Source, folded

__all__ = ["Claim", "Kind", "sentences", "unsupported"]

Kind = Literal["number", "date", "name", "sentence"]

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]*")
_BREAK = re.compile(r"[.!?:]\s|\n")

CONTENT_LETTERS = 4
"""Words from this length on count as content: shorter ones are mostly grammar."""

STEM_LETTERS = 5
"""Words count as the same when they begin alike: `refunded` and `refund`. Crude, and good enough for a share."""

LEAST_SHARE = 0.34
"""A sentence of which fewer of the content words stand in the text rests on nothing that can be found there."""

LEAST_WORDS = 4
"""Content words that a sentence must have for that share to say anything."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A piece of prose at `text[start:end]` that its source does not have."""

    kind: Kind
    text: str
    start: int
    end: int


def unsupported(prose: str, source: Source) -> list[Claim]:
    """Find what prose says and its source does not: dates, numbers, names, and sentences that share hardly a word.

    A name is a capitalised word inside a sentence; the first word is left out, for its capital says nothing. A name
    that is worded anew is reported as well: what is found is a warning, no proof.
    """
    found: list[Claim] = []
    taken = bytearray(len(prose))
    read: tuple[tuple[Kind, list[Mention]], ...] = (
        ("date", dates(prose)),
        ("number", numbers(prose, spelt_out=False)),
    )
    for kind, mentions in read:
        for mention in mentions:
            if taken[mention.start]:
                continue
            taken[mention.start : mention.end] = b"x" * (mention.end - mention.start)
            if source.mentions(mention) is None:
                found.append(_claim(kind, prose, mention.start, mention.end))
    for start, end in _unknown_names(prose, source):
        if not taken[start]:
            found.append(_claim("name", prose, start, end))
    known = {word[:STEM_LETTERS] for word in _content(source.text)}
    for start, end in sentences(prose):
        words = _content(prose[start:end])
        share = sum(word[:STEM_LETTERS] in known for word in words) / max(1, len(words))
        if len(words) >= LEAST_WORDS and share < LEAST_SHARE:
            found.append(_claim("sentence", prose, start, end))
    return sorted(found, key=lambda claim: claim.start)


def _unknown_names(prose: str, source: Source) -> Iterator[tuple[int, int]]:
    """Places of capitalised words inside sentences that the source does not have, whatever their case there."""
    known = set(_WORD.findall(folded(source.text)))
    known |= {part for word in known for part in re.split(r"['-]", word)}
    end = 0  # of the word before
    for match in _WORD.finditer(prose):
        begins = end == 0 or _BREAK.search(prose, end, match.start()) is not None
        end = match.end()
        if match[0][0].isupper() and not begins and not _is_known(folded(match[0]), known):
            yield match.span()


def sentences(prose: str) -> list[tuple[int, int]]:
    """Places of the sentences of a text; a line break ends one as well."""
    spans = [match.span() for match in _SENTENCE.finditer(prose) if match[0].strip()]
    return [(start + len(prose[start:end]) - len(prose[start:end].lstrip()), end) for start, end in spans]


def _content(text: str) -> list[str]:
    return [word for word in _WORD.findall(folded(text)) if len(word) >= CONTENT_LETTERS and not word.isdigit()]


def _is_known(word: str, known: set[str]) -> bool:
    return word in known or all(part in known for part in re.split(r"['-](?:s$)?", word) if part)


def _claim(kind: Kind, prose: str, start: int, end: int) -> Claim:
    return Claim(kind, prose[start:end], start, end)
