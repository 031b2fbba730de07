"""A LoRA between two: what both add to each layer, averaged, as a version of its own."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.training.conftest import MODEL
from tests.training.test_train import settings, skill
from tests.training.tiny import FACTS, random_lora
from tools_server.cli.adapters import app
from tools_server.errors import AdapterVersionConflict, TrainingFailed
from tools_server.models import ModelStore
from tools_server.settings import Settings
from tools_server.skills.adapters import DataUse, Origin, find_version
from tools_server.skills.types import Skill
from tools_server.training.base import base_facts
from tools_server.training.blend import blend, blend_versions
from tools_server.training.export import LoraWeights, export_lora
from tools_server.training.start import read_lora
from tools_server.training.versions import add_version

__all__ = ["settings", "skill"]  # fixtures

Adopt = Callable[..., str]


def added(lora: LoraWeights, path: str) -> np.ndarray[Any, Any]:
    """What a LoRA adds to the weights of a layer."""
    first, second = lora.modules[path]
    return lora.alpha / lora.rank * second.astype(np.float64) @ first


def moved(lora: LoraWeights, seed: int) -> LoraWeights:
    """The same inputs of the low-rank activations, with other outputs: an average of the two keeps the rank."""
    rng = np.random.default_rng(seed)
    modules = {path: (a, b + rng.normal(0, 0.1, b.shape).astype(np.float32)) for path, (a, b) in lora.modules.items()}
    return replace(lora, modules=modules)


def test_what_has_the_rank_is_kept_whole_and_in_proportion():
    one = random_lora(FACTS)
    other = replace(moved(one, seed=1), alpha=4.0)
    found, kept = blend(one, other, 0.25)
    assert kept == pytest.approx(1.0)
    assert (found.rank, found.alpha) == (one.rank, one.alpha)
    assert set(found.modules) == set(one.modules)
    for path in one.modules:
        wanted = 0.75 * added(one, path) + 0.25 * added(other, path)
        np.testing.assert_allclose(added(found, path), wanted, atol=1e-6)


def test_of_what_has_twice_the_rank_the_nearest_of_the_rank_is_kept():
    one, other = random_lora(FACTS, seed=1), random_lora(FACTS, seed=2)
    found, kept = blend(one, other, 0.5)
    shares: list[float] = []
    for path in one.modules:
        exact = (added(one, path) + added(other, path)) / 2
        sizes = np.linalg.svd(exact, compute_uv=False)
        lost = np.linalg.norm(added(found, path) - exact)
        assert lost == pytest.approx(np.sqrt((sizes[one.rank :] ** 2).sum()), rel=1e-4)
        shares.append(1 - lost**2 / np.linalg.norm(exact) ** 2)
    assert kept == pytest.approx(min(shares), abs=1e-4)
    assert kept < 0.9


def test_a_lora_that_adds_nothing_can_be_blended():
    nothing = random_lora(FACTS, size=0.0)
    found, kept = blend(nothing, nothing, 0.5)
    assert kept == 1.0
    assert all(not added(found, path).any() for path in found.modules)


@pytest.fixture
def adopt(skill: Skill, settings: Settings, tmp_path: Path) -> Adopt:
    """Keep a LoRA as a version of the given name."""
    store = ModelStore.from_settings(settings)
    facts, sha256 = base_facts(store.path(MODEL)), store.manifest(MODEL).sha256

    def write(name: str, lora: LoraWeights | None = None, **facts_of: Any) -> str:
        export_lora(lora or random_lora(facts), facts, tmp_path / "adopted.gguf")
        about = {"source": "a test", "base_model": MODEL, "base_sha256": sha256, "created": datetime.now(UTC)}
        origin = Origin(**{**about, **facts_of})
        return add_version(
            settings.adapters_dir, skill.name, MODEL, tmp_path / "adopted.gguf", origin, version=name
        ).name

    return write


def use(dataset: str) -> DataUse:
    return DataUse(dataset=dataset, split="train", licence="MIT", records=9, sha256="1" * 64)


def test_the_command_keeps_what_lies_between_two_versions_with_the_data_of_both(
    adopt: Adopt, skill: Skill, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = ModelStore.from_settings(settings).path(MODEL)
    one = random_lora(base_facts(path))
    other = moved(one, seed=1)
    adopt("one", one, data=(use("mails"), use("notes")), prompt_digest=skill.prompt_digest)
    adopt("other", other, data=(use("notes"), use("chats")), prompt_digest=skill.prompt_digest, scale=0.5)
    monkeypatch.setenv("TOOLS_SERVER_ADAPTERS_DIR", str(settings.adapters_dir))
    command = ["blend", "colour", "one", "other", "--weight", "0.6", "--as", "between", "--model", MODEL]
    result = CliRunner().invoke(app, [*command, "--skills-dir", str(tmp_path / "skills"), "--json"])
    assert result.exception is None, result.exception
    assert json.loads(result.stdout)["version"] == "between"
    version = find_version(settings.adapters_dir, skill.name, MODEL, "between")
    origin = version.provenance
    assert [each.dataset for each in origin.data] == ["mails", "notes", "chats"]
    assert origin.prompt_digest == skill.prompt_digest
    hashes = [
        find_version(settings.adapters_dir, skill.name, MODEL, name).provenance.sha256 for name in ("one", "other")
    ]
    assert origin.recipe["blend"] == dict(zip(hashes, (0.4, 0.6), strict=True))
    found = read_lora(version.folder / "adapter.gguf", base_facts(path))
    layer = "model.layers.3.mlp.down_proj"
    wanted = 0.4 * added(one, layer) + 0.6 * 0.5 * added(other, layer)
    np.testing.assert_allclose(added(found, layer), wanted, atol=2e-3)  # rounded to F16, three times


def test_two_of_different_shape_or_prompt_are_refused_by_name(adopt: Adopt, skill: Skill, settings: Settings):
    facts = base_facts(ModelStore.from_settings(settings).path(MODEL))
    whole = random_lora(facts)
    half = {name: pair for name, pair in whole.modules.items() if "self_attn" in name}
    swapped = {**half, "model.layers.0.mlp.up_proj": whole.modules["model.layers.0.mlp.up_proj"]}
    swapped.pop("model.layers.0.self_attn.q_proj")
    thin = {name: (a[:2], b[:, :2]) for name, (a, b) in whole.modules.items()}
    adopt("whole", whole, prompt_digest="1" * 64)
    adopt("half", replace(whole, modules=half))
    adopt("swapped", replace(whole, modules=swapped))
    adopt("thin", replace(whole, modules=thin, rank=2))
    adopt("activated", replace(whole, invocation_tokens=(3, 4)))
    adopt("reworded", whole, prompt_digest="2" * 64)
    for first, second, message in (
        ("whole", "half", r"colour@.*:whole and colour@.*:half differ in their number of layers: 210 and 120"),
        ("half", "swapped", r"only one changes model\.layers\.0\.mlp\.up_proj"),
        ("whole", "thin", "differ in their rank: 4 and 2"),
        ("whole", "activated", r"differ in their invocation: none and \(3, 4\)"),
        ("whole", "reworded", "were trained for different prompts"),
        ("whole", "none", "has no adapter 'none'"),
    ):
        with pytest.raises(TrainingFailed, match=message) as caught:
            blend_versions(skill, settings, first, second, 0.5)
        assert caught.value.hint
    with pytest.raises(AdapterVersionConflict, match="There is an adapter version 'half' already"):
        blend_versions(skill, settings, "whole", "whole", 0.5, version="half")
