"""The bundled recipes on the real files, where `data_dir` has them; test splits are not read."""

import pytest

from tools_server.bundled import bundled_dir
from tools_server.calls.arguments import ArgumentCheck
from tools_server.data.expected import ExpectedCheck
from tools_server.data.reading import data_folder, load
from tools_server.data.recipe import Recipe, Recipes
from tools_server.data.splits import check_disjoint
from tools_server.data.types import Sample
from tools_server.settings import load_settings
from tools_server.skills.catalog import Catalog

FOLDER = data_folder(load_settings())
RECIPES = Recipes([bundled_dir("datasets")])
CASES = [
    (name, skill, [split for split in RECIPES.get(name).files if "test" not in split])
    for name in RECIPES.names()
    for skill in RECIPES.get(name).skills
]


def read(recipe: Recipe, split: str, skill: str) -> list[Sample]:
    if not recipe.path_of(recipe.files[split], FOLDER).is_file():
        pytest.skip(f"data set {recipe.name} is not in {FOLDER}")
    return load(recipe, split, skill, folder=FOLDER)


@pytest.mark.parametrize(("name", "skill", "splits"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_real_records_become_calls_that_their_skill_takes(name: str, skill: str, splits: list[str], catalog: Catalog):
    recipe, found = RECIPES.get(name), catalog.get(skill)
    check, wanted = ArgumentCheck(), ExpectedCheck(found)
    by_split = {split: read(recipe, split, skill) for split in splits}
    for split, samples in by_split.items():
        assert sum("/template-" not in sample.id for sample in samples) == recipe.files[split].records
        assert len({sample.id for sample in samples}) == len(samples)
        for sample in samples[:: max(1, len(samples) // 100)]:
            check.check(found, sample.arguments)
            assert wanted.check(sample.arguments, sample.expected, sample.place) == sample.expected
    check_disjoint(by_split)


@pytest.mark.parametrize("name", ["presidio_pii", "everyday_pii"])
@pytest.mark.parametrize("split", ["train", "dev"])
def test_the_entities_of_personal_data_stand_in_their_text(name: str, split: str):
    for sample in read(RECIPES.get(name), split, "find_pii"):
        place = 0
        for entity in sample.expected["entities"]:
            place = sample.arguments["text"].index(entity["value"], place) + 1
