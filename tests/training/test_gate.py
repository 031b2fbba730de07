"""The gate: right files pass, the known wrong ones do not, and the message says what is at fault."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.tiny import FACTS, random_lora, tiny_tensors, write_tiny
from tools_server.errors import AdapterMismatch, ConversionFailed
from tools_server.training import gate
from tools_server.training.base import base_facts, load_base
from tools_server.training.export import LoraWeights, export_lora
from tools_server.training.gate import LIMIT, GateReport, prove

INVOCATION = (7, 8)
PROMPTS = [[*range(20, 60), *INVOCATION, *range(90, 99)], [5, 6, *INVOCATION, 11, *INVOCATION, 30, 31, 32]]


def proved(base: Path, lora: LoraWeights, folder: Path, *, permute: bool = True, **options: Any) -> GateReport:
    path = folder / "adapter.gguf"
    export_lora(lora, base_facts(base), path, _permute=permute)
    return prove(base, lora, path, PROMPTS, scratch=folder, **options)


def test_an_adapter_of_the_small_real_model_computes_the_same_in_llama_cpp(weights: Path, tmp_path: Path):
    told: list[str] = []
    report = proved(weights, random_lora(base_facts(weights), size=0.03), tmp_path, told=told.append)
    assert max(report.adapter.kl_max, report.base.kl_max) < LIMIT
    assert report.adapter.kl_max < report.rounded.kl_max < report.served.kl_max
    assert len(told) == 4
    assert report.effect.kl_max > 1e-2, "an adapter that changes nothing proves nothing"
    assert report.adapter.agreement == 1
    assert max(report.adapter.per_prompt) == report.adapter.kl_max
    assert [each.name for each in tmp_path.iterdir()] == ["adapter.gguf"]


def test_the_gate_refuses_the_small_real_model_with_unpermuted_queries_and_keys(weights: Path, tmp_path: Path):
    with pytest.raises(
        ConversionFailed, match=r"with the adapter adapter\.gguf than training did: KL .* 0\.0001 is all"
    ):
        proved(weights, random_lora(base_facts(weights), size=0.03), tmp_path, permute=False)


@pytest.mark.parametrize("invocation", [(), INVOCATION], ids=["lora", "activated"])
@pytest.mark.parametrize("architecture", ["tiny_llama", "tiny_qwen2"])
def test_both_architectures_pass_with_plain_and_activated_adapters(
    request: pytest.FixtureRequest, tmp_path: Path, architecture: str, invocation: tuple[int, ...]
):
    base = request.getfixturevalue(architecture)
    report = proved(base, random_lora(base_facts(base), invocation_tokens=invocation), tmp_path)
    assert max(report.adapter.kl_max, report.base.kl_max) < LIMIT
    assert report.effect.kl_max > 1e-2


def test_an_adapter_of_the_upper_block_alone_passes(tiny_llama: Path, tmp_path: Path):
    lora = random_lora(FACTS)
    upper = {path: pair for path, pair in lora.modules.items() if ".layers.1." in path}
    report = proved(tiny_llama, replace(lora, modules=upper), tmp_path)
    assert report.adapter.kl_max < LIMIT < report.effect.kl_max


def test_permuting_where_the_architecture_wants_none_is_refused(tiny_qwen2: Path, tmp_path: Path):
    lora = random_lora(FACTS)
    path = tmp_path / "adapter.gguf"
    rows = np.arange(FACTS.head_width).reshape(2, -1).T.ravel()  # one head's halves as neighbours
    heads = {"q_proj": FACTS.heads, "k_proj": FACTS.kv_heads}
    permuted = {
        name: (first, second[[head * FACTS.head_width + row for head in range(heads[part]) for row in rows]])
        if (part := name.rpartition(".")[2]) in heads
        else (first, second)
        for name, (first, second) in lora.modules.items()
    }
    export_lora(LoraWeights(permuted, lora.rank, lora.alpha), base_facts(tiny_qwen2), path)
    with pytest.raises(ConversionFailed, match=r"with the adapter adapter\.gguf"):
        prove(tiny_qwen2, lora, path, PROMPTS, scratch=tmp_path)


def test_a_plain_file_of_an_activated_adapter_is_refused(tiny_llama: Path, tmp_path: Path):
    activated = random_lora(FACTS, invocation_tokens=INVOCATION)
    path = tmp_path / "adapter.gguf"
    export_lora(random_lora(FACTS), FACTS, path)
    with pytest.raises(
        ConversionFailed, match=r"acts from other tokens on, \[\], than the one that was trained, \[7, 8\]"
    ):
        prove(tiny_llama, activated, path, PROMPTS, scratch=tmp_path)


def test_a_base_that_is_not_the_one_of_training_is_told_from_a_wrong_adapter(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = write_tiny(tmp_path / "other.gguf", "llama", tensors=tiny_tensors("llama", seed=1))
    monkeypatch.setattr(gate, "load_base", lambda _, dtype: load_base(other, dtype=dtype))
    with pytest.raises(ConversionFailed, match=r"with the base llama\.gguf than training did"):
        proved(tiny_llama, random_lora(FACTS), tmp_path)


def test_a_prompt_without_the_invocation_is_refused_before_anything_is_computed(tiny_llama: Path, tmp_path: Path):
    path = tmp_path / "adapter.gguf"
    lora = random_lora(FACTS, invocation_tokens=INVOCATION)
    export_lora(lora, FACTS, path)
    with pytest.raises(AdapterMismatch, match=r"invocation tokens \[7, 8\] on, which are not in the prompt"):
        prove(tiny_llama, lora, path, [[1, 2, 3]], scratch=tmp_path)
