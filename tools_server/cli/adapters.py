"""`tools-server skills adapters`: list, show, add, blend, promote, rollback, ship and remove."""

import re
from datetime import UTC, datetime
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
    VersionArgument,
    open_place,
)
from tools_server.cli.adapter_table import COLUMNS, entries, row
from tools_server.cli.promotion import promote, rollback
from tools_server.skills.adapters import (
    BARE,
    EVALUATION_FILE,
    SHIPPED,
    AdapterVersion,
    Origin,
    active_of,
    find_version,
    models_of,
)
from tools_server.training.blend import blend_versions
from tools_server.training.evidence import read_evidence, summary_of
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

_AsOption = Annotated[str | None, typer.Option("--as", help="Name of the version; default: time and hash.")]


def _sha256(value: str | None) -> str | None:
    if value is not None and not re.fullmatch("[0-9a-f]{64}", value):
        raise typer.BadParameter(f"{value!r} is no SHA-256 of 64 hexadecimal digits")
    return value


@app.command("list")
def list_adapters(
    skill: Annotated[str | None, typer.Argument(metavar="SKILL", help="Default: all skills.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Default: all models.")] = None,
    skills_dir: SkillsDirOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show every adapter version: what it was trained on, its scores, and which one is served since when.

    Example: tools-server skills adapters list classify
    """
    place = open_place(None, skills_dir, config)
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
    skill: SkillArgument,
    version: VersionArgument,
    model: ModelOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show where one version comes from: base, data with licences, recipe, seed, scores and evaluation.

    Example: tools-server skills adapters show classify 20260802-101500-1a2b3c4d
    """
    place = open_place(model, None, config)
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
    skill: SkillArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A LoRA as a GGUF file.")],
    *,
    model: ModelOption = None,
    base_sha256: Annotated[
        str | None,
        typer.Option(help="SHA-256 of the weights it was trained for; default: those of the model.", callback=_sha256),
    ] = None,
    scale: Annotated[float, typer.Option(help="Factor on what the adapter adds.", min=0.001, max=16)] = 1.0,
    version: _AsOption = None,
    skills_dir: SkillsDirOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Adopt an adapter file from elsewhere as a version. It is copied and checked, and serves once it is promoted.

    Example: tools-server skills adapters add classify adapter.gguf --as from-a-friend
    """
    place = open_place(model, skills_dir, config)
    place.catalog.get(skill)
    origin = Origin(
        source=f"adopted from {file.name}",
        base_model=place.model,
        base_sha256=base_sha256 or place.base_sha256,
        created=datetime.now(UTC).replace(microsecond=0),
        scale=scale,
    )
    added = add_version(place.root, skill, place.model, file.expanduser(), origin, version=version)
    _print_new(added, "Added", as_json)


@app.command()
def blend(
    skill: SkillArgument,
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A version, or `shipped`.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Another one, trained on from the first at best.")],
    *,
    weight: Annotated[
        float, typer.Option(help="Share of the second; the first has the rest.", min=0.01, max=0.99)
    ] = 0.5,
    model: ModelOption = None,
    version: _AsOption = None,
    skills_dir: SkillsDirOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a version between two: what both add to the base is averaged. It serves once it is promoted.

    Worth a try where an adapter that learnt more of one kind became worse at another: the average often keeps most of
    both. No training; the rank stays.

    Example: tools-server skills adapters blend extract shipped 20260802-101500-1a2b3c4d --weight 0.7
    """
    place = open_place(model, skills_dir, config)
    made = blend_versions(place.catalog.get(skill), place.settings, first, second, weight, version=version)
    _print_new(made, "Made", as_json)


app.command()(promote)
app.command()(rollback)


@app.command()
def ship(
    skill: SkillArgument,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Default: the version that is served, else the latest.")
    ] = None,
    *,
    model: ModelOption = None,
    skills_dir: SkillsDirOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Copy a version into the skill's own folder and name it in skill.toml: whoever gets the folder has the adapter.

    Example: tools-server skills adapters ship triage
    """
    place = open_place(model, skills_dir, config)
    known = place.catalog.get(skill)
    active = active_of(place.root, skill, place.model)
    served = active.version if active is not None and active.version not in (SHIPPED, BARE) else None
    chosen = version or served or place.latest(skill)
    path = ship_version(known, find_version(place.root, skill, place.model, chosen))
    if as_json:
        output.print_json({"skill": skill, "model": place.model, "version": chosen, "file": str(path)})
    else:
        output.out.print(Text(f"Shipped {chosen} as {path}"))


@app.command()
def remove(
    skill: SkillArgument,
    version: VersionArgument,
    model: ModelOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Remove a version that is not served.

    Example: tools-server skills adapters remove classify 20260802-101500-1a2b3c4d
    """
    place = open_place(model, None, config)
    gone = remove_version(place.root, skill, place.model, version)
    if as_json:
        output.print_json({"removed": {"skill": skill, "model": place.model, "version": gone.name}})
    else:
        output.out.print(Text(f"Removed {gone.folder}"))


def _print_new(version: AdapterVersion, how: str, as_json: bool) -> None:
    if as_json:
        about = {"skill": version.skill, "model": version.model, "version": version.name}
        output.print_json({**about, **version.provenance.model_dump(mode="json")})
        return
    output.out.print(Text(f"{how} {version.name} in {version.folder}"))
    output.note(
        f"Compare it with what is served, then: tools-server skills adapters promote {version.skill} {version.name}"
    )
