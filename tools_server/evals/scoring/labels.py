"""Scores of labels: one of a closed set, or every one that fits."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from tools_server.data.types import Sample
from tools_server.evals.scoring.base import Data, Scored, binary, counts, f1, precision_recall_f1
from tools_server.evals.scoring.confidence import score_confidences
from tools_server.evals.statistics import Measure, Values

__all__ = ["score_labels"]

SHOWN_CONFUSIONS = 20


def score_labels(samples: Sequence[Sample], answers: Sequence[Data]) -> Scored:
    """Score `label`, and `labels` where every fitting one was asked for.

    `accuracy`: the label is right; of several labels, the whole set is. `macro_f1`: the mean over the labels that were
    expected or answered, of one-label samples. `micro_f1`, `micro_precision`, `micro_recall`: over all labels of the
    samples with several. A call that failed has missed what was expected. Confidences are scored as `score_confidences`
    says.
    """
    right: list[bool] = []
    pairs: list[tuple[str, str | None] | None] = []
    several: list[tuple[int, int, int]] = []
    for sample, answer in zip(samples, answers, strict=True):
        if "labels" in sample.expected:
            wanted, given = set(sample.expected["labels"]), set((answer or {}).get("labels", ()))
            right.append(answer is not None and wanted == given)
            several.append((len(wanted & given), len(given - wanted), len(wanted - given)))
            pairs.append(None)
        else:
            pair = sample.expected["label"], (answer or {}).get("label")
            right.append(pair[0] == pair[1])
            several.append((0, 0, 0))
            pairs.append(pair)
    single = [pair for pair in pairs if pair is not None]
    measures: list[Measure] = [binary("accuracy", right, primary=True)]
    details: dict[str, Any] = {}
    if single:
        measure, labels = _macro(pairs)
        measures.append(measure)
        details |= {"f1_by_label": _by_label(measure, labels), "confusions": _confusions(single)}
    if len(single) < len(pairs):
        measures += precision_recall_f1("micro_", counts(several, 3))
    measures += score_confidences(answers, right)
    return Scored(measures, details)


def _macro(pairs: Sequence[tuple[str, str | None] | None]) -> tuple[Measure, list[str]]:
    """Three columns for each label (tp, fp, fn); the mean leaves out labels that a resample has nothing of."""
    labels = sorted({label for pair in pairs if pair for label in pair if label is not None})
    places = {label: place for place, label in enumerate(labels)}
    rows = np.zeros((len(pairs), len(labels), 3))
    for row, pair in enumerate(pairs):
        if pair is None:
            continue
        expected, answered = pair
        if expected == answered:
            rows[row, places[expected], 0] = 1
            continue
        rows[row, places[expected], 2] = 1
        if answered is not None:
            rows[row, places[answered], 1] = 1
    of = partial(_mean_f1, labels=len(labels))
    return Measure("macro_f1", "ratio", "higher", rows.reshape(len(pairs), -1), of), labels


def _mean_f1(sums: Values, *, labels: int) -> Values:
    scores = f1(sums.reshape(*sums.shape[:-1], labels, 3))
    known = ~np.isnan(scores)
    present = known.sum(axis=-1)
    return np.where(present == 0, np.nan, np.where(known, scores, 0).sum(axis=-1) / np.maximum(present, 1))


def _by_label(measure: Measure, labels: Sequence[str]) -> dict[str, float]:
    scores = f1(measure.rows.sum(axis=0).reshape(len(labels), 3))
    return {label: round(float(score), 4) for label, score in zip(labels, scores, strict=True)}


def _confusions(pairs: Sequence[tuple[str, str | None]]) -> list[dict[str, Any]]:
    """The commonest mistakes; `answered` is null where the call failed."""
    wrong = Counter(pair for pair in pairs if pair[0] != pair[1])
    return [
        {"expected": expected, "answered": answered, "samples": times}
        for (expected, answered), times in wrong.most_common(SHOWN_CONFUSIONS)
    ]
