"""A LoRA from peft into a file, and every reason not to write one."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tests.training.tiny import FACTS, random_lora
from tools_server.engine.types import Adapter
from tools_server.errors import ConversionFailed
from tools_server.training.base import library, load_base, wrap
from tools_server.training.export import LoraWeights, export_lora, from_peft, widen
from tools_server.training.gate import attach

LAYER = "model.layers.0.self_attn.q_proj"


def changed(lora: LoraWeights, path: str, first: Any, second: Any) -> LoraWeights:
    return replace(lora, modules={**lora.modules, path: (first, second)})


def test_the_file_says_what_llama_cpp_asks_for(tmp_path: Path):
    lora = random_lora(FACTS, invocation_tokens=(7, 8))
    path = tmp_path / "folder" / "adapter.gguf"
    digest = export_lora(lora, FACTS, path, metadata={"name": "a name"})
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    reader = gguf.GGUFReader(path)
    assert {key: reader.fields[key].contents() for key in reader.fields if not key.startswith("GGUF.")} == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "general.name": "a name",
        "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
        "adapter.alora.invocation_tokens": [7, 8],
    }
    kinds = reader.fields["adapter.alora.invocation_tokens"].types
    assert kinds == [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT32]
    shapes = {tensor.name: tensor.data.shape for tensor in reader.tensors}
    assert len(shapes) == 2 * 7 * FACTS.layers
    assert (shapes["blk.1.ffn_down.weight.lora_a"], shapes["blk.1.ffn_down.weight.lora_b"]) == ((4, 96), (64, 4))
    assert {tensor.data.dtype for tensor in reader.tensors} == {np.dtype(np.float16)}
    assert [each.name for each in path.parent.iterdir()] == ["adapter.gguf"]


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_rows_of_queries_and_keys_are_reordered_for_llama_alone(tmp_path: Path, architecture: str):
    lora = random_lora(FACTS)
    export_lora(lora, replace(FACTS, architecture=architecture), tmp_path / "a.gguf", dtype="f32")
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    second = lora.modules[LAYER][1]
    expected = second[[0, 8, 1, 9]] if architecture == "llama" else second[:4]
    np.testing.assert_array_equal(tensors["blk.0.attn_q.weight.lora_b"][:4], expected)
    np.testing.assert_array_equal(tensors["blk.0.attn_q.weight.lora_a"], lora.modules[LAYER][0])
    up = lora.modules["model.layers.0.mlp.up_proj"][1]
    np.testing.assert_array_equal(tensors["blk.0.ffn_up.weight.lora_b"], up)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_with_their_layer(tmp_path: Path, value: float):
    first, second = random_lora(FACTS).modules[LAYER]
    broken = second.copy()
    broken[3, 1] = value
    with pytest.raises(ConversionFailed, match=r"layers\.0\.self_attn\.q_proj holds values.*lower the learning rate"):
        export_lora(changed(random_lora(FACTS), LAYER, first, broken), FACTS, tmp_path / "a.gguf")
    assert list(tmp_path.iterdir()) == []


def test_weights_beyond_f16_can_be_written_as_f32(tmp_path: Path):
    first, second = random_lora(FACTS).modules[LAYER]
    lora = changed(random_lora(FACTS), LAYER, first, second * 1e7)
    with pytest.raises(ConversionFailed, match=r"f16 cannot.*Write it as f32"):
        export_lora(lora, FACTS, tmp_path / "a.gguf")
    assert export_lora(lora, FACTS, tmp_path / "a.gguf", dtype="f32")


@pytest.mark.parametrize("path", ["model.embed_tokens", "model.layers.2.mlp.up_proj", "model.layers.x.mlp.up_proj"])
def test_a_layer_that_the_base_does_not_have_is_refused(tmp_path: Path, path: str):
    with pytest.raises(ConversionFailed, match=f"{path} is no linear layer of a llama base with 2 layers"):
        export_lora(changed(random_lora(FACTS), path, *random_lora(FACTS).modules[LAYER]), FACTS, tmp_path / "a.gguf")


def test_matrices_of_another_base_are_refused(tmp_path: Path):
    first, second = random_lora(FACTS).modules[LAYER]
    with pytest.raises(ConversionFailed, match=r"A of shape \(4, 32\).*wants \(4, 64\) and \(64, 4\)"):
        export_lora(changed(random_lora(FACTS), LAYER, first[:, :32], second), FACTS, tmp_path / "a.gguf")


def test_a_lora_without_layers_is_refused(tmp_path: Path):
    with pytest.raises(ConversionFailed, match="has no layers"):
        export_lora(LoraWeights({}, 4, 8.0), FACTS, tmp_path / "a.gguf")


def test_what_peft_holds_comes_back_as_it_was_put_in(tiny_llama: Path):
    base, facts = load_base(tiny_llama, dtype="bfloat16")
    lora = random_lora(facts, invocation_tokens=(7, 8))
    back = from_peft(attach(base, lora))
    assert (back.rank, back.alpha, back.invocation_tokens) == (4, 8.0, (7, 8))
    assert list(back.modules) == list(lora.modules)
    for path, pair in lora.modules.items():
        for there, here in zip(back.modules[path], pair, strict=True):
            np.testing.assert_array_equal(there, here)


def test_invocation_tokens_can_be_given_to_a_plain_lora_of_peft(tiny_llama: Path):
    base, facts = load_base(tiny_llama, dtype="float32")
    assert from_peft(attach(base, random_lora(facts)), invocation_tokens=[7, 8]).invocation_tokens == (7, 8)


def test_what_else_was_trained_is_not_lost_silently(tiny_llama: Path):
    base, facts = load_base(tiny_llama, dtype="float32")
    model = attach(base, random_lora(facts))
    model.base_model.model.model.norm.weight.requires_grad = True
    with pytest.raises(ConversionFailed, match=r"model\.norm\.weight and 0 others were trained"):
        from_peft(model)


def test_layers_of_different_ranks_are_refused(tiny_llama: Path):
    base, _ = load_base(tiny_llama, dtype="float32")
    peft = library("peft")
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 2})
    with pytest.raises(ConversionFailed, match=r"ranks \[2, 4\] and alphas \[8\.0\]"):
        from_peft(wrap(base, config))


def test_the_engine_reads_the_invocation_tokens_back(tiny_llama: Path, tmp_path: Path):
    from tools_server.engine.llama import LlamaBackend  # noqa: PLC0415 - loads llama.cpp

    lora = random_lora(FACTS, invocation_tokens=(7, 8))
    digest = export_lora(lora, FACTS, tmp_path / "a.gguf")
    adapter = Adapter(digest, "", path=tmp_path / "a.gguf")
    backend = LlamaBackend(tiny_llama, model_id="tiny", sha256="", context_tokens=256, max_sequences=1, batch_tokens=64)
    try:
        backend.load_adapter(adapter)
        assert backend.invocation(adapter) == (7, 8)
    finally:
        backend.close()


def test_a_widened_copy_says_the_same_in_f32(tmp_path: Path):
    export_lora(random_lora(FACTS, invocation_tokens=(7, 8)), FACTS, tmp_path / "a.gguf", metadata={"name": "a name"})
    digest = widen(tmp_path / "a.gguf", tmp_path / "wide.gguf")
    assert digest == hashlib.sha256((tmp_path / "wide.gguf").read_bytes()).hexdigest()
    narrow, wide = gguf.GGUFReader(tmp_path / "a.gguf"), gguf.GGUFReader(tmp_path / "wide.gguf")
    told = [{k: (f.types, f.contents()) for k, f in each.fields.items() if k[:4] != "GGUF"} for each in (narrow, wide)]
    assert told[0] == told[1]
    for here, there in zip(narrow.tensors, wide.tensors, strict=True):
        assert (here.name, there.data.dtype) == (there.name, np.float32)
        np.testing.assert_array_equal(here.data, there.data)
