"""What prose claims that can be looked up without understanding it: numbers, times, dates and names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tools_server.engine.words import chunks
from tools_server.evidence.numbers import Mention, dates, numbers
from tools_server.evidence.source import Source
from tools_server.evidence.words import CODE, WORD, folded, parts, stem

__all__ = ["Claim", "Kind", "outermost", "sentences", "unsupported"]

Kind = Literal["number", "date", "name", "sentence"]

_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]*")
_BREAK = re.compile(r"[.!?:]\s|\n")

TITLES = frozenset(("mr", "mrs", "ms", "dr", "prof", "st"))
"""Their point ends no sentence, so the name behind one is looked up."""

CONTENT_LETTERS = 4
"""Words from this length on count as content: shorter ones are mostly grammar."""

_GRAMMAR = (
    "about above after again against also although among because been before being below between both could does doing "
    "during each either every from have having here however into itself just many more most much must neither only "
    "other over same shall should since some such than that their them themselves then there these they this those "
    "though through under until upon very were what when where whether which while whom whose will with within without "
    "would your yours"
)
GRAMMAR = frozenset(_GRAMMAR.split())
"""Longer words that are grammar all the same: every text has them, so they say nothing of what a sentence rests on."""

LEAST_SHARE = 0.25
"""A sentence of which fewer of the content words stand in the text rests on nothing that can be found there.

Chosen on summaries by people, held against their own text and another one (docs/verifying.md): "none of them" finds one
foreign sentence in six, for by chance some word of it is nearly always there; a third finds more of them than a quarter
does, but flags more than twice as many fair paraphrases.
"""

LEAST_WORDS = 3
"""Content words that a sentence must have for that share to say anything."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A piece of prose at `text[start:end]` that its source does not have."""

    kind: Kind
    text: str
    start: int
    end: int


def unsupported(prose: str, source: Source) -> list[Claim]:
    """Find what prose says and its source does not, in the order of the prose: dates, numbers, names, sentences.

    - A date, time or number in digits is looked up as what it means; other digits (`0042`, `1.2.3`, a phone number) as
      they stand. Number words are not looked up: `one` and `three points` are seldom claims.
    - A name is a capitalised word inside a sentence, whatever its case in the source, its plural and possessive aside.
      The first word of a sentence has a capital in any case, so alone it is no name; before another missing one it is
      part of that.
    - A sentence rests on nothing when fewer than a quarter of its content words (four letters and more, without English
      grammar words) begin like a word of the source; sentences of fewer than three are not judged, for a fair
      paraphrase may have none. Scripts without spaces between words are left out.

    Negations, units and signs are not compared, and a name that is worded anew is reported as well: what is found is a
    warning, no proof. What is copied from the source sentence by sentence is never reported. Claims may lie in each
    other, as a number in a sentence: see `outermost`.
    """
    found: list[Claim] = []
    read = bytearray(len(prose))  # 1 where a date or a number stands
    mentioned: tuple[tuple[Kind, list[Mention]], ...] = (
        ("date", dates(prose)),
        ("number", numbers(prose, spelt_out=False)),
    )
    for kind, mentions in mentioned:
        for mention in mentions:
            if read[mention.start]:
                continue
            read[mention.start : mention.end] = b"\1" * (mention.end - mention.start)
            if source.mentions(mention) is None:
                found.append(_claim(kind, prose, mention.start, mention.end))
    found += _unknown_codes(prose, source, read)
    found += _unknown_names(prose, source, read)
    found += _baseless(prose, source)
    return sorted(found, key=lambda claim: (claim.start, -claim.end))


def outermost(claims: list[Claim]) -> list[Claim]:
    """Leave out what lies in another claim: who is told of a sentence need not be told of each number in it."""
    kept: list[Claim] = []
    for claim in claims:
        if not kept or claim.start >= kept[-1].end:
            kept.append(claim)
    return kept


def _unknown_codes(prose: str, source: Source, read: bytearray) -> Iterator[Claim]:
    """Digits that were not read as a number or a date, nor as a part of one."""
    for match in CODE.finditer(prose):
        unread = any(character.isdecimal() and not read[at] for at, character in enumerate(match[0], match.start()))
        code = folded(match[0])
        if unread and code not in source.codes and code not in source.words:
            yield _claim("number", prose, *match.span())


def _unknown_names(prose: str, source: Source, read: bytearray) -> Iterator[Claim]:
    names: list[tuple[int, int, bool]] = []  # start, end, and whether it is more than the first word of a sentence
    before, end = "", 0  # the word before, folded, and where it ends
    for match in WORD.finditer(prose):
        start, word = match.start(), folded(match[0])
        begins = end == 0 or (before not in TITLES and _BREAK.search(prose, end, start) is not None)
        if match[0][0].isupper() and not read[start] and not _is_no_name(word) and not _stands(match[0], source):
            if names and names[-1][1] == end and prose[end:start] == " ":
                names[-1] = (names[-1][0], match.end(), True)
            else:
                names.append((start, match.end(), not begins))
        before, end = word, match.end()
    return (_claim("name", prose, start, end) for start, end, certain in names if certain)


def _is_no_name(word: str) -> bool:
    return word in TITLES or parts(word)[:1] == ["i"]


def _stands(word: str, source: Source) -> bool:
    """Whether the source has a word, or each of its parts somewhere, in the singular or the plural."""
    whole = folded(word)
    return whole in source.words or all(
        part in source.words or f"{part}s" in source.words or part.removesuffix("s") in source.words
        for part in parts(whole)
    )


def _baseless(prose: str, source: Source) -> Iterator[Claim]:
    """Sentences that rest on nothing in the source."""
    for start, end in sentences(prose):
        words = _content(prose[start:end])
        share = sum(stem(word) in source.stems for word in words) / max(1, len(words))
        if len(words) >= LEAST_WORDS and share < LEAST_SHARE:
            yield _claim("sentence", prose, start, end)


def sentences(prose: str) -> list[tuple[int, int]]:
    """Places of the sentences of a text; a line break ends one as well."""
    spans = [match.span() for match in _SENTENCE.finditer(prose) if match[0].strip()]
    return [(start + len(prose[start:end]) - len(prose[start:end].lstrip()), end) for start, end in spans]


def _content(prose: str) -> list[str]:
    return [
        part
        for word in WORD.findall(prose)
        for part in parts(folded(word))
        if len(part) >= CONTENT_LETTERS and not part.isdigit() and part not in GRAMMAR and len(chunks(part)) == 1
    ]


def _claim(kind: Kind, prose: str, start: int, end: int) -> Claim:
    return Claim(kind, prose[start:end], start, end)
