"""`tools-server data`: list, show, check and pull."""

import sys
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

from tools_server.cli import output
from tools_server.data.mappings import SampleMapping
from tools_server.data.pull import Told
from tools_server.data.pull import pull as pull_files
from tools_server.data.reading import data_folder, is_here, load
from tools_server.data.recipe import Recipe, Recipes
from tools_server.data.types import Sample
from tools_server.errors import DataInvalid
from tools_server.settings import Settings, load_settings

__all__ = ["app"]

EXAMPLES = """\
Examples:

  tools-server data list

  tools-server data show snips_intents --split train --skill classify

  tools-server data check mine.jsonl --skill classify

  tools-server data check train.csv --skill classify --apart-from test.csv --arg 'labels=["billing","bug"]'
"""

app = typer.Typer(
    help="List, show, check and download data for evaluation and training.",
    add_completion=False,
    no_args_is_help=True,
    epilog=EXAMPLES,
)

_NameArgument = Annotated[str, typer.Argument(help="A data set's name.")]
_DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the data sets' files instead of the one in the settings.")
]
_ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@app.command("list")
def list_sets(data_dir: _DataDirOption = None, as_json: _JsonOption = False, config: _ConfigOption = None) -> None:
    """Show every data set that has a recipe: title, licence, skills, records, and whether its files are here.

    Example: tools-server data list --data-dir ~/datasets
    """
    settings = _settings(data_dir, config)
    recipes, folder = Recipes.from_settings(settings), data_folder(settings)
    found: list[Recipe] = []
    broken: list[str] = []
    for name in recipes.names():
        try:
            found.append(recipes.get(name))
        except DataInvalid as error:
            broken.append(str(error))
    if as_json:
        output.print_json({"data": [_facts(recipe, folder) for recipe in found], "broken": broken})
    else:
        output.print_table(
            ("name", "for", "records", "licence", "here", "what"),
            [
                (
                    recipe.name,
                    ", ".join(recipe.skills) or "-",
                    ", ".join(f"{split} {pin.records:,}" for split, pin in recipe.files.items()),
                    recipe.licence,
                    Text("yes", style="green") if is_here(recipe, folder) else "no",
                    recipe.title,
                )
                for recipe in found
            ],
        )
    for complaint in broken:
        output.note(complaint)


