"""Evaluation samples: those that ship with the skills, or a file of the user's own."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from tools_server.data.rows import CallCheck, StrictRow, numbered_lines, parse_json, parse_row
from tools_server.data.types import Sample
from tools_server.errors import SamplesInvalid, SkillNotFound
from tools_server.evals.samples import DESCRIPTION, metric_of, own_samples
from tools_server.skills.catalog import Catalog
from tools_server.skills.types import Skill

__all__ = ["COMPARABLE", "read_file", "shipped"]

COMPARABLE = ("accuracy", "field_accuracy")
"""Metrics that say right or wrong. Free text has no such answer: two runs of the same weights word it differently."""


class _Row(StrictRow):
    skill: str = Field(min_length=1)
    arguments: dict[str, Any]


def read_file(path: Path, catalog: Catalog) -> list[Sample]:
    """Read rows of `{"skill", "arguments", "expected"}`, one JSON object a line; empty lines do not count.

    Each row's arguments must be a call that the skill takes, with one `text`; `expected` holds what of the answer
    matters: `{"label": …}`, `{"labels": […]}` or `{"data": {…}}` for the bundled skills.

    Raises:
        SamplesInvalid: naming file, line and reason.
    """
    check = CallCheck()
    samples: list[Sample] = []
    for number, line in numbered_lines(path):
        place = f"{path}:{number}"
        row = parse_row(_Row, parse_json(line, place), place)
        try:
            skill = catalog.get(row.skill)
        except SkillNotFound as error:
            raise SamplesInvalid(f"{place}: skill: {error.message}", error.hint) from error
        sample = Sample(f"{path.name}:{number}", row.skill, row.arguments, row.expected, place)
        samples.append(check.check(sample, skill))
    if not samples:
        raise SamplesInvalid(f"{path}: holds no samples.", 'Give lines of {"skill": …, "arguments": …, "expected": …}.')
    return samples


def shipped(skills: Iterable[Skill]) -> list[Sample]:
    """The samples in the `evals/` folders of skills whose metric says right or wrong.

    Raises:
        SamplesInvalid: naming file, line and reason.
    """
    return [
        replace(sample, id=f"{skill.name}/{sample.id}")
        for skill in skills
        if (skill.folder / DESCRIPTION).is_file() and metric_of(skill) in COMPARABLE
        for sample in own_samples(skill).samples
    ]
