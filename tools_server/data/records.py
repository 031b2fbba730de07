"""The records of a split, and what all mappings need: fields with a place, groups, samples with ids."""

import json
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeVar, cast

from tools_server.data.types import Sample
from tools_server.errors import DataInvalid

__all__ = ["Group", "Label", "Record", "Source", "canonical", "chunks", "grouped"]

Group = list[Sample]
"""Samples that share their arguments but for the text."""

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a split: its `values`, and `place` as FILE:LINE."""

    values: Mapping[str, Any]
    place: str

    def get(self, name: str, kind: type[Value]) -> Value:
        """Give a field that must be there.

        Raises:
            DataInvalid: it is missing or of another type.
        """
        value = self.values.get(name)
        if not isinstance(value, kind):
            raise DataInvalid(
                f"{self.place}: {name}: must be {kind.__name__}, is {type(value).__name__}.",
                "The recipe's mapping does not fit this file; docs/data.md says what each kind reads.",
            )
        return value

    def items(self, name: str) -> list[Mapping[str, Any]]:
        """Give a field that is a list of objects.

        Raises:
            DataInvalid: it is missing or something else.
        """
        found = cast("list[Any]", self.get(name, list))
        for index, item in enumerate(found):
            if not isinstance(item, Mapping):
                raise DataInvalid(f"{self.place}: {name}[{index}]: is no object: {item!r}.", "Mend the file.")
        return found


@dataclass(frozen=True, slots=True)
class Label:
    """A label of a data set; `description` may be empty."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What a mapping makes samples of: the records of a split, the data set's labels, and where chance comes from."""

    recipe: str
    records: Sequence[Record]
    labels: Sequence[Label] = ()
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def sample(
        self,
        skill: str,
        record: Record,
        expected: Mapping[str, Any],
        arguments: Mapping[str, Any] | None = None,
        alternatives: Mapping[str, Sequence[Any]] | None = None,
    ) -> Sample:
        """Make a sample of a record; its id is unique over all data sets whose ids are unique in themselves."""
        return Sample(
            id=f"{self.recipe}/{record.get('id', str)}",
            skill=skill,
            arguments={"text": record.get("text", str), **(arguments or {})},
            expected=expected,
            place=record.place,
            alternatives=alternatives or {},
        )


def chunks(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Cut a sequence into pieces of `size`; the last one may be shorter."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def grouped(
    records: Sequence[Record], key: Callable[[Record], Hashable], size: int, rng: random.Random | None
) -> list[list[Record]]:
    """Give groups of at most `size` records with equal keys.

    With `rng` records and groups come in random order; without it the order of the file is kept, so that only records
    that stand together make a group.
    """
    if rng is None:
        return [piece for _, run in groupby(records, key) for piece in chunks(list(run), size)]
    buckets: dict[Hashable, list[Record]] = {}
    for record in rng.sample(records, len(records)):
        buckets.setdefault(key(record), []).append(record)
    groups = [piece for bucket in buckets.values() for piece in chunks(bucket, size)]
    rng.shuffle(groups)
    return groups


def canonical(value: Any) -> str:
    """Give a value as JSON that is the same for equal values."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
