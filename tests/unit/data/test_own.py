"""A user's own file: read in either form, held against the skill, and what is wrong is named by line and key."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.data_fakes import lines
from tools_server.data.own import read_samples
from tools_server.data.rows import MAX_LINE_BYTES
from tools_server.errors import SamplesInvalid
from tools_server.skills.catalog import Catalog

LABELS = ["billing", "bug"]
GOOD = {"text": "Hello", "labels": LABELS, "expected": {"label": "bug"}}
FIELDS = {
    "type": "object",
    "properties": {
        "who": {"type": "string"},
        "total": {"type": "number"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    },
}
EXTRACT = {"text": "Hello", "fields": FIELDS}


def write(path: Path, *rows: Any) -> Path:
    path.write_text(lines(*rows), "utf-8")
    return path


def refused(path: Path, catalog: Catalog, skill: str, **options: Any) -> SamplesInvalid:
    with pytest.raises(SamplesInvalid) as error:
        read_samples(path, catalog.get(skill), **options)
    return error.value


@pytest.mark.parametrize(
    "row",
    [
        GOOD,
        {"input": {"text": "Hello", "labels": LABELS}, "expected": {"label": "bug"}},
        {"skill": "classify", "arguments": {"text": "Hello", "labels": LABELS}, "expected": {"label": "bug"}},
    ],
)
def test_a_row_may_have_its_arguments_beside_the_text_or_apart(tmp_path: Path, catalog: Catalog, row: dict[str, Any]):
    path = write(tmp_path / "mine.jsonl", "", row)
    (sample,) = read_samples(path, catalog.get("classify"))
    assert sample.id == "mine.jsonl:2"
    assert sample.place == f"{path}:2"
    assert sample.arguments == {"text": "Hello", "labels": LABELS}
    assert sample.expected == {"label": "bug"}


def test_common_arguments_are_those_of_every_row_that_has_none_of_its_own(tmp_path: Path, catalog: Catalog):
    bare = {"text": "Hello", "expected": {"label": "bug"}}
    path = write(tmp_path / "mine.jsonl", bare, {**bare, "labels": ["bug", "praise"]})
    samples = read_samples(path, catalog.get("classify"), arguments={"labels": LABELS})
    assert [sample.arguments["labels"] for sample in samples] == [LABELS, ["bug", "praise"]]


@pytest.mark.parametrize(
    ("skill", "row", "said"),
    [
        ("classify", "{", "is not JSON: "),
        ("classify", "[" * 200_000, "is not JSON: "),
        ("classify", "[1]", "row: Input should be a valid dictionary"),
        ("classify", {"text": "Hello"}, "expected: Field required"),
        ("classify", GOOD | {"text": 1}, "text: Input should be a valid string"),
        ("classify", GOOD | {"expected": {}}, "expected: Dictionary should have at least 1 item"),
        ("classify", GOOD | {"label": "bug"}, "arguments: Invalid arguments for `classify`: $ breaks `additional"),
        ("classify", GOOD | {"labels": "bug"}, "arguments: Invalid arguments for `classify`: $.labels breaks `type`"),
        ("classify", GOOD | {"text": " "}, "arguments: $.text holds nothing but white space"),
        ("classify", GOOD | {"labels": ["a", "a"]}, "arguments: `labels[1]` is 'a', and so is `labels[0]`"),
        ("classify", GOOD | {"expected": {"label": "bugs"}}, 'expected.label: "bugs" is not in the label set'),
        ("classify", GOOD | {"expected": {"labels": ["bug"]}}, "expected: has `labels`"),
        ("classify", GOOD | {"multi_label": True, "expected": {"labels": "bug"}}, 'expected.labels: is "bug"'),
        ("classify", GOOD | {"multi_label": True, "expected": {"labels": ["no"]}}, 'expected.labels: "no" is not in'),
        (
            "classify",
            {"input": {"items": ["a"], "labels": LABELS}, "expected": {"label": "bug"}},
            "arguments: has `items`",
        ),
        (
            "classify",
            {"skill": "extract", "arguments": {}, "expected": {"a": 1}},
            "skill: is 'extract'; the file is read",
        ),
        ("extract", EXTRACT | {"expected": {"who": "Ann"}}, "expected: has `who`"),
        ("extract", EXTRACT | {"expected": {"data": {"who": 3}}}, "expected.data.who breaks `anyOf`"),
        (
            "extract",
            EXTRACT | {"expected": {"data": {"lines": [{"n": "x"}]}}},
            "expected.data.lines[0].n breaks `anyOf`",
        ),
        ("extract", EXTRACT | {"expected": {"data": {"whom": "Ann"}}}, "expected.data breaks `additionalProperties`"),
        (
            "extract",
            {
                "text": "a",
                "fields": {"type": "object", "properties": {"a": {"type": "strin"}}},
                "expected": {"data": {}},
            },
            "arguments: $.fields is no JSON Schema",
        ),
        ("summarise", {"text": "Hello", "expected": {"sumary": "x"}}, "expected breaks `additionalProperties`"),
        ("summarise", {"text": "Hello", "expected": {"summary": ""}}, "expected.summary breaks `minLength`"),
        (
            "banking_intent",
            {"text": "Hello", "expected": {"label": "no"}},
            'expected.label: "no" is not in the label set',
        ),
    ],
)
def test_a_wrong_row_is_refused_with_file_line_and_key(
    tmp_path: Path, catalog: Catalog, skill: str, row: Any, said: str
):
    path = write(tmp_path / "mine.jsonl", "", row)
    error = refused(path, catalog, skill)
    assert error.message.startswith(f"{path}:2: {said}")
    assert error.hint


def test_what_is_optional_may_be_absent_and_is_wanted_as_null(tmp_path: Path, catalog: Catalog):
    path = write(tmp_path / "mine.jsonl", EXTRACT | {"expected": {"data": {"lines": [{}], "who": "Ann"}}})
    (sample,) = read_samples(path, catalog.get("extract"))
    assert sample.expected == {"data": {"who": "Ann", "total": None, "lines": [{"n": None}]}}


def test_pieces_of_an_address_are_wanted_as_the_skill_answers_them(tmp_path: Path, catalog: Catalog):
    values = [("street address", "4 Mill Lane"), ("location", "Ashford"), ("person", "Ann")]
    expected = {"entities": [{"type": kind, "value": value} for kind, value in values]}
    path = write(
        tmp_path / "own.jsonl",
        {"input": {"text": "Ann, 4 Mill Lane, Ashford"}, "expected": expected},
        {"input": {"text": "Ann, 4 Mill Lane; Ashford"}, "expected": expected},
        {"input": {"text": "4 Mill Lane, Ashford"}, "expected": expected},  # without Ann
    )
    whole, apart, strange = read_samples(path, catalog.get("find_pii"))
    assert whole.expected["entities"] == [
        {"type": "person", "value": "Ann"},
        {"type": "street address", "value": "4 Mill Lane, Ashford"},
    ]
    assert [each["value"] for each in apart.expected["entities"]] == ["Ann", "4 Mill Lane", "Ashford"]
    assert strange.expected == expected


def test_a_part_of_an_answer_may_be_wanted(tmp_path: Path, catalog: Catalog):
    path = write(tmp_path / "mine.jsonl", {"text": "Hello", "max_words": 20, "expected": {"summary": "Hi."}})
    (sample,) = read_samples(path, catalog.get("summarise"))
    assert sample.expected == {"summary": "Hi."}


def test_the_first_twenty_problems_are_listed_and_the_others_counted(tmp_path: Path, catalog: Catalog):
    path = write(tmp_path / "mine.jsonl", *[GOOD if i % 2 else "{" for i in range(60)])
    said = refused(path, catalog, "classify").message
    assert said.startswith(f"{path}: 30 problems:\n  {path}:1: is not JSON")
    assert said.count("is not JSON") == 20
    assert said.endswith("\n  and 10 more")


def test_an_empty_or_missing_file_is_refused(tmp_path: Path, catalog: Catalog):
    assert "holds no samples" in refused(write(tmp_path / "empty.jsonl"), catalog, "classify").message
    assert "holds no samples" in refused(write(tmp_path / "empty.csv"), catalog, "classify").message
    assert "cannot be read" in refused(tmp_path / "none.jsonl", catalog, "classify").message
    assert "cannot be read" in refused(tmp_path, catalog, "classify").message


def test_bytes_that_are_no_utf_8_are_named_by_line(tmp_path: Path, catalog: Catalog):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n\xff\n")
    assert f"{path}:2: is not UTF-8" in refused(path, catalog, "classify").message


def test_a_byte_order_mark_and_line_ends_of_windows_do_no_harm(tmp_path: Path, catalog: Catalog):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n")
    assert len(read_samples(path, catalog.get("classify"))) == 1


def test_a_line_separator_inside_a_text_does_not_end_the_row(tmp_path: Path, catalog: Catalog):
    path = write(tmp_path / "mine.jsonl", GOOD | {"text": "a\u2028b\x85c"}, GOOD)
    samples = read_samples(path, catalog.get("classify"))
    assert [sample.place for sample in samples] == [f"{path}:1", f"{path}:2"]


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.csv"])
def test_a_line_without_end_is_refused_before_it_is_read_whole(tmp_path: Path, catalog: Catalog, name: str):
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(b'"text,label\n'[name.endswith("csv") :] if name.endswith("csv") else b"")
        for _ in range(10):
            file.write(b"x" * 1_000_000)
    skill = catalog.get("classify")
    tracemalloc.start()
    try:
        with pytest.raises(SamplesInvalid, match=rf"is longer than {MAX_LINE_BYTES:,} bytes"):
            read_samples(path, skill)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_LINE_BYTES
    finally:
        tracemalloc.stop()


def csv(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_a_table_of_texts_and_labels_brings_its_own_label_set(tmp_path: Path, catalog: Catalog):
    path = csv(tmp_path / "mine.csv", 'text,label\nHello,bug\n"Two\nlines, one row",billing\nAgain,bug\n')
    samples = read_samples(path, catalog.get("classify"))
    assert [sample.place for sample in samples] == [f"{path}:2", f"{path}:3", f"{path}:5"]
    assert samples[1].arguments == {"text": "Two\nlines, one row", "labels": ["bug", "billing"]}
    assert [sample.expected for sample in samples] == [{"label": "bug"}, {"label": "billing"}, {"label": "bug"}]


def test_a_table_keeps_to_the_labels_that_are_given(tmp_path: Path, catalog: Catalog):
    path = csv(tmp_path / "mine.csv", "text,label\nHello,bug\nAgain,bugs\n")
    said = refused(path, catalog, "classify", arguments={"labels": LABELS}).message
    assert said.startswith(f'{path}:3: expected.label: "bugs" is not in the label set')


def test_cells_are_read_as_the_schema_says_and_empty_ones_are_null(tmp_path: Path, catalog: Catalog):
    path = csv(tmp_path / "mine.csv", 'text,who,total,lines\nHello,12,3.5,"[{""n"": 1}]"\nAgain,,,\n')
    samples = read_samples(path, catalog.get("extract"), arguments={"fields": FIELDS})
    assert samples[0].expected == {"data": {"who": "12", "total": 3.5, "lines": [{"n": 1}]}}
    assert samples[1].expected == {"data": {"who": None, "total": None, "lines": None}}


def test_columns_without_a_schema_become_fields_of_text(tmp_path: Path, catalog: Catalog):
    path = csv(tmp_path / "mine.csv", "text,who,day\nAnn came,Ann,\n")
    (sample,) = read_samples(path, catalog.get("extract"))
    assert list(sample.arguments["fields"]["properties"]) == ["who", "day"]
    assert sample.expected == {"data": {"who": "Ann", "day": None}}


def test_a_column_may_hold_an_argument(tmp_path: Path, catalog: Catalog):
    path = csv(tmp_path / "mine.csv", "text,summary,max_words,focus\nHello,Hi.,20,\n")
    (sample,) = read_samples(path, catalog.get("summarise"))
    assert sample.arguments == {"text": "Hello", "max_words": 20}
    assert sample.expected == {"summary": "Hi."}


@pytest.mark.parametrize(
    ("skill", "text", "said"),
    [
        ("classify", "text;label\na;b\n", ":1: column 'text;label' is neither of the answer nor an argument"),
        ("classify", "text,label,label\na,b,c\n", ":1: column 'label' is there twice"),
        ("classify", "text\na\n", ":1: the header is 'text'"),
        ("classify", "label\na\n", ":1: the header is 'label'"),
        ("classify", 'text,label\n"a\n', ":2: is no CSV"),
        ("classify", "text,label\na,bug\nb\n", ":3: has 1 cells, the header 2"),
        ("classify", "text,label\na,bug\nb,\n", ":3: expected.label: null is not in the label set"),
        ("extract", "text,total\na,much\n", ":2: total: 'much' is no number"),
        ("summarise", "text,summary,max_words\na,b,many\n", ":2: max_words: 'many' is no integer"),
        (
            "summarise",
            "text,summary,max_words\na,b,1\n",
            ":2: arguments: Invalid arguments for `summarise`: $.max_words",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_named_by_line_and_column(
    tmp_path: Path, catalog: Catalog, skill: str, text: str, said: str
):
    path = csv(tmp_path / "mine.csv", text)
    common = {"fields": FIELDS} if skill == "extract" else {"labels": LABELS} if skill == "classify" else {}
    error = refused(path, catalog, skill, arguments=common)
    assert error.message.startswith(f"{path}{said}")
    assert error.hint


def test_the_samples_that_ship_with_the_skills_are_good(catalog: Catalog):
    for skill in catalog.snapshot.skills.values():
        assert read_samples(skill.folder / "evals" / "samples.jsonl", skill)
