"""The base in torch: the served weights, all of them, or a refusal."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.tiny import FACTS, tiny_tensors, write_tiny
from tools_server.errors import BaseUnsupported, ModelLoadFailed, TrainingUnavailable
from tools_server.training.arithmetic import arithmetic
from tools_server.training.base import Dtype, base_facts, library, load_base
from tools_server.training.memory import memory_estimate, proof_memory_estimate


def test_the_small_real_model_has_the_shape_that_it_is_known_for(weights: Path):
    facts = base_facts(weights)
    assert (facts.architecture, facts.hidden, facts.layers, facts.heads, facts.kv_heads) == ("llama", 576, 30, 9, 3)
    assert (facts.intermediate, facts.vocab, facts.parameters) == (1536, 49152, 134_515_008)


def test_weights_come_out_as_they_are_with_rotary_rows_in_the_order_of_torch(tiny_llama: Path):
    model, facts = load_base(tiny_llama, dtype="float32")
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    stored = tiny_tensors("llama")
    assert (facts.head_width, facts.vocab) == (FACTS.head_width, FACTS.vocab)
    np.testing.assert_array_equal(state["model.layers.1.mlp.down_proj.weight"], stored["blk.1.ffn_down.weight"])
    # A head of 16 holds the pairs (0, 1), (2, 3) … in the file, and (0, 8), (1, 9) … in torch.
    in_file, in_torch = stored["blk.0.attn_k.weight"], state["model.layers.0.self_attn.k_proj.weight"]
    np.testing.assert_array_equal(in_torch[[0, 8, 1, 9, 16, 24]], in_file[[0, 1, 2, 3, 16, 17]])
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_qwen2_keeps_its_rows_its_biases_and_its_own_output_layer(tiny_qwen2: Path):
    model, facts = load_base(tiny_qwen2, dtype="float32")
    state, stored = model.state_dict(), tiny_tensors("qwen2")
    pairs = {
        "model.layers.1.self_attn.q_proj.weight": "blk.1.attn_q.weight",
        "model.layers.1.self_attn.q_proj.bias": "blk.1.attn_q.bias",
        "lm_head.weight": "output.weight",
    }
    for name, there in pairs.items():
        np.testing.assert_array_equal(state[name].numpy(), stored[there])
    assert facts.parameters == sum(value.numel() for value in model.parameters())


def test_half_precision_rounds_and_changes_nothing_else(tiny_llama: Path):
    torch = library("torch")
    exact, rounded = (load_base(tiny_llama, dtype=dtype)[0].state_dict() for dtype in ("float32", "bfloat16"))
    assert all(torch.equal(exact[name].bfloat16(), rounded[name]) for name in exact)


def test_another_architecture_is_refused_with_those_that_work(tmp_path: Path):
    path = write_tiny(tmp_path / "gemma.gguf", "gemma", tensors=tiny_tensors("llama"))
    with pytest.raises(BaseUnsupported, match=r"gemma\.gguf has the architecture 'gemma'.* for llama, qwen2\."):
        load_base(path, dtype="float32")


@pytest.mark.parametrize("keys", [{"rope.scaling.type": "yarn"}, {"rope.scaling.factor": 4.0}], ids=str)
def test_stretched_positions_are_refused(tmp_path: Path, keys: dict[str, str | float]):
    path = write_tiny(tmp_path / "long.gguf", "llama", keys=keys)
    with pytest.raises(BaseUnsupported, match=r"stretches its positions \((yarn scaling, factor 1|linear .* 4)\)"):
        base_facts(path)


def test_tensors_beyond_the_plain_architecture_and_missing_ones_are_told(tmp_path: Path):
    tensors: dict[str, Any] = tiny_tensors("llama")
    del tensors["blk.1.ffn_up.weight"]
    tensors["rope_freqs.weight"] = np.ones(8, dtype=np.float32)
    path = write_tiny(tmp_path / "odd.gguf", "llama", tensors=tensors)
    with pytest.raises(
        BaseUnsupported, match=r"has rope_freqs\.weight beyond, and lacks model\.layers\.1\.mlp\.up_proj"
    ):
        load_base(path, dtype="float32")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_truncated_file_is_no_base(tiny_llama: Path, tmp_path: Path, share: float):
    path = tmp_path / "half.gguf"
    path.write_bytes(tiny_llama.read_bytes()[: int(tiny_llama.stat().st_size * share)])
    with pytest.raises(ModelLoadFailed, match=r"half\.gguf is no usable GGUF file, or a part of one"):
        load_base(path, dtype="float32")


def test_what_is_not_gguf_or_not_there_is_no_base(tmp_path: Path):
    (tmp_path / "text.gguf").write_text("a text that is longer than a header has to be" * 9)
    for name in ("text.gguf", "nothing.gguf"):
        with pytest.raises(ModelLoadFailed, match="is no usable GGUF file"):
            base_facts(tmp_path / name)


def test_a_missing_package_names_the_extra():
    with pytest.raises(TrainingUnavailable, match=r"needs the package no_such_package.*tools-server\[train\]"):
        library("no_such_package")


@pytest.mark.parametrize(
    ("capabilities", "computed_in"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({"avx2": True, "avx512_bf16": True}, "bfloat16"),
        ({"avx2": True, "amx_bf16": True}, "bfloat16"),
        ({"neon": True}, "float32"),
        ({"neon": True, "bf16": True}, "bfloat16"),
    ],
)
def test_a_cpu_computes_in_bfloat16_only_where_it_can_multiply_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], computed_in: Dtype
):
    monkeypatch.setattr(library("torch").cpu, "get_capabilities", lambda: capabilities)
    assert arithmetic("cpu") == computed_in
    assert arithmetic("cuda") == "bfloat16"


def test_a_large_base_is_held_in_what_is_computed_in_and_a_small_one_in_full(weights: Path):
    small = base_facts(weights)
    large = replace(small, parameters=1_500_000_000)
    assert [large.held_in("bfloat16"), large.held_in("float32")] == ["bfloat16", "float32"]
    assert [small.held_in("bfloat16"), small.held_in("float32")] == ["float32", "float32"]


def test_memory_is_near_what_was_measured(weights: Path):
    """Peaks of two steps on the 135M base, in MiB, of 4 samples of 384, 384 and 192 tokens; and of its proof."""
    facts = base_facts(weights)
    measured: dict[tuple[Dtype, Dtype, int, int, int], int] = {
        ("bfloat16", "bfloat16", 1536, 16, 128): 3289,
        ("float32", "bfloat16", 1536, 16, 128): 3798,
        ("float32", "float32", 1536, 16, 128): 5544,
        ("bfloat16", "bfloat16", 768, 8, 32): 1872,
        ("float32", "float32", 768, 8, 32): 3112,
    }
    for (held_in, computed_in, tokens, rank, rows), peak in measured.items():
        estimate = memory_estimate(
            facts,
            tokens_per_batch=tokens,
            longest=tokens // 4,
            rank=rank,
            computed_in=computed_in,
            held_in=held_in,
            scored_rows=rows,
        )
        assert estimate / 2**20 == pytest.approx(peak, rel=0.05)
    assert proof_memory_estimate(facts) == pytest.approx(1.30e9, rel=0.05)
