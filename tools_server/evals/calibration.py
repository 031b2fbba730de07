"""Fitting what turns raw confidence into the share of right answers, and a threshold with a guarantee.

The samples are halved. The map is fitted on one half; its figures and the threshold come from the other, so that they
are about answers that the map has never seen. Applying a calibration is `skills.calibration`'s, without any of this.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tools_server.errors import EvaluationImpossible
from tools_server.evals.confidence import auroc, brier, expected_calibration_error
from tools_server.evals.extras import library
from tools_server.skills.calibration import Figures, Threshold

__all__ = [
    "DIGITS",
    "LEAST_SAMPLES",
    "Checked",
    "Fit",
    "Graded",
    "Method",
    "Wanted",
    "calibrate",
    "leave_out",
    "threshold_for",
]

LEAST_SAMPLES = 100
"""Fewer say too little: half of them are left for the figures."""

FOLDS = 5
"""Of the cross-validation that chooses the method."""

HIGHEST_LOG_TEMPERATURE = 3.0
"""Temperatures from 1/20 to 20 are looked at."""

DIGITS = 4  # what an answer shows

Shares = NDArray[np.float64]
Wanted = Literal["auto", "temperature", "logistic", "isotonic"]
Method = Literal["temperature", "logistic", "isotonic"]

LEAST_OF_EACH: Mapping[Method, int] = {"temperature": 0, "logistic": 10, "isotonic": 30}
"""Right answers and wrong ones that `auto` wants before it takes a method: a curve on fewer is one on chance."""


CURVE = np.round(1 / (1 + np.exp(-np.linspace(-9.2, 9.2, 47))), 6)
"""Where a curve is written down as knots: even steps of the log-odds, from 0.0001 to 0.9999."""

THRESHOLDS = tuple(round(1 / (1 + math.exp(-step / 10)), DIGITS) for step in range(90, -31, -1))
"""Confidences that may become the threshold, strictest first: fixed before any sample is seen, as the test demands."""

STARTS = 5
"""Places among them at which the sequences of tests begin: the strictest ones keep too few answers to show anything."""


@dataclass(frozen=True, slots=True)
class Graded:
    """An answer beside the truth: the shares that its labels had, and the place of the right one, None if it had none.

    For what was written, `shares` is its confidence alone and `truth` 0 if it is right: there is nothing to temper.
    """

    shares: tuple[float, ...]
    truth: int | None

    @property
    def right(self) -> bool:
        """Whether the likeliest label is the right one."""
        return self.truth is not None and self.shares[self.truth] == max(self.shares)


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """How a map does on answers that it was not fitted on: which are right, and `confidences` before and after."""

    right: NDArray[np.bool_]
    confidences_before: Shares
    confidences_after: Shares

    @property
    def before(self) -> Figures:
        """Of the model's own confidences."""
        return _figures(self.confidences_before, self.right)

    @property
    def after(self) -> Figures:
        """Of the calibrated ones."""
        return _figures(self.confidences_after, self.right)


@dataclass(frozen=True, slots=True, eq=False)
class Fit(Checked):
    """A fitted map, and how it does on the other half."""

    method: Method
    temperature: float
    knots: tuple[tuple[float, float], ...]
    fitted: int


