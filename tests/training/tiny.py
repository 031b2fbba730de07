"""Models of two small layers with random weights, as GGUF files that llama.cpp runs, and LoRAs with random weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tools_server.training.base import LINEARS, BaseFacts
from tools_server.training.export import LoraWeights

FACTS = BaseFacts("llama", 64, 2, 4, 2, 16, 96, 300, 0)


def tiny_tensors(architecture: str, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Tensors by their names in GGUF; a llama's embedding is its output layer too, a qwen2's is not."""
    rng = np.random.default_rng(seed)

    def matrix(outputs: int, inputs: int) -> np.ndarray[Any, Any]:
        return rng.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)

    tensors = {"token_embd.weight": matrix(FACTS.vocab, FACTS.hidden)}
    for layer in range(FACTS.layers):
        block = f"blk.{layer}"
        for name in LINEARS:
            inputs, outputs = FACTS.linear(name)
            tensors[f"{block}.{name}.weight"] = 2 * matrix(outputs, inputs)
            if architecture == "qwen2" and name in ("attn_q", "attn_k", "attn_v"):
                tensors[f"{block}.{name}.bias"] = rng.normal(0, 0.5, outputs).astype(np.float32)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"{block}.{name}.weight"] = rng.uniform(0.5, 1.5, FACTS.hidden).astype(np.float32)
    tensors["output_norm.weight"] = rng.uniform(2, 6, FACTS.hidden).astype(np.float32)
    if architecture == "qwen2":
        tensors["output.weight"] = matrix(FACTS.vocab, FACTS.hidden)
    return tensors


def write_tiny(
    path: Path,
    architecture: str,
    *,
    tensors: Mapping[str, np.ndarray[Any, Any]] | None = None,
    keys: Mapping[str, str | float] | None = None,
) -> Path:
    """Write a model whose tokens mean nothing. `keys` are added to its metadata, below the architecture's name."""
    import gguf  # noqa: PLC0415 - seconds, and a part of the extra

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(256)
    writer.add_embedding_length(FACTS.hidden)
    writer.add_block_count(FACTS.layers)
    writer.add_feed_forward_length(FACTS.intermediate)
    writer.add_head_count(FACTS.heads)
    writer.add_head_count_kv(FACTS.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"token{number}" for number in range(FACTS.vocab)])
    writer.add_token_types([gguf.TokenType.NORMAL] * FACTS.vocab)
    writer.add_token_merges(["t o"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for key, value in (keys or {}).items():
        (writer.add_string if isinstance(value, str) else writer.add_float32)(f"{architecture}.{key}", value)
    for name, data in (tensors or tiny_tensors(architecture)).items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_lora(
    facts: BaseFacts, *, seed: int = 0, size: float = 0.1, invocation_tokens: tuple[int, ...] = ()
) -> LoraWeights:
    """A LoRA of rank 4 on all seven linear layers; `size` is the standard deviation of matrix B."""
    rng = np.random.default_rng(seed)
    modules = {
        f"model.layers.{layer}.{path}": (
            rng.normal(0, facts.linear(name)[0] ** -0.5, (4, facts.linear(name)[0])).astype(np.float32),
            rng.normal(0, size, (facts.linear(name)[1], 4)).astype(np.float32),
        )
        for layer in range(facts.layers)
        for name, path in LINEARS.items()
    }
    return LoraWeights(modules, 4, 8.0, invocation_tokens)
