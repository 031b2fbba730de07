"""Scores of confidences: whether they are true, and what deferring by them is worth."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tools_server.evals.scoring.base import Data, quotient
from tools_server.evals.statistics import Measure, Values

__all__ = ["score_confidences"]

BINS = 15
"""Of the expected calibration error (Guo et al., ICML 2017)."""

Flags = NDArray[np.bool_]

STEPS = 256
"""Groups of like confidences that the area under the ROC curve is computed from; within one, all count as tied."""


def score_confidences(answers: Sequence[Data], right: Sequence[bool]) -> list[Measure]:
    """Score the confidence of each answer, where the skill's answers have one.

    Calls that failed are left out, and so is an answer that says nothing of how sure it is.

    `ece`: the expected calibration error. `auroc`: how often a right answer is surer than a wrong one. Where answers
    were deferred, `kept` is the share of the others, and `accuracy_kept` how many of these are right.
    """
    given = [(answer or {}).get("confidence") for answer in answers]
    there, hits = np.array([each is not None for each in given], dtype=bool), np.array(right, dtype=bool)
    if not there.any():
        return []
    confidences = np.array([each or 0.0 for each in given], dtype=np.float64)
    measures = [
        Measure("ece", "ratio", None, _binned(confidences, there, hits), _calibration_error),
        Measure("auroc", "ratio", None, _grouped(confidences, there, hits), _area),
    ]
    deferred = np.array([bool((answer or {}).get("deferred")) for answer in answers])
    if deferred.any():
        kept = there & ~deferred
        shares = {"kept": (kept, there), "accuracy_kept": (kept & hits, kept)}
        measures += [
            Measure(name, "ratio", None, np.stack(pair, axis=1).astype(np.float64), quotient)
            for name, pair in shares.items()
        ]
    return measures


def _binned(confidences: Values, there: Flags, hits: Flags) -> Values:
    """Three columns for each bin, closed above: answers, their confidence, and how many are right."""
    places = np.searchsorted(np.arange(1, BINS) / BINS, confidences, side="left")
    rows = np.zeros((len(confidences), BINS, 3))
    rows[np.arange(len(rows)), places] = np.stack([there, there * confidences, there & hits], axis=1)
    return rows.reshape(len(rows), -1)


def _calibration_error(sums: Values) -> Values:
    bins = sums.reshape(*sums.shape[:-1], BINS, 3)
    apart = np.abs(bins[..., 2] - bins[..., 1]).sum(axis=-1)
    return quotient(np.stack([apart, bins[..., 0].sum(axis=-1)], axis=-1))


def _grouped(confidences: Values, there: Flags, hits: Flags) -> Values:
    """Two columns for each group of like confidences, from low to high: right answers, wrong ones."""
    edges = np.unique(np.quantile(confidences[there], np.linspace(0, 1, STEPS + 1)[1:-1]))
    places = np.searchsorted(edges, confidences, side="left")
    rows = np.zeros((len(confidences), len(edges) + 1, 2))
    rows[np.arange(len(rows)), places] = np.stack([there & hits, there & ~hits], axis=1)
    return rows.reshape(len(rows), -1)


def _area(sums: Values) -> Values:
    """Over all pairs of a right and a wrong answer, how often the right one is surer; a tie counts half."""
    groups = sums.reshape(*sums.shape[:-1], -1, 2)
    right, wrong = groups[..., 0], groups[..., 1]
    below = np.cumsum(wrong, axis=-1) - wrong / 2
    pairs = right.sum(axis=-1) * wrong.sum(axis=-1)
    return quotient(np.stack([(right * below).sum(axis=-1), pairs], axis=-1))
