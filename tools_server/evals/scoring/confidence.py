"""Scores of confidences: whether they are true, and what deferring by them is worth."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tools_server.evals.scoring.base import Data, quotient
from tools_server.evals.statistics import Measure, Values

__all__ = ["error_by_chance", "score_confidences"]

BINS = 15
"""Of the expected calibration error (Guo et al., ICML 2017)."""

_COLUMNS = 4
"""Of each bin."""

Flags = NDArray[np.bool_]

STEPS = 256
"""Groups of like confidences that the area under the ROC curve is computed from; within one, all count as tied."""


def score_confidences(answers: Sequence[Data], right: Sequence[bool]) -> list[Measure]:
    """Score the confidence of each answer, where the skill's answers have one.

    Calls that failed are left out, and so is an answer that says nothing of how sure it is.

    `ece`: the expected calibration error. `ece_by_chance`: what it would be, on average, if every confidence were true:
    so few samples show no less. `auroc`: how often a right answer is surer than a wrong one. Where answers were
    deferred, `kept` is the share of the others, and `accuracy_kept` how many of these are right.
    """
    given = [(answer or {}).get("confidence") for answer in answers]
    there, hits = np.array([each is not None for each in given], dtype=bool), np.array(right, dtype=bool)
    if not there.any():
        return []
    confidences = np.array([each or 0.0 for each in given], dtype=np.float64)
    binned = _binned(confidences, there, hits)
    measures = [
        Measure("ece", "ratio", None, binned, _calibration_error),
        Measure("ece_by_chance", "ratio", None, binned, _error_by_chance),
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


def error_by_chance(confidences: Values) -> float:
    """The expected calibration error that so few answers show on average where each of these confidences is true."""
    everywhere = np.ones(len(confidences), dtype=bool)
    return float(_error_by_chance(_binned(confidences, everywhere, everywhere).sum(axis=0)))


def _binned(confidences: Values, there: Flags, hits: Flags) -> Values:
    """Columns for each bin, closed above: answers, their confidence, how many are right, and the variance of that.

    The variance is that of as many independent draws, each right with the probability that its confidence says.
    """
    places = np.searchsorted(np.arange(1, BINS) / BINS, confidences, side="left")
    rows = np.zeros((len(confidences), BINS, _COLUMNS))
    columns = [there, there * confidences, there & hits, there * confidences * (1 - confidences)]
    rows[np.arange(len(rows)), places] = np.stack(columns, axis=1)
    return rows.reshape(len(rows), -1)


def _error_by_chance(sums: Values) -> Values:
    """The mean of the expected calibration error over draws of right and wrong by the confidences themselves.

    A bin's |right - claimed| has mean sqrt(2 V / pi) where the sum is near normal. One draw has 2 V exactly, and rare
    mistakes come close to that, so the smaller one is taken. Tests compare it with simulated draws.
    """
    bins = sums.reshape(*sums.shape[:-1], BINS, _COLUMNS)
    variance = bins[..., 3]
    apart = np.minimum(np.sqrt(2 * variance / np.pi), 2 * variance).sum(axis=-1)
    return quotient(np.stack([apart, bins[..., 0].sum(axis=-1)], axis=-1))


def _calibration_error(sums: Values) -> Values:
    bins = sums.reshape(*sums.shape[:-1], BINS, _COLUMNS)
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
