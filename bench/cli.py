"""The command line of the benchmarks: one run, one table of ratios."""

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import machine, report, tokens
from bench.backend import BenchBackend
from bench.classify import ClassifyBench
from bench.measure import Comparison, Job, alternate
from tools_server.app import build_app
from tools_server.cli import output
from tools_server.engine.local import LocalEngine
from tools_server.errors import ToolsServerError
from tools_server.models import ModelStore
from tools_server.settings import Settings, load_settings

PIPE_WIDTH = 120
"""Columns of a table that no terminal bounds."""

SECTIONS = ("prefill", "decode", "classify")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog='Example: make bench ARGS="--model smollm2-135m-instruct --rounds 3 --only prefill,decode"')
def bench(
    model: Annotated[str | None, typer.Option(help="Model id; default: the model of your settings.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each side runs, in turn.")] = 3,
    only: Annotated[str, typer.Option(help="Sections to run, separated by commas.")] = ",".join(SECTIONS),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
    write: Annotated[Path | None, typer.Option(help="Markdown page that gets this model's section.")] = None,
) -> None:
    """Compare the engine with a bare llama_decode loop and with Outlines on llama_cpp.Llama; print ratios."""
    wanted = [name.strip() for name in only.split(",")]
    if unknown := [name for name in wanted if name not in SECTIONS]:
        raise typer.BadParameter(f"{unknown[0]!r} is no section; there are {', '.join(SECTIONS)}.", param_hint="--only")
    if "classify" in wanted and find_spec("numba") is None:
        raise typer.BadParameter(
            "without numba Outlines would answer unconstrained, so `classify` would compare nothing. "
            "`make bench` installs it; `uv sync --group bench` too.",
            param_hint="--only",
        )
    settings = load_settings({"model": model})
    # llama.cpp warns about the model file at every load, which says nothing about this run.
    logging.getLogger("tools_server.llama_cpp").setLevel(logging.ERROR)
    load_before = machine.load_average()
    comparisons = anyio.run(_run, settings, wanted, rounds)
    facts = machine.with_load(machine.facts(settings), load_before)
    if write is not None:
        report.write_section(write, settings.model, report.as_markdown(settings.model, rounds, facts, comparisons))
        output.note(f"wrote the section on {settings.model} of {write}")
    if as_json:
        output.print_json(report.as_json(settings.model, rounds, facts, comparisons))
        return
    console = Console(width=None if output.out.is_terminal else PIPE_WIDTH)
    console.print(report.as_table(settings.model, rounds, comparisons))
    for line in [*report.remarks(comparisons), *(f"{name}: {value}" for name, value in facts.items())]:
        output.out.print(line)


async def _run(settings: Settings, wanted: Sequence[str], rounds: int) -> list[Comparison]:
    """Load the engine once, and Outlines' model while it is compared.

    Prefill and decode come first: the bare loop needs a KV cache in which the engine keeps no prefix.
    """
    path = ModelStore.from_settings(settings).path(settings.model)
    backend = BenchBackend.of(settings, path)
    engine = LocalEngine(backend, max_sequences=settings.max_sequences, queue_limit=settings.queue_limit)
    application = build_app(settings, engine_factory=lambda: engine)
    await application.gate.get()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    found: list[Comparison] = []
    try:
        with Progress(*columns, console=output.err, transient=True) as progress:

            async def take_turns(what: str, jobs: Mapping[str, Job]) -> dict[str, tuple[float, ...]]:
                task = progress.add_task(what, total=len(jobs) * (rounds + 1))

                def tick(side: str) -> None:
                    progress.update(task, description=f"{what}: {side}")

                rates = await alternate(jobs, rounds, tick=tick, done=lambda: progress.advance(task))
                progress.update(task, description=what)
                return rates

            shapes = [
                *(tokens.prefill_shapes() if "prefill" in wanted else ()),
                *(tokens.decode_shapes() if "decode" in wanted else ()),
            ]
            for shape in shapes:
                rates = await take_turns(shape.name, tokens.jobs(shape, engine, backend))
                found.append(tokens.comparison(shape, rates))
            if "classify" in wanted:
                with closing(ClassifyBench.prepare(application, path)) as classify:
                    found += classify.comparisons(await take_turns("classify", classify.jobs()))
    finally:
        await application.gate.aclose()
    return found


def main() -> None:
    """Run; a foreseen failure is one line and an exit code, as everywhere."""
    try:
        app(prog_name="bench")
    except ToolsServerError as error:
        sys.exit(output.fail(error))