@app.command()
def show(
    name: _NameArgument,
    *,
    split: Annotated[str | None, typer.Option(help="Show samples of this split.")] = None,
    skill: Annotated[str | None, typer.Option(help="The skill that the samples are for; default: the first.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many samples.")] = 3,
    data_dir: _DataDirOption = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Show one recipe: licence, attribution, files, how samples are made; with --split some of these samples.

    Example: tools-server data show sgd_extraction --split dev --limit 1 --json
    """
    settings = _settings(data_dir, config)
    recipe, folder = Recipes.from_settings(settings).get(name), data_folder(settings)
    details = {**_facts(recipe, folder), "samples": [_mapping(each, whole=as_json) for each in recipe.samples]}
    if split is not None:
        wanted = skill or next(iter(recipe.skills), "")
        samples = load(recipe, split, wanted, folder=folder)[:limit]
        details = {"name": name, "split": split, "skill": wanted, "samples": [_shown(sample) for sample in samples]}
    if as_json:
        output.print_json(details)
    else:
        output.print_data(details)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="JSON Lines, or CSV with a header.")],
    *,
    skill: Annotated[str, typer.Option(help="The skill that the samples are for.")],
    arg: Annotated[
        list[str] | None,
        typer.Option(
            "--arg", metavar="K=V", help="An argument that all rows have: text, JSON, or @FILE with JSON in it."
        ),
    ] = None,
    apart_from: Annotated[
        list[Path] | None, typer.Option(help="Another file of samples that must share no text; may be repeated.")
    ] = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Hold a file of your own against a skill and name line and key of what is wrong. Exit code 2 when anything is.

    Example: tools-server data check mine.jsonl --skill classify
    """
    # The skills' libraries are needed by this command alone.
    from tools_server.cli.run import parse_arguments  # noqa: PLC0415
    from tools_server.data.own import read_samples  # noqa: PLC0415
    from tools_server.data.splits import check_disjoint, hash_of, missing_labels  # noqa: PLC0415
    from tools_server.skills.catalog import Catalog, standard_dirs  # noqa: PLC0415
    from tools_server.skills.labels import labels_of  # noqa: PLC0415

    found = Catalog(standard_dirs(_settings(None, config))).get(skill)
    common = parse_arguments(found, arg or [])
    samples = read_samples(file, found, arguments=common)
    others = {f"--apart-from {path}": read_samples(path, found, arguments=common) for path in apart_from or []}
    check_disjoint({str(file): samples, **others})
    facts: dict[str, Any] = {"file": str(file), "skill": skill, "samples": len(samples), "sha256": hash_of(samples)}
    if found.manifest.kind == "choose":
        labels = list(dict.fromkeys(label.name for sample in samples for label in labels_of(found, sample.arguments)))
        counts = Counter(name for sample in samples for name in _labels(sample.expected))
        facts["labels"] = {label: counts[label] for label in labels}
        facts["without_a_sample"] = missing_labels(samples, labels)
    if as_json:
        output.print_json(facts)
        return
    output.print_data(facts)
    if missing := facts.get("without_a_sample"):
        output.note(f"{len(missing)} label(s) have no sample; nothing can be learned or measured about them.")


@app.command()
def pull(
    name: _NameArgument,
    data_dir: _DataDirOption = None,
    as_json: _JsonOption = False,
    config: _ConfigOption = None,
) -> None:
    """Download the files of a data set that names an address, and verify them. Nothing else ever downloads data.

    Example: tools-server data pull my_set
    """
    settings = _settings(data_dir, config)
    recipe, folder = Recipes.from_settings(settings).get(name), data_folder(settings)
    with _progress() as told:
        new = pull_files(recipe, folder, told)
    if as_json:
        output.print_json({"name": name, "folder": str(folder), "downloaded": [str(path) for path in new]})
        return
    for path in new:
        output.out.print(Text(str(path)))
    output.note(f"{recipe.licence}: {recipe.attribution}" if new else f"{name} is here already, in {folder}")


def _settings(data_dir: Path | None, config: Path | None) -> Settings:
    return load_settings({"data_dir": data_dir}, config=config)


def _facts(recipe: Recipe, folder: Path) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "title": recipe.title,
        "language": recipe.language,
        "licence": recipe.licence,
        "attribution": recipe.attribution,
        "homepage": recipe.homepage,
        "changes": recipe.changes,
        "skills": list(recipe.skills),
        "here": is_here(recipe, folder),
        "files": {
            split: {"path": str(recipe.path_of(pin, folder)), "sha256": pin.sha256, "records": pin.records}
            for split, pin in recipe.files.items()
        },
    }


def _mapping(mapping: SampleMapping, *, whole: bool) -> dict[str, Any]:
    """A mapping as data; for people to read, of many texts and slots their number alone."""
    facts = mapping.model_dump(mode="json", exclude_none=not whole)
    if not whole and "templates" in facts:
        facts["templates"] |= {name: len(facts["templates"][name]) for name in ("texts", "slots")}
    return facts


def _shown(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "arguments": dict(sample.arguments),
        "expected": dict(sample.expected),
        "alternatives": dict(sample.alternatives),
        "place": sample.place,
    }


def _labels(expected: Mapping[str, Any]) -> list[str]:
    return expected["labels"] if "labels" in expected else [expected["label"]]


@contextmanager
def _progress() -> Generator[Told]:
    """A bar on a terminal, else one plain line per file; on stderr, so that stdout holds only the answer."""
    if not sys.stderr.isatty():
        named: set[str] = set()

        def tell(_done: int, _total: int | None, what: str) -> None:
            if what not in named:
                named.add(what)
                output.note(what)

        yield tell
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=output.err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)
