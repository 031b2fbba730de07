"""The few facts of a GGUF file's header that a manifest needs.

Read here rather than with the `gguf` package, which builds an array per token of the vocabulary and takes seconds.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools_server.errors import ModelLoadFailed

__all__ = ["GgufHeader", "Preamble", "SkippedArray", "read_header", "read_preamble", "read_string", "unpack"]

_MAGIC = b"GGUF"
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING = 8
_ARRAY = 9
_LONGEST_STRING = 16 << 20  # a chat template has kilobytes; anything longer is not a string but damage
_MOST_KEYS = 65536


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Facts of one GGUF file; `licence` is empty when the file names none, `parts` is 1 when it is not split.

    `kv_values` is how many numbers the KV cache holds per token over all layers, `vocabulary` how many tokens there
    are; both are 0 when the file does not say.
    """

    context_tokens: int
    licence: str
    parts: int
    kv_values: int
    vocabulary: int


def read_header(path: Path) -> GgufHeader:
    """Read the header's keys and values.

    Raises:
        ModelLoadFailed: the file is not a GGUF file of version 2 or 3, is damaged, or names no context length.
    """
    try:
        with path.open("rb") as file:
            values = read_preamble(file).values
    except (OSError, ValueError, OverflowError) as error:
        raise ModelLoadFailed(f"{path} is not a usable GGUF file: {error}.", "Give another file.") from error
    context = values.get(f"{values.get('general.architecture')}.context_length")
    if not isinstance(context, int) or context < 1:
        raise ModelLoadFailed(f"{path} names no context length, so it is no language model.", "Give another file.")
    parts = values.get("split.count", 1)
    return GgufHeader(
        context_tokens=context,
        licence=str(values.get("general.license", "")),
        parts=parts if isinstance(parts, int) else 1,
        kv_values=_kv_values(values),
        vocabulary=_length(values.get("tokenizer.ggml.tokens")),
    )


def _kv_values(values: Mapping[str, object]) -> int:
    """Layers × KV heads × (key + value) numbers of a head; key and value are a head's share unless the file differs."""

    def number(name: str, otherwise: int) -> int:
        # One value for each layer is an array here, whose values are not read: then the upper bound is taken.
        value = values.get(f"{values.get('general.architecture')}.{name}")
        return value if isinstance(value, int) else otherwise

    heads = number("attention.head_count", 0)
    if not heads:
        return 0
    share = number("embedding_length", 0) // heads
    of_a_head = number("attention.key_length", share) + number("attention.value_length", share)
    return number("block_count", 0) * number("attention.head_count_kv", heads) * of_a_head


def _length(value: object) -> int:
    return value.count if isinstance(value, SkippedArray) else 0


@dataclass(frozen=True, slots=True)
class SkippedArray:
    """An array whose values were not read."""

    count: int


@dataclass(frozen=True, slots=True)
class Preamble:
    """How many tensors a GGUF file claims to hold, and its keys with their values."""

    tensors: int
    values: Mapping[str, object]


def read_preamble(file: IO[bytes]) -> Preamble:
    """Read a GGUF file from its beginning to where the descriptions of its tensors begin.

    Raises:
        ValueError: it is no GGUF file of version 2 or 3, or is damaged.
    """
    magic = file.read(4)
    if magic != _MAGIC:
        raise ValueError(f"it begins with {magic!r}, not with {_MAGIC!r}")
    version, tensors, keys = unpack(file, "<IQQ")
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version} is unknown")
    if keys > _MOST_KEYS:
        raise ValueError(f"it claims {keys} keys")
    values: dict[str, object] = {}
    for _ in range(keys):
        name = read_string(file)
        values[name] = _value(file, unpack(file, "<I")[0])
    return Preamble(tensors, values)


def _value(file: IO[bytes], kind: int) -> object:
    if kind in _SCALARS:
        return unpack(file, _SCALARS[kind])[0]
    if kind == _STRING:
        return read_string(file)
    if kind == _ARRAY:
        return SkippedArray(_skip_array(file))
    raise ValueError(f"it holds a value of unknown type {kind}")


def _skip_array(file: IO[bytes]) -> int:
    kind, count = unpack(file, "<IQ")
    if kind in _SCALARS:
        file.seek(count * struct.calcsize(_SCALARS[kind]), 1)
    elif kind == _STRING:
        for _ in range(count):
            file.seek(unpack(file, "<Q")[0], 1)
    else:
        raise ValueError(f"it holds an array of unknown type {kind}")
    return count


def read_string(file: IO[bytes]) -> str:
    """Read a string behind its length. Raises ValueError where the file ends too early."""
    length = unpack(file, "<Q")[0]
    if length > _LONGEST_STRING:
        raise ValueError(f"it claims a string of {length} bytes")
    raw = file.read(length)
    if len(raw) != length:
        raise ValueError("it ends in the middle of its header")
    return raw.decode("utf-8")


def unpack(file: IO[bytes], layout: str) -> tuple[int, ...]:
    """Read numbers in the layout of `struct`. Raises ValueError where the file ends too early."""
    raw = file.read(struct.calcsize(layout))
    if len(raw) != struct.calcsize(layout):
        raise ValueError("it ends in the middle of its header")
    return struct.unpack(layout, raw)
