"""Mappings: what becomes of a record, and what is drawn by chance keeps its promises."""

import random
import re
from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.data.data_fakes import LABELS, label_rows
from tools_server.data.label_samples import FORMS, NONE_NAMES, label_groups, record_label_groups
from tools_server.data.mappings import EntityMapping, LabelMapping, RecordLabelMapping, SchemaMapping, SummaryMapping
from tools_server.data.record_samples import entity_groups, schema_groups, summary_groups
from tools_server.data.records import Group, Label, Record, Source
from tools_server.errors import DataInvalid

NONES = {form(name) for name in NONE_NAMES for form in FORMS}
MANY = tuple(f"label {i}" for i in range(40))


def source(rows: list[dict[str, Any]], labels: tuple[str | Label, ...] = ()) -> Source:
    records = [Record({"id": f"r{i}", "text": f"text {i}", **row}, f"x.jsonl:{i}") for i, row in enumerate(rows, 1)]
    listed = [Label(each) if isinstance(each, str) else each for each in labels]
    return Source("tiny", records, listed, random.Random(7))


def label_mapping(**values: Any) -> LabelMapping:
    return LabelMapping.model_validate({"kind": "label", "skill": "classify", "splits": ["train"], **values})


def names(arguments: Any) -> list[str]:
    return [each if isinstance(each, str) else each["name"] for each in arguments["labels"]]


def flat(groups: list[Group]) -> Group:
    return [sample for group in groups for sample in group]


def drawn(count: int = 2000, known: tuple[str, ...] = MANY, **values: Any) -> list[Group]:
    sets = {"least": 3, "most": 12, "none": 0.1}
    mapping = label_mapping(**{"labels": sets, "group": 8, "vary": True, **values})
    return label_groups(mapping, source(label_rows(count, labels=known), known))


def test_every_record_of_a_drawn_set_comes_once_and_its_answer_is_in_the_set():
    samples = flat(drawn())
    assert len({sample.id for sample in samples}) == len(samples) == 2000
    for sample in samples:
        assert sample.expected["label"] in names(sample.arguments)


def test_drawn_sets_have_the_size_asked_for_and_no_label_twice():
    sizes: set[int] = set()
    for group in drawn():
        listed = names(group[0].arguments)
        assert len(set(listed)) == len(listed)
        sizes.add(len(listed) - len(NONES & set(listed)))
        assert all(sample.arguments["labels"] == group[0].arguments["labels"] for sample in group)
        assert len(group) <= 8
    assert sizes == set(range(3, 13))


def test_the_right_label_is_left_out_in_the_share_asked_for_and_its_stand_in_is_there_more_often():
    samples = flat(drawn())
    answered = sum(sample.expected["label"] in NONES for sample in samples) / len(samples)
    present = sum(bool(NONES & set(names(sample.arguments))) for sample in samples) / len(samples)
    assert 0.07 < answered < 0.13
    assert 0.4 < present < 0.6


def test_an_answer_is_the_records_own_label_in_some_spelling():
    by_text = {f"message {i}": MANY[i % len(MANY)] for i in range(2000)}
    spellings: set[str] = set()
    for sample in flat(drawn()):
        label = sample.expected["label"]
        if label not in NONES:
            own = by_text[sample.arguments["text"]]
            assert label in {form(own) for form in FORMS}
            spellings.add(label.replace(own.split()[1], ""))
    assert spellings == {"label ", "label_", "LABEL_", "label-", "Label "}


def test_without_variation_names_stay_as_they_are():
    assert {name for group in drawn(vary=False) for name in names(group[0].arguments)} <= {*MANY, *NONE_NAMES}


def test_similar_sets_hold_the_labels_that_share_most_words_with_the_first_records():
    families = tuple(f"{kind[0]}{i} {kind}" for kind in ("card", "order", "refund", "account") for i in range(8))
    sets = {"least": 8, "most": 8}

    def families_in_a_set(**more: float) -> float:
        groups = drawn(640, families, labels={**sets, **more}, vary=False)
        return sum(len({name.split()[1] for name in names(group[0].arguments)}) for group in groups) / len(groups)

    assert families_in_a_set() > 3
    assert families_in_a_set(similar=1.0) == 1
    assert 1.5 < families_in_a_set(similar=0.5) < 3


def test_a_record_that_no_label_fits_is_answered_by_the_added_one():
    rows = label_rows(200, labels=LABELS)
    mapping = label_mapping(labels={"least": 2, "most": 3}, none_label="out of scope")
    samples = flat(label_groups(mapping, source(rows, LABELS)))
    assert len(samples) == 200
    for sample in samples:
        outside = rows[int(sample.arguments["text"].split()[1])]["label"] == "out of scope"
        assert (sample.expected["label"] in NONE_NAMES) == outside
        assert "out of scope" not in names(sample.arguments)


