"""What `skills adapters list` shows: every version of a skill on a model, with what to know of it."""

from pathlib import Path
from typing import Any

from rich.text import Text

from tools_server.errors import SkillError
from tools_server.skills.adapters import (
    BARE,
    SHIPPED,
    active_of,
    find_version,
    version_names,
    warnings_of,
)
from tools_server.skills.types import Skill

__all__ = ["COLUMNS", "entries", "row"]

COLUMNS = ("skill", "model", "version", "kind", "rank", "trained on", "scores", "served", "to know")


def entries(root: Path, skill: Skill, model: str) -> list[dict[str, Any]]:
    """Everything there is of one skill on one model, beginning with what its folder has."""
    damage: list[str] = []
    try:
        active = active_of(root, skill.name, model)
    except SkillError as error:
        active = None
        damage.append(str(error))
    served = active.version if active else SHIPPED
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys([SHIPPED, *version_names(root, skill.name, model), served]):
        facts, warnings = _looked_up(root, skill, model, name)
        found.append(
            {
                "skill": skill.name,
                "model": model,
                "version": name,
                "served": name == served,
                "change": active.model_dump(mode="json", exclude={"previous", "version"})
                if active and name == served
                else None,
                "warnings": [*(damage if name == SHIPPED else []), *warnings],
                **facts,
            }
        )
    return found


def _looked_up(root: Path, skill: Skill, model: str, name: str) -> tuple[dict[str, Any], list[str]]:
    if name in (SHIPPED, BARE):
        adapter = skill.adapters.get(model) if name == SHIPPED else None
        return {"sha256": adapter.sha256 if adapter else None}, []
    try:
        version = find_version(root, skill.name, model, name)
    except SkillError as error:
        return {}, [str(error)]
    return version.provenance.model_dump(mode="json"), warnings_of(skill, version)


def row(entry: dict[str, Any]) -> tuple[str | Text, ...]:
    """One line of the table, for people."""
    data = ", ".join(f"{used['dataset']}/{used['split']} ({used['records']:,})" for used in entry.get("data", ()))
    scores = ", ".join(f"{name} {value:.4g}" for name, value in entry.get("scores", {}).items())
    kind = entry.get("kind") or ("-" if entry.get("sha256") else "bare base")
    change = entry["change"]
    since = f"since {change['since'][:16]}{' by force' if change['forced'] else ''}" if change else "yes"
    return (
        entry["skill"],
        entry["model"],
        entry["version"],
        kind,
        str(entry.get("rank", "-")),
        data or "-",
        scores or "-",
        Text(since, style="bold green") if entry["served"] else "-",
        Text(" ".join(entry["warnings"]), style="yellow"),
    )
