"""What is tried, what was measured, and how a run of tuning tells where it is."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools_server.models import EngineChoice

__all__ = ["DECODE_SIZES", "Candidate", "Rates", "Spread", "Told", "Workload"]

DECODE_SIZES = (1, 4, 16)
"""Sequences that generate at once."""

Told = Callable[[int, int, str], None]
"""Called with (steps done, steps in all as known so far, what is being done)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Weights in one format under one set of engine settings. `memory` is in bytes: weights and KV cache."""

    format: str
    path: Path
    engine: EngineChoice
    memory: int

    @property
    def name(self) -> str:
        """The candidate for people: its format, and the settings that are not the defaults."""
        base = EngineChoice()
        differing = [f"{key} {value}" for key, value in dict(self.engine).items() if value != getattr(base, key)]
        return ", ".join([self.format, *differing]).replace("flash_attention False", "no flash attention")


@dataclass(frozen=True, slots=True)
class Workload:
    """What one visit to a candidate measures: `prompts` prompts of `prompt_tokens`, then `steps` tokens a sequence."""

    prompts: int = 2
    prompt_tokens: int = 512
    steps: int = 24
    depth: int = 128  # tokens that each generating sequence has before it


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens per second of one visit; `decode` by the number of sequences."""

    prefill: float
    decode: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Spread:
    """Several rounds of one figure."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Lowest, middle and highest of at least one value."""
        return cls(min(values), statistics.median(values), max(values))
