"""`SKILL.md`: Agent Skills front matter and prose, which an agent can read as it is."""

from typing import Any, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tools_server.skills.folder import Problem

FILE = "SKILL.md"
FENCE = "---"


class FrontMatter(BaseModel):
    """The keys that Agent Skills define and that are used here; others belong to other programs and are let be."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    name: str
    description: str = Field(min_length=1, max_length=1024)
    license: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)


def parse_prose(source: str, *, folder_name: str) -> str:
    """Check the front matter of SKILL.md and give the prose behind it.

    Raises:
        Problem: the first thing that is wrong.
    """
    lines = source.splitlines()
    if not lines or lines[0].strip() != FENCE or FENCE not in (line.strip() for line in lines[1:]):
        raise Problem(FILE, "", f"must begin with YAML front matter between two lines `{FENCE}`")
    end = next(number for number, line in enumerate(lines[1:], start=1) if line.strip() == FENCE)
    try:
        values: object = yaml.safe_load("\n".join(lines[1:end]))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Problem(FILE, "", f"the front matter is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise Problem(FILE, "", "the front matter must be `key: value` lines")
    try:
        matter = FrontMatter.model_validate(cast("dict[str, Any]", values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Problem(FILE, ".".join(str(step) for step in first["loc"]), first["msg"]) from error
    if matter.name != folder_name:
        raise Problem(FILE, "name", f"{matter.name!r} must be the folder's name, {folder_name!r}")
    return "\n".join(lines[end + 1 :]).strip()
