"""Pictures of an evaluation's confidences and mistakes, for its report."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tools_server.data.types import Sample
from tools_server.evals.confidence import reliability, risk_coverage
from tools_server.evals.curves import confusion_matrix, reliability_diagram, risk_coverage_curve
from tools_server.evals.results import Result
from tools_server.evals.statistics import Values

__all__ = ["pictures"]

RIGHT = ("accuracy", "nothing_wrong")
"""The measure that says of each answer whether it is right, the first one that there is."""

FAILED = "(no answer)"
"""Where a call failed, in the confusion matrix."""


def pictures(title: str, samples: Sequence[Sample], results: Sequence[Result], shown: str) -> Mapping[str, str]:
    """Draw what an evaluation has of them: SVG by file name, nothing where there is nothing to show.

    `reliability.svg` and `coverage.svg` have every variant whose answers have a confidence; `confusion.svg` is that of
    the variant that is called `shown`, where labels were asked for.
    """
    found: dict[str, str] = {}
    rated = {each.name: rates for each in results if (rates := _rated(each)) is not None}
    if rated:
        bins = {name: reliability(*rates) for name, rates in rated.items()}
        curves = {name: risk_coverage(*rates) for name, rates in rated.items()}
        found = {
            "reliability.svg": reliability_diagram(title, bins),
            "coverage.svg": risk_coverage_curve(title, curves),
        }
    pairs = next((_pairs(samples, each) for each in results if each.name == shown), Counter[tuple[str, str]]())
    if pairs:
        labels = sorted({label for pair in pairs for label in pair})
        places = {label: place for place, label in enumerate(labels)}
        counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
        for (expected, answered), times in pairs.items():
            counts[places[expected], places[answered]] += times
        found["confusion.svg"] = confusion_matrix(f"{title}: {shown}", labels, counts)
    return found


def _rated(each: Result) -> tuple[Values, NDArray[np.bool_]] | None:
    """Confidence and rightness of what was answered; None where answers have no confidence."""
    if "auroc" not in each.estimates:
        return None
    right = each.measure(next(name for name in RIGHT if name in each.estimates)).rows[:, 0]
    given = [(answer or {}).get("confidence") for answer in each.evaluation.answers]
    rates = np.array([(share, hit) for share, hit in zip(given, right, strict=True) if share is not None])
    return rates[:, 0], rates[:, 1] > 0


def _pairs(samples: Sequence[Sample], each: Result) -> Counter[tuple[str, str]]:
    """How often which label was answered where which one was expected, of the samples that expect one."""
    return Counter(
        (sample.expected["label"], (answer or {}).get("label") or FAILED)
        for sample, answer in zip(samples, each.evaluation.answers, strict=True)
        if "label" in sample.expected
    )
