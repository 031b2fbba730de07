"""Numbers, times and dates in running text, with every reading that they may have.

`1.250` is 1250 in some countries and 1.25 in others, and 03/04/2026 is in March or in April: two mentions agree when
any of their readings do. That errs on the side of finding a number, never of inventing one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

__all__ = ["Mention", "dates", "numbers"]


class Day(NamedTuple):
    """A date; `year` is None where it is not said."""

    year: int | None
    month: int
    day: int


class Time(NamedTuple):
    """A time of day."""

    hour: int
    minute: int


Reading = Decimal | Day | Time

ANY_YEAR = 0
"""In keys; no date that is written has it."""

MOST_DIGITS = 24
"""Of a number, marks included: as many as decimal arithmetic keeps exactly."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A number, time or date at `text[start:end]`."""

    start: int
    end: int
    readings: frozenset[Reading]

    @property
    def known_as(self) -> frozenset[Reading]:
        """The keys that it is found by: its readings, and every day as a day of any year."""
        return self.readings | {day._replace(year=ANY_YEAR) for day in self.readings if isinstance(day, Day)}

    @property
    def asked_as(self) -> frozenset[Reading]:
        """The keys of what may mean the same: a day without a year is that day in any year, and the other way round."""
        keys: set[Reading] = set()
        for reading in self.readings:
            if isinstance(reading, Day):
                keys |= {reading, reading._replace(year=None)} if reading.year else {reading._replace(year=ANY_YEAR)}
            else:
                keys.add(reading)
        return frozenset(keys)


_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TIMES = {"k": 3, "thousand": 3, "m": 6, "mio": 6, "million": 6, "bn": 9, "billion": 9}
_GAP = "['’\u00a0\u202f ]"

# Words are in ASCII (`a`): without regard to case, `i` is also the dotless one, `s` the long one, which no table has.
_TIME = re.compile(r"(?<![\w:.,])(\d{1,2}):(\d{2})(?::\d{2})?(?![\w:]|\.\d)")
_GROUPED = re.compile(rf"(?<![\w.,])\d{{1,3}}(?:([.,]|{_GAP})\d{{3}})(?:\1\d{{3}})*(?:[.,]\d+)?(?!\d)")
_PLAIN = re.compile(r"(?<![\d.,])\d+(?:[.,]\d+)?(?![.,]?\d)")
_CODE = re.compile(r"0\d")
_MANY = re.compile(r"[ \u00a0]?((?ai:k|m|bn|thousand|mio|million|billion))\b")
_WORD = re.compile(rf"\b(?ai:({'|'.join(_TENS)})(?:-({'|'.join(_SMALL[1:10])}))?|({'|'.join(_SMALL)}))\b")

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH = rf"(?P<month>(?ai:{'|'.join(f'{name[:3]}(?:{name[3:]})?' for name in _MONTHS)}|sept))\.?"
_DAY = r"(?P<day>\d{1,2})(?ai:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})"
_NAMED = (
    re.compile(rf"\b{_DAY}\.? (?ai:of )?{_MONTH}(?:,? {_YEAR})?\b"),
    re.compile(rf"\b{_MONTH} {_DAY}\b(?:,? {_YEAR}\b)?"),
)
_ISO = re.compile(r"(?<!\d)(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)")
_NUMERIC = re.compile(r"(?<![\d./-])(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})(?![\d/-])")


def numbers(text: str, *, spelt_out: bool = True) -> list[Mention]:
    """Find the numbers and times of a text in their order, with `spelt_out` also those below a hundred in words.

    Signs are not read: a dash before a number is more often a range or part of a code.
    """
    found = [
        Mention(*match.span(), frozenset[Reading]({Time(int(match[1]), int(match[2]))}))
        for match in _TIME.finditer(text)
    ]
    rest = _TIME.sub(lambda match: " " * len(match[0]), text)
    for pattern in (_GROUPED, _PLAIN):
        for match in pattern.finditer(rest):
            found += _number(rest, match)
    if spelt_out:
        for match in _WORD.finditer(text):
            found.append(Mention(*match.span(), frozenset[Reading]({_spelt_out(match)})))
    return sorted(found, key=lambda mention: (mention.start, -mention.end))


def dates(text: str) -> list[Mention]:
    """Find the dates of a text that name a day, in their order."""
    found: list[Mention] = []
    for pattern in _NAMED:
        for match in pattern.finditer(text):
            month = next(at for at, name in enumerate(_MONTHS, 1) if name[:3] == match["month"][:3].lower())
            year = int(match["year"]) if match["year"] else None
            found += _mention(match, {Day(year, month, int(match["day"]))})
    for match in _ISO.finditer(text):
        found += _mention(match, {Day(int(match[1]), int(match[2]), int(match[3]))})
    for match in _NUMERIC.finditer(text):
        first, second, year = int(match[1]), int(match[3]), int(match[4])
        years = (year,) if year > 99 else (1900 + year, 2000 + year)
        found += _mention(match, {Day(y, *order) for y in years for order in ((second, first), (first, second))})
    return sorted(found, key=lambda mention: (mention.start, -mention.end))


def _spelt_out(match: re.Match[str]) -> Decimal:
    tens, unit, small = ((each or "").lower() for each in match.groups())
    if small:
        return Decimal(_SMALL.index(small))
    return Decimal(20 + 10 * _TENS.index(tens) + (_SMALL.index(unit) if unit else 0))


def _mention(match: re.Match[str], readings: set[Day]) -> Iterator[Mention]:
    possible = {each for each in readings if 1 <= each.month <= 12 and 1 <= each.day <= 31 and each.year != ANY_YEAR}
    if possible:
        yield Mention(*match.span(), frozenset[Reading](possible))


def _number(text: str, match: re.Match[str]) -> Iterator[Mention]:
    """Every number that the characters may mean; `1.2 million` is read with what follows, too.

    Very many digits, and zeros in front, make a code: it has no other form.
    """
    plain = re.sub(_GAP, "", match[0])
    if len(plain) > MOST_DIGITS or _CODE.match(plain):
        return
    marks = [character for character in plain if character in ",."]
    if len(set(marks)) == len(",."):  # the last one is the decimal mark
        candidates = {plain.replace(marks[0], "").replace(marks[-1], ".")}
    elif len(marks) > 1:
        candidates = {plain.replace(marks[0], "")}
    elif marks and match.re is _GROUPED:
        candidates = {plain.replace(marks[0], ""), plain.replace(marks[0], ".")}
    else:
        candidates = {plain.replace(",", ".")}
    values = {Decimal(candidate).normalize() for candidate in candidates}
    end = match.end()
    if many := _MANY.match(text, end):
        end = many.end()
        values |= {value.scaleb(_TIMES[many[1].lower()]).normalize() for value in values}
    yield Mention(match.start(), end, frozenset[Reading](values))
