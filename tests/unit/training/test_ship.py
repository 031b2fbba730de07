"""A shipped version lies in the skill's folder, named by its manifest, and replaces what was there."""

import json
from pathlib import Path

import pytest

from tests.unit.skills.calibration_fakes import OTHER, entry
from tests.unit.training.adapter_fakes import make_version
from tools_server.errors import AdapterMismatch
from tools_server.skills.interface import Common
from tools_server.skills.loader import load_skill
from tools_server.skills.types import Skill
from tools_server.training.ship import ship

MANIFEST = """\
name = "demo"
version = "1.0.0" # raised with every answer that changes
description = "Say something short."
kind = "generate"

[limits]
max_output_tokens = 9 # of a word
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "skills" / "demo"
    folder.mkdir(parents=True)
    (folder / "skill.toml").write_text(MANIFEST, "utf-8")
    (folder / "prompt.jinja").write_text("{% block user %}{{ text }}{% endblock %}", "utf-8")
    (folder / "output.schema.json").write_text(
        '{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}', "utf-8"
    )
    return folder


def load(folder: Path) -> Skill:
    skill = load_skill(folder, Common())
    assert isinstance(skill, Skill), skill
    return skill


def test_a_shipped_version_is_the_adapter_of_its_folder(folder: Path, tmp_path: Path):
    version = make_version(tmp_path / "root", "demo", "one")
    path = ship(load(folder), version)
    skill = load(folder)
    assert skill.adapters["tiny"].path == path
    assert skill.adapters["tiny"] == version.adapter
    assert path.read_bytes() == (version.folder / "adapter.gguf").read_bytes()
    assert path.with_suffix(".toml").read_text() == (version.folder / "adapter.toml").read_text()
    text = (folder / "skill.toml").read_text("utf-8")
    assert text.startswith(MANIFEST), "the rest of the manifest, comments and all, is as it was"


def test_the_next_one_takes_its_place_and_another_model_keeps_its_own(folder: Path, tmp_path: Path):
    ship(load(folder), make_version(tmp_path / "root", "demo", "one", scale=0.5))
    assert load(folder).adapters["tiny"].scale == 0.5
    ship(load(folder), make_version(tmp_path / "root", "demo", "other", model="large"))
    ship(load(folder), make_version(tmp_path / "root", "demo", "two", seed=2))
    adapters = load(folder).adapters
    assert sorted(adapters) == ["large", "tiny"]
    assert adapters["tiny"].scale == 1.0
    assert len(list((folder / "adapters" / "tiny").iterdir())) == 2, "weights and provenance of the second one alone"


def test_the_calibrations_of_the_adapter_that_it_replaces_go_with_it_and_no_others(folder: Path, tmp_path: Path):
    (folder / "skill.toml").write_text(f"{MANIFEST}\n[trust]\nconfidence = true\n", "utf-8")
    first = make_version(tmp_path / "root", "demo", "one")
    ship(load(folder), first)
    entries = [entry(adapter_sha256=each) for each in (None, first.provenance.sha256, OTHER)]
    (folder / "calibration.json").write_text(json.dumps({"calibrations": entries}), "utf-8")
    ship(load(folder), first)
    assert len(load(folder).calibrations) == 3, "the same adapter keeps its own"
    ship(load(folder), make_version(tmp_path / "root", "demo", "two", seed=2))
    assert [each.adapter_sha256 for each in load(folder).calibrations] == [None, OTHER]


def test_shipping_the_same_version_twice_changes_nothing(folder: Path, tmp_path: Path):
    version = make_version(tmp_path / "root", "demo", "one")
    ship(load(folder), version)
    before = (folder / "skill.toml").read_text("utf-8")
    assert ship(load(folder), version).is_file()
    assert (folder / "skill.toml").read_text("utf-8") == before


def test_a_version_whose_bytes_have_changed_is_not_shipped(folder: Path, tmp_path: Path):
    version = make_version(tmp_path / "root", "demo", "one")
    file = version.folder / "adapter.gguf"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(AdapterMismatch, match="was written"):
        ship(load(folder), version)
    assert (folder / "skill.toml").read_text("utf-8") == MANIFEST
    assert not (folder / "adapters").exists()
