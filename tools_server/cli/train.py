"""`tools-server train`: labelled samples become an adapter version, on this machine."""

import os
import re
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tools_server.cli import output
from tools_server.errors import TrainingFailed
from tools_server.settings import load_settings
from tools_server.skills.catalog import Catalog, standard_dirs

if TYPE_CHECKING:
    from tools_server.training.train import Outcome
    from tools_server.training.types import Progress as Where
    from tools_server.training.types import Told

__all__ = ["app", "parse_budget"]

EXAMPLES = """\
Examples:

  tools-server train banking_intent --model smollm2-135m-instruct

  tools-server train classify --data my-tickets.csv --budget 30m

  tools-server train classify --data my-tickets.csv --budget 30m --resume

  tools-server train extract --from shipped --data my-invoices.jsonl
"""

app = typer.Typer(add_completion=False)

_UNITS = {"s": 1, "m": 60, "h": 3600}


@app.command(epilog=EXAMPLES)
def train(
    skill_name: Annotated[str, typer.Argument(metavar="SKILL", help="The skill to train an adapter for.")],
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            help="What to learn from: DATASET, DATASET:SPLIT, DATASET:SPLIT:LIMIT, or a .jsonl or .csv file of your "
            "own. May be repeated. Default: what the skill's training.toml says.",
        ),
    ] = None,
    dev: Annotated[
        list[str] | None,
        typer.Option("--dev", help="What to choose the best step by. Default: a tenth of the data is held back."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Default: the model of your settings.")] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="lora, or alora: acts from the answer on, so that skills share a document's KV."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Time for the training steps: 90s, 30m, 2h. Default: all epochs.")
    ] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", min=0.01, help="Passes over the data.")] = None,
    rank: Annotated[int | None, typer.Option("--rank", min=1, max=256, help="Rank of the adapter.")] = None,
    layers: Annotated[
        int | None,
        typer.Option(
            "--layers",
            min=1,
            help="Blocks that get an adapter, from the output down: fewer train faster, most of all over several "
            "epochs. Default: all.",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", min=1e-7, max=1.0, help="Peak. Default: by the model's size.")
    ] = None,
    dropout: Annotated[
        float | None, typer.Option("--dropout", min=0.0, max=0.9, help="Of low-rank activations.")
    ] = None,
    batch_samples: Annotated[int | None, typer.Option("--batch", min=1, help="Samples in one step.")] = None,
    rows: Annotated[int | None, typer.Option("--rows", min=1, help="Packed rows in one forward pass.")] = None,
    row_tokens: Annotated[int | None, typer.Option("--row-tokens", min=32, help="Tokens of a packed row.")] = None,
    choose_by: Annotated[
        str | None,
        typer.Option(
            "--choose-by",
            help="Step to keep: loss (lowest on dev), right (most right on dev), or last, for `skills adapters blend`.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="VERSION",
            help="Go on from an adapter with further samples: `shipped`, or a version. The new one has its shape.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed gives the same adapter.")] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped or killed.")] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="End an interrupted run here, with the best step that it had.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for checkpoints. Default: in the cache.")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder of data sets.")] = None,
    skills_dir: Annotated[list[Path] | None, typer.Option("--skills-dir", help="A further folder of skills.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")] = None,
) -> None:
    """Train a LoRA adapter for a skill and keep it as a version. Nothing is served before it is promoted.

    The best step is chosen on dev, the exported file is proved against torch, and the version records data, licences,
    seed and scores. Ctrl-C keeps a checkpoint: `--resume` goes on from it, `--finish` makes a version of its best step.
    """
    settings = load_settings({"model": model, "data_dir": data_dir, "skills_dirs": skills_dir}, config=config)
    seconds = parse_budget(budget) if budget is not None else None
    if kind not in (None, "lora", "alora"):
        raise TrainingFailed(f"--kind {kind!r} is unknown.", "Use lora or alora.")
    if choose_by not in (None, "loss", "right", "last"):
        raise TrainingFailed(f"--choose-by {choose_by!r} is unknown.", "Use loss, right or last.")
    if start is not None and (
        given := [name for name, one in (("kind", kind), ("rank", rank), ("layers", layers)) if one]
    ):
        raise TrainingFailed(
            f"--{given[0]} cannot be given with --from: the new adapter has the shape of the one that it goes on from.",
            f"Leave out --{given[0]}, or train anew without --from.",
        )
    # torch takes seconds to import, which the other commands need not pay.
    from tools_server.training.plan import read_plan  # noqa: PLC0415
    from tools_server.training.sources import gather_data, parse_source  # noqa: PLC0415
    from tools_server.training.train import Options, run_training  # noqa: PLC0415

    skill = Catalog(standard_dirs(settings)).get(skill_name)
    plan = read_plan(skill)
    hyper = plan.hyper(
        settings.model,
        {
            "kind": kind,
            "epochs": epochs,
            "rank": rank,
            "layers": layers,
            "learning_rate": learning_rate,
            "dropout": dropout,
            "batch_samples": batch_samples,
            "rows": rows,
            "row_tokens": row_tokens,
            "choose_by": choose_by,
            "seed": seed,
        },
    )
    wanted = data or list(plan.train)
    if not wanted:
        raise TrainingFailed(f"Nothing says what to train `{skill_name}` on.", "Name it: --data FILE or DATASET:SPLIT.")
    chosen_by = dev or ([] if data else list(plan.dev))
    found = gather_data(
        skill,
        [parse_source(each) for each in wanted],
        [parse_source(each) for each in chosen_by],
        settings,
        seed=hyper.seed,
    )
    options = Options(threads, device, seconds, resume, finish, start, out)
    with _interruptible() as asked, _progress() as told:
        outcome = run_training(
            skill, found, settings, hyper, options, told=told, said=output.note, should_stop=lambda: bool(asked)
        )
    if as_json:
        output.print_json(_facts(outcome))
    else:
        show(outcome, plan.test)


