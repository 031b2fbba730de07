"""Samples for skills that write: fields after a schema, entities, summaries."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tools_server.calls.redact import joined
from tools_server.data.mappings import EntityMapping, SchemaMapping, SummaryMapping
from tools_server.data.records import Group, Record, Source, canonical, chunks, grouped
from tools_server.data.templates import fill_templates
from tools_server.errors import DataInvalid

__all__ = ["entity_groups", "schema_groups", "summary_groups"]

LENGTHS = (10, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 400)
"""Round numbers of words that a caller may ask for."""


def schema_groups(mapping: SchemaMapping, source: Source) -> list[Group]:
    """Make samples of records with a schema and its fields; the wanted object has the order of the schema shown.

    Raises:
        DataInvalid: a field is missing, or a record has no value for a property of its schema.
    """
    vary = source.rng if mapping.vary else None
    groups: list[Group] = []
    for records in grouped(source.records, lambda each: canonical(each.get("schema", dict)), mapping.group, vary):
        fields = _fields(mapping, cast("dict[str, Any]", records[0].get("schema", dict)), source.rng)
        group: Group = []
        for record in records:
            values = cast("dict[str, Any]", record.get("fields", dict))
            if missing := [name for name in fields["properties"] if name not in values]:
                raise DataInvalid(f"{record.place}: fields: {missing[0]!r} of the schema is missing.", "Mend the file.")
            data = {name: values[name] for name in fields["properties"]}
            others = cast("Mapping[str, Sequence[Any]]", record.values.get("alternatives", {}))
            alternatives = {name: others[name] for name in data if name in others}
            group.append(source.sample(mapping.skill, record, {"data": data}, {"fields": fields}, alternatives))
        groups.append(group)
    return groups


def _fields(mapping: SchemaMapping, schema: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """Write a record's schema as callers do: what may be null is optional, and nothing is said of other properties."""
    properties = cast("Mapping[str, Mapping[str, Any]]", schema["properties"])
    names = list(properties)
    described = rng.random() < mapping.descriptions
    if rng.random() < mapping.subset and len(names) > 1:
        kept = set(rng.sample(names, rng.randint(1, len(names) - 1)))
        names = [name for name in names if name in kept]
    if mapping.vary:
        rng.shuffle(names)
    fields: dict[str, Any] = {"type": "object"}
    fields |= {key: schema[key] for key in ("title", "description") if key in schema and described}
    fields["properties"] = {name: _without_null(properties[name], described=described) for name in names}
    listed = cast("list[str]", schema.get("required", []))
    if required := [name for name in names if name in listed and not _takes_null(properties[name])]:
        fields["required"] = required
    return fields


def _takes_null(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "null" or (isinstance(kind, list) and "null" in kind)


def _without_null(schema: Mapping[str, Any], *, described: bool) -> dict[str, Any]:
    plain = {key: value for key, value in schema.items() if described or key != "description"}
    if _takes_null(schema) and isinstance(plain["type"], list):
        kinds = [kind for kind in cast("list[str]", plain["type"]) if kind != "null"]
        plain["type"] = kinds[0] if len(kinds) == 1 else kinds
        if "enum" in plain:
            plain["enum"] = [value for value in plain["enum"] if value is not None]
    return plain


def entity_groups(mapping: EntityMapping, source: Source) -> list[Group]:
    """Make samples of records with entities; the wanted ones come in the order in which they begin in the text.

    Raises:
        DataInvalid: a field is missing, an entity's `start` among them where pieces are joined, or a template has a
            slot that nothing fills.
    """
    records = [*source.records, *fill_templates(mapping, source)]
    if mapping.vary:
        records = source.rng.sample(records, len(records))
    samples: Group = []
    for record in records:
        found = sorted(record.items("entities"), key=lambda each: each.get("start", 0))
        found = [{**each, "type": mapping.types[each["type"]]} for each in found if each["type"] in mapping.types]
        if mapping.join:
            found = joined(_placed(found, record), record.get("text", str), mapping.join)
        entities = [{"type": each["type"], "value": each["value"]} for each in found]
        samples.append(source.sample(mapping.skill, record, {"entities": entities}))
    return chunks(samples, mapping.group)


def _placed(entities: Sequence[Mapping[str, Any]], record: Record) -> list[dict[str, Any]]:
    if (unplaced := next((each for each in entities if "start" not in each), None)) is not None:
        raise DataInvalid(
            f"{record.place}: entities: {unplaced['value']!r} has no `start`, which `join` needs.", "Add it."
        )
    return [{**each, "end": each["start"] + len(each["value"])} for each in entities]


def summary_groups(mapping: SummaryMapping, source: Source) -> list[Group]:
    """Make samples of records with a summary.

    Raises:
        DataInvalid: a field is missing.
    """
    vary = source.rng if mapping.vary else None

    def length(summary: str) -> int:
        words = len(summary.split())
        return next((round_number for round_number in LENGTHS if round_number >= words), LENGTHS[-1])

    groups: list[Group] = []
    words_of = mapping.max_words
    for records in grouped(
        source.records,
        lambda each: length(each.get("summary", str)) if words_of == "fit" else words_of,
        mapping.group,
        vary,
    ):
        group: Group = []
        for record in records:
            summary = record.get("summary", str)
            arguments: dict[str, Any] = {"max_words": length(summary) if words_of == "fit" else words_of}
            if mapping.focus is not None:
                arguments["focus"] = record.get(mapping.focus, str)
            others = [each for each in record.values.get("references", ()) if each != summary]
            alternatives = {"summary": others} if others else {}
            group.append(source.sample(mapping.skill, record, {"summary": summary}, arguments, alternatives))
        groups.append(group)
    return groups
