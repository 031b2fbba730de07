"""Reading: only pinned bytes count, the same samples come each time, groups stay together."""

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.data_fakes import LABELS, DataSet, label_rows
from tools_server.calls.arguments import ArgumentCheck
from tools_server.data.expected import ExpectedCheck
from tools_server.data.reading import data_folder, is_here, load, load_all
from tools_server.data.recipe import Recipe
from tools_server.data.types import Sample
from tools_server.errors import DataInvalid, DataNotFound
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog

FIXED: dict[str, Any] = {"kind": "label", "skill": "classify", "splits": ["train"], "labels": "fixed"}
DRAWN: dict[str, Any] = {
    **FIXED,
    "labels": {"least": 2, "most": 3, "none": 0.2},
    "vary": True,
    "none_label": "out of scope",
}


def own(sample: Sample) -> str:
    return repr({name: value for name, value in sample.arguments.items() if name != "text"})


def labelled(data: DataSet, *mappings: dict[str, Any], count: int = 40) -> Recipe:
    return data.split("train", label_rows(count)).labels(*LABELS).recipe(*mappings)


def test_the_folder_is_the_setting_or_lies_in_the_cache(tmp_path: Path):
    assert data_folder(Settings(cache_dir=tmp_path)) == tmp_path / "datasets"
    assert data_folder(Settings(cache_dir=tmp_path, data_dir=tmp_path / "mine")) == tmp_path / "mine"


def test_a_file_with_other_bytes_is_refused_with_both_hashes(data: DataSet):
    recipe = labelled(data, FIXED)
    path = data.folder / "tiny/train.jsonl"
    path.write_text(path.read_text("utf-8") + "\n", "utf-8")
    with pytest.raises(DataInvalid) as error:
        load(recipe, "train", "classify", folder=data.folder)
    assert str(path) in error.value.message
    assert recipe.files["train"].sha256 in error.value.message
    assert error.value.message.count("SHA-256") == 1


def test_a_missing_file_is_told_with_where_it_can_be_had_and_where_it_belongs(data: DataSet):
    recipe = labelled(data, FIXED)
    assert is_here(recipe, data.folder)
    (data.folder / "tiny/train.jsonl").unlink()
    assert not is_here(recipe, data.folder)
    with pytest.raises(DataNotFound) as error:
        load(recipe, "train", "classify", folder=data.folder)
    assert str(data.folder / "tiny/train.jsonl") in error.value.message
    assert "https://data.example/tiny" in error.value.hint
    assert "CC0-1.0; Nobody in particular" in error.value.hint


def test_a_file_beside_the_recipe_is_read_unless_the_data_folder_has_one(data: DataSet, tmp_path: Path):
    recipe = labelled(data, FIXED).found_in(data.folder)
    elsewhere = tmp_path / "elsewhere"
    assert is_here(recipe, elsewhere)
    assert len(load(recipe, "train", "classify", folder=elsewhere)) == 40

    (elsewhere / "tiny").mkdir(parents=True)
    (elsewhere / "tiny/train.jsonl").write_text("{}", "utf-8")
    with pytest.raises(DataInvalid, match="has SHA-256"):
        load(recipe, "train", "classify", folder=elsewhere)


def test_a_file_that_is_nowhere_belongs_into_the_data_folder(data: DataSet, tmp_path: Path):
    recipe = labelled(data, FIXED).found_in(tmp_path / "recipes")
    with pytest.raises(DataNotFound) as error:
        load(recipe, "train", "classify", folder=tmp_path / "elsewhere")
    assert str(tmp_path / "elsewhere/tiny/train.jsonl") in error.value.message


def test_a_set_that_is_published_nowhere_says_that_it_belongs_beside_its_recipe(data: DataSet, tmp_path: Path):
    recipe = data.split("train", label_rows(1)).recipe(FIXED, homepage=None)
    with pytest.raises(DataNotFound) as error:
        load(recipe, "train", "classify", folder=tmp_path / "elsewhere")
    assert "It belongs beside the recipe (CC0-1.0; Nobody in particular)." in error.value.hint


def test_a_missing_file_with_an_address_is_to_be_pulled(data: DataSet):
    recipe = data.split("train", label_rows(1), url="https://data.example/train.jsonl").recipe(FIXED)
    (data.folder / "tiny/train.jsonl").unlink()
    with pytest.raises(DataNotFound, match="tools-server data pull tiny"):
        load(recipe, "train", "classify", folder=data.folder)


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        (["{"], {}, ":1: is not JSON"),
        (["[1]"], {}, ":1: is no JSON object"),
        ([{"id": "a", "label": "x"}], {}, ":1: text: must be str, is NoneType"),
        ([{"id": "a", "text": "x", "label": 3}], {}, ":1: label: must be str, is int"),
        (label_rows(2), {"records": 3}, "holds 2 records; the recipe 'tiny' says 3"),
    ],
)
def test_a_file_that_does_not_fit_is_named_by_line(data: DataSet, rows: Any, changes: dict[str, Any], said: str):
    recipe = data.split("train", rows, **changes).recipe(FIXED)
    with pytest.raises(DataInvalid) as error:
        load(recipe, "train", "classify", folder=data.folder)
    assert said in error.value.message


def test_a_label_that_the_file_of_labels_lacks_is_refused(data: DataSet):
    recipe = data.split("train", label_rows(4)).labels("card arrival", "lost card").recipe({**FIXED, "labels": "all"})
    with pytest.raises(DataInvalid, match=r":2: label: 'top up failed' is not in the file of labels"):
        load(recipe, "train", "classify", folder=data.folder)


