"""Calibrations as files: what is read, for which answers it holds, and what it makes of a confidence."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.unit.skills.calibration_fakes import BASE, DIGEST, OTHER, entry
from tests.unit.skills.conftest import MakeFolder
from tools_server.engine.types import Adapter
from tools_server.skills.calibration import FILE, Calibration, CalibrationFile, tempered
from tools_server.skills.catalog import Catalog
from tools_server.skills.interface import Common
from tools_server.skills.loader import load_skill
from tools_server.skills.types import BrokenSkill, Skill


def skill_with(make_folder: MakeFolder, *entries: dict[str, Any]) -> Skill | BrokenSkill:
    return load_skill(make_folder("pets", kind="choose", **{FILE: {"calibrations": list(entries)}}), Common())


def test_a_calibration_holds_for_its_own_model_adapter_and_prompt_alone(make_folder: MakeFolder):
    skill = load_skill(make_folder("pets", kind="choose"), Common())
    assert isinstance(skill, Skill)
    made = entry(prompt_digest=skill.prompt_digest)
    skill = skill_with(make_folder, entry(), made, {**made, "adapter_sha256": OTHER, "temperature": 3.0})
    assert isinstance(skill, Skill)
    assert [each.temperature for each in skill.calibrations] == [2.0, 2.0, 3.0]
    bare = skill.calibration("small", BASE, None)
    assert bare is not None
    assert bare.prompt_digest == skill.prompt_digest
    adapted = skill.calibration("small", BASE, Adapter(OTHER, BASE))
    assert adapted is not None
    assert adapted.temperature == 3.0
    assert skill.calibration("large", BASE, None) is None
    assert skill.calibration("small", OTHER, None) is None
    assert skill.calibration("small", BASE, Adapter(DIGEST, BASE)) is None


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"temperature": 0}, "calibrations.0.temperature"),
        ({"knots": [[0.5, 0.5], [0.4, 0.6]]}, "calibrations.0"),
        ({"knots": [[0.4, 0.6], [0.5, 0.5]]}, "calibrations.0"),
        ({"knots": [[0.4, 1.6]]}, "calibrations.0"),
        ({"unknown": 1}, "calibrations.0.unknown"),
        ({"base_sha256": "short"}, "calibrations.0.base_sha256"),
    ],
)
def test_a_calibration_that_breaks_its_contract_breaks_the_skill_by_name(
    make_folder: MakeFolder, change: dict[str, Any], key: str
):
    broken = skill_with(make_folder, entry(**change))
    assert isinstance(broken, BrokenSkill)
    assert (broken.file, broken.key) == (FILE, key)


def test_what_was_fitted_here_comes_before_what_was_shipped_and_is_taken_up_while_running(
    make_folder: MakeFolder, tmp_path: Path
):
    folder = make_folder("pets", kind="choose", directory=tmp_path / "skills")
    catalog = Catalog([folder.parent], adapters_dir=tmp_path / "adapters")
    digest = catalog.get("pets").prompt_digest
    folder.joinpath(FILE).write_text(json.dumps({"calibrations": [entry(prompt_digest=digest)]}), "utf-8")
    own = tmp_path / "adapters" / "pets" / FILE
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"calibrations": [entry(prompt_digest=digest, temperature=5.0)]}), "utf-8")
    assert catalog.is_stale()
    told: list[object] = []
    catalog.subscribe(told.append)
    catalog.reload()
    assert len(told) == 1
    found = catalog.get("pets").calibration("small", BASE, None)
    assert found is not None
    assert found.temperature == 5.0
    own.write_text("no json", "utf-8")
    assert any("is not used" in warning and str(own) in warning for warning in catalog.reload().warnings)
    found = catalog.get("pets").calibration("small", BASE, None)
    assert found is not None
    assert found.temperature == 2.0, "a broken file of one's own leaves the shipped one in place"


def test_a_new_entry_takes_the_place_of_the_old_one_for_the_same_answers_only():
    made = CalibrationFile().with_entry(Calibration(**entry())).with_entry(Calibration(**entry(model="large")))
    changed = made.with_entry(Calibration(**entry(temperature=4.0)))
    assert [(each.model, each.temperature) for each in changed.calibrations] == [("large", 2.0), ("small", 4.0)]
    assert CalibrationFile.model_validate_json(changed.model_dump_json()) == changed


def test_between_knots_a_line_is_drawn_and_beyond_them_the_last_one_holds():
    made = Calibration(**entry(method="isotonic", knots=[[0.2, 0.1], [0.6, 0.5], [0.8, 0.5]]))
    shown = [made.probability(each) for each in (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 1.0)]
    assert shown == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.5, 0.5, 0.5])
    assert Calibration(**entry()).probability(0.37) == 0.37


def test_not_a_number_is_no_temperature():
    with pytest.raises(ValidationError):
        Calibration(**entry(temperature=math.inf))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8).filter(lambda each: max(each) > 1e-6), st.floats(0.05, 20))
def test_a_temperature_keeps_the_order_and_the_sum(shares: list[float], temperature: float):
    total = sum(shares)
    normal = [each / total for each in shares]
    after = tempered(normal, temperature)
    assert math.fsum(after) == pytest.approx(1)
    assert all(after[i] >= after[j] for i in range(len(after)) for j in range(len(after)) if normal[i] > normal[j])
    if temperature > 1:
        assert max(after) <= max(normal) + 1e-9