def test_a_split_of_such_records_alone_still_makes_whole_groups():
    mapping = label_mapping(labels={"least": 2, "most": 3, "none": 0.1}, none_label="out of scope")
    groups = label_groups(mapping, source(label_rows(80, labels=LABELS[4:]), LABELS))
    assert [len(group) for group in groups] == [8] * 10


def test_names_that_differ_in_spelling_alone_are_not_respelt():
    labels = ("log in", "log-in", "log_in")
    for group in drawn(300, labels, labels={"least": 3, "most": 3}):
        assert sorted(names(group[0].arguments)) == sorted(labels)


def test_descriptions_come_in_the_share_of_groups_asked_for():
    labels = (Label("a", "The first"), Label("b"), Label("c", "The third"))
    rows = label_rows(400, labels=("a", "b", "c"))
    for share, least, most in ((0.0, 0, 0), (0.5, 15, 35), (1.0, 50, 50)):
        groups = label_groups(label_mapping(descriptions=share), source(rows, labels))
        assert len(groups) == 50
        described = [
            group for group in groups if {"name": "a", "description": "The first"} in group[0].arguments["labels"]
        ]
        assert least <= len(described) <= most
        assert all("b" in group[0].arguments["labels"] for group in groups), "a bare name has none"


def test_all_labels_stand_in_the_order_of_the_file():
    samples = flat(label_groups(label_mapping(), source(label_rows(5), LABELS)))
    assert [sample.arguments["labels"] for sample in samples] == [list(LABELS)] * 5
    assert [sample.expected["label"] for sample in samples] == [*LABELS[:4], LABELS[0]]


def test_a_fixed_set_takes_the_skills_names_and_leaves_out_what_has_none():
    mapping = label_mapping(labels="fixed", names={"card arrival": "card", "lost card": "card"})
    samples = flat(label_groups(mapping, source(label_rows(8))))
    assert [sample.arguments["text"] for sample in samples] == ["message 0", "message 3", "message 4", "message 7"]
    assert all(sample.expected == {"label": "card"} and len(sample.arguments) == 1 for sample in samples)


def test_labels_that_become_one_stand_in_the_set_once():
    mapping = label_mapping(names={"card arrival": "card", "lost card": "card", "exchange rate": "rate"})
    samples = flat(label_groups(mapping, source(label_rows(8), LABELS)))
    assert samples[0].arguments["labels"] == ["card", "rate"]


CHOICES = [{"name": "find bus", "description": "Find a bus"}, {"name": "none", "description": "None of these"}]


def record_mapping(**values: Any) -> RecordLabelMapping:
    return RecordLabelMapping.model_validate(
        {"kind": "record_labels", "skill": "classify", "splits": ["dev"], **values}
    )


def test_records_with_labels_of_their_own_keep_them():
    found = record_label_groups(record_mapping(), source([{"label": "none", "labels": CHOICES}]))
    assert found[0][0].arguments == {"text": "text 1", "labels": CHOICES}
    assert found[0][0].expected == {"label": "none"}


def test_records_with_equal_labels_share_a_group_however_they_lie_in_the_file():
    rows = [{"label": "none", "labels": CHOICES if i % 2 else CHOICES[::-1]} for i in range(32)]
    assert [len(group) for group in record_label_groups(record_mapping(vary=True), source(rows))] == [8] * 4
    assert [len(group) for group in record_label_groups(record_mapping(), source(rows))] == [1] * 32, "file order"


def test_the_sets_own_none_gets_other_names_where_calls_vary():
    rows = [{"label": "none", "labels": CHOICES} for _ in range(400)]
    samples = flat(record_label_groups(record_mapping(vary=True, none_label="none"), source(rows)))
    assert {sample.expected["label"] for sample in samples} > {"none", "OTHER", "Something Else"}
    assert {sample.expected["label"] for sample in samples} <= NONES


def test_a_label_that_is_not_among_the_records_own_is_refused():
    with pytest.raises(DataInvalid, match=r"x.jsonl:1: label: 'fly' is not among its `labels`"):
        record_label_groups(record_mapping(), source([{"label": "fly", "labels": CHOICES}]))


SCHEMA = {
    "title": "banks",
    "description": "Bank accounts",
    "type": "object",
    "properties": {
        "kind": {"type": ["string", "null"], "description": "Which account", "enum": ["checking", "savings", None]},
        "amount": {"type": ["integer", "null"]},
        "owner": {"type": "string"},
    },
    "required": ["kind", "amount", "owner"],
    "additionalProperties": False,
}
FIELDS = {"kind": "savings", "amount": None, "owner": "Ann"}