def test_a_file_of_labels_that_is_none_is_refused(data: DataSet):
    recipe = data.split("train", label_rows(1)).labels({"nom": "x"}).recipe({**FIXED, "labels": "all"})
    with pytest.raises(DataInvalid, match=r"labels.json: is no list of labels: KeyError: 'name'"):
        load(recipe, "train", "classify", folder=data.folder)


def test_samples_know_their_place_and_have_an_id_of_their_own(data: DataSet):
    first = load(labelled(data, FIXED), "train", "classify", folder=data.folder)[0]
    assert first == Sample(
        "tiny/r0", "classify", {"text": "message 0"}, {"label": "card arrival"}, f"{data.folder}/tiny/train.jsonl:1"
    )


def test_the_same_samples_come_each_time_and_others_from_another_seed(data: DataSet):
    recipe = labelled(data, DRAWN)
    again = load(recipe, "train", "classify", folder=data.folder)
    assert load(recipe, "train", "classify", folder=data.folder) == again
    other = labelled(data, {**DRAWN, "seed": 1})
    assert load(other, "train", "classify", folder=data.folder) != again


def test_a_limit_keeps_records_from_all_over_the_file(data: DataSet):
    samples = load(labelled(data, {**FIXED, "limit": 10}), "train", "classify", folder=data.folder)
    numbers = [int(sample.arguments["text"].split()[1]) for sample in samples]
    assert len(numbers) == 10
    assert numbers == sorted(numbers)
    assert numbers[-1] >= 10, "not only the first ones"


def test_training_never_gets_a_test_split(data: DataSet):
    recipe = data.split("test_other", label_rows(2)).recipe({**FIXED, "splits": ["test_other"]})
    with pytest.raises(DataInvalid, match="'test_other' of data set 'tiny' is kept for the final score"):
        load_all([(recipe, "test_other")], "classify", folder=data.folder)


def test_several_sets_are_mixed_by_group(tmp_path: Path):
    one, two = DataSet(tmp_path, "one"), DataSet(tmp_path, "two")
    parts = [(labelled(each, {**DRAWN, "group": 4}), "train") for each in (one, two)]
    mixed = load_all(parts, "classify", folder=tmp_path, seed=3)
    assert mixed == load_all(parts, "classify", folder=tmp_path, seed=3)
    assert mixed != load_all(parts, "classify", folder=tmp_path, seed=4)
    apart = [sample for recipe, split in parts for sample in load(recipe, split, "classify", folder=tmp_path)]
    assert sorted(map(repr, mixed)) == sorted(map(repr, apart))
    runs = [len(list(run)) for _, run in groupby(mixed, own)]
    assert sum(length >= 3 for length in runs) >= len(runs) // 2, "groups stay together"
    sets = [key for key, _ in groupby(sample.id.split("/")[0] for sample in mixed)]
    assert len(sets) > 4, "groups of the two take turns"


@pytest.fixture
def every_kind(data: DataSet) -> Recipe:
    """One split that every kind of mapping can read, for the skills that ship."""
    schema = {
        "type": "object",
        "properties": {"who": {"type": ["string", "null"], "description": "Who"}, "n": {"type": ["integer", "null"]}},
        "required": ["who", "n"],
        "additionalProperties": False,
    }
    rows = [
        {
            **row,
            "labels": [{"name": name, "description": "When it fits"} for name in LABELS],
            "schema": schema,
            "fields": {"who": "Ann", "n": None},
            "entities": [{"type": "person", "value": "Ann", "start": 0}],
            "summary": "Ann wrote.",
            "references": ["Ann wrote.", "A letter came."],
        }
        for row in label_rows(30)
    ]
    return (
        data.split("train", rows)
        .split("labels", rows)
        .split("whole", rows)
        .labels(*LABELS)
        .recipe(
            {**DRAWN, "labels": {"least": 2, "most": 4, "none": 0.3}},
            {"kind": "record_labels", "skill": "classify", "splits": ["labels"], "vary": True, "descriptions": 0.5},
            {"kind": "label", "skill": "classify", "splits": ["whole"]},
            {"kind": "schema", "skill": "extract", "splits": ["train"], "vary": True, "subset": 0.5},
            {"kind": "entities", "skill": "find_pii", "splits": ["train"], "types": {"person": "person"}},
            {"kind": "summary", "skill": "summarise", "splits": ["train"], "focus": "id"},
        )
    )


@pytest.mark.parametrize(
    ("skill", "split"),
    [
        ("classify", "train"),
        ("classify", "labels"),
        ("classify", "whole"),
        ("extract", "train"),
        ("find_pii", "train"),
        ("summarise", "train"),
    ],
)
def test_whatever_a_mapping_makes_is_a_call_that_the_skill_takes(
    every_kind: Recipe, data: DataSet, catalog: Catalog, skill: str, split: str
):
    found = catalog.get(skill)
    check, wanted = ArgumentCheck(), ExpectedCheck(found)
    samples = load(every_kind, split, skill, folder=data.folder)
    assert len(samples) == 30
    assert len({sample.id for sample in samples}) == 30
    for sample in samples:
        check.check(found, sample.arguments)
        assert wanted.check(sample.arguments, sample.expected, sample.place) == sample.expected
