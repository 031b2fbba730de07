"""`tools-server skills`: list, show, check and new; `eval`, `calibrate` and `adapters` have modules of their own."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from tools_server.bundled import bundled_dir
from tools_server.cli import adapters, output
from tools_server.cli.calibrate import EXAMPLES as CALIBRATE_EXAMPLES
from tools_server.cli.calibrate import calibrate
from tools_server.cli.evals import EXAMPLES as EVAL_EXAMPLES
from tools_server.cli.evals import evaluate_skill
from tools_server.errors import SkillNotFound
from tools_server.settings import Settings, load_settings
from tools_server.skills.catalog import Catalog, standard_dirs
from tools_server.skills.folder import skill_folders
from tools_server.skills.interface import Common
from tools_server.skills.loader import load_skill
from tools_server.skills.manifest import FILE as MANIFEST_FILE
from tools_server.skills.scaffold import Kind, new_skill
from tools_server.skills.template import FILE as PROMPT_FILE
from tools_server.skills.types import BrokenSkill, Skill

__all__ = ["app"]

BROKEN = 2
"""Exit code when a folder is broken."""

EXAMPLES = """\
Examples:

  tools-server skills list

  tools-server skills show classify --json

  tools-server skills new triage --kind choose

  tools-server skills check ./my-skills
"""

app = typer.Typer(
    help="List, show, check and create skill folders. A running server picks changes up by itself.",
    add_completion=False,
    no_args_is_help=True,
    epilog=EXAMPLES,
)

app.command("eval", epilog=EVAL_EXAMPLES)(evaluate_skill)
app.command("calibrate", epilog=CALIBRATE_EXAMPLES)(calibrate)
app.add_typer(adapters.app, name="adapters")

_SkillsDirOption = Annotated[
    list[Path] | None,
    typer.Option("--skills-dir", help="A further folder of skill folders; may be repeated, later ones win."),
]
_ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@app.command("list")
def list_skills(
    skills_dir: _SkillsDirOption = None, as_json: _JsonOption = False, config: _ConfigOption = None
) -> None:
    """Show every skill: name, kind, version, where it is from, adapters and description; broken folders as well.

    Example: tools-server skills list --skills-dir ./my-skills
    """
    settings = _settings(skills_dir, config)
    snapshot = Catalog(standard_dirs(settings), adapters_dir=settings.adapters_dir, model=settings.model).snapshot
    everything = dict(sorted({**snapshot.skills, **snapshot.unserved}.items()))
    if as_json:
        skills = [
            {
                **_facts(skill),
                "served": name in snapshot.skills,
                "shadows": [str(path) for path in snapshot.shadowed.get(name, ())],
            }
            for name, skill in everything.items()
        ]
        broken = [_broken_facts(broken) for broken in snapshot.broken]
        output.print_json({"skills": skills, "broken": broken, "warnings": list(snapshot.warnings)})
        return
    rows: list[tuple[str | Text, ...]] = []
    for name, skill in everything.items():
        hidden = [_origin(folder, settings) for folder in snapshot.shadowed.get(name, ())]
        origin = _origin(skill.folder, settings) + (f" (instead of {', '.join(hidden)})" if hidden else "")
        first, *_ = skill.manifest.description.split(". ")
        adapters = ", ".join(skill.adapters) or "-"
        shown = name if name in snapshot.skills else Text(f"({name})", style="dim")
        rows.append((shown, skill.manifest.kind, skill.manifest.version, origin, adapters, first.rstrip(".")))
    for broken in snapshot.broken:
        origin = _origin(broken.folder, settings)
        rows.append((Text(broken.name, style="red"), "broken", "-", origin, "-", _complaint(broken, Path())))
    output.print_table(("name", "kind", "version", "from", "adapters", "description"), rows)
    if snapshot.unserved:
        output.note(f"(not served by {settings.model}: it needs an adapter, and has none for this model)")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A skill's name.")],
    skills_dir: _SkillsDirOption = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Show one skill: manifest, schemas, prompt and adapters.

    Example: tools-server skills show classify
    """
    settings = _settings(skills_dir, config)
    skill = Catalog(standard_dirs(settings), adapters_dir=settings.adapters_dir).get(name)
    prompt = (skill.folder / PROMPT_FILE).read_text("utf-8")
    details: dict[str, Any] = {
        **_facts(skill),
        "manifest": skill.manifest.model_dump(mode="json"),
        "input_schema": skill.input_schema,
        "output_schema": skill.output_schema,
        "result_schema": skill.result_schema,
        "prompt": prompt,
        "prose": skill.prose,
        "card": skill.card,
        "calibrations": [each.model_dump(mode="json", exclude={"knots"}) for each in skill.calibrations],
    }
    if as_json:
        output.print_json(details)
        return
    output.print_data(_facts(skill))
    for heading, value in (
        (MANIFEST_FILE, skill.manifest.model_dump(mode="json", exclude={"name", "description", "adapters"})),
        ("input of the tool", skill.input_schema),
        ("answer of the model", skill.output_schema),
        ("answer of the tool", skill.result_schema),
        ("calibrations", {each.model: each.brief() for each in skill.calibrations}),
    ):
        output.out.print(Text(f"\n{heading}", style="bold underline"))
        output.print_json(value)
    output.out.print(Text(f"\n{PROMPT_FILE}", style="bold underline"))
    output.out.print(Text(prompt.rstrip("\n")))


