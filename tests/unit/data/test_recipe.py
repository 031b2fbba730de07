"""Recipes: what they must say, whose wins, and that those which ship say it rightly."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.data_fakes import DataSet, label_rows
from tools_server.bundled import bundled_dir
from tools_server.data.recipe import Recipes, read_recipe
from tools_server.errors import DataInvalid, DataNotFound
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog

RECIPE = """
name = "mine"
title = "Mine"
language = "en"
licence = "CC0-1.0"
attribution = "Me."
homepage = "https://data.example/mine"

[files.train]
path = "mine/train.jsonl"
sha256 = "{sha}"
records = 1

[[samples]]
kind = "label"
skill = "classify"
splits = ["train"]
labels = "fixed"
""".format(sha="0" * 64)


def write(folder: Path, text: str, name: str = "mine") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("name", Recipes([bundled_dir("datasets")]).names())
def test_a_bundled_recipe_says_whose_the_data_is_and_serves_skills_that_ship(name: str, catalog: Catalog):
    recipe = Recipes([bundled_dir("datasets")]).get(name)
    assert recipe.licence
    assert len(recipe.attribution) > 20
    assert recipe.changes
    assert set(recipe.skills) <= set(catalog.snapshot.skills)
    assert {"dev", "test"} <= set(recipe.files) or set(recipe.files) == {"train"}


def test_the_promised_recipes_ship():
    assert set(Recipes([bundled_dir("datasets")]).names()) >= {
        *("banking77", "clinc150", "bitext_support", "snips_intents", "snips_extraction", "sgd_intents"),
        *("snips_commands", "everyday_pii"),
        *("sgd_extraction", "commit_types", "presidio_pii", "wnut17", "scitldr", "qmsum", "gum_summaries"),
    }


def test_a_recipe_of_the_users_own_wins_over_a_bundled_one(tmp_path: Path):
    write(tmp_path / "datasets", RECIPE.replace('"mine"', '"banking77"'), "banking77")
    recipes = Recipes.from_settings(Settings(config_dir=tmp_path))
    assert recipes.get("banking77").title == "Mine"
    assert recipes.get("clinc150").title != "Mine"


def test_an_unknown_name_is_answered_with_near_ones():
    with pytest.raises(DataNotFound) as error:
        Recipes([bundled_dir("datasets")]).get("banking")
    assert error.value.message == "There is no data set 'banking'."
    assert "banking77" in error.value.hint


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('title = "Mine"', "title = ", "cannot be read"),
        ('title = "Mine"', 'titel = "Mine"', "title: Field required"),
        ('title = "Mine"', 'title = "Mine"\nextra = 1', "extra: Extra inputs"),
        ("mine/train.jsonl", "../train.jsonl", "files.train.path: String should match"),
        ("mine/train.jsonl", "/etc/passwd", "files.train.path: String should match"),
        ("0" * 64, "0" * 63, "files.train.sha256: String should match"),
        ('"label"', '"lable"', "samples.0: Input tag 'lable'"),
        ('splits = ["train"]', 'splits = ["trian"]', "samples[0].splits names 'trian'; there are: train"),
        ('labels = "fixed"', 'labels = "all"', "samples[0].labels needs the [labels] file"),
        ('labels = "fixed"', "labels = { least = 5, most = 3 }", "least (5) is more than most (3)"),
        ('name = "mine"', 'name = "other"', "name: 'other' is not the file's name"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_named_by_file_and_key(tmp_path: Path, before: str, after: str, said: str):
    path = write(tmp_path, RECIPE.replace(before, after))
    with pytest.raises(DataInvalid) as error:
        read_recipe(path)
    assert error.value.message.startswith(f"{path}: ")
    assert said in error.value.message


def test_two_mappings_for_one_skill_on_one_split_are_refused(data: DataSet):
    mapping: dict[str, Any] = {"kind": "label", "skill": "classify", "splits": ["train"], "labels": "fixed"}
    data.split("train", label_rows(2))
    with pytest.raises(ValueError, match="second one for skill 'classify' on 'train'"):
        data.recipe(mapping, mapping)


def test_what_a_recipe_does_not_make_is_told_with_what_it_makes(data: DataSet):
    recipe = data.split("train", label_rows(2)).recipe(
        {"kind": "label", "skill": "classify", "splits": ["train"], "labels": "fixed"}
    )
    with pytest.raises(DataNotFound, match=r"has no split 'dev'. It has: train"):
        recipe.mapping("dev", "classify")
    with pytest.raises(DataNotFound, match=r"skill 'extract'.*It makes: classify on train"):
        recipe.mapping("train", "extract")
