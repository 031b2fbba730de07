"""Skills and samples for the tests of evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools_server.bundled import bundled_dir
from tools_server.data.types import Sample
from tools_server.skills.catalog import Catalog
from tools_server.skills.types import Skill

LABELS = ["billing", "bug", "praise"]


def bundled(name: str) -> Skill:
    return Catalog([bundled_dir("skills")]).get(name)


def sample(
    expected: Mapping[str, Any],
    text: str = "a text",
    *,
    name: str = "s",
    skill: str = "classify",
    alternatives: Mapping[str, list[Any]] | None = None,
    **arguments: Any,
) -> Sample:
    return Sample(name, skill, {"text": text, **arguments}, expected, f"here:{name}", alternatives or {})


def labelled(*pairs: tuple[str, str], labels: list[str] = LABELS) -> list[Sample]:
    """Samples out of (text, label)."""
    return [
        sample({"label": label}, text, name=f"s{number}", labels=labels) for number, (text, label) in enumerate(pairs)
    ]


def schema(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path
