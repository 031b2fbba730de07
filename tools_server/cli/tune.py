"""`tools-server models tune`: find the weights and settings that are fastest on this machine, and serve them."""

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tools_server.cli import output
from tools_server.models import ModelStore, TunedRecord
from tools_server.settings import load_settings

if TYPE_CHECKING:
    from tools_server.engine.llama_weights import Format
    from tools_server.tuning.types import Told

__all__ = ["tune"]


class FormatName(StrEnum):
    """Formats that can be tried beside the published one."""

    Q4_0 = "Q4_0"
    Q8_0 = "Q8_0"
    BF16 = "BF16"
    F16 = "F16"


def tune(
    model_id: Annotated[str | None, typer.Argument(metavar="ID", help="Default: the model of your settings.")] = None,
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Samples of your own: JSON lines with skill, arguments and expected. Default: the skills' own.",
        ),
    ] = None,
    formats: Annotated[
        list[FormatName] | None, typer.Option("--format", help="Try only this format; may be repeated.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure briefly, and leave the engine's settings.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure and check, but keep nothing.")] = False,
    revert: Annotated[bool, typer.Option("--revert", help="Serve the published weights again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
    cache_dir: Annotated[Path | None, typer.Option("--cache-dir", help="Where downloaded weights lie.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")] = None,
) -> None:
    """Find the weight format and engine settings that are fastest on this machine, and serve them from then on.

    Candidates take turns at the same work; the fastest one that answers the evaluation samples as well as the
    published weights is kept beside them. Takes minutes; nothing else should run meanwhile.

    Example: tools-server models tune smollm2-135m-instruct
    """
    settings = load_settings({"model": model_id, "cache_dir": cache_dir}, config=config)
    store = ModelStore.from_settings(settings)
    if revert:
        existed = store.tuned(settings.model).remove()
        found = "is served as published again" if existed else "was not tuned"
        if as_json:
            output.print_json({"model": settings.model, "reverted": existed})
        else:
            output.out.print(f"{settings.model} {found}")
        return
    store.path(settings.model)  # first: without weights there is no need to import anything
    # The engine's libraries take seconds to import, which the other commands need not pay.
    from tools_server.engine.llama_weights import FORMATS  # noqa: PLC0415
    from tools_server.skills.catalog import Catalog, standard_dirs  # noqa: PLC0415
    from tools_server.tuning.lab import Laboratory  # noqa: PLC0415
    from tools_server.tuning.samples import read_file, shipped  # noqa: PLC0415
    from tools_server.tuning.tune import Options, run_tuning  # noqa: PLC0415

    catalog = Catalog(standard_dirs(settings))
    samples = read_file(data, catalog) if data else shipped(catalog.snapshot.skills.values())
    wanted: tuple[Format, ...] = tuple(each for each in FORMATS if not formats or FormatName(each) in formats)
    with _progress() as told:
        record = run_tuning(
            store,
            settings,
            samples=samples,
            options=Options(wanted, quick=quick, dry_run=dry_run),
            make_lab=partial(Laboratory, store.manifest(settings.model), settings),
            told=told,
        )
    if as_json:
        output.print_json({**record.model_dump(mode="json"), "kept": not dry_run})
        return
    show(record)
    if dry_run:
        output.note("nothing was kept: this was a dry run")
    else:
        output.note(
            f"kept in {store.tuned(settings.model).record_path}; servers that run already keep what they loaded"
        )


def show(record: TunedRecord) -> None:
    """Print what was measured, what was checked, and what was chosen."""
    for number, run in enumerate(record.report["runs"]):
        if number:
            output.out.print()
        output.print_table(
            (
                "tokens/s, medians" if number == 0 else "settings",
                "prefill",
                "decode × 1",
                "× 4",
                "× 16",
                "mix",
                "memory",
            ),
            [_speed_row(row) for row in run],
        )
    if record.report["quality"]:
        output.out.print()
        output.print_table(
            ("beside the published weights", "right", "texts worse / better", "p", "same labels", "KL", ""),
            [_quality_row(row) for row in record.report["quality"]],
        )
    for name, reason in record.report["left_out"].items():
        output.note(f"{name} was left out: {reason}")
    output.out.print()
    output.out.print(f"tuned: {record.summary}")
    output.out.print(record.why)


def _speed_row(row: Mapping[str, Any]) -> Sequence[str]:
    rates = [f"{row[name]['median']:,.0f}" for name in ("prefill", "decode_1", "decode_4", "decode_16")]
    mix = f"{row['ratio']['median']:.2f} × ({row['ratio']['low']:.2f} – {row['ratio']['high']:.2f})"
    return (row["candidate"], *rates, mix, f"{row['memory_bytes'] / 1e6:,.0f} MB")


def _quality_row(row: Mapping[str, Any]) -> Sequence[str]:
    return (
        row["candidate"],
        f"{row['published_accuracy']:.3f} → {row['accuracy']:.3f} of {row['decisions']}",
        f"{row['lost']} / {row['gained']}",
        f"{row['p']:.2f}",
        f"{row['agreement']:.1%} of {row['labels']}",
        f"{row['divergence']:.4f}",
        row["objection"] or "as good",
    )


@contextmanager
def _progress() -> Generator["Told"]:
    """A bar on a terminal, else one plain line per step; on stderr, so that stdout holds only the answer."""
    if not sys.stderr.isatty():
        yield lambda done, total, what: output.note(f"[{done}/{total}] {what}")
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)
