"""The command line of the benchmarks: one run, one table of ratios."""

import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import llama_server, machine, report, serving, tokens
from bench.backend import BenchBackend
from bench.classify import ClassifyBench
from bench.llama_server import BaselineError
from bench.measure import Comparison, Job, alternate
from bench.workloads import workloads
from tools_server.app import build_app
from tools_server.cli import output
from tools_server.engine.local import LocalEngine
from tools_server.errors import ToolsServerError
from tools_server.models import ModelStore
from tools_server.settings import Settings, load_settings

PIPE_WIDTH = 120
"""Columns of a table that no terminal bounds."""

SECTIONS = ("prefill", "decode", "classify")
SERVER = "server"
"""A section that stands alone: it compares whole servers, and has a place of its own in the docs."""

TakeTurns = Callable[[str, Mapping[str, Job]], Awaitable[dict[str, tuple[float, ...]]]]
"""Runs what is named by its jobs, in turn, and shows how far it is."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog='Example: make bench ARGS="--model smollm2-135m-instruct --rounds 3 --only prefill,decode"')
def bench(
    model: Annotated[str | None, typer.Option(help="Model id; default: the model of your settings.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each side runs, in turn.")] = 3,
    only: Annotated[
        str, typer.Option(help=f"Sections to run, separated by commas; or `{SERVER}`: beside llama-server.")
    ] = ",".join(SECTIONS),
    server_wait: Annotated[
        str | None, typer.Option(help="OMP_WAIT_POLICY of llama-server, `passive` or `active`; default: unset.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
    write: Annotated[Path | None, typer.Option(help="Markdown page that gets this model's section.")] = None,
) -> None:
    """Compare the engine with a bare llama_decode loop and with Outlines, or tools-server with llama-server."""
    wanted = _sections(only)
    settings = load_settings({"model": model})
    # llama.cpp warns about the model file at every load, which says nothing about this run.
    logging.getLogger("tools_server.llama_cpp").setLevel(logging.ERROR)
    beside_server = wanted == [SERVER]
    binary = llama_server.build() if beside_server else None
    load_before = machine.load_average()
    title, facts = settings.model, machine.facts(settings)
    if binary is not None:
        title = f"{settings.model} beside {llama_server.TARGET}"
        facts |= {llama_server.TARGET: llama_server.described(server_wait)}
        weights = ModelStore.from_settings(settings).path(settings.model)
        with llama_server.serving(binary, weights, settings, server_wait) as url:
            comparisons = anyio.run(_beside_server, settings, url, rounds)
    else:
        comparisons = anyio.run(_run, settings, wanted, rounds)
    facts = machine.with_load(facts, load_before)
    if write is not None:
        report.write_section(write, title, report.as_markdown(title, rounds, facts, comparisons))
        output.note(f"wrote the section on {title} of {write}")
    if as_json:
        output.print_json(report.as_json(settings.model, rounds, facts, comparisons))
        return
    console = Console(width=None if output.out.is_terminal else PIPE_WIDTH)
    console.print(report.as_table(title, rounds, comparisons))
    for line in [*report.remarks(comparisons), *(f"{name}: {value}" for name, value in facts.items())]:
        output.out.print(line)


def _sections(only: str) -> list[str]:
    wanted = [name.strip() for name in only.split(",")]
    if unknown := [name for name in wanted if name not in (*SECTIONS, SERVER)]:
        raise typer.BadParameter(
            f"{unknown[0]!r} is no section; there are {', '.join((*SECTIONS, SERVER))}.", param_hint="--only"
        )
    if SERVER in wanted and len(wanted) > 1:
        raise typer.BadParameter(f"`{SERVER}` runs alone; run the others apart from it.", param_hint="--only")
    if "classify" in wanted and find_spec("numba") is None:
        raise typer.BadParameter(
            "without numba Outlines would answer unconstrained, so `classify` would compare nothing. "
            "`make bench` installs it; `uv sync --group bench` too.",
            param_hint="--only",
        )
    return wanted


@contextmanager
def _turns(rounds: int) -> Iterator[TakeTurns]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.err, transient=True) as progress:

        async def take_turns(what: str, jobs: Mapping[str, Job]) -> dict[str, tuple[float, ...]]:
            task = progress.add_task(what, total=len(jobs) * (rounds + 1))

            def tick(side: str) -> None:
                progress.update(task, description=f"{what}: {side}")

            rates = await alternate(jobs, rounds, tick=tick, done=lambda: progress.advance(task))
            progress.update(task, description=what)
            return rates

        yield take_turns


async def _run(settings: Settings, wanted: Sequence[str], rounds: int) -> list[Comparison]:
    """Load the engine once, and Outlines' model while it is compared.

    Prefill and decode come first: the bare loop needs a KV cache in which the engine keeps no prefix.
    """
    path = ModelStore.from_settings(settings).path(settings.model)
    backend = BenchBackend.of(settings, path)
    engine = LocalEngine(backend, max_sequences=settings.max_sequences, queue_limit=settings.queue_limit)
    application = build_app(settings, engine_factory=lambda: engine)
    await application.gate.get()
    found: list[Comparison] = []
    try:
        with _turns(rounds) as take_turns:
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


async def _beside_server(settings: Settings, url: str, rounds: int) -> list[Comparison]:
    """Ask both servers the same, one workload after the other. The baseline is already running at `url`."""
    application = build_app(settings)
    await application.gate.get()
    found: list[Comparison] = []
    try:
        async with serving.http_client(url) as client:
            with _turns(rounds) as take_turns:
                for workload in workloads(application.catalog):
                    ours, theirs = serving.Ours(application, workload), serving.Theirs(client, workload)
                    rates = await take_turns(workload.name, serving.jobs(ours, theirs))
                    found.append(serving.comparison(ours, theirs, rates))
    finally:
        await application.gate.aclose()
    return found


def main() -> None:
    """Run; a foreseen failure is one line and an exit code, as everywhere."""
    try:
        app(prog_name="bench")
    except ToolsServerError as error:
        sys.exit(output.fail(error))
    except BaselineError as error:
        output.print_error(error.message, error.hint)
        sys.exit(1)
