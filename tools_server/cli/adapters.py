"""`tools-server skills adapters`: list, show, add, promote, rollback, ship and remove."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tools_server.cli import output
from tools_server.cli.adapter_table import COLUMNS, entries, row
from tools_server.errors import AdapterVersionNotFound
from tools_server.models import ModelStore
from tools_server.settings import Settings, load_settings
from tools_server.skills.adapters import (
    BARE,
    EVALUATION_FILE,
    SHIPPED,
    Active,
    Origin,
    active_of,
    find_version,
    models_of,
    version_names,
)
from tools_server.skills.catalog import Catalog, standard_dirs
from tools_server.training.evidence import read_evidence, summary_of
from tools_server.training.promote import promote as promote_version
from tools_server.training.promote import rollback as roll_back
from tools_server.training.ship import ship as ship_version
from tools_server.training.versions import add_version, remove_version

__all__ = ["app"]

EXAMPLES = """\
Examples:

  tools-server skills adapters list

  tools-server skills adapters promote classify --evidence evaluation.json

  tools-server skills adapters rollback classify

  tools-server skills adapters add classify ~/Downloads/adapter.gguf
"""

app = typer.Typer(
    help="List, add, promote and roll back adapter versions. A running server picks changes up by itself.",
    add_completion=False,
    no_args_is_help=True,
    epilog=EXAMPLES,
)

_SkillArgument = Annotated[str, typer.Argument(metavar="SKILL", help="A skill's name.")]
_VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="As `adapters list` shows it.")]
_ModelOption = Annotated[str | None, typer.Option("--model", help="Default: the model of your settings.")]
_SkillsDirOption = Annotated[
    list[Path] | None,
    typer.Option("--skills-dir", help="A further folder of skill folders; may be repeated, later ones win."),
]
_ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
_ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]


def _sha256(value: str | None) -> str | None:
    if value is not None and not re.fullmatch("[0-9a-f]{64}", value):
        raise typer.BadParameter(f"{value!r} is no SHA-256 of 64 hexadecimal digits")
    return value


@dataclass(frozen=True, slots=True)
class _Place:
    """What every command works on. Skills are as their folders give them, without promoted versions."""

    settings: Settings
    catalog: Catalog
    model: str

    @property
    def root(self) -> Path:
        return self.settings.adapters_dir

    @property
    def base_sha256(self) -> str:
        return ModelStore.from_settings(self.settings).manifest(self.model).sha256


@app.command("list")
def list_adapters(
    skill: Annotated[str | None, typer.Argument(metavar="SKILL", help="Default: all skills.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Default: all models.")] = None,
    skills_dir: _SkillsDirOption = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Show every adapter version: what it was trained on, its scores, and which one is served since when.

    Example: tools-server skills adapters list classify
    """
    place = _open(None, skills_dir, config)
    if skill is not None:
        place.catalog.get(skill)
    skills = place.catalog.snapshot.skills
    found = [
        entry
        for name in ([skill] if skill else list(skills))
        for each in sorted({*models_of(place.root, name), *skills[name].adapters})
        if model in (None, each)
        for entry in entries(place.root, skills[name], each)
    ]
    if as_json:
        output.print_json({"versions": found})
        return
    if not found:
        output.note("There are no adapters yet: every skill is served by the bare base.")
        return
    output.print_table(COLUMNS, [row(entry) for entry in found])


