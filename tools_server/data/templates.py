"""Sentences with slots, filled with values that records of a data set have: more sentences to learn typed values from.

A data set of made-up sentences has few patterns and many values. A model learns its patterns by heart; further ones,
written for the recipe, show the same values elsewhere.
"""

import random
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tools_server.data.mappings import SLOT, EntityMapping, Slot
from tools_server.data.records import Record, Source
from tools_server.errors import DataInvalid

__all__ = ["fill_templates"]

PATTERN = re.compile("[#?]")

DRAWS = 20
"""Values that a pattern stands for."""


def fill_templates(mapping: EntityMapping, source: Source) -> list[Record]:
    """Make records of a mapping's templates, each filled as often as it says; none where it has no templates.

    Raises:
        DataInvalid: a slot has no value to draw; names template and slot.
    """
    templates, rng = mapping.templates, source.rng
    if templates is None:
        return []
    slots = {name: Slot(type=name) for name in mapping.types.values()} | dict(templates.slots)
    known = _values(mapping, slots, source)
    type_of = {kind: name for name, kind in mapping.types.items()}  # as the data set calls it
    made: list[Record] = []
    for number, text in enumerate(templates.texts, 1):
        place = f"{source.recipe}: templates.texts: text {number}"
        if missing := next((name for name in SLOT.findall(text) if not known[name]), None):
            raise DataInvalid(f"{place}: no record has a value for {{{missing}}}.", "Give the slot `values`.")
        for copy in range(templates.each if SLOT.search(text) else 1):  # without a slot they would all be the same
            change = str.lower if rng.random() < templates.lower else str
            written, entities = "", list[dict[str, Any]]()
            for before, name in _pieces(text):
                written += change(before)
                if name is not None:
                    value = change(rng.choice(known[name]))
                    entities.append({"type": type_of[slots[name].type], "value": value, "start": len(written)})
                    written += value
            made.append(Record({"id": f"template-{number}-{copy + 1}", "text": written, "entities": entities}, place))
    return made


def _values(mapping: EntityMapping, slots: Mapping[str, Slot], source: Source) -> Mapping[str, Sequence[str]]:
    """Give what each slot may be filled with: values of its type in the records, and what the recipe lists."""
    found: dict[str, dict[str, None]] = {}
    for record in source.records:
        for entity in record.items("entities"):
            if kind := mapping.types.get(entity["type"]):
                found.setdefault(kind, {})[entity["value"]] = None
    known: dict[str, list[str]] = {}
    for name, slot in slots.items():
        known[name] = [value for value in found.get(slot.type, ()) if slot.like.fullmatch(value)]
        for value in slot.values:
            known[name] += [_drawn(value, source.rng) for _ in range(DRAWS if PATTERN.search(value) else 1)]
    return known


def _pieces(text: str) -> Iterator[tuple[str, str | None]]:
    """Give the text before each slot with the slot's name, and last what is left."""
    at = 0
    for match in SLOT.finditer(text):
        yield text[at : match.start()], match[1]
        at = match.end()
    yield text[at:], None


def _drawn(value: str, rng: random.Random) -> str:
    """Put a digit for each `#`, and a capital letter for each `?`."""
    return PATTERN.sub(lambda mark: rng.choice(string.digits if mark[0] == "#" else string.ascii_uppercase), value)
