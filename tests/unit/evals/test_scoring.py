"""Scores against hand-computed cases and, where it has the metric, scikit-learn."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from tests.unit.evals.evals_fakes import bundled, labelled, sample, schema
from tools_server.data.types import Sample
from tools_server.errors import EvaluationImpossible
from tools_server.evals.scoring import Data, Scored, check_scorable, score
from tools_server.evals.scoring.base import folded, normal, stands

CLASSIFY, EXTRACT, SUMMARISE = (bundled(name) for name in ("classify", "extract", "summarise"))


def values(scored: Scored) -> dict[str, float]:
    return {measure.name: measure.value for measure in scored.measures}


def labels(samples: list[Sample], answers: list[Data]) -> Scored:
    return score("accuracy", CLASSIFY, samples, answers)


def fields(expected: Any, answered: Any, text: str = "", **more: Any) -> dict[str, float]:
    names = {**(expected or {}), **(answered or {})}
    more.setdefault("fields", schema(**{name: {"type": "string"} for name in names}))
    one = sample({"data": expected}, text, skill="extract", **more)
    return values(score("field_accuracy", EXTRACT, [one], [None if answered is None else {"data": answered}]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("  Maria\nLopez ", "maria lopez"),
        ("STRASSE", "straße"),
        ("“Friday”.", "friday"),
        ("1,250.50", 1250.5),
        ("7", 7.0),
        ("ﬁne", "fine"),
        ({"a": 1, "b": None}, {"a": "1"}),
        (["A", 2], ["a.", "2"]),
    ],
)
def test_these_values_are_equal(one: Any, other: Any):
    assert normal(one) == normal(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("007", "7"), (True, "true"), (True, 1), ("art", "party"), ("-5", "5"), ("C#", "C"), (["a", "b"], ["b", "a"])],
)
def test_these_values_are_not_equal(one: Any, other: Any):
    assert normal(one) != normal(other)


def test_a_value_stands_in_a_text_as_whole_words_only():
    source = folded("The PARTY is on\n3 May, in “Room 4”.")
    assert all(stands(value, source) for value in ("the party", "3 may", "Room 4", "4."))
    assert not any(stands(value, source) for value in ("art", "Room 41", "5"))


def test_accuracy_and_macro_f1_of_labels():
    samples = labelled(("a", "bug"), ("b", "bug"), ("c", "billing"), ("d", "praise"))
    scored = labels(samples, [{"label": "bug"}, {"label": "billing"}, {"label": "billing"}, None])
    # bug: tp 1, fn 1 → 2/3; billing: tp 1, fp 1 → 2/3; praise: fn 1 → 0
    assert values(scored) == pytest.approx({"accuracy": 0.5, "macro_f1": 4 / 9, "validity": 0.75})
    assert scored.details["f1_by_label"] == {"billing": 0.6667, "bug": 0.6667, "praise": 0.0}
    assert {"expected": "praise", "answered": None, "samples": 1} in scored.details["confusions"]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=40))
def test_label_scores_are_those_of_scikit_learn(pairs: list[tuple[str, str]]):
    samples = labelled(*((str(number), wanted) for number, (wanted, _) in enumerate(pairs)), labels=list("abcd"))
    found = values(labels(samples, [{"label": answered} for _, answered in pairs]))
    wanted, answered = zip(*pairs, strict=True)
    assert found["accuracy"] == pytest.approx(accuracy_score(wanted, answered))
    assert found["macro_f1"] == pytest.approx(f1_score(wanted, answered, average="macro"))


def test_several_labels_are_right_as_a_set_and_counted_one_by_one():
    samples = [sample({"labels": wanted}, name=str(i)) for i, wanted in enumerate([["x", "y"], [], ["z"]])]
    found = values(labels(samples, [{"labels": ["y", "x"]}, {"labels": ["z"]}, {"labels": ["z", "x"]}]))
    # tp 3, fp 2, fn 0
    assert found == pytest.approx(
        {"accuracy": 1 / 3, "micro_f1": 6 / 8, "micro_precision": 3 / 5, "micro_recall": 1.0, "validity": 1.0}
    )


def test_a_failed_call_is_no_right_answer_where_no_label_fits():
    assert values(labels([sample({"labels": []})], [None]))["accuracy"] == 0


def test_one_label_and_several_in_one_file_are_scored_each_in_its_way():
    found = values(labels([sample({"label": "x"}), sample({"labels": ["x"]})], [{"label": "x"}, {"labels": []}]))
    assert (found["accuracy"], found["macro_f1"], found["micro_recall"]) == (0.5, 1.0, 0.0)


def test_fields_are_counted_where_something_is_stated():
    found = fields(
        {"name": "Ada", "phone": None, "city": "Bern", "age": 3},
        {"name": "ada", "phone": "1", "city": "Rome", "age": None},
    )
    # tp: name; fp: phone, city; fn: city, age
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["recall"] == pytest.approx(1 / 3)
    assert found["f1"] == pytest.approx(1 / 3)
    assert found["exact_match"] == 0


def test_an_object_of_nulls_is_an_exact_match_that_no_f1_speaks_of():
    found = fields({"name": None, "tags": []}, {"name": None, "tags": None})
    assert found["exact_match"] == 1
    assert math.isnan(found["f1"])


def test_a_failed_call_is_no_exact_match_even_of_nulls():
    assert fields({"name": None}, None)["exact_match"] == 0


def test_another_wording_counts_where_the_sample_names_it():
    assert fields({"when": "tomorrow"}, {"when": "The 4th"}, alternatives={"when": ["the 4th", "4 May"]})["f1"] == 1


def test_items_of_a_list_count_one_by_one_in_any_order_and_each_once():
    found = fields({"names": ["Ann", "Ben", "Ben"]}, {"names": ["ben", "ann", "ann"]})
    assert (found["precision"], found["recall"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_objects_inside_are_taken_apart_and_those_in_lists_count_as_a_whole():
    expected = {"at": {"city": "Bern", "zip": "3000"}, "lines": [{"sku": "A", "n": 1}, {"sku": "B", "n": 2}]}
    answered = {"at": {"city": "Bern", "zip": None}, "lines": [{"sku": "B", "n": 2}, {"sku": "A", "n": 3}]}
    found = fields(expected, answered)
    # tp: city, one line; fp: the other line; fn: zip, the other line
    assert (found["precision"], found["recall"]) == (pytest.approx(2 / 3), pytest.approx(2 / 4))


def test_strings_that_the_text_does_not_have_are_counted_but_not_those_of_a_list_of_choices():
    shape = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "level": {"enum": ["low", "high"]},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
            "mood": {"anyOf": [{"enum": ["calm"]}, {"type": "null"}]},
            "age": {"type": "integer"},
        },
        "$defs": {"tag": {"enum": ["red"]}},
    }
    answered = {"name": "Eve", "level": "low", "tags": ["red"], "mood": "calm", "age": 99}
    assert fields(answered, answered, "Ann is here.", fields=shape)["unsupported"] == 1
    assert fields(answered, answered, "Eve is here.", fields=shape)["unsupported"] == 0


def test_a_skill_that_fills_its_own_fields_is_scored_on_those_that_the_sample_speaks_of():
    one = sample({"summary": "x"}, skill="summarise")
    found = values(score("field_accuracy", SUMMARISE, [one], [{"summary": "x", "key_points": ["y"]}]))
    assert (found["f1"], found["exact_match"]) == (1, 1)


def test_entities_are_counted_as_often_as_they_stand_by_type_and_value():
    wanted = [{"type": "person", "value": "Ada"}, {"type": "person", "value": "Ada"}, {"type": "city", "value": "Bern"}]
    given = [{"type": "person", "value": "ada,"}, {"type": "city", "value": "Ada"}, {"type": "city", "value": "Rome"}]
    scored = score("entities", EXTRACT, [sample({"entities": wanted}, "Ada and Ada in Bern")], [{"entities": given}])
    found = values(scored)
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert found["unsupported"] == pytest.approx(1 / 3)
    assert scored.details["f1_by_type"] == {"city": 0.0, "person": 0.6667}


def test_what_a_redaction_hides_is_counted_in_characters_whatever_type_and_however_divided():
    text = "Ada Lovelace, 12 Main Street, wrote to Ada."
    wanted = [{"type": "person", "value": "Ada Lovelace"}, {"type": "address", "value": "12 Main Street"}]
    given = [
        {"type": "city", "value": "Ada"},
        {"type": "age", "value": "12"},
        {"type": "address", "value": "Main Street"},
    ]
    found = values(score("entities", EXTRACT, [sample({"entities": wanted}, text)], [{"entities": given}]))
    assert found["covered"] == pytest.approx((3 + 2 + 11) / (12 + 14))
    assert found["covered_rightly"] == pytest.approx((3 + 2 + 11) / (3 + 2 + 11 + 3)), "the second Ada goes as well"
    nothing = values(score("entities", EXTRACT, [sample({"entities": wanted}, text)], [None]))
    assert nothing["covered"] == 0


@pytest.mark.parametrize(
    ("value", "stands_there"),
    [("\\", True), ("2.5 %", True), ("C++", True), ("main", True), ("ain", False), ("0", False)],
)
def test_a_value_stands_in_a_text_as_whole_words_and_a_sign_may_touch_one(value: str, stands_there: bool):
    found = values(
        score(
            "entities",
            EXTRACT,
            [sample({"entities": []}, "C++ at main street 20\\|10 for 2.5 %")],
            [{"entities": [{"type": "x", "value": value}]}],
        )
    )
    assert found["unsupported"] == (0 if stands_there else 1)


def test_no_entities_where_there_are_none_is_an_exact_match():
    found = values(score("entities", EXTRACT, [sample({"data": {"entities": []}})], [{"data": {"entities": []}}]))
    assert found["exact_match"] == 1


def summaries(expected: str, answered: str | None, text: str, *others: str) -> dict[str, float]:
    one = sample({"summary": expected}, text, alternatives={"summary": list(others)})
    return values(score("rouge_l", SUMMARISE, [one], [None if answered is None else {"summary": answered}]))


def test_rouge_l_is_the_longest_common_subsequence_of_stems_with_the_best_reference():
    # common: the, cat, sit → P 3/3, R 3/5
    found = summaries("the cat sits there today", "The cats sitting", "x")
    assert found["rouge_l"] == pytest.approx(0.75)
    assert summaries("nothing alike", "the cat", "x", "the cat")["rouge_l"] == 1
    assert summaries("the cat", None, "x")["rouge_l"] == 0
    assert found["words"] == 3


def test_what_a_summary_invents_is_an_average_over_the_summaries_that_there_are():
    samples = [sample({"summary": "x"}, "nothing") for _ in range(3)]
    answers: list[Data] = [{"summary": "in 1999 or 2000"}, {"summary": "of Anna"}, None]
    found = values(score("rouge_l", SUMMARISE, samples, answers))
    assert (found["unsupported_numbers"], found["unsupported_names"]) == (1.0, 0.5)


def test_a_sample_that_its_metric_cannot_score_is_named_before_anything_is_asked():
    with pytest.raises(EvaluationImpossible, match=r"here:s: the metric 'rouge_l' cannot score .* expects label"):
        check_scorable("rouge_l", [sample({"label": "x"})])
    for metric, expected in (("accuracy", {"data": {}}), ("entities", {"label": "x"})):
        with pytest.raises(EvaluationImpossible, match=metric):
            check_scorable(metric, [sample(expected)])  # type: ignore[arg-type]


def test_a_baseline_has_no_validity():
    found = score("accuracy", CLASSIFY, labelled(("a", "bug")), [{"label": "bug"}], by_model=False)
    assert "validity" not in values(found)