@app.command()
def check(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH|NAME]...", help="Folders or names; default: all skills.")
    ] = None,
    skills_dir: _SkillsDirOption = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Check skill folders and name file, key and reason of what is wrong. Exit code 2 when any is broken.

    Example: tools-server skills check ./my-skills/triage
    """
    folders = _folders(targets or [], standard_dirs(_settings(skills_dir, config)))
    outcomes = [load_skill(folder, Common()) for folder in folders]
    broken = [outcome for outcome in outcomes if isinstance(outcome, BrokenSkill)]
    if as_json:
        good = [{"name": skill.name, "folder": str(skill.folder)} for skill in outcomes if isinstance(skill, Skill)]
        output.print_json({"ok": good, "broken": [_broken_facts(outcome) for outcome in broken]})
    else:
        for outcome in outcomes:
            if isinstance(outcome, BrokenSkill):
                output.out.print(Text(_complaint(outcome, outcome.folder), style="red"))
            else:
                output.out.print(Text(f"ok: {outcome.folder}"))
    if broken:
        raise typer.Exit(BROKEN)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="1 to 30 of a-z, 0-9, _ and -, beginning with a letter.")],
    kind: Annotated[Kind, typer.Option(help="generate: writes an answer. choose: picks a label.")] = "generate",
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Where to make the folder; default: your own skills folder.")
    ] = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Make a skill folder that works at once, with comments that say what to change.

    Example: tools-server skills new triage --kind choose
    """
    settings = _settings(None, config)
    known = Catalog(standard_dirs(settings)).snapshot.skills
    own = settings.config_dir / "skills"
    folder = new_skill(name, directory or own, kind)
    if as_json:
        output.print_json({"name": name, "kind": kind, "folder": str(folder)})
        return
    if name in known:
        output.note(f"`{name}` is also a skill in {known[name].folder}; the one of the later folder is served.")
    served = folder.parent in [path.expanduser().absolute() for path in standard_dirs(settings)]
    flag = "" if served else f" --skills-dir {folder.parent}"
    output.out.print(Text(f"Made {folder}"))
    output.out.print(Text("It works as it is. Next:"))
    for step in (
        f"edit {folder / PROMPT_FILE} and the files beside it; each says what it is for",
        f"tools-server skills check {folder}",
        f"tools-server run {name} FILE{flag}",
        f"tools-server serve{flag}    (a running server takes it up by itself)",
    ):
        output.out.print(Text(f"  {step}"))


def _settings(skills_dir: list[Path] | None, config: Path | None) -> Settings:
    settings = load_settings({"skills_dirs": tuple(skills_dir) if skills_dir else None}, config=config)
    for path in settings.skills_dirs:
        if not path.is_dir():
            output.note(f"{path} is no folder; nothing was read from it.")
    return settings


def _folders(targets: list[str], dirs: tuple[Path, ...]) -> list[Path]:
    """Give the folders that are meant: of a path that one, or all that it holds; of a name every one so called."""
    everywhere = [folder for directory in dirs for folder in skill_folders(directory)]
    if not targets:
        return everywhere
    found: list[Path] = []
    for target in targets:
        named = [folder for folder in everywhere if folder.name == target]
        path = Path(target).expanduser()
        if "/" in target or target.startswith(".") or (path.is_dir() and not named):
            folder = path.resolve()
            inner = [child for child in skill_folders(folder) if (child / MANIFEST_FILE).exists()]
            found += [folder] if (folder / MANIFEST_FILE).exists() or not inner else inner
        elif named:
            found += named
        else:
            known = ", ".join(sorted({folder.name for folder in everywhere})) or "none"
            raise SkillNotFound(f"There is no skill folder {target!r}.", f"Give a path, or one of: {known}.")
    return found


def _origin(folder: Path, settings: Settings) -> str:
    if folder.parent == bundled_dir("skills"):
        return "bundled"
    if folder.parent == (settings.config_dir / "skills").expanduser().absolute():
        return "yours"
    return str(folder.parent)


def _complaint(broken: BrokenSkill, folder: Path) -> str:
    where = [str(folder / broken.file), *([broken.key] if broken.key else [])]
    return f"{':'.join(where)}: {broken.reason}"


def _facts(skill: Skill) -> dict[str, Any]:
    manifest = skill.manifest
    return {
        "name": manifest.name,
        "kind": manifest.kind,
        "version": manifest.version,
        "title": manifest.title,
        "description": manifest.description,
        "folder": str(skill.folder),
        "digest": skill.digest,
        "adapters": {model_id: str(adapter.path) for model_id, adapter in skill.adapters.items()},
    }


def _broken_facts(broken: BrokenSkill) -> dict[str, str]:
    return {
        "name": broken.name,
        "folder": str(broken.folder),
        "file": broken.file,
        "key": broken.key,
        "reason": broken.reason,
    }