def schema_mapping(**values: Any) -> SchemaMapping:
    return SchemaMapping.model_validate({"kind": "schema", "skill": "extract", "splits": ["dev"], **values})


def test_a_schema_is_given_as_callers_write_it():
    row = {"schema": SCHEMA, "fields": FIELDS, "alternatives": {"kind": ["saving"], "gone": ["x"]}}
    sample = schema_groups(schema_mapping(), source([row]))[0][0]
    assert sample.arguments["fields"] == {
        "type": "object",
        "title": "banks",
        "description": "Bank accounts",
        "properties": {
            "kind": {"type": "string", "description": "Which account", "enum": ["checking", "savings"]},
            "amount": {"type": "integer"},
            "owner": {"type": "string"},
        },
        "required": ["owner"],
    }
    assert sample.expected == {"data": FIELDS}
    assert sample.alternatives == {"kind": ["saving"]}


def test_a_subset_wants_only_what_it_asks_for_and_in_its_order():
    rows = [{"schema": SCHEMA, "fields": FIELDS, "alternatives": {"kind": ["saving"]}}] * 400
    asked: set[tuple[str, ...]] = set()
    for group in schema_groups(schema_mapping(subset=0.5, vary=True, descriptions=0.5), source(rows)):
        for sample in group:
            properties = sample.arguments["fields"]["properties"]
            asked.add(tuple(properties))
            assert list(sample.expected["data"]) == list(properties)
            assert set(sample.alternatives) == {"kind"} & set(properties)
    assert {len(names) for names in asked} == {1, 2, 3}
    assert len(asked) > 8, "orders differ"


def test_fields_that_do_not_fit_their_schema_are_refused():
    with pytest.raises(DataInvalid, match=r"x.jsonl:1: fields: 'owner' of the schema is missing"):
        schema_groups(schema_mapping(), source([{"schema": SCHEMA, "fields": {"kind": None, "amount": 1}}]))


def test_entities_come_in_the_order_of_the_text_and_only_of_named_types():
    row = {
        "entities": [
            {"type": "city", "value": "Oslo", "start": 20},
            {"type": "person", "value": "Ann", "start": 3},
            {"type": "band", "value": "ABBA", "start": 1},
        ]
    }
    mapping = EntityMapping(
        kind="entities", skill="find_pii", splits=("dev",), types={"person": "person", "city": "location"}
    )
    sample = entity_groups(mapping, source([row]))[0][0]
    assert sample.arguments == {"text": "text 1"}
    assert sample.expected == {"entities": [{"type": "person", "value": "Ann"}, {"type": "location", "value": "Oslo"}]}


def joining(**values: Any) -> EntityMapping:
    types = {"road": "street address", "city": "location", "person": "person"}
    join = {"street address": ["location"]}
    return EntityMapping.model_validate(
        {"kind": "entities", "skill": "find_pii", "splits": ["dev"], "types": types, "join": join} | values
    )


def test_pieces_that_a_recipe_joins_are_one_entity():
    text = "Ann, 450 Mill Lane 15, Oslo"
    values = (("person", "Ann"), ("city", "Oslo"), ("road", "Mill Lane 15"), ("road", "450"))
    row = {"text": text, "entities": [{"type": kind, "value": it, "start": text.index(it)} for kind, it in values]}
    sample = entity_groups(joining(), source([row]))[0][0]
    assert sample.expected["entities"] == [
        {"type": "person", "value": "Ann"},
        {"type": "street address", "value": "450 Mill Lane 15, Oslo"},
    ]


def test_sentences_of_templates_are_joined_as_well():
    templates = {"texts": ["{person} of {street address}, {location}"], "each": 1}
    rows = [
        {"entities": [{"type": "person", "value": "Ann", "start": 0}, {"type": "city", "value": "Bonn", "start": 5}]},
        {"entities": [{"type": "road", "value": "4 Mill Lane", "start": 0}]},
    ]
    sample = flat(entity_groups(joining(templates=templates), source(rows)))[-1]
    assert [each["value"] for each in sample.expected["entities"]] == ["Ann", "4 Mill Lane, Bonn"]


def test_pieces_without_a_place_cannot_be_joined():
    row = {"entities": [{"type": "road", "value": "4 Mill Lane"}]}
    with pytest.raises(DataInvalid, match=r"x.jsonl:1: entities: '4 Mill Lane' has no `start`, which `join` needs"):
        entity_groups(joining(), source([row]))


def test_a_type_to_join_that_the_recipe_does_not_have_is_refused():
    with pytest.raises(ValueError, match="join: 'postal code' is none of `types`: location, person, street address"):
        joining(join={"street address": ["postal code"]})


