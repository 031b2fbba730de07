"""The base that an adapter is trained on: the very GGUF file that serves, its weights dequantised into torch.

Reading the served file rather than the original checkpoint keeps training and serving on one set of numbers. Only
config and weights are taken: tokens come from llama.cpp, through the encoder that serves.
"""

import importlib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tools_server.errors import BaseUnsupported, ModelLoadFailed, TrainingUnavailable
from tools_server.extras import not_installed

__all__ = ["LINEARS", "SUPPORTED", "BaseFacts", "Dtype", "base_facts", "library", "load_base", "rotary_rows", "wrap"]

Dtype = Literal["float32", "bfloat16"]

SUPPORTED = ("llama", "qwen2")
"""Architectures, by their names in GGUF."""

LARGE = 500_000_000
"""Parameters from which on a base is held in bfloat16 where that is what is computed in: 1.8B take 7 GB in F32."""

LINEARS: Mapping[str, str] = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""The linear layers of a block: name in GGUF, and path below `model.layers.N` in torch."""

_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """The shape of a base. `parameters` counts tied weights once; `head_width` is the width of one attention head."""

    architecture: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    intermediate: int
    vocab: int
    parameters: int

    def held_in(self, computed_in: Dtype) -> Dtype:
        """In what the base is held while an adapter is trained on it."""
        return computed_in if self.parameters >= LARGE else "float32"

    def linear(self, name: str) -> tuple[int, int]:
        """Inputs and outputs of a linear layer, by its name in `LINEARS`."""
        query, kv = self.heads * self.head_width, self.kv_heads * self.head_width
        return {
            "attn_q": (self.hidden, query),
            "attn_k": (self.hidden, kv),
            "attn_v": (self.hidden, kv),
            "attn_output": (query, self.hidden),
            "ffn_gate": (self.hidden, self.intermediate),
            "ffn_up": (self.hidden, self.intermediate),
            "ffn_down": (self.intermediate, self.hidden),
        }[name]


def library(name: str) -> Any:
    """Import a package of the extra `train`, which serving does without: untyped, and seconds to import.

    Raises:
        TrainingUnavailable: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise TrainingUnavailable(*not_installed(error, "train", "Training")) from error


