"""Intervals and paired tests, all from what each sample contributed.

A metric is a function of sums over samples: accuracy is Σ right / Σ 1, F1 is 2·Σ tp / (2·Σ tp + Σ fp + Σ fn). So one
resampling of samples gives the interval of every metric, and the same resampling for two variants a paired comparison.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESAMPLES", "Comparison", "Estimate", "Kind", "Measure", "compare", "estimate", "mcnemar", "wilson"]

RESAMPLES = 10_000
"""Bootstrap resamples: the ends of a 95 % interval rest on 250 of them each."""

_BLOCK = 500
"""Resamples that are computed at once: what bounds the memory for large sets."""

_QUANTILES = (0.025, 0.975)
_Z = 1.959963984540054  # the normal distribution's 97.5 % point

Values = NDArray[np.float64]

Kind = Literal["binary", "mean", "ratio"]
"""`binary`: each sample is right or wrong. `mean`: the mean of one number a sample. `ratio`: from sums of counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """One metric of one variant: `rows` has what each sample contributes, shape (samples, columns).

    `of` turns sums over samples, shape (…, columns), into values, shape (…); what is undefined (0/0) is NaN. `better`
    is None for what only describes. A binary measure has two columns: right (0 or 1), and 1.
    """

    name: str
    kind: Kind
    better: Literal["higher", "lower"] | None
    rows: Values
    of: Callable[[Values], Values]
    primary: bool = False

    @property
    def value(self) -> float:
        """The metric over all samples; NaN when undefined."""
        return float(self.of(self.rows.sum(axis=0)))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its 95 % interval; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate beside a baseline on the same samples.

    `low` and `high` bound candidate - baseline (95 %, two-sided). `p` is one-sided: how easily chance alone makes the
    candidate look this much better.
    """

    baseline: float
    candidate: float
    low: float
    high: float
    p: float


def estimate(measures: Sequence[Measure], *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Give every measure its 95 % interval, by name.

    Percentile bootstrap over samples (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13). Binary
    measures get Wilson's interval instead, which has a width where nothing, or everything, was right.
    """
    resampled = _resampled([measure for measure in measures if measure.kind != "binary"], seed, resamples)
    found: dict[str, Estimate] = {}
    for measure in measures:
        if measure.kind == "binary":
            low, high = wilson(int(measure.rows[:, 0].sum()), int(measure.rows[:, 1].sum()))
        else:
            low, high = _interval(resampled[measure.name])
        found[measure.name] = Estimate(measure.value, low, high)
    return found


def compare(
    baseline: Sequence[Measure], candidate: Sequence[Measure], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Comparison]:
    """Compare two variants measured on the same samples in the same order, by the name of each shared metric.

    The interval is a paired bootstrap's: both variants are resampled alike (Koehn, EMNLP 2004). `p` of a binary metric
    is the exact McNemar test's, of others the share of resamples in which the candidate is not better.
    """
    pairs = [(one, other) for one in baseline for other in candidate if one.name == other.name and one.better]
    if any(len(one.rows) != len(other.rows) for one, other in pairs):
        raise ValueError("only measures of the same samples can be compared")
    before = _resampled([one for one, _ in pairs], seed, resamples)
    after = _resampled([other for _, other in pairs], seed, resamples)
    found: dict[str, Comparison] = {}
    for one, other in pairs:
        differences = after[one.name] - before[one.name]
        low, high = _interval(differences)
        sign = 1 if one.better == "higher" else -1
        if one.kind == "binary":
            gains = sign * (other.rows[:, 0] - one.rows[:, 0])
            p = mcnemar(int((gains > 0).sum()), int((gains < 0).sum()))
        else:
            known = differences[~np.isnan(differences)]
            p = float((1 + (sign * known <= 0).sum()) / (1 + len(known)))  # never 0: Davison & Hinkley 1997, § 4.2
        found[one.name] = Comparison(one.value, other.value, low, high, p)
    return found


def mcnemar(seen: int, opposite: int) -> float:
    """The exact one-sided p value: of `seen + opposite` fair coins at least `seen` show heads.

    Give the samples that changed in the direction in question, then those that changed against it: the result is small
    when more changed than chance explains, 1 when nothing did. With one decision a sample this is the exact form of
    McNemar's test (Psychometrika 12, 1947), with several the sign test that it is a case of.
    """
    flips = seen + opposite
    return sum(math.comb(flips, heads) for heads in range(seen, flips + 1)) / 2**flips


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, JASA 22, 1927); NaN when there is nothing to share."""
    if total == 0:
        return math.nan, math.nan
    share = right / total
    scale = 1 + _Z**2 / total
    middle = (share + _Z**2 / (2 * total)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    # The ends are exact where nothing, or everything, is right; rounding would leave them a hair off.
    return (0.0 if right == 0 else middle - half), (1.0 if right == total else middle + half)


def _resampled(measures: Sequence[Measure], seed: int, resamples: int) -> dict[str, Values]:
    """Each measure's value in every resample; the same seed and number of samples draw the same resamples."""
    if not measures or not len(measures[0].rows):
        return {measure.name: np.full(resamples, np.nan) for measure in measures}
    columns = np.hstack([measure.rows for measure in measures])
    sums = np.vstack([weights @ columns for weights in _weights(len(columns), seed, resamples)])
    found: dict[str, Values] = {}
    start = 0
    for measure in measures:
        end = start + measure.rows.shape[1]
        found[measure.name] = measure.of(sums[:, start:end])
        start = end
    return found


def _weights(samples: int, seed: int, resamples: int) -> Iterator[Values]:
    """Blocks of resamples, shape (block, samples): how often each sample was drawn."""
    draws = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        block = min(_BLOCK, resamples - start)
        drawn = draws.integers(0, samples, size=(block, samples))
        flat = (drawn + np.arange(block)[:, None] * samples).ravel()
        yield np.bincount(flat, minlength=block * samples).reshape(block, samples).astype(np.float64)


def _interval(values: Values) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, _QUANTILES)
    return float(low), float(high)
