"""A user's CSV file as rows: a column `text`, and one for each thing that is wanted or given."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from tools_server.data.rows import numbered_lines
from tools_server.errors import SamplesInvalid
from tools_server.skills.types import Skill

__all__ = ["TableRow", "table_rows"]

TableRow = tuple[int, dict[str, Any], dict[str, Any]]
"""Line, arguments, expected."""


def table_rows(path: Path, skill: Skill, common: Mapping[str, Any]) -> Iterator[TableRow | SamplesInvalid]:
    """Give the rows of a CSV file with a header; a row that cannot be read is given as its error.

    For a skill that chooses the columns are `text` and `label`, else `text` and fields of the answer; a further column
    may hold an argument of the skill. A cell is read as its field's type says, and an empty one is null. Labels and
    fields that `common` does not give are those of the file itself.

    Raises:
        SamplesInvalid: the file or its header cannot be read.
    """
    reader = csv.reader((line for _, line in numbered_lines(path)), strict=True)
    rows = _counted(path, reader)
    first = next(rows, None)
    if first is None:
        return
    if isinstance(first, SamplesInvalid):
        raise first
    header = [name.strip() for name in first[1]]
    arguments = cast("Mapping[str, Any]", skill.arguments_schema["properties"])
    wanted, given = _roles(path, header, skill, arguments, common)
    body = list(rows)
    own = _from_the_file(skill, header, [row for _, row in _good(body)], wanted, common)
    for entry in body:
        if isinstance(entry, SamplesInvalid):
            yield entry
            continue
        line, cells = entry
        place = f"{path}:{line}"
        if len(cells) != len(header):
            yield SamplesInvalid(
                f"{place}: has {len(cells)} cells, the header {len(header)}.",
                'Put text that holds a comma or a line break between double quotes ("), and double those inside it.',
            )
            continue
        row = dict(zip(header, cells, strict=True))
        try:
            expected = {name: _cell(row[name], schema, f"{place}: {name}") for name, schema in wanted.items()}
            extra = {
                name: _cell(row[name], schema, f"{place}: {name}")
                for name, schema in given.items()
                if row[name].strip()
            }
        except SamplesInvalid as error:
            yield error
            continue
        if skill.manifest.generate.schema_from is not None:
            expected = {"data": expected}
        yield line, {**own, **extra, "text": row["text"]}, expected


def _counted(path: Path, reader: Any) -> Iterator[tuple[int, list[str]] | SamplesInvalid]:
    """Give each record with the line that it begins on, and at most one error: behind it nothing can be trusted."""
    begin = 1
    try:
        for row in reader:
            yield begin, row
            begin = reader.line_num + 1
    except csv.Error as error:
        yield SamplesInvalid(
            f"{path}:{begin}: is no CSV: {error}.", "Look for a double quote that is never closed, or not doubled."
        )


def _good(rows: Iterable[tuple[int, list[str]] | SamplesInvalid]) -> list[tuple[int, list[str]]]:
    return [row for row in rows if not isinstance(row, SamplesInvalid)]


def _roles(
    path: Path, header: list[str], skill: Skill, arguments: Mapping[str, Any], common: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the columns that are wanted of the answer and those that are arguments, each with its schema."""
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise SamplesInvalid(f"{path}:1: column {twice!r} is there twice.", "Name each column once.")
    schema_from = skill.manifest.generate.schema_from
    if skill.manifest.kind == "choose":
        answers: Mapping[str, Any] = {"label": {"type": "string"}}
    elif schema_from is not None:
        others = [name for name in header if name != "text" and name not in arguments]
        fields = cast("Mapping[str, Any]", common.get(schema_from, _fields(others)))
        answers = cast("Mapping[str, Any]", fields.get("properties", {}))
    else:
        answers = cast("Mapping[str, Any]", skill.output_schema["properties"])
    known = ", ".join(f"`{name}`" for name in ("text", *answers, *arguments))
    for name in header:
        if name != "text" and name not in answers and name not in arguments:
            raise SamplesInvalid(
                f"{path}:1: column {name!r} is neither of the answer nor an argument.", f"Known: {known}."
            )
    wanted = {name: answers[name] for name in header if name in answers}
    if "text" not in header or not wanted:
        raise SamplesInvalid(
            f"{path}:1: the header is {', '.join(header)!r}.",
            f"Name a column `text` and at least one of the answer, parted by commas. Known: {known}.",
        )
    return wanted, {name: arguments[name] for name in header if name in arguments and name not in wanted}


def _fields(names: Iterable[str]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}


def _from_the_file(
    skill: Skill, header: list[str], rows: list[list[str]], wanted: Mapping[str, Any], common: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the common arguments, and the label set or the fields where only the file itself tells them."""
    labels = skill.manifest.choose.labels
    if labels is not None and labels not in common:
        column = header.index("label")
        names = dict.fromkeys(row[column].strip() for row in rows if len(row) > column)
        return {**common, labels: [name for name in names if name]}
    fields = skill.manifest.generate.schema_from
    if fields is not None and fields not in common:
        return {**common, fields: _fields(wanted)}
    return dict(common)


def _cell(text: str, schema: Any, place: str) -> Any:
    """Read a cell as its schema says: strings as they are, everything else as JSON, nothing as null."""
    if not text.strip():
        return None
    kinds = _types(schema)
    if "string" in kinds or not kinds:
        return text
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SamplesInvalid(
            f"{place}: {text[:80]!r} is no {' or '.join(kinds)}.",
            "Write numbers, true and false, lists and objects as JSON.",
        ) from error


def _types(schema: Any) -> list[str]:
    if not isinstance(schema, Mapping):
        return []
    kind = cast("Mapping[str, Any]", schema).get("type", [])
    return [kind] if isinstance(kind, str) else list(kind)
