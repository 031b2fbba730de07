"""`tools-server skills eval`: let a skill answer samples, score it with intervals, compare two adapters."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools_server.cli import output
from tools_server.cli.asking import SPLIT, Asked, asking, named

if TYPE_CHECKING:
    from tools_server.evals.evaluation import Plan
    from tools_server.evals.report import Report

__all__ = ["EXAMPLES", "evaluate_skill"]

EXAMPLES = """\
Examples:

  tools-server skills eval classify

  tools-server skills eval classify --data banking77 --split test --limit 500 --baselines

  tools-server skills eval classify --data bitext_support:test --data snips_intents:test --min-confidence 0.8

  tools-server skills eval triage --data mine.jsonl --adapter 20260114-101500-1a2b3c4d --compare served
"""


def evaluate_skill(
    name: Annotated[str, typer.Argument(metavar="SKILL", help="Name of the skill: `tools-server skills list`.")],
    *,
    model: Annotated[str | None, typer.Option("--model", help="Model to run; default: that of your settings.")] = None,
    adapter: Annotated[
        str,
        typer.Option(
            "--adapter", help="What to evaluate: `served`, `none`, `shipped`, a version, or a GGUF file of a LoRA."
        ),
    ] = "served",
    compare: Annotated[
        str | None,
        typer.Option("--compare", help="What to compare it with, named alike; writes evidence for a promotion."),
    ] = None,
    base_sha256: Annotated[
        str | None,
        typer.Option("--base-sha256", help="Weights that an adapter FILE was trained on; default: the model's."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            help="NAME or NAME:SPLIT of a data set, or a file of your own (JSON Lines, CSV); may be repeated: then all "
            "are scored together. Default: the skill's own.",
        ),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Split of a data set that is named without one.")] = SPLIT,
    train: Annotated[
        Path | None,
        typer.Option("--train", help="Beside a file of your own: another one, for baselines to learn from."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Of each set only so many samples, evenly out of all.")
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            "--min-confidence", min=0.0, max=1.0, help="Score what a caller gets who asks for so much confidence."
        ),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also score the bare base, and methods without a language model.")
    ] = False,
    latency: Annotated[
        bool, typer.Option("--latency/--no-latency", help="Time up to 50 calls one at a time as well.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for answers and reports; default: in the cache folder.")
    ] = None,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Put the scores into the skill's card.json.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
    skills_dir: Annotated[
        list[Path] | None, typer.Option("--skills-dir", help="Further folder of skill folders; may be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")] = None,
) -> None:
    """Score a skill's answers to samples, with 95 % intervals; compare two adapters on the same samples.

    Answers are kept as they come: the same command goes on after an interruption.
    """
    if write_card and min_confidence is not None:
        raise typer.BadParameter("a card tells what a skill does by itself", param_hint="--min-confidence")
    asked = Asked.open(name, model=model, skills_dir=skills_dir, config=config)
    settings, skill = asked.settings, asked.served
    # What scores takes a second to import, which the other commands need not pay.
    from tools_server.evals.evaluation import Plan, answer, answer_without_a_model, make_report  # noqa: PLC0415
    from tools_server.evals.runner import TIMED_CALLS  # noqa: PLC0415
    from tools_server.evals.samples import find_samples, metric_of, together  # noqa: PLC0415
    from tools_server.evals.variants import Adapters, choose  # noqa: PLC0415

    base = asked.base_sha256
    adapters = Adapters(asked.folder, skill, settings.adapters_dir, settings.model, base_sha256 or base)
    names = [named(each, split) for each in data] if data else [(None, split)]
    samples = together([find_samples(*each, skill, settings=settings, train=train).limited(limit) for each in names])
    plan = Plan(
        skill=skill,
        metric=metric_of(skill),
        data=samples,
        choice=choose(
            adapters, adapter=adapter, compare=compare, bare=baselines, base_sha256=base, weights=asked.weights
        ),
        folder=out or settings.cache_dir / "evaluations" / f"{name}-{samples.name}-{samples.split}-{settings.model}",
        min_confidence=min_confidence,
    )
    plan.check()

    with asking(plan.folder) as told:
        others = answer_without_a_model(plan, told) if baselines else []
        found = answer(plan, settings, asked.load, timed=TIMED_CALLS if latency else 0, told=told)
    _finish(plan, make_report(plan, [*found, *others]), write_card=write_card, as_json=as_json)


def _finish(plan: "Plan", report: "Report", *, write_card: bool, as_json: bool) -> None:
    from tools_server.evals.card import write_card as put_card  # noqa: PLC0415 - as above
    from tools_server.evals.report import EVIDENCE_FILE  # noqa: PLC0415 - as above

    report.write(plan.folder)
    card = put_card(report) if write_card else None
    if as_json:
        output.print_json({**report.as_json(), "folder": str(plan.folder), "card": str(card) if card else None})
        return
    data = report.data
    title = f"{report.skill.name} on {report.model}: {len(data.samples):,} samples of {data.name}, split {data.split}"
    for number, (columns, rows) in enumerate(report.tables()):
        if number:
            output.out.print()
        output.print_table(columns, rows, title=None if number else title)
    output.note("in brackets: 95 % intervals")
    output.note(f"answers and reports: {plan.folder}")
    if report.comparison is not None:
        output.note(f"evidence for a promotion: {plan.folder / EVIDENCE_FILE}")
    if card:
        output.note(f"card: {card}")
