"""LoRA files with random weights: adapters whose only quality is that they change the answer."""

from collections.abc import Sequence
from pathlib import Path

from bench.lora import write_lora
from tools_server.engine.types import Adapter

LAYERS, WIDTH = 30, 576
"""Of the small model."""


def make_adapter(
    path: Path,
    *,
    seed: int,
    base_sha256: str,
    architecture: str = "llama",
    invocation_tokens: Sequence[int] = (),
) -> Adapter:
    """Write a LoRA of rank 4 on the query and output projections of every layer, strong enough to change answers."""
    names = (f"blk.{layer}.{name}.weight" for layer in range(LAYERS) for name in ("attn_q", "attn_output"))
    digest = write_lora(
        path,
        architecture,
        dict.fromkeys(names, (WIDTH, WIDTH)),
        seed=seed,
        rank=4,
        alpha=8.0,
        deviations=(0.15, 0.15),
        invocation_tokens=invocation_tokens,
    )
    return Adapter(digest, base_sha256, path=path, name=path.name)
