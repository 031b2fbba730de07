"""The command line of the benchmarks: what to measure, and where the tables go."""

import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console

from bench import report, sections
from bench.command import run
from bench.programs import BaselineError
from bench.requantised import FORMATS
from tools_server.cli import output
from tools_server.settings import load_settings

PIPE_WIDTH = 120
"""Columns of a table that no terminal bounds."""

SLOTS = 16
"""By default, on both sides: what tools-server has by itself."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog='Example: make bench ARGS="--model smollm2-135m-instruct --as bf16 --only many,extract,start"')
def bench(
    model: Annotated[str | None, typer.Option(help="Model id; default: the model of your settings.")] = None,
    as_format: Annotated[
        str | None, typer.Option("--as", help=f"Weights in another format, on all sides: {', '.join(FORMATS)}.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each side runs, in turn.")] = 3,
    only: Annotated[
        str, typer.Option(help=f"What to measure, separated by commas: {sections.names()}.")
    ] = sections.ENGINE,
    slots: Annotated[int, typer.Option(min=1, help="Requests that llama-server runs at once.")] = SLOTS,
    sequences: Annotated[int, typer.Option(min=1, help="Requests that tools-server runs at once.")] = SLOTS,
    server_wait: Annotated[
        str | None, typer.Option(help="OMP_WAIT_POLICY of llama.cpp's programs, `passive` or `active`; default: unset.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Long rows do a share of their work, and say so.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    write: Annotated[Path | None, typer.Option(help="Markdown page that gets the sections.")] = None,
) -> None:
    """Compare tools-server with a bare llama_decode loop, Outlines, and llama.cpp's own programs."""
    try:
        wanted = sections.chosen(only)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    if as_format is not None and as_format not in FORMATS:
        raise typer.BadParameter(f"{as_format!r} is none of {', '.join(FORMATS)}.", param_hint="--as")
    settings = load_settings({"model": model, "max_sequences": sequences})
    # llama.cpp warns about the model file at every load, which says nothing about this run.
    logging.getLogger("tools_server.llama_cpp").setLevel(logging.ERROR)
    order = sections.Order(
        settings=settings, as_format=as_format, rounds=rounds, slots=slots, server_wait=server_wait, quick=quick
    )
    signal.signal(signal.SIGTERM, _end)
    found = anyio.run(order.run, wanted)
    if write is not None:
        for section in found:
            report.write_section(write, section.title, report.as_markdown(section))
            output.note(f"wrote the section on {section.title} of {write}")
    if as_json:
        output.print_json(report.as_json(found))
        return
    console = Console(width=None if output.out.is_terminal else PIPE_WIDTH)
    for section in found:
        console.print(report.as_table(section))
        for line in [*section.notes, *(f"{name}: {value}" for name, value in section.facts.items())]:
            output.out.print(line)


def _end(number: int, _frame: object) -> None:
    """End as an exception does: by default SIGTERM would leave servers running. A second one disturbs nothing."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> None:
    """Run; a foreseen failure is one line and an exit code, as everywhere."""
    try:
        run(app, "bench")
    except BaselineError as error:
        output.print_error(error.message, error.hint)
        sys.exit(1)
