"""Whether a candidate answers as well as the published weights: a paired test, and how alike the answers are.

Correctness alone says little where a bare model is near chance, for there it changes hardly, whatever happens to the
weights. So two things must hold: what is right does not fall significantly, and the answers stay the same ones.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tools_server.evals.statistics import mcnemar

__all__ = ["AGREEMENT", "SIGNIFICANCE", "Decision", "Quality", "compare", "decisions"]

SIGNIFICANCE = 0.05
"""A fall with a smaller one-sided p value disqualifies."""

AGREEMENT = 0.95
"""Share of labels that must be the same as with the published weights.

Formats that change no weight (BF16, F16 and Q8_0 out of Q4_1) changed 2 to 3 of 95 labels of a bare small model, all of
them near ties (docs/experiments.md): the arithmetic of activations does that. A format that changes more has changed
the model.
"""

_LEAST = 5e-5
"""Half of the last digit in which probabilities are answered: what stands for a zero among them."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing that a sample decides: the answer, whether it was right, its distribution where labels are scored."""

    answer: Any
    right: bool
    distribution: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """A candidate beside the published weights on the same `decisions` of `samples` samples.

    In `lost` samples fewer decisions are right than before, in `gained` ones more; `p` is the one-sided p value of a
    fall. `agreement` is the share of the `labels` scored labels that are the same, `divergence` the mean
    Kullback-Leibler divergence of their distributions from the published weights' ones, in nats. `same` is the share
    of all decisions; it has no limit, for one other token early on changes all that is generated after it.
    """

    samples: int
    decisions: int
    published_accuracy: float
    accuracy: float
    lost: int
    gained: int
    p: float
    labels: int
    agreement: float
    divergence: float
    same: float

    @property
    def objection(self) -> str | None:
        """Why the candidate is not as good, None when nothing speaks against it."""
        if self.p < SIGNIFICANCE:
            return f"accuracy fell from {self.published_accuracy:.3f} to {self.accuracy:.3f} (p {self.p:.3f})"
        if self.agreement < AGREEMENT:
            return f"only {self.agreement:.1%} of its labels are those of the published weights"
        return None


def decisions(expected: Mapping[str, Any], answer: Mapping[str, Any] | None) -> dict[str, Decision]:
    """Take an answer apart into what it decides, by name; None stands for a call that failed.

    One decision for a label, one per label where every fitting one is asked for, one per field of an extracted object.
    """
    given = answer or {}
    scores = cast("Mapping[str, float]", given.get("scores", {}))
    found: dict[str, Decision] = {}
    for name, wanted in expected.items():
        value = given.get(name)
        if name == "labels" and isinstance(wanted, list):
            chosen: list[str] = cast("list[str]", value) if isinstance(value, list) else []
            for label in {*cast("list[str]", wanted), *scores}:
                shown = {"yes": scores[label], "no": 1 - scores[label]} if label in scores else None
                right = answer is not None and (label in chosen) == (label in wanted)
                found[f"labels.{label}"] = Decision(label in chosen, right, shown)
        elif isinstance(wanted, Mapping):
            fields = cast("Mapping[str, Any]", wanted)
            got = cast("Mapping[str, Any]", value if isinstance(value, Mapping) else {})
            for key in fields:
                found[f"{name}.{key}"] = Decision(got.get(key), key in got and got[key] == fields[key])
        else:
            right = answer is not None and value == wanted
            found[name] = Decision(value, right, scores if name == "label" and scores else None)
    return found


_MISSING = Decision(None, right=False)


def compare(published: Sequence[Mapping[str, Decision]], candidate: Sequence[Mapping[str, Decision]]) -> Quality:
    """Compare the decisions of two runs over the same samples.

    What is tested are samples, not decisions: the fields of one text are right or wrong together, as when an answer
    never ends, and would be counted as so many independent proofs.
    """
    by_sample = [
        [(theirs.get(name, _MISSING), ours.get(name, _MISSING)) for name in sorted(theirs.keys() | ours.keys())]
        for theirs, ours in zip(published, candidate, strict=True)
    ]
    changes = [sum(after.right - before.right for before, after in pairs) for pairs in by_sample]
    lost, gained = sum(change < 0 for change in changes), sum(change > 0 for change in changes)
    pairs = [pair for sample in by_sample for pair in sample]
    total = max(1, len(pairs))
    labels = [(before, after) for before, after in pairs if before.distribution or after.distribution]
    return Quality(
        samples=len(published),
        decisions=len(pairs),
        published_accuracy=sum(before.right for before, _ in pairs) / total,
        accuracy=sum(after.right for _, after in pairs) / total,
        lost=lost,
        gained=gained,
        p=mcnemar(lost, gained),
        labels=len(labels),
        agreement=_share_alike(labels),
        divergence=sum(_divergence(before.distribution or {}, after.distribution or {}) for before, after in labels)
        / max(1, len(labels)),
        same=_share_alike(pairs),
    )


def _share_alike(pairs: Sequence[tuple[Decision, Decision]]) -> float:
    return sum(before.answer == after.answer for before, after in pairs) / len(pairs) if pairs else 1.0


def _divergence(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """KL(before ‖ after) in nats, over the labels that either shows."""
    names = sorted(before.keys() | after.keys())
    first = [max(before.get(name, 0.0), _LEAST) for name in names]
    second = [max(after.get(name, 0.0), _LEAST) for name in names]
    sums = sum(first), sum(second)
    return sum(
        one / sums[0] * math.log((one / sums[0]) / (other / sums[1])) for one, other in zip(first, second, strict=True)
    )
