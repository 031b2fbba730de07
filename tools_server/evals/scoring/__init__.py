"""Scores: pure functions from samples and answers to measures, each with what every sample contributed to it."""

from collections.abc import Sequence
from typing import Literal

from tools_server.data.types import Sample
from tools_server.errors import EvaluationImpossible
from tools_server.evals.scoring.base import Data, Scored, binary, payload
from tools_server.evals.scoring.entities import score_entities
from tools_server.evals.scoring.fields import score_fields
from tools_server.evals.scoring.labels import score_labels
from tools_server.evals.scoring.summaries import score_summaries
from tools_server.skills.types import Skill

__all__ = ["METRICS", "Data", "MetricName", "Scored", "check_scorable", "score"]

MetricName = Literal["accuracy", "field_accuracy", "entities", "rouge_l"]
"""What `metric` in a skill's `evals/eval.toml` may say."""

METRICS: tuple[MetricName, ...] = ("accuracy", "field_accuracy", "entities", "rouge_l")


def check_scorable(metric: MetricName, samples: Sequence[Sample]) -> None:
    """Check that every sample has what its metric compares, before minutes are spent on answers.

    Raises:
        EvaluationImpossible: names the first sample that lacks it.
    """
    for sample in samples:
        expected = sample.expected
        if metric == "accuracy":
            fits = "label" in expected or "labels" in expected
        elif metric == "entities":
            fits = "entities" in payload(expected)
        else:
            fits = metric == "field_accuracy" or "summary" in expected
        if not fits:
            raise EvaluationImpossible(
                f"{sample.place}: the metric {metric!r} cannot score a sample that expects {', '.join(expected)}.",
                "Mend the sample, or `metric` in the skill's evals/eval.toml.",
            )


def score(
    metric: MetricName, skill: Skill, samples: Sequence[Sample], answers: Sequence[Data], *, by_model: bool = True
) -> Scored:
    """Score the answers to the samples, in their order, as the skill's metric says.

    What a model answered has `validity` as well: the share of calls that ended in an answer. A call only does so when
    the answer is valid against its schema, which `SkillRunner` checks.
    """
    if metric == "accuracy":
        scored = score_labels(samples, answers)
    elif metric == "entities":
        scored = score_entities(samples, answers)
    elif metric == "rouge_l":
        scored = score_summaries(samples, answers)
    else:
        scored = score_fields(skill, samples, answers)
    valid = [binary("validity", [answer is not None for answer in answers])] if by_model else []
    return Scored([*scored.measures, *valid], scored.details)
