"""Entities in their places: where in the text each one stands, and the text without them.

The model says what an entity is and copies its words; where they stand is found here, by code, and so is what must be
replaced. The words themselves are never written by anyone.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools_server.engine.words import borders, occurrences
from tools_server.evidence.identifiers import identifiers
from tools_server.skills.schemas import PLACE

__all__ = ["located", "recognised", "redacted"]

Entity = Mapping[str, Any]
"""`type` and `value`; once located also `start` and `end`, in characters of the text."""


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
    place of such an identifier, or in a part of it, is left out.
    """
    start, end = PLACE
    certain = [
        {"type": kind, "value": text[first:stop], start: first, end: stop}
        for kind, form in forms.items()
        for first, stop in identifiers(form, text)
    ]
    certain.sort(key=lambda each: each[start])
    starts = [each[start] for each in certain]

    def replaced(entity: Entity) -> bool:
        before = bisect_right(starts, entity[start]) - 1
        return before >= 0 and entity[end] <= certain[before][end]

    kept = [dict(entity) for entity in entities if not replaced(entity)]
    return sorted([*kept, *certain], key=lambda each: (each[start], -each[end]))


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
