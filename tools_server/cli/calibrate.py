"""`tools-server skills calibrate`: fit confidences to how often answers are right; find when to defer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools_server.cli import output
from tools_server.cli.asking import Asked, asking, named
from tools_server.errors import ManifestInvalid
from tools_server.settings import Settings
from tools_server.skills.calibration import CalibrationFile, calibration_path, own_calibrations

if TYPE_CHECKING:
    from tools_server.evals.calibrating import CalibrationReport
    from tools_server.evals.calibration import Wanted

__all__ = ["EXAMPLES", "calibrate"]

EXAMPLES = """\
Examples:

  tools-server skills calibrate banking_intent --data banking77:dev --target-accuracy 0.95

  tools-server skills calibrate triage --data mine.jsonl --target-accuracy 0.9

  tools-server skills calibrate classify --data clinc150:dev --data banking77:dev --limit 300
"""

METHODS = ("auto", "temperature", "logistic", "isotonic")


def calibrate(
    name: Annotated[str, typer.Argument(metavar="SKILL", help="Name of a skill that chooses labels.")],
    *,
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            help="NAME or NAME:SPLIT of a data set, or a file of your own; may be repeated. Never a test split.",
        ),
    ],
    model: Annotated[str | None, typer.Option("--model", help="Default: the model of your settings.")] = None,
    target_accuracy: Annotated[
        float | None,
        typer.Option("--target-accuracy", min=0.01, max=0.999, help="Defer below the confidence that shows this much."),
    ] = None,
    level: Annotated[
        float, typer.Option("--level", min=0.5, max=0.9999, help="How sure the accuracy of what is kept must be.")
    ] = 0.95,
    method: Annotated[
        str, typer.Option("--method", help="temperature; logistic or isotonic on top of it; or auto: the best one.")
    ] = "auto",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Of each set only so many samples, evenly out of all.")
    ] = None,
    ship: Annotated[
        bool, typer.Option("--ship", help="Write into the skill's own folder, for whoever gets it.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for answers and pictures; default: in the cache folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
    skills_dir: Annotated[
        list[Path] | None, typer.Option("--skills-dir", help="Further folder of skill folders; may be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")] = None,
) -> None:
    """Fit a skill's confidence to how often it is right, for the model and the adapter that serve it now.

    Half of the samples fit the map, the other half measures it and finds the threshold. A running server takes the
    calibration up by itself. Answers are kept as they come: the same command goes on after an interruption.
    """
    wanted = _method(method)
    asked = Asked.open(name, model=model, skills_dir=skills_dir, config=config)
    settings, skill = asked.settings, asked.served
    # What fits takes a second to import, which the other commands need not pay.
    from tools_server.evals.calibrating import Order, calibrate_skill, put_into_skill, put_own  # noqa: PLC0415
    from tools_server.evals.samples import find_samples  # noqa: PLC0415
    from tools_server.evals.variants import Adapters  # noqa: PLC0415

    own = None if ship else _own(settings, name)  # before the minutes that it would be known after
    sets = [find_samples(*named(each), skill, settings=settings).limited(limit) for each in data]
    order = Order(
        adapters=Adapters(asked.folder, skill, settings.adapters_dir, settings.model, asked.base_sha256),
        data=sets,
        base_sha256=asked.base_sha256,
        weights=asked.weights,
        method=wanted,
        target=target_accuracy,
        level=level,
    )
    folder = out or order.folder(settings.cache_dir)

    with asking(folder) as told:
        report = calibrate_skill(order, settings, asked.load, folder, told=told)
    if own is None:
        path = put_into_skill(asked.folder, report.calibration)
    else:
        path = put_own(settings.adapters_dir, name, own, report.calibration)
    _show(report, path, folder, as_json=as_json)


def _method(word: str) -> "Wanted":
    for method in METHODS:
        if word == method:
            return method
    raise typer.BadParameter(f"{word!r} is none of {', '.join(METHODS)}", param_hint="--method")


def _own(settings: Settings, name: str) -> CalibrationFile:
    try:
        return own_calibrations(settings.adapters_dir, name)
    except (OSError, ValueError) as error:
        path = calibration_path(settings.adapters_dir, name)
        raise ManifestInvalid(f"{path}: {str(error).splitlines()[0]}.", "Restore or remove the file.") from error


def _show(report: "CalibrationReport", path: Path, folder: Path, *, as_json: bool) -> None:
    found, threshold = report.calibration, report.calibration.threshold
    if as_json:
        output.print_json(
            {
                "calibration": found.model_dump(mode="json"),
                "failed": report.failed,
                "file": str(path),
                "folder": str(folder),
            }
        )
        return
    rows = [
        (title, *(("–" if value is None else f"{value:.3f}") for value in (before, after)))
        for title, before, after in (
            ("expected calibration error", found.before.ece, found.after.ece),
            ("AUROC, right against wrong", found.before.auroc, found.after.auroc),
            ("Brier score", found.before.brier, found.after.brier),
        )
    ]
    output.print_table(("", "before", "after"), rows, title=f"{report.skill} on {found.model}")
    output.note(f"{found.method}, fitted on {found.fitted:,} answers and measured on {found.checked:,} others")
    if found.after.brier >= found.before.brier:
        output.note("on those others it is no truer than the model's own confidence: more samples may help")
    if found.new_tasks:
        output.print_table(
            ("left out", "answers", "right", "error before", "after", "by chance", "AUROC"),
            [
                (
                    f"{each.dataset}:{each.split}",
                    f"{each.samples:,}",
                    *(f"{value:.3f}" for value in (each.right, each.before.ece, each.after.ece, each.by_chance)),
                    "–" if each.after.auroc is None else f"{each.after.auroc:.3f}",
                )
                for each in found.new_tasks
            ],
            title="A map of the other sets: for new tasks",
        )
    if threshold is not None:
        output.note(_told(threshold.target, threshold.level, threshold.confidence, threshold.kept, threshold.accuracy))
    if report.failed:
        output.note(f"{report.failed} calls failed, and count for nothing")
    output.note(f"calibration: {path}")
    output.note(f"answers and pictures: {folder}")


def _told(target: float, level: float, confidence: float | None, kept: float, accuracy: float | None) -> str:
    if confidence is None or accuracy is None:
        return f"no threshold shows {target:.1%} right answers with these samples: nothing is deferred by itself"
    return (
        f"below {confidence:g} an answer is deferred: {1 - kept:.1%} of them. Of the others {accuracy:.1%} were right; "
        f"{target:.1%} at least, at {level:.0%} confidence"
    )
