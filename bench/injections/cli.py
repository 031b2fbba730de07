"""The command line: which model, how much of the corpus, and where the tables go."""

from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench import machine
from bench.injections import report
from bench.injections.attempts import Attempt, SkillName, attempts_on_fields, attempts_on_labels, clean_texts
from bench.injections.corpus import corpus, kinds
from bench.injections.study import Laboratory, Study
from bench.report import write_section
from tools_server.cli import output
from tools_server.settings import load_settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SKILLS: tuple[SkillName, ...] = ("classify", "extract")

TOLD_EVERY = 50
"""Calls between two lines on stderr."""


@app.command(epilog='Example: make bench-injections ARGS="--model smollm2-135m-instruct --write docs/injections.md"')
def injections(
    model: Annotated[str | None, typer.Option(help="Model id; default: the model of your settings.")] = None,
    only: Annotated[str, typer.Option(help="Skills to attack, separated by commas.")] = ",".join(SKILLS),
    tries: Annotated[int, typer.Option(min=1, max=12, help="Tickets that each injection is put into.")] = 1,
    extract_every: Annotated[
        int, typer.Option(min=1, help="Of each kind, every so-manieth injection is tried on `extract`.")
    ] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of Markdown.")] = False,
    write: Annotated[Path | None, typer.Option(help="Markdown page that gets a section for each skill.")] = None,
) -> None:
    """Measure what injections in documents do to labels and fields."""
    chosen = [name.strip() for name in only.split(",")]
    if unknown := [name for name in chosen if name not in SKILLS]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(SKILLS)}.", param_hint="--only")
    plan: dict[SkillName, list[Attempt]] = {
        "classify": attempts_on_labels(corpus(), tries=tries),
        "extract": attempts_on_fields(corpus(), every=extract_every),
    }
    wanted: dict[SkillName, list[Attempt]] = {skill: plan[skill] for skill in SKILLS if skill in chosen}
    found = anyio.run(_measure, model, wanted)
    found_sections = report.sections(found)
    if write is not None:
        for title, text in found_sections.items():
            write_section(write, title, text)
            output.note(f"wrote the section on {title} of {write}")
    if as_json:
        output.print_json(report.as_json(found))
        return
    for text in found_sections.values():
        output.out.print(text)


async def _measure(model: str | None, plan: dict[SkillName, list[Attempt]]) -> report.Results:
    # Weights as published, whatever is tuned for this machine: another format answers some texts otherwise.
    settings = load_settings({"model": model, "tuned": False, "in_process": True, "watch": False})
    before, facts = machine.load_average(), machine.facts(settings)
    laboratory = Laboratory.open(settings)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    studies: list[Study] = []
    try:
        with Progress(*columns, console=output.err, transient=True) as progress:
            for skill, attempts in plan.items():
                calls = 2 * len(clean_texts(skill)) + len(attempts) + len(laboratory.forging(attempts))
                task = progress.add_task(skill, total=calls)
                studies.append(await laboratory.study(skill, attempts, told=partial(_tell, progress, task)))
        served = {skill: laboratory.app.catalog.get(skill) for skill in plan}
    finally:
        await laboratory.aclose()
    adapters = {
        skill: f"{found.manifest.version}, "
        + (f"adapter {found.adapters[settings.model].sha256[:12]}" if settings.model in found.adapters else "bare")
        for skill, found in served.items()
    }
    told = {
        "weights": laboratory.weights,
        **{f"skill `{skill}`": version for skill, version in adapters.items()},
        "corpus": f"{len(corpus())} injections of {len(kinds())} kinds",
    }
    return report.Results(settings.model, told | machine.with_load(facts, before), studies)


def _tell(progress: Progress, task: TaskID) -> None:
    """Advance the bar; a line now and then as well, for where no terminal shows the bar."""
    progress.advance(task)
    bar = next(each for each in progress.tasks if each.id == task)
    if bar.completed % TOLD_EVERY == 0 or bar.completed == bar.total:
        output.note(f"{bar.description}: {bar.completed:.0f} of {bar.total:.0f} calls in {bar.elapsed:.0f} s")
