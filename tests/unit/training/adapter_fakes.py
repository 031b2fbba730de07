"""Adapter files of a few hundred bytes, versions made of them, and evidence about them."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFValueType, GGUFWriter

from tools_server.skills.adapters import AdapterVersion, DataUse, Origin
from tools_server.skills.types import Skill
from tools_server.training.versions import add_version

BASE = "b" * 64
TRAIN_DATA, TEST_DATA = "1" * 64, "2" * 64
CREATED = datetime(2026, 8, 2, 10, 15, tzinfo=UTC)


def write_adapter(path: Path, *, seed: int = 0, rank: int = 2, invocation: Sequence[int] = ()) -> Path:
    """A LoRA on one matrix of 8 × 4; what it weighs differs by seed."""
    writer = GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    if invocation:
        key, array = "adapter.alora.invocation_tokens", GGUFValueType.ARRAY
        writer.add_key_value(key, list(invocation), array, sub_type=GGUFValueType.UINT32)
    rng = np.random.default_rng(seed)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", rng.normal(size=(rank, 8)).astype(np.float16))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", rng.normal(size=(4, rank)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def origin(**changes: Any) -> Origin:
    data = DataUse(dataset="tickets", split="train", licence="CC-BY-4.0", records=400, sha256=TRAIN_DATA)
    facts: dict[str, Any] = {
        "source": "trained here",
        "base_model": "tiny",
        "base_sha256": BASE,
        "created": CREATED,
        "seed": 7,
        "data": (data,),
        "recipe": {"learning_rate": 1e-3, "targets": ["attn_q"], "warm_up": None, "schedule": {"kind": "cosine"}},
        "scores": {"dev_accuracy": 0.81},
        "tools": {"torch": "2.13.0"},
    }
    return Origin(**{**facts, **changes})


def make_version(
    root: Path, skill: str, name: str | None = None, *, model: str = "tiny", seed: int = 0, **changes: Any
) -> AdapterVersion:
    root.mkdir(parents=True, exist_ok=True)
    file = write_adapter(root / "made.gguf", seed=seed)
    try:
        return add_version(root, skill, model, file, origin(**changes), version=name)
    finally:
        file.unlink()


def metric(**changes: Any) -> dict[str, Any]:
    facts = {"primary": True, "better": "higher", "kind": "binary", "baseline": 0.7, "candidate": 0.8}
    return {**facts, "difference": [0.02, 0.18], "p": 0.004, **changes}


def evidence(skill: Skill, candidate: str | None, baseline: str | None = None, /, **changes: Any) -> dict[str, Any]:
    """What speaks for a candidate, with single facts replaced."""
    facts = {
        "skill": skill.name,
        "skill_digest": skill.digest,
        "model": "tiny",
        "base_sha256": BASE,
        "data": {"name": "tickets", "split": "test", "sha256": TEST_DATA, "samples": 200},
        "variants": {"baseline": {"adapter_sha256": baseline}, "candidate": {"adapter_sha256": candidate}},
        "metrics": {"accuracy": metric()},
    }
    return {**facts, **changes}


def write_evidence(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
