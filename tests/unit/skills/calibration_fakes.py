"""Entries of a calibration file."""

from typing import Any

BASE, OTHER, DIGEST = "0" * 64, "1" * 64, "2" * 64
FIGURES = {"ece": 0.1, "auroc": 0.9, "brier": 0.2}


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "model": "small",
        "base_sha256": BASE,
        "adapter_sha256": None,
        "prompt_digest": DIGEST,
        "method": "temperature",
        "temperature": 2.0,
        "fitted": 50,
        "checked": 50,
        "data": [{"dataset": "d", "split": "dev", "licence": "CC0-1.0", "samples": 100, "sha256": BASE}],
        "before": FIGURES,
        "after": FIGURES,
        "made": "2026-11-20",
        **changes,
    }