def calibrate(graded: Sequence[Graded], wanted: Wanted = "auto") -> Fit:
    """Fit on every other answer, check on the rest. The order should be a random one.

    The temperature (Guo et al., ICML 2017) may be all, or a map of confidences follows it: a logistic curve (Platt,
    1999) or isotonic regression (Zadrozny & Elkan, KDD 2002). `auto` takes what has the smallest log loss in a
    cross-validation within the first half, of those for which there are enough right and wrong answers.

    Raises:
        EvaluationImpossible: there are too few answers, or no right or no wrong one to fit on.
        EvaluationUnavailable: scikit-learn is not installed.
    """
    if len(graded) < LEAST_SAMPLES:
        raise EvaluationImpossible(
            f"{len(graded)} answers are too few for a calibration.", f"Give at least {LEAST_SAMPLES} samples."
        )
    fit, check = graded[::2], graded[1::2]
    if len({each.right for each in fit}) < 2:
        what = "right" if fit[0].right else "wrong"
        raise EvaluationImpossible(
            f"All of {len(fit)} answers are {what}: nothing tells sure ones from unsure ones.",
            "Give samples that are harder." if fit[0].right else "Train an adapter first, or take another model.",
        )
    method = wanted if wanted != "auto" else _chosen(fit)
    temperature, knots = _fitted(fit, method)
    return Fit(
        method=method,
        temperature=temperature,
        knots=knots,
        fitted=len(fit),
        right=_right(check),
        confidences_before=_confidences(check, 1.0, ()),
        confidences_after=_confidences(check, temperature, knots),
    )


def leave_out(sets: Sequence[Sequence[Graded]], wanted: Wanted = "auto") -> list[Checked]:
    """Map the answers of each set by a fit on all the others: what is to be expected on a task that is new.

    Half of the answers of the very sets that a map was fitted on says nothing of that. There are two sets at least;
    the methods are those of `calibrate`.

    Raises:
        EvaluationUnavailable: scikit-learn is not installed.
    """
    found: list[Checked] = []
    for place, own in enumerate(sets):
        others = [each for at, graded in enumerate(sets) if at != place for each in graded]
        temperature, knots = _fitted(others, wanted if wanted != "auto" else _chosen(others))
        found.append(Checked(_right(own), _confidences(own, 1.0, ()), _confidences(own, temperature, knots)))
    return found


def threshold_for(confidences: Shares, right: NDArray[np.bool_], target: float, level: float = 0.95) -> Threshold:
    """The lowest confidence from which on answers are right with at least the probability `target`.

    Learn-then-test (Angelopoulos, Bates, Candès, Jordan & Lei, arXiv:2110.01052): each threshold's hypothesis, that the
    answers it keeps are right less often than `target`, is tested by the exact binomial tail, in sequences from
    strict to loose that end at the first one not rejected; their starts share 1 - `level` (Bonferroni). It assumes that
    calls come from where the samples come from, and nothing about the confidences. `confidence` is None where no
    threshold is shown to do.

    Raises:
        EvaluationUnavailable: scikit-learn, which brings the distribution, is not installed.
    """
    binomial = library("scipy.stats").binom
    share = (1 - level) / STARTS
    length = math.ceil(len(THRESHOLDS) / STARTS)
    found: float | None = None
    for start in range(0, len(THRESHOLDS), length):
        for confidence in THRESHOLDS[start:]:
            kept = confidences >= confidence
            wrong = int((kept & ~right).sum())
            if binomial.cdf(wrong, int(kept.sum()), 1 - target) > share:
                break
            found = confidence if found is None else min(found, confidence)
    kept = confidences >= found if found is not None else np.zeros(len(right), dtype=bool)
    return Threshold(
        target=target,
        level=level,
        confidence=found,
        kept=round(float(kept.mean()), DIGITS),
        accuracy=round(float(right[kept].mean()), DIGITS) if kept.any() else None,
    )


def _chosen(graded: Sequence[Graded]) -> Method:
    right = int(_right(graded).sum())
    rarer = min(right, len(graded) - right)
    losses: dict[Method, float] = {method: 0.0 for method, least in LEAST_OF_EACH.items() if rarer >= least}
    for method in losses:
        for train, held_out in _folds(graded):
            confidences = _confidences(held_out, *_fitted(train, method))
            losses[method] += _log_loss(confidences, _right(held_out))
    return min(losses, key=lambda method: losses[method])  # of equals the simplest, which comes first


def _folds(graded: Sequence[Graded]) -> Iterator[tuple[list[Graded], list[Graded]]]:
    for fold in range(FOLDS):
        held_out = [each for place, each in enumerate(graded) if place % FOLDS == fold]
        yield [each for place, each in enumerate(graded) if place % FOLDS != fold], held_out


