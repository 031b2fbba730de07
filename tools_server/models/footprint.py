"""How much memory a model will take, estimated before it is loaded.

What the system cannot take back is counted. llama.cpp maps the file and may rearrange weights into a copy: then the
copy stays, and the file's pages, of the same size, come on top only for as long as nobody else needs the memory.
"""

from dataclasses import dataclass
from pathlib import Path

from tools_server.errors import ModelLoadFailed
from tools_server.models.header import read_header
from tools_server.settings import KvType, Settings

__all__ = ["Footprint", "check_memory_limit", "footprint"]

_BYTES: dict[KvType, float] = {"f16": 2, "bf16": 2, "q8_0": 34 / 32}
"""Bytes per number in the KV cache; q8_0 has a two-byte scale for every 32."""

_LOGITS_ROWS = 2 * 128
"""Rows of the vocabulary's width, in four bytes a number: of one decode, in the graph and in the output."""

_REST = 150_000_000
"""Python, the libraries, and the graph's other buffers, as measured for models of up to 2 billion parameters."""

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of a loaded model: its weights, its KV cache, and everything else."""

    weights: int
    kv: int
    rest: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.kv + self.rest


def footprint(weights: Path, *, context_tokens: int, kv_type: KvType) -> Footprint:
    """Estimate from the header of `weights`; raises ModelLoadFailed when it has none."""
    header = read_header(weights)
    kv = round(context_tokens * header.kv_values * _BYTES[kv_type])
    return Footprint(weights.stat().st_size, kv, _LOGITS_ROWS * header.vocabulary * 4 + _REST)


def check_memory_limit(settings: Settings, weights: Path) -> None:
    """Refuse a model that would take more than `memory_limit_mb`, if that is set.

    Raises:
        ModelLoadFailed: with the numbers, and the setting to lower.
    """
    limit = settings.memory_limit_mb
    if limit is None:
        return
    needed = footprint(weights, context_tokens=settings.context_tokens, kv_type=settings.kv_type)
    if needed.total <= limit * _MEGABYTE:
        return
    left = limit * _MEGABYTE - needed.weights - needed.rest
    fitting = int(settings.context_tokens * left / needed.kv) if needed.kv and left > 0 else 0
    raise ModelLoadFailed(
        f"{settings.model} would take about {needed.total / _MEGABYTE:,.0f} MB (weights "
        f"{needed.weights / _MEGABYTE:,.0f}, KV cache for {settings.context_tokens:,} tokens "
        f"{needed.kv / _MEGABYTE:,.0f}, the rest {needed.rest / _MEGABYTE:,.0f}); `memory_limit_mb` is {limit:,}.",
        f"Lower `context_tokens` to {fitting:,} or less, or raise `memory_limit_mb`."
        if fitting >= 512
        else "Serve a smaller model, or raise `memory_limit_mb`.",
    )
