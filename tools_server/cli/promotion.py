"""`tools-server skills adapters promote` and `rollback`: which version is served."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tools_server.cli import output
from tools_server.cli.adapter_place import (
    ConfigOption,
    JsonOption,
    ModelOption,
    SkillArgument,
    SkillsDirOption,
    open_place,
)
from tools_server.skills.adapters import Active
from tools_server.training.promote import promote as promote_version
from tools_server.training.promote import rollback as roll_back

__all__ = ["promote", "rollback"]

_ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]


def promote(
    skill: SkillArgument,
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="VERSION",
            help="Default: the latest; `shipped`: that of the skill's folder; `none`: the bare base.",
        ),
    ] = None,
    *,
    model: ModelOption = None,
    evidence: Annotated[
        Path | None, typer.Option(help="What `skills eval --compare` wrote; default: the one beside the version.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Without a held-out win; needs --reason.")] = False,
    reason: _ReasonOption = "",
    skills_dir: SkillsDirOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Serve a version, if it wins on held-out samples against what is served now and no metric is worse.

    Example: tools-server skills adapters promote classify --evidence evaluation.json
    """
    place = open_place(model, skills_dir, config)
    known = place.catalog.get(skill)
    chosen = version or place.latest(skill)
    active = promote_version(
        place.root,
        known,
        place.model,
        chosen,
        base_sha256=place.base_sha256,
        evidence=evidence.expanduser() if evidence else None,
        reason=reason,
        force=force,
    )
    _print_active(skill, place.model, active, as_json)


def rollback(
    skill: SkillArgument,
    *,
    model: ModelOption = None,
    reason: _ReasonOption = "",
    skills_dir: SkillsDirOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Serve again what was served before the last promotion.

    Example: tools-server skills adapters rollback classify --reason "too many wrong refunds"
    """
    place = open_place(model, skills_dir, config)
    known = place.catalog.get(skill)
    active = roll_back(place.root, known, place.model, base_sha256=place.base_sha256, reason=reason)
    _print_active(skill, place.model, active, as_json)


def _print_active(skill: str, model: str, active: Active, as_json: bool) -> None:
    if as_json:
        output.print_json({"skill": skill, "model": model, **active.model_dump(mode="json")})
        return
    output.out.print(Text(f"`{skill}` on {model} is served by {active.version}, {active.how}: {active.reason}"))
    for objection in active.objections:
        output.note(f"by force, although {objection}")
    output.note("Running servers take it up by themselves; calls in flight keep the version they began with.")