def _fitted(graded: Sequence[Graded], method: str) -> tuple[float, tuple[tuple[float, float], ...]]:
    temperature = _temperature(graded)
    if method == "temperature":
        return temperature, ()
    fitted = _isotonic if method == "isotonic" else _logistic
    return temperature, fitted(_confidences(graded, temperature, ()), _right(graded))


def _temperature(graded: Sequence[Graded]) -> float:
    """The temperature under which the right labels are likeliest; 1 where there are no labels to temper."""
    rows = [(np.log(np.maximum(each.shares, 1e-12)), each.truth) for each in graded if len(each.shares) > 1]
    rows = [(logits, truth) for logits, truth in rows if truth is not None]
    if not rows:
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = ((logits * math.exp(-log_temperature), truth) for logits, truth in rows)
        return math.fsum(float(np.logaddexp.reduce(logits) - logits[truth]) for logits, truth in scaled)

    bounds = (-HIGHEST_LOG_TEMPERATURE, HIGHEST_LOG_TEMPERATURE)
    found = library("scipy.optimize").minimize_scalar(loss, bounds=bounds, method="bounded")
    return round(math.exp(float(found.x)), 6)


def _isotonic(confidences: Shares, right: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """Steps of the isotonic regression; its ends stay as far from 0 and 1 as so many samples can tell (Laplace)."""
    least = 1 / (len(right) + 2)
    regression = library("sklearn.isotonic").IsotonicRegression(y_min=least, y_max=1 - least)
    regression.fit(confidences, right.astype(float))
    xs, ys = (axis.round(6).tolist() for axis in (regression.X_thresholds_, regression.y_thresholds_))
    return tuple(dict(zip(xs, ys, strict=True)).items())  # those that rounding made one are one


def _logistic(confidences: Shares, right: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """A logistic curve over the log-odds of the confidence, as a row of knots; flat where it would fall."""
    if len(np.unique(right)) < 2:
        return tuple((float(x), float(right.mean())) for x in CURVE)
    regression = library("sklearn.linear_model").LogisticRegression().fit(_log_odds(confidences), right)
    if regression.coef_[0, 0] <= 0:
        return tuple((float(x), float(right.mean())) for x in CURVE)
    chances = regression.predict_proba(_log_odds(CURVE))[:, 1].round(6)
    return tuple(zip(CURVE.tolist(), chances.tolist(), strict=True))


def _log_odds(confidences: Shares) -> Shares:
    safe = confidences.clip(1e-4, 1 - 1e-4)  # what an answer shows has four digits
    return np.log(safe / (1 - safe)).reshape(-1, 1)


def _confidences(graded: Sequence[Graded], temperature: float, knots: Sequence[tuple[float, float]]) -> Shares:
    """As an answer shows them, rounded and all."""
    top = np.array([_top(each.shares, temperature) for each in graded])
    if knots:
        xs, ys = zip(*knots, strict=True)
        top = np.interp(top, xs, ys)
    return np.minimum(1.0, top.round(DIGITS))


def _top(shares: Sequence[float], temperature: float) -> float:
    if len(shares) == 1:
        return shares[0]
    logits = np.log(np.maximum(shares, 1e-300)) / temperature
    return float(np.exp(logits.max() - np.logaddexp.reduce(logits)))


def _right(graded: Sequence[Graded]) -> NDArray[np.bool_]:
    return np.array([each.right for each in graded], dtype=bool)


def _log_loss(confidences: Shares, right: NDArray[np.bool_]) -> float:
    safe = confidences.clip(1e-6, 1 - 1e-6)
    return float(-np.log(np.where(right, safe, 1 - safe)).sum())


def _figures(confidences: Shares, right: NDArray[np.bool_]) -> Figures:
    apart = auroc(confidences, right)
    return Figures(
        ece=round(expected_calibration_error(confidences, right), DIGITS),
        auroc=None if math.isnan(apart) else round(apart, DIGITS),
        brier=round(brier(confidences, right), DIGITS),
    )
