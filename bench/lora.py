"""LoRA files with random weights: adapters whose only quality is that they cost what a trained one costs."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import gguf
import numpy as np

from tools_server.engine.llama_library import llama
from tools_server.engine.native_log import NativeLog

_native_log = NativeLog(llama)

Shapes = Mapping[str, tuple[int, int]]
"""Inputs and outputs of each matrix, by the name of its tensor."""

LINEARS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
RANK = 8
SIZE = 0.02
"""Standard deviation of matrix B: moves what a matrix gives by a few percent, so that answers stay sane."""

ANSWER_BEGINS = "<|im_start|>assistant\n"
"""What the chat template of ChatML models puts before an answer: from here on an activated LoRA acts."""


@cache
def read_gguf(weights: Path) -> gguf.GGUFReader:
    """Read a model's header. Takes seconds, for the package makes an array of each token of the vocabulary."""
    return gguf.GGUFReader(weights)


def linear_shapes(weights: Path) -> tuple[str, Shapes]:
    """The architecture of a model, and the shapes of the attention's and the feed-forward's matrices."""
    reader = read_gguf(weights)
    architecture = str(reader.fields["general.architecture"].contents())
    shapes = {
        tensor.name: (int(tensor.shape[0]), int(tensor.shape[1]))
        for tensor in reader.tensors
        if tensor.name.startswith("blk.") and tensor.name.removesuffix(".weight").rsplit(".", 1)[-1] in LINEARS
        if tensor.name.endswith(".weight")
    }
    return architecture, shapes


def write_lora(
    path: Path,
    architecture: str,
    shapes: Shapes,
    *,
    seed: int,
    rank: int = RANK,
    alpha: float | None = None,
    deviations: tuple[float, float] | None = None,
    invocation_tokens: Sequence[int] = (),
) -> str:
    """Write a LoRA on the matrices of these shapes, in F32 as llama.cpp's converter does; the SHA-256 of the file.

    `deviations` are those of the matrices A and B; by default A keeps the size of what it is given, as in
    initialisation of LoRA (Hu et al. 2021, arXiv:2106.09685), and B has `SIZE`. `alpha` is the rank by default, which
    is a scale of 1. With `invocation_tokens` it is an activated LoRA (Greenewald et al. 2025, arXiv:2504.12397).
    """
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank) if alpha is None else alpha)
    if invocation_tokens:
        tokens, kind = list(invocation_tokens), gguf.GGUFValueType.UINT32
        writer.add_key_value("adapter.alora.invocation_tokens", tokens, gguf.GGUFValueType.ARRAY, sub_type=kind)
    for name, (inputs, outputs) in shapes.items():
        first, second = deviations or (inputs**-0.5, SIZE)
        writer.add_tensor(f"{name}.lora_a", rng.normal(0, first, (rank, inputs)).astype(np.float32))
        writer.add_tensor(f"{name}.lora_b", rng.normal(0, second, (outputs, rank)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def invocation(weights: Path) -> list[int]:
    """Tokens that invoke an activated LoRA of this model at the beginning of the answer."""
    _native_log.install()
    params = llama.llama_model_default_params()
    params.vocab_only = True
    model = llama.llama_model_load_from_file(os.fsencode(weights), params)
    data = ANSWER_BEGINS.encode()
    buffer = (llama.llama_token * len(data))()
    count = llama.llama_tokenize(llama.llama_model_get_vocab(model), data, len(data), buffer, len(data), False, True)
    llama.llama_model_free(model)
    return list(buffer[:count])
