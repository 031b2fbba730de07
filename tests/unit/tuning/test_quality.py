"""Whether a candidate is as good: the paired test, the agreement, and how answers are taken apart."""

import math
from typing import Any

import pytest

from tools_server.tuning.quality import Decision, compare, decisions


def label(name: str, wanted: str, **scores: float) -> dict[str, Decision]:
    return decisions({"label": wanted}, {"label": name, "scores": scores or {name: 1.0}})


def test_a_label_is_one_decision_with_its_distribution():
    [(name, decision)] = label("a", "b", a=0.6, b=0.4).items()
    assert (name, decision.answer, decision.right) == ("label", "a", False)
    assert decision.distribution == {"a": 0.6, "b": 0.4}


def test_several_labels_are_one_decision_each():
    answer = {"labels": ["x"], "scores": {"y": 0.2, "x": 0.9}}
    found = decisions({"labels": ["x", "y"]}, answer)
    assert {name: decision.right for name, decision in found.items()} == {"labels.x": True, "labels.y": False}
    assert found["labels.y"].distribution == {"yes": 0.2, "no": 0.8}


def test_an_object_is_one_decision_per_field():
    found = decisions({"data": {"a": 1, "b": None, "c": "x"}}, {"data": {"a": 1.0, "b": None}})
    assert {name: decision.right for name, decision in found.items()} == {
        "data.a": True,
        "data.b": True,
        "data.c": False,
    }


@pytest.mark.parametrize("expected", [{"label": "a"}, {"labels": ["a"]}, {"labels": []}, {"data": {"a": None}}])
def test_a_call_that_failed_gets_nothing_right(expected: dict[str, Any]):
    assert not any(decision.right for decision in decisions(expected, None).values())


def test_the_same_answers_are_as_good():
    runs = [label("a", "a", a=0.7, b=0.3)] * 40
    quality = compare(runs, runs)
    assert (quality.decisions, quality.accuracy, quality.agreement, quality.divergence) == (40, 1.0, 1.0, 0.0)
    assert quality.objection is None


def test_a_significant_fall_is_an_objection_with_both_accuracies():
    published = [label("a", "a", a=0.9, b=0.1)] * 20
    candidate = [label("b", "a", a=0.4, b=0.6)] * 6 + published[6:]
    quality = compare(published, candidate)
    assert (quality.lost, quality.gained) == (6, 0)
    assert "accuracy fell from 1.000 to 0.700 (p 0.016)" in (quality.objection or "")


def test_other_answers_are_an_objection_even_where_accuracy_is_at_the_floor():
    published = [label("a", "c", a=0.9, b=0.1)] * 20
    candidate = [label("b", "c", a=0.1, b=0.9)] * 2 + published[2:]
    quality = compare(published, candidate)
    assert quality.p == 1.0
    assert "90.0%" in (quality.objection or "")


def test_generated_fields_count_for_accuracy_but_not_for_agreement_of_labels():
    published = [decisions({"data": {"a": 1}}, {"data": {"a": 2}})] * 10
    candidate = [decisions({"data": {"a": 1}}, {"data": {"a": 3}})] * 10
    quality = compare(published, candidate)
    assert (quality.labels, quality.agreement, quality.same) == (0, 1.0, 0.0)
    assert quality.objection is None


def test_the_divergence_is_the_mean_over_labels_in_nats():
    quality = compare([label("a", "a", a=0.5, b=0.5)], [label("a", "a", a=0.75, b=0.25)])
    assert quality.divergence == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))


def test_a_label_without_any_probability_left_does_not_make_the_divergence_infinite():
    quality = compare([label("a", "a", a=0.5, b=0.5)], [label("a", "a", a=1.0, b=0.0)])
    assert math.isfinite(quality.divergence)
    assert quality.divergence > 1


def test_what_hangs_together_in_one_text_counts_once():
    fields = dict.fromkeys("abcdefgh", 1)
    published = [decisions({"data": fields}, {"data": fields})] * 3
    candidate = [decisions({"data": fields}, None), *published[1:]]
    quality = compare(published, candidate)
    assert (quality.decisions, quality.lost, quality.gained) == (24, 1, 0)
    assert quality.p == 0.5
    assert quality.objection is None
