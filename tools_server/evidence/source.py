"""A text in which values are looked up: word for word, then as the same thing written otherwise."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Literal

from tools_server.engine.words import borders, occurrences
from tools_server.evidence.numbers import Mention, Reading, dates, numbers
from tools_server.evidence.words import CODE, WORD, fold, folded, parts, stem

__all__ = ["How", "Place", "Source"]

How = Literal["exact", "folded", "number", "date"]
"""How a value was found: word for word; but for case, white space, quotes, dashes and compatibility forms; as a number
or a date that is written otherwise."""

LONGEST_FORM = 60
"""Characters of a value that is a number or a date, with its unit."""

_AROUND = " \t\n.,;:!?'\"()[]{}<>-"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: `text[start:end]`, in characters."""

    start: int
    end: int
    how: How


class Source:
    """One text. What is computed from all of it is computed once, when it is first needed."""

    def __init__(self, text: str) -> None:
        self.text = text

    def find(self, value: str) -> Place | None:
        """Find the first place of a value, from border to border of words; None when the text does not have it."""
        for start in occurrences(value, self.text, self._borders):
            if not _inside_number(self.text, start, start + len(value)):
                return Place(start, start + len(value), "exact")
        if (place := self._folded_place(value)) is not None:
            return place
        if len(value) > LONGEST_FORM:
            return None
        return self._otherwise_written("date", dates(value), value) or self._otherwise_written(
            "number", numbers(value), value
        )

    def _otherwise_written(self, how: How, read: list[Mention], value: str) -> Place | None:
        """Find a value that is one date or number, and perhaps a unit that the text has as well."""
        known = self._dates if how == "date" else self._numbers
        for wanted in read:
            before, after = value[: wanted.start], value[wanted.end :]
            unit = f"{before} {after}".strip()
            if len(unit.split()) > 1 or any(map(str.isdigit, unit)) or before[-1:].isalpha() or after[:1].isalpha():
                continue
            if any(map(str.isalpha, unit)) and self._folded_place(unit) is None:
                continue
            if (mention := _first(known, wanted)) is not None:
                return Place(mention.start, mention.end, how)
        return None

    def mentions(self, wanted: Mention) -> Mention | None:
        """Find a number, time or date that may mean the same as one."""
        return _first(self._dates, wanted) or _first(self._numbers, wanted)

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of the text as they are compared: whole, and the parts of those with hyphens or apostrophes."""
        whole = {folded(word) for word in set(WORD.findall(self.text))}
        return frozenset(whole.union(chain.from_iterable(map(parts, whole))))

    @cached_property
    def codes(self) -> frozenset[str]:
        """The digits of the text with what is joined to them, as they are compared."""
        return frozenset(folded(code) for code in set(CODE.findall(self.text)))

    @cached_property
    def stems(self) -> frozenset[str]:
        """What the words of the text begin with."""
        return frozenset(map(stem, self.words))

    @cached_property
    def _numbers(self) -> Mapping[Reading, Mention]:
        return _by_key(numbers(self.text))

    @cached_property
    def _dates(self) -> Mapping[Reading, Mention]:
        return _by_key(dates(self.text))

    @cached_property
    def _borders(self) -> frozenset[int]:
        return borders(self.text)

    @cached_property
    def _folded(self) -> tuple[str, list[int], frozenset[int]]:
        text, origins = fold(self.text)
        return text, origins, borders(text)

    def _folded_place(self, value: str) -> Place | None:
        text, origins, at = self._folded
        wanted = folded(value)
        for candidate in dict.fromkeys((wanted, wanted.strip(_AROUND))):
            for start in occurrences(candidate, text, at):
                if not _inside_number(text, start, start + len(candidate)):
                    return Place(origins[start], origins[start + len(candidate) - 1] + 1, "folded")
        return None


def _by_key(mentions: Iterable[Mention]) -> dict[Reading, Mention]:
    found: dict[Reading, Mention] = {}
    for mention in mentions:
        for key in mention.known_as:
            found.setdefault(key, mention)
    return found


def _first(known: Mapping[Reading, Mention], wanted: Mention) -> Mention | None:
    found = [known[key] for key in wanted.asked_as if key in known]
    return min(found, key=lambda mention: mention.start, default=None)


def _inside_number(text: str, start: int, end: int) -> bool:
    """Whether `text[start:end]` is cut out of a longer number, as 50 out of 1,250.50 and 12 out of 09:12."""
    before = start >= 2 and text[start].isdigit() and text[start - 1] in ".,:" and text[start - 2].isdigit()
    return before or (
        text[end - 1].isdigit() and text[end : end + 1] in (".", ",", ":") and text[end + 1 : end + 2].isdigit()
    )
