"""What the header of an adapter's GGUF file says, and whether the file is whole.

A LoRA is a pair of matrices for each of the base's matrices that it changes: A (rank × inputs) and B (outputs × rank),
which a GGUF file names `<tensor>.lora_a` and `<tensor>.lora_b`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from tools_server.errors import AdapterMismatch
from tools_server.models.header import SkippedArray, read_preamble, read_string, unpack

__all__ = ["AdapterHeader", "read_adapter_header"]

_INVOCATION = "adapter.alora.invocation_tokens"
_ALIGNMENT = 32
"""Bytes to which tensors are aligned in a file that does not say otherwise (GGUF specification)."""

_TYPES = {0: (1, 4), 1: (1, 2), 8: (32, 34), 30: (1, 2)}
"""Numbers and bytes of one block of F32, F16, Q8_0 and BF16: the formats in which LoRA converters write."""

_MOST_TENSORS = 65536


@dataclass(frozen=True, slots=True)
class AdapterHeader:
    """Facts of one adapter file. `rank` is the largest where matrices differ; `size_bytes` is the file's."""

    architecture: str
    kind: Literal["lora", "alora"]
    rank: int
    alpha: float
    matrices: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    end: int  # of its bytes, from where the data begins


def read_adapter_header(path: Path) -> AdapterHeader:
    """Read the header, and see that every tensor which it describes lies within the file.

    Raises:
        AdapterMismatch: the file cannot be read, is damaged or truncated, or is no LoRA.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except (OSError, ValueError, OverflowError) as error:
        raise AdapterMismatch(
            f"{path} is not a usable adapter: {error}.", "Give a LoRA as a whole GGUF file, or copy it again."
        ) from error


def _read(file: IO[bytes], size: int) -> AdapterHeader:
    preamble = read_preamble(file)
    values = preamble.values
    for key, wanted in (("general.type", "adapter"), ("adapter.type", "lora")):
        if values.get(key) != wanted:
            raise ValueError(f"its `{key}` is {values.get(key)!r}, not {wanted!r}")
    alpha, architecture = values.get("adapter.lora.alpha"), values.get("general.architecture")
    if not isinstance(alpha, float) or not isinstance(architecture, str):
        raise ValueError("it names no `adapter.lora.alpha` or no `general.architecture`")  # noqa: TRY004 - the file's
    if preamble.tensors > _MOST_TENSORS:
        raise ValueError(f"it claims {preamble.tensors} tensors")
    tensors = [_tensor(file) for _ in range(preamble.tensors)]
    alignment = values.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"its `general.alignment` is {alignment!r}")
    needed = -(-file.tell() // alignment) * alignment + max((tensor.end for tensor in tensors), default=0)
    if size < needed:
        raise ValueError(f"it is truncated: {size:,} bytes of {needed:,}")
    invocation = values.get(_INVOCATION)
    return AdapterHeader(
        architecture=architecture,
        kind="alora" if isinstance(invocation, SkippedArray) and invocation.count else "lora",
        rank=_rank(tensors),
        alpha=alpha,
        matrices=len(tensors) // 2,
        size_bytes=size,
    )


def _tensor(file: IO[bytes]) -> _Tensor:
    name = read_string(file)
    (dimensions,) = unpack(file, "<I")
    if not 1 <= dimensions <= 4:
        raise ValueError(f"tensor {name!r} claims {dimensions} dimensions")
    shape = unpack(file, f"<{dimensions}Q")
    kind, offset = unpack(file, "<IQ")
    if kind not in _TYPES:
        raise ValueError(f"tensor {name!r} has the format {kind}, none of F32, F16, BF16 and Q8_0")
    numbers, bytes_ = _TYPES[kind]
    return _Tensor(name, shape, offset + math.prod(shape) // numbers * bytes_)


def _rank(tensors: list[_Tensor]) -> int:
    """The second dimension of the A matrices: GGUF lists the dimension that lies together in memory first."""
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    downs = {name.removesuffix(".lora_a") for name in shapes if name.endswith(".lora_a")}
    ups = {name.removesuffix(".lora_b") for name in shapes if name.endswith(".lora_b")}
    if not downs or downs != ups or len(downs) + len(ups) != len(shapes):
        raise ValueError("its tensors are not pairs of `lora_a` and `lora_b`")
    if odd := [name for name in sorted(downs) if len(shapes[f"{name}.lora_a"]) != 2]:
        raise ValueError(f"tensor '{odd[0]}.lora_a' is no matrix")
    return max(shapes[f"{name}.lora_a"][1] for name in downs)