def wrap(model: Any, config: Any) -> Any:
    """Wrap a model as `peft.get_peft_model` does, without the warning about a name that transformers has changed since.

    Raises:
        TrainingUnavailable: the extra `train` is not installed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return library("peft").get_peft_model(model, config)


def base_facts(gguf: Path) -> BaseFacts:
    """Read the shape of a base without its weights; takes seconds. Raises as `load_base` does."""
    return _facts(_open(gguf), gguf)


def load_base(gguf: Path, *, dtype: Dtype) -> tuple[Any, BaseFacts]:
    """Load a base into a `transformers` model for causal language modelling, on the CPU, in evaluation mode.

    Weights are dequantised one tensor after the other, so that memory peaks at the whole model in `dtype` plus the
    largest tensor in F32. Blocks for seconds to a minute.

    Raises:
        BaseUnsupported: the architecture is not one of `SUPPORTED`, or the file has parts that it does not.
        ModelLoadFailed: the file is missing, truncated, or no GGUF file.
        TrainingUnavailable: the extra `train` is not installed.
    """
    torch, transformers = library("torch"), library("transformers")
    reader = _open(gguf)
    facts = _facts(reader, gguf)
    config = _config(transformers, reader, facts)
    with torch.device("meta"):  # shapes without memory, and without the time that initialising takes
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    _check_names(gguf, model, reader, tied=config.tie_word_embeddings)
    state = {name: torch.from_numpy(data).to(getattr(torch, dtype)) for name, data in _weights(reader, facts)}
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its table is computed, not stored
    return model.eval(), facts


def rotary_rows(heads: int, rows: int) -> "np.ndarray[Any, np.dtype[np.intp]]":
    """For each row of a query or key matrix in GGUF's order, its row in torch's order; shape (rows,).

    Both rotate pairs of a head's values, `llama` in GGUF as neighbours (2i, 2i + 1), torch as halves (i, i + d/2):
    Su et al. 2021, arXiv:2104.09864. Converters to GGUF reorder the rows of these two matrices, head by head.
    """
    return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(rows)


def _open(gguf: Path) -> Any:
    reader_of = library("gguf").GGUFReader
    try:
        if gguf.stat().st_size == 0:
            raise ValueError("it is empty")  # noqa: TRY301 - empty files cannot be mapped, and say so in C's words
        return reader_of(gguf)
    except (OSError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise ModelLoadFailed(
            f"{gguf} is no usable GGUF file, or a part of one: {error}.", "Check it: `tools-server models verify`."
        ) from error


def _value(reader: Any, key: str, default: Any = None) -> Any:
    field = reader.fields.get(key)
    return default if field is None else field.contents()


def _facts(reader: Any, gguf: Path) -> BaseFacts:
    architecture = str(_value(reader, "general.architecture", ""))
    if architecture not in SUPPORTED:
        raise BaseUnsupported(
            f"{gguf.name} has the architecture {architecture or 'of no name'!r}; adapters can be trained for "
            f"{', '.join(SUPPORTED)}.",
            "Train for a model of these; `tools-server models list` names those at hand.",
        )
    scaling = _value(reader, f"{architecture}.rope.scaling.type", "linear")  # llama.cpp's default, with a factor of 1
    factor = _value(reader, f"{architecture}.rope.scaling.factor", 0) or 1
    if scaling not in ("none", "linear") or (scaling == "linear" and factor != 1):
        raise BaseUnsupported(
            f"{gguf.name} stretches its positions ({scaling} scaling, factor {factor:g}), which training does not do.",
            "Train for a model without it.",
        )
    shapes = {tensor.name: tuple(int(size) for size in tensor.shape) for tensor in reader.tensors}

    def number(name: str) -> int:
        value = _value(reader, f"{architecture}.{name}")
        if not isinstance(value, int) or value < 1:
            raise ModelLoadFailed(
                f"{gguf} says {architecture}.{name} = {value!r}, which is no size.", "Give another file."
            )
        return value

    if "token_embd.weight" not in shapes:
        raise ModelLoadFailed(f"{gguf} has no embedding, so it is no language model.", "Give another file.")
    hidden, heads = number("embedding_length"), number("attention.head_count")
    return BaseFacts(
        architecture=architecture,
        hidden=hidden,
        layers=number("block_count"),
        heads=heads,
        kv_heads=int(_value(reader, f"{architecture}.attention.head_count_kv", heads)),
        head_width=int(_value(reader, f"{architecture}.attention.key_length", hidden // heads)),
        intermediate=number("feed_forward_length"),
        vocab=shapes["token_embd.weight"][1],
        parameters=sum(int(tensor.n_elements) for tensor in reader.tensors),
    )


def _config(transformers: Any, reader: Any, facts: BaseFacts) -> Any:
    kind = {"llama": transformers.LlamaConfig, "qwen2": transformers.Qwen2Config}[facts.architecture]
    key = facts.architecture
    return kind(
        vocab_size=facts.vocab,
        hidden_size=facts.hidden,
        intermediate_size=facts.intermediate,
        num_hidden_layers=facts.layers,
        num_attention_heads=facts.heads,
        num_key_value_heads=facts.kv_heads,
        head_dim=facts.head_width,
        max_position_embeddings=int(_value(reader, f"{key}.context_length", 2048)),
        rms_norm_eps=float(_value(reader, f"{key}.attention.layer_norm_rms_epsilon", 1e-5)),
        rope_parameters={"rope_type": "default", "rope_theta": float(_value(reader, f"{key}.rope.freq_base", 1e4))},
        tie_word_embeddings=all(tensor.name != "output.weight" for tensor in reader.tensors),
        bos_token_id=_value(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=_value(reader, "tokenizer.ggml.eos_token_id"),
    )


def _torch_name(name: str) -> str | None:
    """`blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`; None for what no supported model has."""
    stem, _, kind = name.rpartition(".")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.{kind}"
    if stem.startswith("blk.") and stem.count(".") == 2:
        _, layer, part = stem.split(".")
        path = LINEARS.get(part) or _NORMS.get(part)
        return path and f"model.layers.{layer}.{path}.{kind}"
    return None


def _check_names(gguf: Path, model: Any, reader: Any, *, tied: bool) -> None:
    """Hold the file's tensors against the model's: one that is left out would change every answer, silently."""
    wanted = set(model.state_dict()) - ({"lm_head.weight"} if tied else set[str]())
    found = {tensor.name: _torch_name(tensor.name) for tensor in reader.tensors}
    unknown = [name for name, there in found.items() if there not in wanted]
    missing = sorted(wanted - set(found.values()))
    if unknown or missing:
        raise BaseUnsupported(
            f"{gguf.name} is no plain {_value(reader, 'general.architecture')} model: it has {_few(unknown)} beyond, "
            f"and lacks {_few(missing)}.",
            "Train for a model of the plain architecture.",
        )


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "nothing"
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _weights(reader: Any, facts: BaseFacts) -> Iterable[tuple[str, "np.ndarray[Any, np.dtype[np.float32]]"]]:
    """Names in torch and F32 values of shape (outputs, inputs), one tensor at a time."""
    dequantize = library("gguf.quants").dequantize
    for tensor in reader.tensors:
        data = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        part = tensor.name.split(".")[2:3]
        if facts.architecture == "llama" and part in (["attn_q"], ["attn_k"]):
            heads = facts.heads if part == ["attn_q"] else facts.kv_heads
            torch_order = np.empty_like(data)
            torch_order[rotary_rows(heads, len(data))] = data
            data = torch_order
        yield str(_torch_name(tensor.name)), data
