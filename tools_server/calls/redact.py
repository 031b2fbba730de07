"""Entities in their places: where in the text each one stands, and the text without them.

The model says what an entity is and copies its words; where they stand is found here, by code, and so is what must be
replaced. The words themselves are never written by anyone.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tools_server.engine.words import borders, occurrences
from tools_server.evidence.identifiers import identifiers
from tools_server.skills.schemas import PLACE

__all__ = ["joined", "located", "recognised", "redacted", "repeated"]

Entity = Mapping[str, Any]
"""`type` and `value`; once located also `start` and `end`, in characters of the text."""

BESIDE = re.compile(r"[ \xa0,]*(?:[ \xa0]|\r?\n)[ \xa0,]*")
"""What may part two pieces of one entity: commas, spaces and a line break. Columns of a table have no such space."""


def located(entities: Iterable[Entity], text: str, offset: int = 0) -> list[dict[str, Any]]:
    """Find the entities of a text in it; `offset` is where the text begins in a longer one.

    A value is looked for from the place of the entity before it onwards, then from the beginning: entities are most
    often listed in the order of the text. One that is listed again is the next occurrence; one that is listed more
    often than it stands in the text has no place, and is left out.
    """
    at = borders(text)
    taken: set[tuple[str, int]] = set()
    cursor = 0
    found: list[dict[str, Any]] = []
    for entity in entities:
        value: str = entity["value"]
        places = [place for place in occurrences(value, text, at) if (value, place) not in taken]
        if not places:
            continue
        start = next((place for place in places if place >= cursor), places[0])
        taken.add((value, start))
        cursor = start
        found.append({**entity, **dict(zip(PLACE, (offset + start, offset + start + len(value)), strict=True))})
    return found


def recognised(entities: Sequence[Entity], text: str, forms: Mapping[str, str]) -> list[dict[str, Any]]:
    """Add to located entities what shows by its form what it is, in the order of the text.

    `forms` says which type each form of `evidence.identifiers.FORMS` has. What was taken for something else in the
    place of such an identifier, or in a part of it, is left out. An entity of the same type around one stays, for more
    may belong to it than its form tells (`Thursday 2024-12-05`); one around several of its type gives way to them.
    """
    start, end = PLACE
    found: list[dict[str, Any]] = [
        {"type": kind, "value": text[first:stop], start: first, end: stop}
        for kind, form in forms.items()
        for first, stop in identifiers(form, text)
    ]
    certain: list[dict[str, Any]] = []
    for each in sorted(found, key=lambda each: (each[start], -each[end])):
        if not certain or each[end] > certain[-1][end]:  # the address of a mailbox within that of a page is none
            certain.append(each)
    starts = [each[start] for each in certain]

    kept: list[dict[str, Any]] = []
    told: set[int] = set()  # where one begins that an entity has around it
    for entity in entities:
        before = bisect_right(starts, entity[start]) - 1
        if before >= 0 and entity[end] <= certain[before][end]:
            continue
        reach = slice(bisect_left(starts, entity[start]), bisect_left(starts, entity[end]))
        alike = [each for each in certain[reach] if each["type"] == entity["type"] and each[end] <= entity[end]]
        if len(alike) < 2:
            told.update(each[start] for each in alike)
            kept.append(dict(entity))
    added = [each for each in certain if each[start] not in told]
    return sorted([*kept, *added], key=lambda each: (each[start], -each[end]))


def repeated(entities: Sequence[Entity], text: str, types: Collection[str]) -> list[dict[str, Any]]:
    """Add the further places of words that are located entities of some types, and give all in the order of the text.

    A name that was found once is that name in the next line, too, unless it stands within another entity there. The
    longest are looked for first, and what was found as two types is of the first of them.
    """
    start, end = PLACE
    at = borders(text)
    kinds: dict[str, str] = {}
    for entity in entities:
        if entity["type"] in types:
            kinds.setdefault(entity["value"], entity["type"])
    covered = bytearray(len(text))
    for entity in entities:
        covered[entity[start] : entity[end]] = b"\1" * (entity[end] - entity[start])
    found = [dict(entity) for entity in entities]
    for value in sorted(kinds, key=len, reverse=True):
        for first in occurrences(value, text, at):
            stop = first + len(value)
            if not any(covered[first:stop]):
                covered[first:stop] = b"\1" * len(value)
                found.append({"type": kinds[value], "value": value, start: first, end: stop})
    return sorted(found, key=lambda each: (each[start], -each[end]))


def joined(entities: Iterable[Entity], text: str, tails: Mapping[str, Collection[str]]) -> list[dict[str, Any]]:
    """Make one of located entities that are pieces of the same, and give all in the order of the text.

    An entity of a type in `tails`, further ones of that type, then those of its tail are pieces of the same where
    nothing but commas, spaces and a line break parts them: `12 Mill Lane`, `Apt. 4`, `Ashford` and `TN23 1AA` are one
    street address if `tails` has `{"street address": ["location", "postal code"]}`. One with a comma or a line break
    in it has its tail already, so a further one of its type is another, unless nothing but spaces parts them.
    """
    start, end = PLACE
    found: list[dict[str, Any]] = []
    whole: dict[str, Any] | None = None  # the one that the next may be a piece of
    ended = False  # it has a tail, so a further one of its type is another
    for entity in sorted(entities, key=lambda each: (each[start], -each[end])):
        if whole is not None and (gap := BESIDE.fullmatch(text, whole[end], max(whole[end], entity[start]))):
            alike = entity["type"] == whole["type"]
            if entity["type"] in tails[whole["type"]] or (alike and not (ended and _parts(gap[0]))):
                ended = ended or not alike or _parts(entity["value"])
                whole |= {end: entity[end], "value": text[whole[start] : entity[end]]}
                continue
        found.append(dict(entity))
        if whole is None or entity[start] >= whole[end]:  # one that lies within it does not end it
            whole, ended = (found[-1] if entity["type"] in tails else None), _parts(entity["value"])
    return found


def _parts(words: str) -> bool:
    return "," in words or "\n" in words


def redacted(text: str, entities: Sequence[Entity]) -> str:
    """Give the text with a mark such as `[PHONE_NUMBER]` for each located entity, and wherever its words stand again.

    Of entities that overlap, all of what they cover becomes one mark, with the type of the longest.
    """
    at = borders(text)
    types: dict[tuple[int, int], str] = {}
    for entity in entities:
        types[entity[PLACE[0]], entity[PLACE[1]]] = entity["type"]
    for value, kind in {entity["value"]: entity["type"] for entity in reversed(entities)}.items():
        for start in occurrences(value, text, at):
            types.setdefault((start, start + len(value)), kind)
    pieces: list[str] = []
    end = 0  # of what is written or covered so far
    longest = 0  # of the entities that cover the last mark
    for start, stop in sorted(types):
        mark = f"[{types[start, stop].upper().replace(' ', '_')}]"
        if start >= end:
            pieces += [text[end:start], mark]
            longest = stop - start
        elif stop - start > longest:
            pieces[-1] = mark
            longest = stop - start
        end = max(end, stop)
    return "".join([*pieces, text[end:]])