def test_entities_that_are_no_objects_are_refused():
    mapping = EntityMapping(kind="entities", skill="find_pii", splits=("dev",), types={"person": "person"})
    with pytest.raises(DataInvalid, match=r"x.jsonl:1: entities\[0\]: is no object"):
        entity_groups(mapping, source([{"entities": ["Ann"]}]))


def filled(rows: list[dict[str, Any]], **templates: Any) -> Group:
    types = {"person": "person", "city": "location", "licence": "licence"}
    values = {"kind": "entities", "skill": "find_pii", "splits": ["train"], "types": types, "templates": templates}
    return flat(entity_groups(EntityMapping.model_validate(values), source(rows)))[len(rows) :]


PEOPLE = [
    {"entities": [{"type": "person", "value": name}, {"type": "city", "value": "Oslo"}]} for name in ("Ann Lee", "Bo")
]


def test_templates_are_filled_with_values_of_the_records():
    samples = filled(PEOPLE, texts=["From {person} to {person}, {location}"], each=20)
    assert len({sample.id for sample in samples}) == 20
    texts = {sample.arguments["text"] for sample in samples}
    assert texts == {f"From {one} to {two}, Oslo" for one in ("Ann Lee", "Bo") for two in ("Ann Lee", "Bo")}
    for sample in samples:
        entities = sample.expected["entities"]
        assert [each["type"] for each in entities] == ["person", "person", "location"]
        assert sample.arguments["text"] == "From {} to {}, {}".format(*(each["value"] for each in entities))


def test_a_slot_takes_the_values_that_are_like_it_and_those_listed_for_it():
    slots = {
        "first name": {"type": "person", "like": r"\S+"},
        "licence": {"type": "licence", "values": ["?-##"]},
    }
    samples = filled(PEOPLE, texts=["{first name}: {licence}"], slots=slots, each=20)
    licences = {sample.arguments["text"].removeprefix("Bo: ") for sample in samples}
    assert len(licences) > 5
    assert all(re.fullmatch(r"[A-Z]-\d\d", each) for each in licences)
    assert samples[0].expected["entities"][1]["type"] == "licence"


def test_a_text_without_a_slot_comes_once_and_has_no_entities():
    (sample,) = filled(PEOPLE, texts=["Nobody is here."], each=9)
    assert sample.expected == {"entities": []}


def test_a_share_of_filled_templates_is_in_small_letters_with_its_values():
    (sample,) = filled(PEOPLE[:1], texts=["By {person}"], each=1, lower=1.0)
    assert sample.arguments["text"] == "by ann lee"
    assert sample.expected["entities"] == [{"type": "person", "value": "ann lee"}]


def test_a_slot_that_nothing_can_fill_is_refused():
    with pytest.raises(ValidationError, match=r"text 1 has the slot \{town\}, which nothing fills"):
        filled(PEOPLE, texts=["In {town}"])
    with pytest.raises(ValidationError, match=r"templates.slots.town.type is none of `types`"):
        filled(PEOPLE, texts=["In {town}"], slots={"town": {"type": "town"}})
    with pytest.raises(ValidationError, match="valid regular expression"):
        filled(PEOPLE, texts=["In {town}"], slots={"town": {"type": "location", "like": "("}})
    with pytest.raises(DataInvalid, match=r"tiny: templates.texts: text 2: no record has a value for \{licence\}"):
        filled(PEOPLE, texts=["{person}", "{licence}"])


def test_a_summary_has_its_focus_its_length_and_the_other_good_ones():
    row = {"query": "Who wrote?", "summary": "Ann wrote a letter.", "references": ["Ann wrote a letter.", "Ann did."]}
    values = {"kind": "summary", "skill": "summarise", "splits": ["dev"], "focus": "query"}
    sample = summary_groups(SummaryMapping.model_validate(values), source([row]))[0][0]
    assert sample.arguments == {"text": "text 1", "max_words": 10, "focus": "Who wrote?"}
    assert sample.expected == {"summary": "Ann wrote a letter."}
    assert sample.alternatives == {"summary": ["Ann did."]}
    fixed = summary_groups(SummaryMapping.model_validate({**values, "max_words": 80}), source([row]))[0][0]
    assert fixed.arguments["max_words"] == 80


def test_a_summary_longer_than_any_round_number_asks_for_the_largest():
    values = {"kind": "summary", "skill": "summarise", "splits": ["dev"]}
    groups = summary_groups(SummaryMapping.model_validate(values), source([{"summary": "word " * 900}]))
    assert groups[0][0].arguments["max_words"] == 400
