"""How far answers' confidences can be trusted: whether they mean what they say, and whether they tell right from wrong.

Throughout, `confidences` has the probability of being right that each answer claimed, and `right` whether it was; both
have shape (n,), in the same order, n >= 1. Every function raises ValueError on lengths that differ, on no answers at
all, and on confidences outside [0, 1], NaN included. Results are shares and probabilities, without a unit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools_server.evals.statistics import Values, wilson

__all__ = [
    "Bin",
    "Confidences",
    "Right",
    "RiskCoverage",
    "aurc",
    "auroc",
    "brier",
    "error_of_bins",
    "expected_calibration_error",
    "reliability",
    "risk_coverage",
]

Confidences = Sequence[float] | Values
Right = Sequence[bool] | NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bin:
    """The answers whose confidence lies in (low, high]; the first bin has those of confidence 0 as well.

    `accuracy` is the share of them that is right, between `accuracy_low` and `accuracy_high` (95 %, Wilson's interval);
    `mean_confidence` is the share that was claimed. `count`, how many they are, is 1 at least.
    """

    low: float
    high: float
    mean_confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """What is gained by keeping only the most confident answers: three arrays of shape (k,), and n in `count`.

    Point i keeps the answers of confidence `threshold[i]` or more: the share `coverage[i]` of all, of which the share
    `accuracy[i]` is right. There is one point for each distinct confidence, since answers of the same confidence are
    kept or left together. `threshold` falls, `coverage` rises to 1.
    """

    coverage: Values
    accuracy: Values
    threshold: Values
    count: int

    @property
    def area(self) -> float:
        """The area under the risk–coverage curve, see `aurc`."""
        return float(((1 - self.accuracy) * np.diff(self.coverage, prepend=0.0)).sum())

    def kept(self, threshold: float) -> tuple[float, float]:
        """Coverage and accuracy of the answers of confidence `threshold` or more: (0, NaN) where there are none."""
        points = int((self.threshold >= threshold).sum())
        return (float(self.coverage[points - 1]), float(self.accuracy[points - 1])) if points else (0.0, math.nan)


def expected_calibration_error(confidences: Confidences, right: Right, *, bins: int = 15) -> float:
    """How far confidence is from accuracy on average: 0 where they agree in every bin, 1 at worst.

    The mean over bins of equal width of |accuracy - mean confidence|, weighted by the answers in each (Naeini, Cooper &
    Hauskrecht, AAAI 2015; Guo et al., On Calibration of Modern Neural Networks, ICML 2017, eq. 3). Depends on the
    number of bins, and with few answers in a bin is too large by chance alone. ValueError also on fewer than one bin.
    """
    return error_of_bins(reliability(confidences, right, bins=bins))


def error_of_bins(bins: Sequence[Bin]) -> float:
    """The expected calibration error, see there, of answers that are in bins already; NaN of no bins."""
    if not bins:
        return math.nan
    apart = sum(each.count * abs(each.accuracy - each.mean_confidence) for each in bins)
    return apart / sum(each.count for each in bins)


def auroc(confidences: Confidences, right: Right) -> float:
    """How often a right answer is more confident than a wrong one, over all pairs of them; a tie counts half.

    1 where confidence parts right from wrong, 0.5 where it tells nothing, NaN where all or none are right. This is the
    area under the ROC curve, by the statistic of Mann & Whitney (Annals of Mathematical Statistics 18, 1947; Hanley &
    McNeil, Radiology 143, 1982).
    """
    claimed, hits = _checked(confidences, right)
    positives = int(hits.sum())
    negatives = len(hits) - positives
    if not positives or not negatives:
        return math.nan
    _, places, counts = np.unique(claimed, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # tied answers share the mean of their ranks
    wins = float(ranks[places][hits].sum()) - positives * (positives + 1) / 2
    return wins / (positives * negatives)


def brier(confidences: Confidences, right: Right) -> float:
    """The mean of (confidence - 1 if right else 0)²: 0 at best, 0.25 for always claiming a half, 1 at worst.

    Judges calibration and discrimination at once. Brier (Monthly Weather Review 78, 1950) also counts the other
    outcome, of being wrong, so his score is twice this one.
    """
    claimed, hits = _checked(confidences, right)
    return float(np.mean((claimed - hits) ** 2))


def reliability(confidences: Confidences, right: Right, *, bins: int = 10) -> list[Bin]:
    """Part the answers by confidence into bins of equal width, by rising confidence; empty bins are left out.

    Bins are closed above, ((m-1)/bins, m/bins], as in Guo et al. (ICML 2017, § 2). ValueError also on fewer than one.
    """
    claimed, hits = _checked(confidences, right)
    if bins < 1:
        raise ValueError(f"answers are parted into one bin at least, not {bins}")
    edges = np.arange(bins + 1) / bins
    places = np.searchsorted(edges[1:], claimed, side="left")
    found: list[Bin] = []
    for place in np.unique(places):
        inside = places == place
        count, correct = int(inside.sum()), int(hits[inside].sum())
        low, high = float(edges[place]), float(edges[place + 1])
        found.append(Bin(low, high, float(claimed[inside].mean()), correct / count, *wilson(correct, count), count))
    return found


def risk_coverage(confidences: Confidences, right: Right) -> RiskCoverage:
    """Keep the most confident answers, fewest first: how many are kept, and how many of those are right.

    The trade of El-Yaniv & Wiener (On the Foundations of Noise-free Selective Classification, JMLR 11, 2010); risk is
    1 - accuracy. The left end rests on a handful of answers, so it jumps.
    """
    claimed, hits = _checked(confidences, right)
    rising, places, counts = np.unique(claimed, return_inverse=True, return_counts=True)
    correct = np.bincount(places, weights=hits, minlength=len(rising))
    kept = np.cumsum(counts[::-1])
    return RiskCoverage(kept / len(hits), np.cumsum(correct[::-1]) / kept, rising[::-1].copy(), len(hits))


def aurc(confidences: Confidences, right: Right) -> float:
    """The area under the risk–coverage curve: the risk of what is kept, on average over all coverages; 0 at best.

    The mean over answers of the share that is wrong among the answers at least as confident (Geifman, Uziel & El-Yaniv,
    Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, ICLR 2019, § 2). Unlike `auroc` it depends on how
    many are right: confidences that tell nothing give about 1 - accuracy.
    """
    return risk_coverage(confidences, right).area


def _checked(confidences: Confidences, right: Right) -> tuple[Values, NDArray[np.bool_]]:
    claimed, hits = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.bool_)
    if claimed.ndim != 1 or claimed.shape != hits.shape:
        raise ValueError(f"each answer has one confidence and is right or not; got {claimed.shape} and {hits.shape}")
    if not len(claimed):
        raise ValueError("nothing can be said about the confidences of no answers")
    outside = claimed[~((claimed >= 0) & (claimed <= 1))]  # NaN too
    if len(outside):
        raise ValueError(f"a confidence lies between 0 and 1, not at {outside[0]}")
    return claimed, hits
