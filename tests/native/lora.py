"""LoRA files with random weights: adapters whose only quality is that they change the answer."""

import hashlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tools_server.engine.types import Adapter


def make_adapter(path: Path, *, seed: int, base_sha256: str, architecture: str = "llama", **metadata: Any) -> Adapter:
    """Write a LoRA with random weights, of rank 4, on the query and output projections of every layer."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for key, value in metadata.items():
        writer.add_key_value(
            f"adapter.alora.{key}", value, gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.UINT32
        )
    for layer in range(30):
        for name in ("attn_q", "attn_output"):
            for part, shape in (("lora_a", (4, 576)), ("lora_b", (576, 4))):
                tensor = rng.normal(0, 0.15, shape).astype(np.float32)
                writer.add_tensor(f"blk.{layer}.{name}.weight.{part}", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Adapter(digest, base_sha256, path=path, name=path.name)
