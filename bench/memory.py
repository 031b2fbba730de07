"""How much memory a model needs at least, and how much a process has."""

from pathlib import Path
from typing import Any

import gguf
import psutil

from bench.lora import read_gguf

MIB = 2**20
F16_BYTES = 2
ROOM = 1.3
OVERHEAD_MIB = 150
"""The bound: 1.3 times weights and KV cache, and this for libraries, compute buffers and the vocabulary's tables."""


def kv_bytes(weights: Path, cells: int) -> int:
    """Size of a KV cache in F16: keys and values of every layer's heads, for each cell."""
    reader = read_gguf(weights)
    architecture = _value(reader, "general.architecture")

    def of(name: str, default: int | None = None) -> int:
        found = _value(reader, f"{architecture}.{name}")
        return default if found is None and default is not None else int(found)

    heads = of("attention.head_count")
    width = of("embedding_length") // heads
    per_head = of("attention.key_length", width) + of("attention.value_length", width)
    return of("block_count") * of("attention.head_count_kv", heads) * per_head * F16_BYTES * cells


def bound_mib(weights: Path, cells: int) -> float:
    """What a process should stay within."""
    return (ROOM * (weights.stat().st_size + kv_bytes(weights, cells))) / MIB + OVERHEAD_MIB


def resident_mib(pid: int) -> float:
    """Memory that a process has in RAM; pages of the weights' file that it has mapped count."""
    return psutil.Process(pid).memory_info().rss / MIB


def _value(reader: gguf.GGUFReader, key: str) -> Any:
    field = reader.fields.get(key)
    return None if field is None else field.contents()
