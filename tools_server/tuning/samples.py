"""Evaluation samples: those that ship with the skills, or a file of the user's own."""

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tools_server.calls.arguments import ArgumentCheck
from tools_server.errors import InvalidArguments, SamplesInvalid, SkillNotFound
from tools_server.skills.catalog import Catalog
from tools_server.skills.types import Skill
from tools_server.tuning.types import Sample

__all__ = ["COMPARABLE", "read_file", "shipped"]

COMPARABLE = ("accuracy", "field_accuracy")
"""Metrics that say right or wrong. Free text has no such answer: two runs of the same weights word it differently."""


Row = TypeVar("Row", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Row(_Strict):
    skill: Annotated[str, Field(min_length=1)]
    arguments: dict[str, Any]
    expected: Annotated[dict[str, Any], Field(min_length=1)]


class _ShippedRow(_Strict):
    input: dict[str, Any]
    expected: Annotated[dict[str, Any], Field(min_length=1)]


class _Evaluation(_Strict):
    metric: str
    samples: str


def read_file(path: Path, catalog: Catalog) -> list[Sample]:
    """Read rows of `{"skill", "arguments", "expected"}`, one JSON object a line; empty lines do not count.

    Each row's arguments must be a call that the skill takes, with one `text`; `expected` holds what of the answer
    matters: `{"label": …}`, `{"labels": […]}` or `{"data": {…}}` for the bundled skills.

    Raises:
        SamplesInvalid: naming file, line and reason.
    """
    check = ArgumentCheck()
    samples: list[Sample] = []
    for place, line in _lines(path):
        row = _parse(_Row, line, place)
        try:
            skill = catalog.get(row.skill)
        except SkillNotFound as error:
            raise SamplesInvalid(f"{place}: skill: {error.message}", error.hint) from error
        samples.append(_checked(Sample(row.skill, row.arguments, row.expected, place), skill, check))
    if not samples:
        raise SamplesInvalid(f"{path}: holds no samples.", 'Give lines of {"skill": …, "arguments": …, "expected": …}.')
    return samples


def shipped(skills: Iterable[Skill]) -> list[Sample]:
    """The samples in the `evals/` folders of skills whose metric says right or wrong.

    Raises:
        SamplesInvalid: naming file, line and reason.
    """
    check = ArgumentCheck()
    samples: list[Sample] = []
    for skill in skills:
        description = skill.folder / "evals" / "eval.toml"
        if not description.is_file():
            continue
        try:
            evaluation = _Evaluation.model_validate(tomllib.loads(description.read_text("utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
            raise SamplesInvalid(f"{description}: {error}.", "Mend the file.") from error
        if evaluation.metric not in COMPARABLE:
            continue
        for place, line in _lines(description.with_name(evaluation.samples)):
            row = _parse(_ShippedRow, line, place)
            samples.append(_checked(Sample(skill.name, row.input, row.expected, place), skill, check))
    return samples


def _lines(path: Path) -> list[tuple[str, str]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SamplesInvalid(f"{path}: cannot be read: {error}.", "Check the path, and that it is UTF-8.") from error
    return [(f"{path}:{number}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _parse(kind: type[Row], line: str, place: str) -> Row:
    try:
        return kind.model_validate(json.loads(line))
    except json.JSONDecodeError as error:
        raise SamplesInvalid(f"{place}: is not JSON: {error}.", "Write one JSON object per line.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"]) or "row"
        wanted = ", ".join(f"`{name}`" for name in kind.model_fields)
        raise SamplesInvalid(f"{place}: {key}: {first['msg']}.", f"A row has {wanted} and nothing else.") from error


def _checked(sample: Sample, skill: Skill, check: ArgumentCheck) -> Sample:
    try:
        source = check.check(skill, sample.arguments).source
    except InvalidArguments as error:
        raise SamplesInvalid(f"{sample.place}: arguments: {error.message}", error.hint) from error
    if source != "text":
        raise SamplesInvalid(
            f"{sample.place}: arguments: has `{source}`.", "Give one `text`; write a row for each of several."
        )
    return sample
