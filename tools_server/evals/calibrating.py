"""One calibration from samples to its file and its report: the skill answers, a map is fitted, a threshold found."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from tools_server.data.types import Sample
from tools_server.engine.types import Engine
from tools_server.errors import EvaluationImpossible
from tools_server.evals.calibration import DIGITS, Fit, Graded, Wanted, calibrate, leave_out, threshold_for
from tools_server.evals.confidence import reliability, risk_coverage
from tools_server.evals.curves import reliability_diagram, risk_coverage_curve
from tools_server.evals.evaluation import Plan, answer
from tools_server.evals.provenance import Provenance
from tools_server.evals.runner import Told
from tools_server.evals.samples import EvaluationData, metric_of
from tools_server.evals.scoring import Data, score
from tools_server.evals.scoring.confidence import error_by_chance
from tools_server.evals.variants import Adapters, choose
from tools_server.models.files import write_aside
from tools_server.settings import Settings
from tools_server.skills.calibration import (
    FILE,
    Calibration,
    CalibrationFile,
    FittedOn,
    NewTask,
    Threshold,
    calibration_path,
)
from tools_server.skills.loader import BESIDE_KEYS
from tools_server.skills.schemas import DETAIL, FULL
from tools_server.skills.types import Skill

__all__ = ["CalibrationReport", "Order", "calibrate_skill", "put_into_skill", "put_own"]

SHARED = "several"
"""How the samples of several data sets are called together."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be calibrated, on which sets of samples, and how."""

    adapters: Adapters
    data: Sequence[EvaluationData]
    base_sha256: str
    weights: str
    method: Wanted = "auto"
    target: float | None = None
    level: float = 0.95

    @property
    def skill(self) -> Skill:
        """The skill as it is served, without the calibrations that it has: its answers are the model's own."""
        # With them its digest changes too, and answers that are kept would be asked again.
        served = self.adapters.served
        # What code adds is no part of the prompt's digest.
        added = served.manifest.generate.model_dump(include=BESIDE_KEYS["generate"], exclude_defaults=True)
        digest = sha256(json.dumps([served.prompt_digest, added]).encode()).hexdigest()
        return replace(served, calibrations=(), digest=digest)

    def folder(self, root: Path) -> Path:
        """Where answers and report go below the cache folder."""
        names = "+".join(f"{each.name}-{each.split}" for each in self.data)
        return root / "calibrations" / f"{self.skill.name}-{names}-{self.adapters.model}"


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What was fitted, and how it did on the half that it was not fitted on."""

    skill: str
    calibration: Calibration
    fit: Fit
    failed: int

    def write(self, folder: Path) -> None:
        """Write `calibration.json` (this one alone), `reliability.svg` and `coverage.svg`."""
        fit, found = self.fit, self.calibration
        title = f"{self.skill} on {found.model}"
        bins = {
            "before": reliability(fit.confidences_before, fit.right),
            "after": reliability(fit.confidences_after, fit.right),
        }
        threshold = found.threshold
        curve = risk_coverage_curve(
            title,
            {"calibrated": risk_coverage(fit.confidences_after, fit.right)},
            target=threshold.target if threshold else None,
            threshold=found.least,
        )
        write_aside(folder / FILE, CalibrationFile(calibrations=(found,)).as_json())
        write_aside(folder / "reliability.svg", reliability_diagram(title, bins))
        write_aside(folder / "coverage.svg", curve)


def calibrate_skill(
    order: Order,
    settings: Settings,
    load: Callable[[Settings], Engine],
    folder: Path,
    *,
    told: Told = lambda _done, _all, _what: None,
) -> CalibrationReport:
    """Let the skill answer what it has not answered yet, and fit. Blocks; an interruption loses the open calls only.

    Raises:
        EvaluationImpossible: the skill has no confidence, the samples do not fit, or are too few or too easy.
        EvaluationUnavailable: scikit-learn is not installed.
        SkillError, ModelError, EngineError: the skill cannot be run.
    """
    skill, data = order.skill, _together(order.data)
    _check(skill, data.samples)
    choice = choose(
        replace(order.adapters, served=skill),
        adapter="served",
        compare=None,
        bare=False,
        base_sha256=order.base_sha256,
        weights=order.weights,
    )
    metric = metric_of(skill)
    plan = Plan(skill, metric, data, choice, folder)
    plan.check()
    (evaluation,) = answer(plan, settings, load, timed=0, told=told)
    if metric == "accuracy":
        graded = [
            _label(*pair) if pair[1] is not None else None
            for pair in zip(data.samples, evaluation.answers, strict=True)
        ]
    else:
        scored = score(metric, skill, data.samples, evaluation.answers)
        right = next(each for each in scored.measures if each.name == "nothing_wrong").rows[:, 0]
        graded = [_values(*pair) if _rated(pair[0]) else None for pair in zip(evaluation.answers, right, strict=True)]
    rated = [each for each in graded if each is not None]
    fit = calibrate(rated, order.method)
    adapter, provenance = choice.variants[0].adapter, Provenance.here()
    threshold: Threshold | None = None
    if order.target is not None:
        threshold = threshold_for(fit.confidences_after, fit.right, order.target, order.level)
    calibration = Calibration(
        model=order.adapters.model,
        base_sha256=order.base_sha256,
        adapter_sha256=adapter.sha256 if adapter else None,
        prompt_digest=skill.prompt_digest,
        method=fit.method,
        temperature=fit.temperature,
        knots=fit.knots,
        tasks=len({_task_of(sample) for sample in data.samples}) > 1,
        fitted=fit.fitted,
        checked=len(fit.right),
        data=tuple(
            FittedOn(
                dataset=each.name,
                split=each.split,
                licence=each.licence,
                samples=len(each.samples),
                sha256=each.sha256,
            )
            for each in order.data
        ),
        before=fit.before,
        after=fit.after,
        new_tasks=_new_tasks(order, data.samples, graded),
        threshold=threshold,
        made=provenance.date.date(),
        commit=provenance.commit,
    )
    report = CalibrationReport(skill.name, calibration, fit, len(data.samples) - len(rated))
    report.write(folder)
    return report


def put_own(root: Path, skill: str, file: CalibrationFile, entry: Calibration) -> Path:
    """Put a calibration among those that were fitted here, whose file is given; a running server takes it up."""
    path = calibration_path(root, skill)
    write_aside(path, file.with_entry(entry).as_json())
    return path


def put_into_skill(skill: Skill, entry: Calibration) -> Path:
    """Put a calibration into the skill's own folder. `skill` is as that folder gives it.

    Raises:
        OSError: the folder cannot be written, as that of an installed package.
    """
    path = skill.folder / FILE
    write_aside(path, CalibrationFile(calibrations=skill.calibrations).with_entry(entry).as_json())
    return path


def _together(data: Sequence[EvaluationData]) -> EvaluationData:
    """All samples, asking for every detail, in an order of chance that is always the same: halves of it are alike."""
    samples = [sample for each in data for sample in _named_apart(each)]
    samples.sort(key=lambda sample: sha256(sample.id.encode()).digest())
    first = data[0]
    return replace(first, name=first.name if len(data) == 1 else SHARED, samples=samples)


def _named_apart(data: EvaluationData) -> list[Sample]:
    """The samples of a set, asking for every detail, with ids that no other set has."""
    return [
        replace(sample, id=f"{data.name}/{sample.id}", arguments={**sample.arguments, DETAIL: FULL})
        for sample in data.samples
    ]


def _new_tasks(order: Order, samples: Sequence[Sample], graded: Sequence[Graded | None]) -> tuple[NewTask, ...]:
    """How each set does under a map of the others, where there are several and each has answers."""
    of = {sample.id: each for sample, each in zip(samples, graded, strict=True) if each is not None}
    sets = [[of[sample.id] for sample in _named_apart(data) if sample.id in of] for data in order.data]
    if len(sets) < 2 or not all(sets):
        return ()
    return tuple(
        NewTask(
            dataset=data.name,
            split=data.split,
            samples=len(left.right),
            right=round(float(left.right.mean()), DIGITS),
            before=left.before,
            after=left.after,
            by_chance=round(error_by_chance(left.confidences_after), DIGITS),
        )
        for data, left in zip(order.data, leave_out(sets, order.method), strict=True)
    )


def _task_of(sample: Sample) -> str:
    """What two samples of one task have in common: all arguments but the text."""
    return json.dumps({**sample.arguments, "text": None}, sort_keys=True)


def _check(skill: Skill, samples: Sequence[Sample]) -> None:
    if not skill.manifest.has_confidence:
        raise EvaluationImpossible(
            f"The answers of `{skill.name}` have no confidence to calibrate.",
            "Set `trust.confidence` in its skill.toml if an answer can be right or wrong as a whole.",
        )
    for sample in samples if skill.manifest.kind == "choose" else ():
        if "label" not in sample.expected:
            raise EvaluationImpossible(
                f"{sample.place}: it expects {', '.join(sample.expected)}, and a calibration is for one label.",
                "Give samples that expect a `label`.",
            )


def _rated(given: Data) -> bool:
    return given is not None and given["confidence"] is not None


def _values(given: Data, right: float) -> Graded:
    return Graded((float((given or {})["confidence"]),), 0 if right else None)


def _label(sample: Sample, given: Data) -> Graded:
    scores: Mapping[str, float] = (given or {})["scores"]
    names = list(scores)
    wanted: Any = sample.expected["label"]
    return Graded(tuple(scores.values()), names.index(wanted) if wanted in scores else None)
