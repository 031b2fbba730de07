"""Intervals and paired tests, against values computed by hand or by SciPy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tools_server.evals.scoring.base import binary, counts, f1, quotient
from tools_server.evals.statistics import Measure, compare, estimate, mcnemar, wilson


def mean(name: str, values: list[float], better: str | None = "higher") -> Measure:
    return Measure(name, "mean", better, counts([(value, 1) for value in values], 2), quotient)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "opposite", "p"),
    [(0, 0, 1.0), (0, 5, 1.0), (1, 0, 0.5), (5, 0, 1 / 32), (4, 1, 6 / 32), (8, 2, 56 / 1024)],
)
def test_the_p_value_is_that_of_fair_coins(seen: int, opposite: int, p: float):
    assert mcnemar(seen, opposite) == pytest.approx(p)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_p_value_is_that_of_the_exact_binomial_test(seen: int, opposite: int):
    wanted = stats.binomtest(seen, seen + opposite, alternative="greater").pvalue if seen + opposite else 1.0
    assert mcnemar(seen, opposite) == pytest.approx(wanted)


@given(st.integers(0, 200), st.integers(1, 200))
def test_the_interval_of_a_share_is_wilsons(right: int, total: int):
    right = min(right, total)
    wanted = stats.binomtest(right, total).proportion_ci(method="wilson")
    assert wilson(right, total) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_a_share_of_nothing_is_undefined():
    assert all(map(math.isnan, wilson(0, 0)))


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation_where_there_are_many():
    values = list(np.random.default_rng(1).normal(5, 2, size=400))
    found = estimate([mean("m", values)], seed=3)["m"]
    half = 1.96 * np.std(values) / 20
    assert found.value == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.02)


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    measures = [mean("m", list(np.random.default_rng(0).random(30)))]
    assert estimate(measures, seed=1) == estimate(measures, seed=1) != estimate(measures, seed=2)


def test_an_undefined_ratio_is_not_a_number_and_a_rarely_undefined_one_leaves_those_resamples_out():
    never = Measure("never", "ratio", "higher", counts([(0, 0, 0)] * 4, 3), f1)
    rarely = Measure("rarely", "ratio", "higher", counts([(1, 0, 0)] + [(0, 0, 0)] * 3, 3), f1)
    found = estimate([never, rarely])
    assert math.isnan(found["never"].value)
    assert math.isnan(found["never"].low)
    assert (found["rarely"].value, found["rarely"].low, found["rarely"].high) == (1.0, 1.0, 1.0)


def test_an_evaluation_of_nothing_is_undefined_and_no_error():
    assert math.isnan(estimate([mean("m", [])])["m"].value)


def test_a_paired_comparison_sees_a_small_constant_gain_that_two_intervals_hide():
    before = list(np.random.default_rng(2).normal(0.5, 0.3, size=100))
    after = [value + 0.02 for value in before]
    found = compare([mean("m", before)], [mean("m", after)])["m"]
    assert (found.low, found.high) == pytest.approx((0.02, 0.02))
    assert found.p == pytest.approx(1 / 10_001)


def test_right_and_wrong_is_tested_by_mcnemar_and_bounded_by_the_bootstrap():
    before = binary("accuracy", [False] * 9 + [True] * 11)
    after = binary("accuracy", [True] * 8 + [False] + [True] * 9 + [False] * 2)
    found = compare([before], [after])["accuracy"]
    assert (found.baseline, found.candidate) == (11 / 20, 17 / 20)
    assert found.p == pytest.approx(56 / 1024)
    assert found.low < 0.3 < found.high


def test_fewer_is_a_gain_where_fewer_is_better():
    worse, better = [1.0, 2.0, 1.0, 3.0], [0.0, 1.0, 0.0, 1.0]
    assert compare([mean("m", worse, "lower")], [mean("m", better, "lower")])["m"].p < 0.01
    assert compare([mean("m", better, "lower")], [mean("m", worse, "lower")])["m"].p == 1.0


def test_no_difference_is_no_gain():
    found = compare([mean("m", [0.1, 0.9])], [mean("m", [0.1, 0.9])])["m"]
    assert (found.low, found.high, found.p) == (0, 0, 1.0)


def test_what_only_describes_is_not_compared():
    assert compare([mean("words", [1.0], None)], [mean("words", [2.0], None)]) == {}


def test_measures_of_other_samples_cannot_be_compared():
    with pytest.raises(ValueError, match="same samples"):
        compare([mean("m", [1.0])], [mean("m", [1.0, 2.0])])
