"""From answers to numbers: every variant scored with intervals, and two of them compared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools_server.data.types import Sample
from tools_server.evals.runner import Evaluation
from tools_server.evals.samples import EvaluationData
from tools_server.evals.scoring import MetricName, Scored, score
from tools_server.evals.statistics import RESAMPLES, Comparison, Estimate, Measure, compare, estimate
from tools_server.skills.types import Skill

__all__ = ["SEED", "Evidence", "Paired", "Result", "evidence", "paired", "result"]

SEED = 20_260_101
"""Of the bootstrap: the same answers give the same intervals."""

Evidence = Mapping[str, object]
"""What a promotion rests on, as JSON: two variants on the same samples, metric by metric."""


@dataclass(frozen=True, slots=True)
class Result:
    """One variant with its scores."""

    evaluation: Evaluation
    scored: Scored
    estimates: Mapping[str, Estimate]

    @property
    def name(self) -> str:
        """The variant's name in tables."""
        return self.evaluation.name

    def measure(self, name: str) -> Measure:
        """One measure by name."""
        return next(measure for measure in self.scored.measures if measure.name == name)


@dataclass(frozen=True, slots=True)
class Paired:
    """A candidate beside a baseline, on the same samples."""

    baseline: Result
    candidate: Result
    metrics: Mapping[str, Comparison]


def result(
    metric: MetricName,
    skill: Skill,
    samples: Sequence[Sample],
    evaluation: Evaluation,
    *,
    resamples: int = RESAMPLES,
) -> Result:
    """Score one variant.

    Raises:
        EvaluationUnavailable: a package that scoring needs is not installed.
    """
    scored = score(metric, skill, samples, evaluation.answers, by_model=evaluation.by_model)
    return Result(evaluation, scored, estimate(scored.measures, seed=SEED, resamples=resamples))


def paired(baseline: Result, candidate: Result, *, resamples: int = RESAMPLES) -> Paired:
    """Compare two variants, sample by sample."""
    metrics = compare(baseline.scored.measures, candidate.scored.measures, seed=SEED, resamples=resamples)
    return Paired(baseline, candidate, metrics)


def evidence(found: Paired, *, skill: Skill, model: str, base_sha256: str, data: EvaluationData) -> Evidence:
    """What `skills adapters promote` asks for. Metrics that are undefined on these samples are left out."""
    metrics: dict[str, object] = {}
    for name, comparison in found.metrics.items():
        measure = found.candidate.measure(name)
        numbers = (comparison.baseline, comparison.candidate, comparison.low, comparison.high, comparison.p)
        if any(map(math.isnan, numbers)):
            continue
        metrics[name] = {
            "primary": measure.primary,
            "better": measure.better,
            "kind": measure.kind,
            "baseline": comparison.baseline,
            "candidate": comparison.candidate,
            "difference": [comparison.low, comparison.high],
            "p": comparison.p,
        }
    return {
        "skill": skill.name,
        "skill_digest": skill.digest,
        "model": model,
        "base_sha256": base_sha256,
        "data": {"name": data.name, "split": data.split, "sha256": data.sha256, "samples": len(data.samples)},
        "variants": {
            role: _adapter(each.evaluation)
            for role, each in (("baseline", found.baseline), ("candidate", found.candidate))
        },
        "metrics": metrics,
    }


def _adapter(evaluation: Evaluation) -> Mapping[str, object]:
    adapter = evaluation.adapter
    return {"adapter_sha256": None} if adapter is None else {"adapter_sha256": adapter.sha256, "scale": adapter.scale}
