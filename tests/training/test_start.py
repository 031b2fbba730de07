"""Going on from an earlier adapter: its file read back, a run on the small real model, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import MODEL
from tests.training.test_train import QUICK, data_of, settings, skill, write_samples
from tests.training.tiny import FACTS, random_lora
from tools_server.errors import AdapterMismatch, TrainingFailed
from tools_server.models import ModelStore
from tools_server.settings import Settings
from tools_server.skills.adapters import DataUse, Origin
from tools_server.skills.types import Skill
from tools_server.training.base import base_facts
from tools_server.training.export import export_lora
from tools_server.training.sources import gather_data, parse_source
from tools_server.training.start import read_lora
from tools_server.training.train import Options, Outcome, run_training
from tools_server.training.types import Hyperparameters
from tools_server.training.versions import add_version

__all__ = ["settings", "skill"]  # fixtures

Train = Callable[..., Outcome]


@pytest.fixture
def train(skill: Skill, settings: Settings, tmp_path: Path) -> Train:
    def run(
        hyper: Hyperparameters = QUICK, *, data: Path, dev: Path | None = None, start: str | None = None
    ) -> Outcome:
        sources = [parse_source(str(data))], [parse_source(str(dev))] if dev else []
        found = gather_data(skill, *sources, settings, seed=0)
        options = Options(threads=2, start=start, folder=tmp_path / "run")
        return run_training(skill, found, settings, hyper, options, told=lambda _: None, said=lambda _: None)

    return run


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("invocation", [(), (3, 4)])
def test_a_file_reads_back_as_what_was_exported(tmp_path: Path, architecture: str, invocation: tuple[int, ...]):
    base = replace(FACTS, architecture=architecture)
    lora = random_lora(base, invocation_tokens=invocation)
    export_lora(lora, base, tmp_path / "a.gguf", dtype="f32")
    found = read_lora(tmp_path / "a.gguf", base)
    assert (found.rank, found.alpha, found.invocation_tokens) == (4, 8.0, invocation)
    assert set(found.modules) == set(lora.modules)
    for path, pair in lora.modules.items():
        for mine, theirs in zip(pair, found.modules[path], strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_file_for_another_architecture_or_shape_is_refused(tmp_path: Path):
    export_lora(random_lora(FACTS), FACTS, tmp_path / "a.gguf")
    with pytest.raises(AdapterMismatch, match="is for llama, the base is qwen2"):
        read_lora(tmp_path / "a.gguf", replace(FACTS, architecture="qwen2"))
    with pytest.raises(AdapterMismatch, match=r"changes blk\.1\.attn_q\.weight, which is no linear layer"):
        read_lora(tmp_path / "a.gguf", replace(FACTS, layers=1))
    with pytest.raises(AdapterMismatch, match=r"has for blk\.0\.ffn_gate\.weight matrices of shape"):
        read_lora(tmp_path / "a.gguf", replace(FACTS, intermediate=80))


def test_a_run_goes_on_where_an_adapter_stands_and_records_what_both_were_trained_on(train: Train, tmp_path: Path):
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    lines = write_samples(tmp_path / "all.jsonl").read_text().splitlines(keepends=True)
    dev = tmp_path / "dev.jsonl"
    dev.write_text("".join(lines[::9]))
    first.write_text("".join(lines[1::3]))
    second.write_text("".join(lines[2::3]))
    before = train(replace(QUICK, layers=12), data=first, dev=dev)
    after = train(data=second, dev=dev, start=before.version.name)
    begun = after.result.history[0]
    reached = min(each["dev_loss"] for each in before.result.history)
    assert begun["step"] == 0
    assert begun["dev_loss"] == pytest.approx(reached, rel=0.05)  # rounded to F16, computed in bfloat16
    assert after.result.best_loss < begun["dev_loss"]
    assert (after.hyper.rank, after.hyper.alpha, after.hyper.layers) == (4, 8.0, 12)
    origin = after.version.provenance
    assert origin.start == before.version.provenance.sha256
    assert [use.dataset for use in origin.data] == [str(first), str(second)]
    assert after.proof.adapter.kl_max < 1e-4


def test_a_run_that_makes_nothing_better_gives_no_version(
    train: Train, skill: Skill, settings: Settings, tmp_path: Path
):
    lines = write_samples(tmp_path / "all.jsonl").read_text().splitlines(keepends=True)
    good, dev, wrong = tmp_path / "good.jsonl", tmp_path / "dev.jsonl", tmp_path / "wrong.jsonl"
    good.write_text("".join(lines[1::3]))
    dev.write_text("".join(lines[::9]))
    wrong.write_text("".join(_other_label(line) for line in lines[2::3]))
    before = train(data=good, dev=dev)
    with pytest.raises(TrainingFailed, match=r"None of \d+ steps was better on dev than the adapter"):
        train(data=wrong, dev=dev, start=before.version.name)
    assert [each.name for each in (settings.adapters_dir / skill.name / MODEL).iterdir()] == [before.version.name]


def _other_label(line: str) -> str:
    colours = ("red", "blue", "green")
    for at, colour in enumerate(colours):
        if f'"label": "{colour}"' in line:
            return line.replace(f'"label": "{colour}"', f'"label": "{colours[at - 2]}"')
    raise AssertionError(line)


def test_the_bare_base_is_no_adapter_to_go_on_from(train: Train, tmp_path: Path):
    samples = write_samples(tmp_path / "samples.jsonl")
    with pytest.raises(TrainingFailed, match=r"has no adapter 'none' for .* to go on from") as caught:
        train(data=samples, start="none")
    assert "skills adapters list colour" in caught.value.hint


@pytest.fixture
def adopt(skill: Skill, settings: Settings, tmp_path: Path) -> Callable[..., str]:
    """Keep a LoRA with random weights as a version; give its name."""
    store = ModelStore.from_settings(settings)
    facts, sha256 = base_facts(store.path(MODEL)), store.manifest(MODEL).sha256

    def write(
        *, keep: Callable[[str], bool] = lambda _: True, base_sha256: str = sha256, data: tuple[DataUse, ...] = ()
    ) -> str:
        lora = random_lora(facts)
        lora = replace(lora, modules={path: pair for path, pair in lora.modules.items() if keep(path)})
        export_lora(lora, facts, tmp_path / "adopted.gguf")
        origin = Origin(
            source="a test", base_model=MODEL, base_sha256=base_sha256, created=datetime.now(UTC), data=data
        )
        return add_version(settings.adapters_dir, skill.name, MODEL, tmp_path / "adopted.gguf", origin).name

    return write


def test_what_an_adapter_has_learnt_is_not_held_back_to_choose_by(
    train: Train, adopt: Callable[..., str], skill: Skill, settings: Settings, tmp_path: Path
):
    samples = write_samples(tmp_path / "samples.jsonl")
    version = adopt(data=data_of(skill, settings, samples).uses)
    with pytest.raises(TrainingFailed, match=r"has learnt samples of .*samples\.jsonl .* already") as caught:
        train(data=samples, start=version)
    assert "--dev" in caught.value.hint


def test_an_adapter_of_another_base_is_refused(train: Train, adopt: Callable[..., str], tmp_path: Path):
    version = adopt(base_sha256="0" * 64)
    with pytest.raises(TrainingFailed, match="was made for a base with SHA-256 000000000000"):
        train(data=write_samples(tmp_path / "samples.jsonl"), start=version)


def test_an_adapter_of_a_shape_that_training_does_not_give_is_refused(
    train: Train, adopt: Callable[..., str], tmp_path: Path
):
    version = adopt(keep=lambda path: "self_attn" in path)
    with pytest.raises(TrainingFailed, match="does not change all linear layers of the blocks from 0 up"):
        train(data=write_samples(tmp_path / "samples.jsonl"), start=version)
