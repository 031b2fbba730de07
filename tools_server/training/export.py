"""A trained LoRA as the GGUF file that llama.cpp serves."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tools_server.errors import ConversionFailed
from tools_server.training.base import LINEARS, BaseFacts, library, rotary_rows

__all__ = ["AdapterDtype", "LoraWeights", "export_lora", "from_peft", "widen"]

AdapterDtype = Literal["f16", "f32"]

_Key = tuple[str, Any, Any, Any]
"""Name, value, and type of a key in a GGUF file, and the type of its elements where it is an array."""

_ARCHITECTURE = "general.architecture"
_INVOCATION = "adapter.alora.invocation_tokens"

_NUMPY: Mapping[AdapterDtype, type[np.floating[Any]]] = {"f16": np.float16, "f32": np.float32}


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """A LoRA (Hu et al. 2021, arXiv:2106.09685): a layer's output gains `alpha / rank * B @ A @ input`.

    `modules` holds (A, B) by the layer's path in torch, such as `model.layers.0.self_attn.q_proj`; A has the shape
    (rank, inputs), B (outputs, rank). With `invocation_tokens` it is an activated LoRA, which acts from their last
    occurrence in a prompt on.
    """

    modules: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]
    rank: int
    alpha: float
    invocation_tokens: tuple[int, ...] = ()


def from_peft(model: Any, *, adapter: str = "default", invocation_tokens: Sequence[int] = ()) -> LoraWeights:
    """Collect the weights of a LoRA from a model of `peft`, as copies in F32.

    `invocation_tokens` are those of an activated LoRA whose training masks it without peft's help; one that peft itself
    activates has them in its configuration.

    Raises:
        ConversionFailed: something else was trained too (biases, embeddings, DoRA's magnitudes), which the file could
            not carry; or layers differ in rank or scale.
    """
    modules: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    ranks: set[int] = set()
    alphas: set[float] = set()
    for path, module in model.named_modules():
        if adapter not in getattr(module, "lora_A", ()):
            continue
        pair = (module.lora_A[adapter].weight, module.lora_B[adapter].weight)
        first, second = (each.detach().float().cpu().numpy().copy() for each in pair)
        modules[path.removeprefix("base_model.model.")] = first, second
        ranks.add(len(first))
        alphas.add(float(module.scaling[adapter]) * len(first))
    lora = (f".lora_A.{adapter}.weight", f".lora_B.{adapter}.weight")
    others = [name for name, each in model.named_parameters() if each.requires_grad and not name.endswith(lora)]
    if others:
        raise ConversionFailed(
            f"{others[0]} and {len(others) - 1} others were trained, which a GGUF adapter cannot hold.",
            "Train matrices A and B of linear layers alone.",
        )
    if len(ranks) != 1 or len(alphas) != 1:
        raise ConversionFailed(
            f"The layers of the LoRA have the ranks {sorted(ranks)} and alphas {sorted(alphas)}; a GGUF adapter has "
            "one of each.",
            "Train without patterns of ranks or alphas.",
        )
    invocation = invocation_tokens or getattr(model.peft_config[adapter], "alora_invocation_tokens", None) or ()
    return LoraWeights(modules, ranks.pop(), alphas.pop(), tuple(invocation))


def export_lora(
    weights: LoraWeights,
    base: BaseFacts,
    path: Path,
    *,
    dtype: AdapterDtype = "f16",
    metadata: Mapping[str, str] | None = None,
    _permute: bool = True,
) -> str:
    """Write a LoRA as GGUF and give the SHA-256 of the file, which appears under its name only when it is whole.

    `metadata` is written as keys below `general.`, such as `{"name": "…", "license": "apache-2.0"}`. Without
    `_permute` the file is wrong for the architecture `llama`, and loads all the same: tests prove with it that
    `gate.prove` notices.

    Raises:
        ConversionFailed: a layer is not one of the base's linear layers, has another shape, or holds NaN, infinity, or
            what F16 cannot hold.
    """
    kinds = library("gguf").GGUFValueType
    keys: list[_Key] = [("general.type", "adapter", kinds.STRING, None)]
    keys += [(f"general.{key}", value, kinds.STRING, None) for key, value in (metadata or {}).items()]
    keys += [("adapter.type", "lora", kinds.STRING, None), ("adapter.lora.alpha", weights.alpha, kinds.FLOAT32, None)]
    if weights.invocation_tokens:
        # llama.cpp reads unsigned numbers alone here; the writer would choose signed ones by itself.
        keys.append((_INVOCATION, list(weights.invocation_tokens), kinds.ARRAY, kinds.UINT32))
    return _write(path, base.architecture, keys, _tensors(weights, base, dtype, permute=_permute))


def widen(source: Path, target: Path) -> str:
    """Copy an adapter's file with its tensors in F32, which holds what F16 does exactly; gives the copy's SHA-256."""
    reader = library("gguf").GGUFReader(source)
    keys: list[_Key] = [
        (name, field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None)
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.") and name != _ARCHITECTURE
    ]
    tensors = [(tensor.name, np.array(tensor.data, dtype=np.float32)) for tensor in reader.tensors]
    return _write(target, reader.fields[_ARCHITECTURE].contents(), keys, tensors)


def _write(path: Path, architecture: str, keys: Sequence[_Key], tensors: Sequence[tuple[str, NDArray[Any]]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        writer = library("gguf").GGUFWriter(aside, architecture)
        for key, value, kind, of in keys:
            writer.add_key_value(key, value, kind, sub_type=of)
        for name, data in tensors:
            writer.add_tensor(name, data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        content = aside.read_bytes()
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return hashlib.sha256(content).hexdigest()


def _tensors(
    weights: LoraWeights, base: BaseFacts, dtype: AdapterDtype, *, permute: bool
) -> Sequence[tuple[str, NDArray[Any]]]:
    """Names and values as llama.cpp wants them, in the order of layers."""
    if not weights.modules:
        raise ConversionFailed("The LoRA has no layers.", "Name the linear layers to train.")
    tensors: list[tuple[str, NDArray[Any]]] = []
    for path, (first, second) in weights.modules.items():
        layer, part = _place(path, base)
        inputs, outputs = base.linear(part)
        rows = np.arange(outputs)
        if permute and base.architecture == "llama" and part in ("attn_q", "attn_k"):
            rows = rotary_rows(base.heads if part == "attn_q" else base.kv_heads, outputs)
        if first.shape != (weights.rank, inputs) or second.shape != (outputs, weights.rank):
            raise ConversionFailed(
                f"{path} has A of shape {first.shape} and B of shape {second.shape}; at rank {weights.rank} the base "
                f"wants {(weights.rank, inputs)} and {(outputs, weights.rank)}.",
                "Export it for the base that it was trained on.",
            )
        for letter, data in (("a", first), ("b", second[rows])):
            tensors.append((f"blk.{layer}.{part}.weight.lora_{letter}", _finite(path, data, dtype)))
    return tensors


def _place(path: str, base: BaseFacts) -> tuple[int, str]:
    """Layer, and name in GGUF, of a linear layer."""
    parts = {there: here for here, there in LINEARS.items()}
    number, _, rest = path.removeprefix("model.layers.").partition(".")
    if path.startswith("model.layers.") and rest in parts and number.isdecimal() and int(number) < base.layers:
        return int(number), parts[rest]
    raise ConversionFailed(
        f"{path} is no linear layer of a {base.architecture} base with {base.layers} layers.",
        f"Train layers of these names: {', '.join(parts)}.",
    )


def _finite(path: str, data: NDArray[Any], dtype: AdapterDtype) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # told below, with the layer's name
        converted = data.astype(_NUMPY[dtype])
    if not np.isfinite(converted).all():
        largest = float(np.abs(data).max())
        raise ConversionFailed(
            f"{path} holds values that {dtype} cannot: the largest is {largest:g}.",
            "Training diverged: lower the learning rate." if not np.isfinite(largest) else "Write it as f32.",
        )
    return converted