def parse_budget(text: str) -> float:
    """Read `90s`, `30m` or `2h` as seconds.

    Raises:
        TrainingFailed: it is neither.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None or not float(match[1]):
        raise TrainingFailed(f"--budget {text!r} is no time.", "Write 90s, 30m or 2h.")
    return float(match[1]) * _UNITS[match[2]]


def show(outcome: "Outcome", test: Sequence[str] = ()) -> None:
    """Print what came of a run, and how to measure it on the first of the skill's test splits."""
    version, result = outcome.version, outcome.result
    output.print_table(
        ("step", "loss on dev", "right on dev"),
        [
            (
                f"{each['step']:.0f}{' *' if each['step'] == result.best_step else ''}",
                f"{each['dev_loss']:.4f}",
                f"{each['dev_accuracy']:.1%}",
            )
            for each in result.history
        ],
    )
    output.out.print(
        f"\n{version.name}: {result.tokens:,} tokens in {result.seconds / 60:.0f} minutes, best at step "
        f"{result.best_step} of {result.steps}; KL(torch ‖ llama.cpp) {outcome.proof.adapter.kl_max:.1e} nats"
    )
    name, _, split = test[0].partition(":") if test else ("FILE", "", "")
    data = f"--data {name}{f' --split {split}' if split else ''}"
    output.note(
        f"it is not served yet. Measure it: tools-server skills eval {version.skill} --model {version.model} "
        f"{data} --adapter {version.name} --compare served"
    )


def _facts(outcome: "Outcome") -> dict[str, Any]:
    version, result = outcome.version, outcome.result
    return {
        "skill": version.skill,
        "model": version.model,
        "version": version.name,
        "folder": str(version.folder),
        "hyperparameters": asdict(outcome.hyper),
        "steps": result.steps,
        "best_step": result.best_step,
        "stopped_early": result.stopped_early,
        "tokens": result.tokens,
        "seconds": round(result.seconds, 1),
        "history": result.history,
        "proof": asdict(outcome.proof),
    }


@contextmanager
def _interruptible() -> Generator[list[int]]:
    """Collect the first Ctrl-C for the loop to see; the second one ends the process as usual."""
    asked: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)
        os.write(2, b"stopping after this step; Ctrl-C again stops at once\n")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress() -> Generator["Told"]:
    """A bar on a terminal, else a line now and then; on stderr, so that stdout holds only the answer."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda at: bar.update(task, completed=at.step, total=at.steps, description=_line(at))


def _lines() -> "Told":
    shown = [0.0]

    def told(at: "Where") -> None:
        share = at.step / at.steps
        if at.step == 1 or share - shown[0] >= 0.02 or at.step == at.steps:
            shown[0] = share
            output.note(f"[{at.step}/{at.steps}] {_line(at)}, {at.seconds_left / 60:.0f} min left")

    return told


def _line(at: "Where") -> str:
    dev = "" if at.dev_loss is None else f", dev {at.dev_loss:.3f} ({at.dev_accuracy:.1%} right)"
    return f"epoch {at.epoch:.1f}, loss {at.loss:.3f}{dev}, {at.tokens_per_s:,.0f} tokens/s"
