"""Baselines: each does what it says, and answers in the shape of the skill."""

from typing import Any

import pytest

from tests.unit.evals.evals_fakes import LABELS, bundled, labelled, sample, schema
from tools_server.data.types import Sample
from tools_server.errors import EvaluationUnavailable
from tools_server.evals.baselines import baselines_for, labels, summaries
from tools_server.evals.baselines.summaries import sentences
from tools_server.evals.extras import library
from tools_server.evals.scoring import score

CLASSIFY, EXTRACT, SUMMARISE = (bundled(name) for name in ("classify", "extract", "summarise"))
TRAIN = labelled(
    *((f"the app crashes when I open page {number}", "bug") for number in range(6)),
    *((f"please refund invoice {number}", "billing") for number in range(4)),
    *((f"I love it, {number} stars", "praise") for number in range(4)),
)
HELD_OUT = labelled(("the page crashes", "bug"), ("refund me please", "billing"), ("love the stars", "praise"))


def test_the_first_label_and_the_commonest_one_do_not_read_the_text():
    assert [answer["label"] for answer in labels.first_label(CLASSIFY, HELD_OUT)] == ["billing"] * 3
    assert [answer["label"] for answer in labels.majority(CLASSIFY, TRAIN, HELD_OUT)] == ["bug"] * 3


def test_of_labels_that_differ_by_call_the_commonest_one_of_each_call_counts():
    one = labelled(("x", "praise"), labels=["other", "praise", "billing"])
    assert labels.majority(CLASSIFY, TRAIN, one)[0]["label"] == "praise"
    assert labels.majority(CLASSIFY, TRAIN, labelled(("x", "y"), labels=["x", "y"]))[0]["label"] == "x"


def test_common_words_look_at_names_and_descriptions_and_take_the_first_of_equals():
    described = [{"name": "bug", "description": "something crashes"}, {"name": "invoices_due"}, {"name": "praise"}]
    samples = [
        sample({"label": "bug"}, text, labels=described) for text in ("It CRASHED.", "the invoice is due", "hello")
    ]
    assert [answer["label"] for answer in labels.common_words(CLASSIFY, samples)] == ["bug", "invoices_due", "bug"]


def test_several_labels_are_answered_as_sets():
    both = {"labels": LABELS, "multi_label": True}
    train = [sample({"labels": wanted}, text, **both) for text, wanted in [("a", ["bug"]), ("b", ["bug"]), ("c", [])]]
    one = [sample({"labels": ["bug"]}, "billing and bugs", **both)]
    assert labels.majority(CLASSIFY, train, one) == [{"labels": ["bug"]}]
    assert labels.first_label(CLASSIFY, one) == [{"labels": []}]
    assert labels.common_words(CLASSIFY, one) == [{"labels": ["billing", "bug"]}]


def test_tf_idf_learns_labels_from_their_texts():
    found = baselines_for("accuracy", CLASSIFY, TRAIN, HELD_OUT)
    assert list(found) == ["first label", "common words", "majority", "tf-idf"]
    assert [answer and answer["label"] for answer in found["tf-idf"]()] == ["bug", "billing", "praise"]


def test_tf_idf_learns_several_labels_at_once():
    both = {"labels": LABELS, "multi_label": True}
    train = [
        sample({"labels": [word for word in LABELS if word in text]}, text, **both)
        for text in ["bug", "billing", "billing bug", "praise", "praise bug", "hello", "praise billing"] * 3
    ]
    held_out = [sample({"labels": ["billing", "bug"]}, "bug billing", **both)]
    assert baselines_for("accuracy", CLASSIFY, train, held_out)["tf-idf"]() == [{"labels": ["billing", "bug"]}]


