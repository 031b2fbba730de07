"""Fitting: what is known of made-up answers is found again, and a threshold keeps its promise."""

import numpy as np
import pytest

from tools_server.errors import EvaluationImpossible
from tools_server.evals.calibration import THRESHOLDS, Graded, calibrate, leave_out, threshold_for
from tools_server.evals.scoring.confidence import error_by_chance
from tools_server.skills.calibration import tempered

pytest.importorskip("sklearn")


def answers(count: int, temperature: float, seed: int = 0, labels: int = 5) -> list[Graded]:
    """Answers of a model whose shares are right after this temperature."""
    draws = np.random.default_rng(seed)
    made: list[Graded] = []
    for _ in range(count):
        true = draws.dirichlet(np.full(labels, 0.4)).clip(1e-9)
        true /= true.sum()
        truth = int(draws.choice(labels, p=true))
        made.append(Graded(tuple(tempered(true.tolist(), 1 / temperature)), truth))
    return made


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_answers_too_sure_is_found_and_mends_them(temperature: float):
    fit = calibrate(answers(4000, temperature), "temperature")
    assert fit.temperature == pytest.approx(temperature, rel=0.1)
    assert fit.after.ece < 0.04
    if temperature != 1.0:
        assert fit.before.ece > 2 * fit.after.ece
    assert fit.fitted == len(fit.right) == 2000
    assert fit.before.auroc is not None
    assert fit.before.auroc > 0.6


def test_what_no_temperature_mends_isotonic_regression_does():
    draws = np.random.default_rng(1)
    confidences = draws.uniform(0.2, 1, 3000)
    right = draws.uniform(size=3000) < np.where(confidences > 0.6, 0.9, 0.1)
    fit = calibrate([Graded((float(c),), 0 if hit else None) for c, hit in zip(confidences, right, strict=True)])
    assert fit.method == "isotonic"
    assert fit.temperature == 1.0
    assert fit.after.ece < 0.05 < fit.before.ece
    assert list(fit.knots) == sorted(fit.knots)


def test_a_logistic_curve_mends_written_values_of_which_there_are_few():
    draws = np.random.default_rng(2)
    confidences = draws.beta(4, 1, 400)
    odds = confidences / (1 - confidences)
    right = draws.uniform(size=400) < odds**0.5 / (1 + odds**0.5)
    graded = [Graded((float(c),), 0 if hit else None) for c, hit in zip(confidences, right, strict=True)]
    fit = calibrate(graded, "logistic")
    assert fit.after.brier < fit.before.brier
    curve = dict(fit.knots)
    assert list(curve.values()) == sorted(curve.values())
    middle = min(curve, key=lambda x: abs(x - 0.9))
    assert curve[middle] == pytest.approx(0.75, abs=0.08)


def test_confidence_that_tells_nothing_becomes_the_share_that_is_right():
    draws = np.random.default_rng(4)
    confidences, right = draws.uniform(0.5, 1, 400), np.arange(400) % 3 == 0
    order = draws.permutation(400)
    graded = [Graded((float(confidences[i]),), 0 if right[order[i]] else None) for i in range(400)]
    fit = calibrate(graded, "logistic")
    assert fit.confidences_after == pytest.approx(np.full(200, 1 / 3), abs=0.15)


def test_auto_takes_the_temperature_where_that_is_all_it_needs():
    assert calibrate(answers(2000, 3.0, seed=3), "auto").method == "temperature"


def test_auto_draws_no_curve_from_a_handful_of_wrong_answers():
    draws = np.random.default_rng(5)
    sure = [Graded((float(share), 1 - float(share)), 0) for share in draws.uniform(0.9, 1, 590)]
    for place in range(0, 590, 59):
        sure.insert(place, Graded((0.6, 0.4), 1))
    assert calibrate(sure, "auto").method == "temperature"


def test_a_set_is_mapped_by_the_others_alone():
    alike = [answers(600, 3.0, seed) for seed in (1, 2)]
    odd = [Graded((0.99, 0.01), 1)] * 600
    first, second, last = leave_out([*alike, odd], "temperature")
    assert last.after.ece > 0.5, "a task on which the model is sure and wrong is not known from the others"
    assert leave_out([*alike, odd[:1]], "temperature")[2].after.ece == last.after.ece, (
        "its own answers count for nothing"
    )
    assert len(first.right) == len(second.right) == 600
    both = leave_out(alike, "temperature")
    assert all(each.after.ece < 0.07 < 0.2 < each.before.ece for each in both)
    assert all(0.01 < error_by_chance(each.confidences_after) < 0.05 for each in both)


def test_too_few_answers_or_only_right_ones_are_refused():
    with pytest.raises(EvaluationImpossible, match="99 answers are too few"):
        calibrate(answers(99, 1.0))
    with pytest.raises(EvaluationImpossible, match="All of 60 answers are right"):
        calibrate([Graded((0.9, 0.1), 0)] * 120)
    with pytest.raises(EvaluationImpossible, match="are wrong"):
        calibrate([Graded((0.9, 0.1), None)] * 120)


def test_a_threshold_promises_too_much_in_at_most_the_share_of_cases_that_was_allowed():
    """True accuracy of what is kept, by the distribution itself, over many draws of the samples."""
    draws, target, cases = np.random.default_rng(7), 0.85, 300
    broken = found = 0
    for _ in range(cases):
        confidences = draws.beta(2, 1, 1500).round(4)
        right = draws.uniform(size=1500) < confidences**1.5
        threshold = threshold_for(confidences, right, target, level=0.8)
        if threshold.confidence is None:
            continue
        found += 1
        many = draws.beta(2, 1, 20_000)
        kept = many[many >= threshold.confidence]
        broken += float((kept**1.5).mean()) < target
    assert found > cases / 2
    assert broken / cases < 0.2


def test_the_threshold_is_the_loosest_that_the_samples_show_and_none_where_none_does():
    confidences = np.repeat([0.95, 0.6], 500)
    right = np.concatenate([np.ones(500, bool), np.arange(500) % 2 == 0])
    threshold = threshold_for(confidences, right, 0.95)
    assert threshold.confidence is not None
    assert 0.6 < threshold.confidence <= 0.95
    assert (threshold.kept, threshold.accuracy) == (0.5, 1.0)
    none = threshold_for(confidences, ~right, 0.95)
    assert (none.confidence, none.kept, none.accuracy) == (None, 0.0, None)
    everything = threshold_for(confidences, np.ones(1000, bool), 0.95)
    assert everything.confidence == THRESHOLDS[-1]


def test_few_samples_show_no_threshold_however_right_they_are():
    assert threshold_for(np.full(50, 0.99), np.ones(50, bool), 0.95).confidence is None
