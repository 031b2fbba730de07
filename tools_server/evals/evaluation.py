"""One evaluation from its plan to its report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio

from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.calls.trust import Trust
from tools_server.engine.types import Engine
from tools_server.errors import EvaluationImpossible
from tools_server.evals.answers import AnswerLog
from tools_server.evals.baselines import Baseline, baselines_for
from tools_server.evals.provenance import Provenance
from tools_server.evals.report import Report
from tools_server.evals.results import paired, result
from tools_server.evals.runner import TIMED_CALLS, Evaluation, Told, evaluate, of_data
from tools_server.evals.samples import EvaluationData
from tools_server.evals.scoring import Data, MetricName, check_scorable, score
from tools_server.evals.variants import Choice
from tools_server.settings import Settings
from tools_server.skills.types import Skill

__all__ = ["ANSWERS_FILE", "Plan", "answer", "answer_without_a_model", "make_report"]

ANSWERS_FILE = "answers.jsonl"

DEFERRAL = ("deferred", "reason")
"""What a deferred answer has more than others."""

QUEUE = 1 << 16
"""Requests that may wait: one call may ask about dozens of labels or parts, and none is to be refused for that."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of what, and how it is scored. `folder` takes answers and reports.

    With `min_confidence`, answers below it count as deferred, and no others: as for a caller who asks for so much.
    """

    skill: Skill
    metric: MetricName
    data: EvaluationData
    choice: Choice
    folder: Path
    min_confidence: float | None = None

    def check(self) -> None:
        """Find out what would fail after the answers, before they take minutes.

        Raises:
            EvaluationImpossible: a sample cannot be scored, or there is no confidence to ask for.
            EvaluationUnavailable: a package that the scores need is not installed.
        """
        if self.min_confidence is not None and not self.skill.manifest.has_confidence:
            raise EvaluationImpossible(
                f"The answers of `{self.skill.name}` have no confidence.", "Leave out --min-confidence."
            )
        check_scorable(self.metric, self.data.samples)
        score(self.metric, self.skill, (), ())

    def baselines(self) -> dict[str, Baseline]:
        """The methods without a language model that fit; reads the split that they learn from."""
        return dict(baselines_for(self.metric, self.skill, self.data.train(), self.data.samples))


def answer(
    plan: Plan,
    settings: Settings,
    load: Callable[[Settings], Engine],
    *,
    timed: int = TIMED_CALLS,
    told: Told = lambda _done, _all, _what: None,
) -> list[Evaluation]:
    """Let every variant answer what it has not answered yet. Blocks; an interruption loses the open calls only.

    `load` makes an engine of our own: what is measured shares the machine's model with nobody.

    Raises:
        SkillError, ModelError, EngineError: a variant cannot be run, such as an adapter for another base.
    """
    own = settings.model_copy(update={"in_process": True, "queue_limit": max(QUEUE, settings.queue_limit)})
    return anyio.run(partial(_answer, plan, own, partial(load, own), timed=timed, told=told))


async def _answer(
    plan: Plan, settings: Settings, load: Callable[[], Engine], *, timed: int, told: Told
) -> list[Evaluation]:
    gate = EngineGate(load)
    runner = SkillRunner(gate, settings)
    limit = 2 * settings.max_sequences  # so that the engine always finds the next request waiting
    try:
        with AnswerLog(plan.folder / ANSWERS_FILE) as log:
            return [
                await evaluate(runner, each, plan.data.samples, log, limit=limit, timed=timed, told=told)
                for each in plan.choice.variants
            ]
    finally:
        await gate.aclose()


def answer_without_a_model(plan: Plan, told: Told = lambda _done, _all, _what: None) -> list[Evaluation]:
    """Let every baseline that fits learn and answer.

    Raises:
        EvaluationUnavailable: scikit-learn is not installed.
        DataNotFound, DataInvalid, SamplesInvalid: the split that they learn from cannot be read.
    """
    baselines = plan.baselines()
    found: list[Evaluation] = []
    for name, baseline in baselines.items():
        told(len(found), len(baselines), f"baseline: {name}")
        found.append(of_data(name, baseline()))
    return found


def make_report(plan: Plan, evaluations: Sequence[Evaluation]) -> Report:
    """Score all variants, and compare the candidate with its baseline if there is one."""
    if plan.min_confidence is not None:
        evaluations = [_deferring(each, plan.min_confidence) for each in evaluations]
    results = {each.name: result(plan.metric, plan.skill, plan.data.samples, each) for each in evaluations}
    choice, candidate = plan.choice, next(each for each in plan.choice.variants if each.name == plan.choice.candidate)
    return Report(
        skill=plan.skill,
        model=candidate.model,
        base_sha256=candidate.base_sha256,
        weights=candidate.weights,
        metric=plan.metric,
        data=plan.data,
        results=list(results.values()),
        comparison=None if choice.baseline is None else paired(results[choice.baseline], results[choice.candidate]),
        provenance=Provenance.here(),
        min_confidence=plan.min_confidence,
    )


def _deferring(evaluation: Evaluation, least: float) -> Evaluation:
    """The same answers, as they are for a caller who asks for a confidence of `least`."""
    trust = Trust(calibration=None, asked=least, own=None)

    def asked(data: Data) -> Data:
        if data is None or "confidence" not in data:  # of a baseline, which has none
            return data
        kept = {name: value for name, value in data.items() if name not in DEFERRAL}
        return kept | dict(trust.deferral(data["confidence"]))

    return replace(evaluation, answers=[asked(each) for each in evaluation.answers])
