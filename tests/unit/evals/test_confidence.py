"""Measures of confidence, against values computed by hand, by brute force over pairs and by scikit-learn."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from tools_server.evals.confidence import (
    aurc,
    auroc,
    brier,
    error_of_bins,
    expected_calibration_error,
    reliability,
    risk_coverage,
)
from tools_server.evals.scoring.confidence import score_confidences
from tools_server.evals.statistics import wilson

CONFIDENCES = [0.9, 0.8, 0.8, 0.6, 0.3]
RIGHT = [True, True, False, True, False]

FUNCTIONS = [expected_calibration_error, auroc, brier, reliability, risk_coverage, aurc]

# Sixteenths, so that ties are common and edges of bins are met exactly; and any float.
SHARES = st.one_of(st.integers(0, 16).map(lambda number: number / 16), st.floats(0, 1))
JUDGED = st.lists(st.tuples(SHARES, st.booleans()), min_size=1, max_size=40)


def unzipped(judged: list[tuple[float, bool]]) -> tuple[list[float], list[bool]]:
    return [confidence for confidence, _ in judged], [right for _, right in judged]


def test_the_calibration_error_is_the_weighted_mean_over_bins():
    # Five bins of a fifth: 0.3 is in (0.2, 0.4], 0.6 in (0.4, 0.6], both 0.8 in (0.6, 0.8], 0.9 in the last.
    wanted = (abs(0 - 0.3) + abs(1 - 0.6) + 2 * abs(0.5 - 0.8) + abs(1 - 0.9)) / 5
    assert expected_calibration_error(CONFIDENCES, RIGHT, bins=5) == pytest.approx(wanted)
    assert expected_calibration_error(CONFIDENCES, RIGHT, bins=1) == pytest.approx(0.68 - 0.6)


def guo(confidences: list[float], right: list[bool], bins: int) -> float:
    """Equation 3 of the paper, as it is written."""
    error = 0.0
    for m in range(1, bins + 1):
        low = -1.0 if m == 1 else (m - 1) / bins
        inside = [(c, r) for c, r in zip(confidences, right, strict=True) if low < c <= m / bins]
        if inside:
            accuracy = sum(r for _, r in inside) / len(inside)
            claimed = sum(c for c, _ in inside) / len(inside)
            error += len(inside) / len(right) * abs(accuracy - claimed)
    return error


@given(JUDGED, st.integers(1, 20))
def test_the_calibration_error_is_that_of_the_paper(judged: list[tuple[float, bool]], bins: int):
    confidences, right = unzipped(judged)
    found = expected_calibration_error(confidences, right, bins=bins)
    assert found == pytest.approx(guo(confidences, right, bins), abs=1e-12)
    assert found == error_of_bins(reliability(confidences, right, bins=bins))
    assert -1e-12 <= found <= 1 + 1e-12


def test_the_calibration_error_has_15_bins_unless_told():
    confidences, right = [0.61, 0.66], [True, False]  # in one tenth each, and in one fifteenth: (0.6, 0.667]
    assert expected_calibration_error(confidences, right) == pytest.approx(0.635 - 0.5)
    assert expected_calibration_error(confidences, right, bins=100) == pytest.approx((0.39 + 0.66) / 2)


def test_the_calibration_error_of_no_bins_is_undefined():
    assert math.isnan(error_of_bins([]))


def test_the_area_under_the_roc_curve_counts_pairs_and_half_of_ties():
    # Right at 0.9, 0.8, 0.6 and wrong at 0.8, 0.3: five of six pairs, of which one is a tie and one lost.
    assert auroc(CONFIDENCES, RIGHT) == pytest.approx((1 + 1 + 0.5 + 1 + 0 + 1) / 6)


@given(JUDGED)
def test_the_area_under_the_roc_curve_is_that_of_all_pairs(judged: list[tuple[float, bool]]):
    confidences, right = unzipped(judged)
    found = auroc(confidences, right)
    hits = [confidence for confidence, correct in judged if correct]
    misses = [confidence for confidence, correct in judged if not correct]
    if not hits or not misses:
        assert math.isnan(found)
        return
    pairs = [1.0 if hit > miss else 0.5 if hit == miss else 0.0 for hit, miss in product(hits, misses)]
    assert found == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert auroc(confidences, [not correct for correct in right]) == pytest.approx(1 - found, abs=1e-12)


def test_the_area_under_the_roc_curve_is_that_of_scikit_learn_on_many_answers():
    draws = np.random.default_rng(5)
    confidences = draws.random(5000).round(2)
    right = draws.random(5000) < confidences
    assert auroc(confidences, right) == pytest.approx(metrics.roc_auc_score(right, confidences))
    assert brier(confidences, right) == pytest.approx(metrics.brier_score_loss(right, confidences))


def test_confidence_that_parts_right_from_wrong_ranks_perfectly_and_the_reverse_not_at_all():
    assert auroc([0.9, 0.8, 0.2], [True, True, False]) == 1
    assert auroc([0.1, 0.2, 0.8], [True, True, False]) == 0
    assert auroc([0.5] * 4, [True, False, True, False]) == 0.5


@pytest.mark.parametrize("right", [True, False])
def test_ranking_is_undefined_where_all_answers_are_right_or_all_wrong(right: bool):
    assert math.isnan(auroc([0.1, 0.9], [right, right]))
    assert math.isnan(auroc([0.5], [right]))


def test_the_brier_score_is_the_mean_square():
    wanted = (0.1**2 + 0.2**2 + 0.8**2 + 0.4**2 + 0.3**2) / 5
    assert brier(CONFIDENCES, RIGHT) == pytest.approx(wanted)
    assert brier([0.5, 0.5], [True, False]) == 0.25
    assert (brier([1.0], [True]), brier([1.0], [False])) == (0, 1)


def test_bins_are_closed_above_and_the_first_one_has_zero_too():
    found = reliability([0.0, 0.1, 0.1000001, 1.0], [False, True, True, True])
    assert [(each.low, each.high, each.count) for each in found] == [(0, 0.1, 2), (0.1, 0.2, 1), (0.9, 1, 1)]


@pytest.mark.parametrize("bins", [3, 10, 15, 49, 100])
def test_a_confidence_on_an_edge_is_in_the_bin_below_whatever_rounding_does(bins: int):
    edges = [number / bins for number in range(1, bins + 1)]
    found = reliability(edges, [True] * bins, bins=bins)
    assert [(each.high, each.count) for each in found] == [(edge, 1) for edge in edges]


def test_a_bin_has_its_share_of_right_answers_with_wilsons_interval():
    (low, high) = reliability([0.72, 0.78, 0.74, 0.2], [True, True, False, False])
    assert (low.mean_confidence, low.accuracy, low.count) == (pytest.approx(0.2), 0, 1)
    assert (high.mean_confidence, high.accuracy, high.count) == (pytest.approx(0.74 + 0.02 / 3), 2 / 3, 3)
    assert (high.accuracy_low, high.accuracy_high) == wilson(2, 3)
    assert (low.accuracy_low, low.accuracy_high) == wilson(0, 1)


@given(JUDGED, st.integers(1, 20))
def test_bins_have_every_answer_once_and_none_is_empty(judged: list[tuple[float, bool]], bins: int):
    found = reliability(*unzipped(judged), bins=bins)
    assert sum(each.count for each in found) == len(judged)
    assert all(each.count for each in found)
    assert [each.low for each in found] == sorted({each.low for each in found})
    for each in found:
        assert each.low - 1e-12 <= each.mean_confidence <= each.high + 1e-12
        assert 0 <= each.accuracy_low <= each.accuracy <= each.accuracy_high <= 1


def test_answers_of_the_same_confidence_are_kept_or_left_together():
    found = risk_coverage(CONFIDENCES, RIGHT)
    assert found.threshold.tolist() == [0.9, 0.8, 0.6, 0.3]
    assert found.coverage == pytest.approx(np.array([1, 3, 4, 5]) / 5)
    assert found.accuracy == pytest.approx(np.array([1, 2 / 3, 3 / 4, 3 / 5]))
    assert found.count == 5


@given(JUDGED, SHARES)
def test_every_point_keeps_what_its_threshold_keeps(judged: list[tuple[float, bool]], other: float):
    confidences, right = unzipped(judged)
    found = risk_coverage(confidences, right)
    assert found.threshold.tolist() == sorted(set(confidences), reverse=True)
    for threshold in [*found.threshold.tolist(), other]:
        kept = [correct for confidence, correct in judged if confidence >= threshold]
        coverage, accuracy = found.kept(threshold)
        assert coverage == pytest.approx(len(kept) / len(judged))
        assert accuracy == pytest.approx(sum(kept) / len(kept)) if kept else math.isnan(accuracy)
    assert found.coverage[-1] == 1
    assert found.accuracy[-1] == pytest.approx(sum(right) / len(right))


def test_a_threshold_above_every_confidence_keeps_nothing():
    coverage, accuracy = risk_coverage([0.2, 0.4], [True, True]).kept(0.5)
    assert coverage == 0
    assert math.isnan(accuracy)


def test_the_area_under_the_risk_curve_is_the_mean_risk_over_the_answers_thresholds():
    # Risks 0, 1/3, 1/3, 1/4, 2/5, one for each answer.
    assert aurc(CONFIDENCES, RIGHT) == pytest.approx((0 + 1 / 3 + 1 / 3 + 1 / 4 + 2 / 5) / 5)


@given(JUDGED)
def test_the_area_under_the_risk_curve_is_that_of_the_paper(judged: list[tuple[float, bool]]):
    risks = []
    for threshold, _ in judged:
        kept = [correct for confidence, correct in judged if confidence >= threshold]
        risks.append(1 - sum(kept) / len(kept))
    assert aurc(*unzipped(judged)) == pytest.approx(sum(risks) / len(risks), abs=1e-12)


@given(JUDGED, st.randoms(use_true_random=False))
def test_the_order_of_the_answers_does_not_matter(judged: list[tuple[float, bool]], random: Any):
    shuffled = list(judged)
    random.shuffle(shuffled)
    for function in (expected_calibration_error, auroc, brier, aurc):
        one, other = function(*unzipped(judged)), function(*unzipped(shuffled))
        assert one == pytest.approx(other, abs=1e-12, nan_ok=True)


def test_all_right_and_sure_of_it_is_without_fault_and_all_wrong_as_bad_as_can_be():
    sure = [1.0] * 7
    for function in (expected_calibration_error, brier, aurc):
        assert function(sure, [True] * 7) == 0
        assert function(sure, [False] * 7) == 1


def test_one_answer_is_enough():
    assert expected_calibration_error([0.7], [True]) == pytest.approx(0.3)
    assert brier([0.7], [False]) == pytest.approx(0.49)
    assert [(each.low, each.high, each.count) for each in reliability([0.65], [True])] == [(0.6, 0.7, 1)]
    curve = risk_coverage([0.7], [False])
    assert (curve.coverage.tolist(), curve.accuracy.tolist(), curve.threshold.tolist()) == ([1], [0], [0.7])
    assert aurc([0.7], [False]) == 1


def test_arrays_are_as_good_as_lists_and_stay_as_they_are():
    confidences, right = np.array(CONFIDENCES), np.array(RIGHT)
    for function in FUNCTIONS:
        function(confidences, right)
    assert (confidences.tolist(), right.tolist()) == (CONFIDENCES, RIGHT)
    assert aurc(confidences, right) == aurc(CONFIDENCES, RIGHT)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    ("confidences", "right", "told"),
    [
        ([0.5], [True, False], r"got \(1,\) and \(2,\)"),
        ([], [True], r"got \(0,\) and \(1,\)"),
        ([[0.5]], [[True]], r"got \(1, 1\)"),
        ([], [], "no answers"),
        ([0.5, 1.01], [True, True], r"not at 1\.01"),
        ([-0.1], [True], r"not at -0\.1"),
        ([math.nan], [True], "not at nan"),
        ([math.inf], [True], "not at inf"),
    ],
)
def test_what_is_no_list_of_judged_confidences_is_refused(
    function: Callable[[Any, Any], Any], confidences: Any, right: Any, told: str
):
    with pytest.raises(ValueError, match=told):
        function(confidences, right)


@pytest.mark.parametrize("function", [expected_calibration_error, reliability])
def test_fewer_than_one_bin_is_refused(function: Callable[..., Any]):
    with pytest.raises(ValueError, match="one bin at least, not 0"):
        function(CONFIDENCES, RIGHT, bins=0)


@pytest.mark.parametrize(
    ("claimed", "answers"), [((0.5, 1.0), 300), ((0.9, 1.0), 300), ((0.1, 0.9), 60), ((0.2, 1.0), 2000)]
)
def test_the_error_by_chance_is_that_of_answers_whose_confidences_are_true(claimed: tuple[float, float], answers: int):
    draws = np.random.default_rng(7)
    confidences = draws.uniform(*claimed, size=answers)
    simulated = [
        expected_calibration_error(confidences, draws.random(answers) < confidences)  # true by construction
        for _ in range(300)
    ]
    given = [{"confidence": float(each)} for each in confidences]
    found = next(each for each in score_confidences(given, [True] * answers) if each.name == "ece_by_chance")
    assert found.value == pytest.approx(np.mean(simulated), rel=0.15)
