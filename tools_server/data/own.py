"""Samples out of a user's own file, JSON Lines or CSV, held against the skill that they are for."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from tools_server.data.expected import ExpectedCheck
from tools_server.data.rows import CallCheck, StrictRow, numbered_lines, parse_json, parse_row
from tools_server.data.table import table_rows
from tools_server.data.types import Sample
from tools_server.errors import SamplesInvalid
from tools_server.skills.types import Skill

__all__ = ["SHOWN", "read_samples"]

SHOWN = 20
"""Problems that one error lists."""

_Row = tuple[int, dict[str, Any], dict[str, Any]]


class _InputRow(StrictRow):
    input: dict[str, Any]


class _SkillRow(StrictRow):
    skill: str = Field(min_length=1)
    arguments: dict[str, Any]


class _FlatRow(StrictRow):
    text: str

    @classmethod
    def hint(cls) -> str:
        return 'A row is {"text": …, "expected": {…}} with the call\'s other arguments beside the text.'


def read_samples(path: Path, skill: Skill, *, arguments: Mapping[str, Any] | None = None) -> list[Sample]:
    """Read and check a file of samples: CSV when it is called so, else JSON Lines.

    A line of JSON is `{"text": …, <other arguments>, "expected": {…}}`, or has the arguments apart in `input`.
    `arguments` are those that every row has unless it gives its own; the columns of CSV are explained at `table_rows`.

    Raises:
        SamplesInvalid: lists the first problems of the whole file, each with file, line and key.
    """
    common = arguments or {}
    check, wanted = CallCheck(), ExpectedCheck(skill)
    samples: list[Sample] = []
    problems: list[SamplesInvalid] = []
    found = table_rows(path, skill, common) if path.suffix.lower() == ".csv" else _json_rows(path, skill, common)
    for row in found:
        if isinstance(row, SamplesInvalid):
            problems.append(row)
            continue
        line, given, expected = row
        place = f"{path}:{line}"
        try:
            sample = check.check(Sample(f"{path.name}:{line}", skill.name, given, expected, place), skill)
            answer = wanted.check(given, expected, place)
        except SamplesInvalid as error:
            problems.append(error)
            continue
        samples.append(Sample(sample.id, sample.skill, given, answer, place))
    if problems:
        raise _all_of(problems, path)
    if not samples:
        raise SamplesInvalid(f"{path}: holds no samples.", 'Give lines of {"text": …, "expected": {…}}.')
    return samples


def _json_rows(path: Path, skill: Skill, common: Mapping[str, Any]) -> Iterator[_Row | SamplesInvalid]:
    for line, text in numbered_lines(path):
        place = f"{path}:{line}"
        try:
            given, expected = _arguments_and_expected(parse_json(text, place), skill, place)
        except SamplesInvalid as error:
            yield error
            continue
        yield line, {**common, **given}, expected


def _arguments_and_expected(value: Any, skill: Skill, place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell the forms of a row apart: one with a `text` of its own is flat, whatever else it has."""
    keys: set[str] = set(cast("dict[str, Any]", value)) if isinstance(value, dict) else set()
    if "text" not in keys and "input" in keys:
        row = parse_row(_InputRow, value, place)
        return row.input, row.expected
    if "text" not in keys and {"skill", "arguments"} <= keys:
        named = parse_row(_SkillRow, value, place)
        if named.skill != skill.name:
            raise SamplesInvalid(
                f"{place}: skill: is {named.skill!r}; the file is read for {skill.name!r}.", "Part the file by skill."
            )
        return named.arguments, named.expected
    # Only `text` and `expected` are known here; the skill's schema judges the other keys as arguments.
    known: dict[str, Any] = {key: value[key] for key in ("text", "expected") if key in keys}
    flat = parse_row(_FlatRow, known if keys else value, place)
    return {key: item for key, item in cast("dict[str, Any]", value).items() if key != "expected"}, flat.expected


def _all_of(problems: list[SamplesInvalid], path: Path) -> SamplesInvalid:
    if len(problems) == 1:
        return problems[0]
    more = f"\n  and {len(problems) - SHOWN:,} more" if len(problems) > SHOWN else ""
    listed = "".join(f"\n  {problem.message}" for problem in problems[:SHOWN])
    hints = " ".join(dict.fromkeys(problem.hint for problem in problems[:3]))
    return SamplesInvalid(f"{path}: {len(problems):,} problems:{listed}{more}", hints)