@app.command()
def show(
    skill: _SkillArgument,
    version: _VersionArgument,
    model: _ModelOption = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Show where one version comes from: base, data with licences, recipe, seed, scores and evaluation.

    Example: tools-server skills adapters show classify 20260802-101500-1a2b3c4d
    """
    place = _open(model, None, config)
    found = find_version(place.root, skill, place.model, version)
    facts = {
        "skill": skill,
        "model": place.model,
        "version": version,
        **found.provenance.model_dump(mode="json"),
        "folder": str(found.folder),
    }
    if (found.folder / EVALUATION_FILE).is_file():
        facts["evaluation"] = summary_of(read_evidence(found.folder / EVALUATION_FILE)[0])
    if as_json:
        output.print_json(facts)
    else:
        output.print_data(facts)


@app.command()
def add(
    skill: _SkillArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A LoRA as a GGUF file.")],
    *,
    model: _ModelOption = None,
    base_sha256: Annotated[
        str | None,
        typer.Option(help="SHA-256 of the weights it was trained for; default: those of the model.", callback=_sha256),
    ] = None,
    scale: Annotated[float, typer.Option(help="Factor on what the adapter adds.", min=0.001, max=16)] = 1.0,
    version: Annotated[str | None, typer.Option("--as", help="Name of the version; default: time and hash.")] = None,
    skills_dir: _SkillsDirOption = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Adopt an adapter file from elsewhere as a version. It is copied and checked, and serves once it is promoted.

    Example: tools-server skills adapters add classify adapter.gguf --as from-a-friend
    """
    place = _open(model, skills_dir, config)
    place.catalog.get(skill)
    origin = Origin(
        source=f"adopted from {file.name}",
        base_model=place.model,
        base_sha256=base_sha256 or place.base_sha256,
        created=datetime.now(UTC).replace(microsecond=0),
        scale=scale,
    )
    added = add_version(place.root, skill, place.model, file.expanduser(), origin, version=version)
    if as_json:
        output.print_json(
            {"skill": skill, "model": place.model, "version": added.name, **added.provenance.model_dump(mode="json")}
        )
        return
    output.out.print(Text(f"Added {added.name} in {added.folder}"))
    output.note(f"Compare it with what is served, then: tools-server skills adapters promote {skill} {added.name}")


@app.command()
def promote(
    skill: _SkillArgument,
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="VERSION",
            help="Default: the latest; `shipped`: that of the skill's folder; `none`: the bare base.",
        ),
    ] = None,
    *,
    model: _ModelOption = None,
    evidence: Annotated[
        Path | None, typer.Option(help="What `skills eval --compare` wrote; default: the one beside the version.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Without a held-out win; needs --reason.")] = False,
    reason: _ReasonOption = "",
    skills_dir: _SkillsDirOption = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Serve a version, if it wins on held-out samples against what is served now and no metric is worse.

    Example: tools-server skills adapters promote classify --evidence evaluation.json
    """
    place = _open(model, skills_dir, config)
    known = place.catalog.get(skill)
    chosen = version or _latest(place.root, skill, place.model)
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


@app.command()
def rollback(
    skill: _SkillArgument,
    *,
    model: _ModelOption = None,
    reason: _ReasonOption = "",
    skills_dir: _SkillsDirOption = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Serve again what was served before the last promotion.

    Example: tools-server skills adapters rollback classify --reason "too many wrong refunds"
    """
    place = _open(model, skills_dir, config)
    known = place.catalog.get(skill)
    active = roll_back(place.root, known, place.model, base_sha256=place.base_sha256, reason=reason)
    _print_active(skill, place.model, active, as_json)


@app.command()
def ship(
    skill: _SkillArgument,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Default: the version that is served, else the latest.")
    ] = None,
    *,
    model: _ModelOption = None,
    skills_dir: _SkillsDirOption = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Copy a version into the skill's own folder and name it in skill.toml: whoever gets the folder has the adapter.

    Example: tools-server skills adapters ship triage
    """
    place = _open(model, skills_dir, config)
    known = place.catalog.get(skill)
    active = active_of(place.root, skill, place.model)
    served = active.version if active is not None and active.version not in (SHIPPED, BARE) else None
    chosen = version or served or _latest(place.root, skill, place.model)
    path = ship_version(known, find_version(place.root, skill, place.model, chosen))
    if as_json:
        output.print_json({"skill": skill, "model": place.model, "version": chosen, "file": str(path)})
    else:
        output.out.print(Text(f"Shipped {chosen} as {path}"))


@app.command()
def remove(
    skill: _SkillArgument,
    version: _VersionArgument,
    model: _ModelOption = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Remove a version that is not served.

    Example: tools-server skills adapters remove classify 20260802-101500-1a2b3c4d
    """
    place = _open(model, None, config)
    gone = remove_version(place.root, skill, place.model, version)
    if as_json:
        output.print_json({"removed": {"skill": skill, "model": place.model, "version": gone.name}})
    else:
        output.out.print(Text(f"Removed {gone.folder}"))


def _open(model: str | None, skills_dir: list[Path] | None, config: Path | None) -> _Place:
    flags = {"model": model, "skills_dirs": tuple(skills_dir) if skills_dir else None}
    settings = load_settings(flags, config=config)
    return _Place(settings, Catalog(standard_dirs(settings)), settings.model)


def _latest(root: Path, skill: str, model: str) -> str:
    versions = [find_version(root, skill, model, name) for name in version_names(root, skill, model)]
    if not versions:
        raise AdapterVersionNotFound(
            f"`{skill}` has no adapter version for {model}.", "Train one, or `tools-server skills adapters add` a file."
        )
    return max(versions, key=lambda version: version.provenance.created).name


def _print_active(skill: str, model: str, active: Active, as_json: bool) -> None:
    if as_json:
        output.print_json({"skill": skill, "model": model, **active.model_dump(mode="json")})
        return
    output.out.print(Text(f"`{skill}` on {model} is served by {active.version}, {active.how}: {active.reason}"))
    for objection in active.objections:
        output.note(f"by force, although {objection}")
    output.note("Running servers take it up by themselves; calls in flight keep the version they began with.")