@pytest.mark.parametrize(
    ("train", "samples"),
    [
        ([], HELD_OUT),
        (TRAIN, [*HELD_OUT, *labelled(("x", "y"), labels=["y", "z"])]),
        (labelled(("x", "y"), ("z", "w"), labels=["y", "w"]), HELD_OUT),
    ],
    ids=["nothing to learn from", "labels differ by call", "other labels"],
)
def test_what_no_classifier_can_learn_has_none(train: list[Sample], samples: list[Sample]):
    assert "tf-idf" not in baselines_for("accuracy", CLASSIFY, train, samples)


def people(text: str, name: str | None, city: str | None) -> Sample:
    fields = schema(name={"type": "string"}, city={"type": "string"})
    return sample({"data": {"name": name, "city": city}}, text, skill="extract", fields=fields)


CITIES = ["Bern", "Rome", "Oslo", "Paris", "Lima", "New York"]
NAMES = ["Ann", "Ben", "Eve", "Tom", "Ida", "Max"]
PEOPLE = [people(f"My name is {name} and I live in {city}.", name, city) for name in NAMES for city in CITIES]


def test_a_tagger_learns_where_fields_stand_and_leaves_the_others_null():
    held_out = [
        people("My name is Zoe and I live in New York.", "Zoe", "New York"),
        people("Nobody here.", None, None),
    ]
    answers = baselines_for("field_accuracy", EXTRACT, PEOPLE, held_out)["tagger"]()
    assert answers == [{"data": {"name": "Zoe", "city": "New York"}}, {"data": {"name": None, "city": None}}]


def test_a_tagger_is_no_match_for_fields_that_it_never_saw():
    other = sample({"data": {"amount": "3"}}, "3 EUR", skill="extract", fields=schema(amount={"type": "string"}))
    assert baselines_for("field_accuracy", EXTRACT, PEOPLE, [other]) == {}
    assert baselines_for("field_accuracy", EXTRACT, [], PEOPLE) == {}


def test_a_tagger_finds_entities_as_often_as_they_stand():
    def with_entities(text: str, *pairs: tuple[str, str]) -> Sample:
        return sample({"entities": [{"type": kind, "value": value} for kind, value in pairs]}, text)

    train = [
        with_entities(f"My name is {name} and I live in {city}.", ("person", name), ("city", city))
        for name in NAMES
        for city in CITIES
    ]
    held_out = [with_entities("My name is Zoe and I live in Rome.", ("person", "Zoe"), ("city", "Rome"))]
    answers = baselines_for("entities", EXTRACT, train, held_out)["tagger"]()
    assert score("entities", EXTRACT, held_out, answers).measures[0].value == 1


@pytest.mark.parametrize("metric", ["field_accuracy", "entities"])
def test_a_tagger_that_has_seen_no_value_in_a_text_answers_nothing(metric: Any):
    expected = {"entities": [{"type": "x", "value": "elsewhere"}]} if metric == "entities" else {"a": "elsewhere"}
    one = [sample(expected, "here")]
    answers = baselines_for(metric, EXTRACT, one, [sample(expected, ""), *one])["tagger"]()
    assert answers == [{"entities": []} if metric == "entities" else {"a": None}] * 2


def test_the_first_sentences_stand_for_a_summary():
    text = 'It rained in St. Ives. "We left." Then it stopped!\nA new line\n\n3 people stayed? yes.'
    assert sentences(text) == [
        "It rained in St.",
        "Ives.",
        '"We left."',
        "Then it stopped!",
        "A new line",
        "3 people stayed? yes.",
    ]
    one = [sample({"summary": "x"}, "One. Two. Three. Four.")]
    assert summaries.lead(1, one) == [{"summary": "One."}]
    found = baselines_for("rouge_l", SUMMARISE, [], one)
    assert [answer() for answer in found.values()] == [[{"summary": "One."}], [{"summary": "One. Two. Three."}]]


def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it():
    with pytest.raises(EvaluationUnavailable, match=r"needs the package no_such_package.*tools-server\[evals\]"):
        library("no_such_package.part")
