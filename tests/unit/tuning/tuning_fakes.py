"""A lab whose candidates have the speed and the answers that a test gives them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools_server.data.types import Sample
from tools_server.engine.llama_weights import Format, WeightFacts
from tools_server.errors import ModelLoadFailed, TuningFailed
from tools_server.tuning.types import Candidate, Rates, Workload

SAMPLES = tuple(Sample(f"x.jsonl:{i}", "classify", {"text": str(i)}, {"label": "a"}, f"x.jsonl:{i}") for i in range(40))


def rates(prefill: float, decode: float = 100.0) -> Rates:
    return Rates(prefill, {1: decode, 4: decode * 2, 16: decode * 4})


def answer(label: str) -> Mapping[str, Any]:
    return {"label": label, "scores": {"a": 0.5, "b": 0.5}}


@dataclass
class FakeLab:
    """`speed` gives a candidate's rates, `wrong` how many of the samples a format answers otherwise."""

    speed: Callable[[Candidate], Rates]
    wrong: Mapping[str, int] = field(default_factory=dict)
    unwritable: frozenset[str] = frozenset()
    crashing: frozenset[str] = frozenset()
    facts: WeightFacts = field(default_factory=lambda: WeightFacts(1000, "Q4_1", 10))
    visits: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.visits.append("closed")

    def examine(self, source: Path) -> WeightFacts:
        return self.facts

    def write(self, source: Path, target: Path, to: Format) -> Path:
        if to in self.unwritable:
            raise TuningFailed(f"cannot write {to}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{to} of {source.name}")
        return target

    def measure(self, candidate: Candidate, workload: Workload) -> Rates:
        self.visits.append(candidate.name)
        if candidate.name in self.crashing:
            raise ModelLoadFailed(f"cannot load {candidate.name}.")
        return self.speed(candidate)

    def answers(self, candidate: Candidate, samples: Sequence[Sample]) -> list[Mapping[str, Any] | None]:
        self.answered.append(candidate.name)
        wrong = self.wrong.get(candidate.name, 0)
        return [answer("b" if index < wrong else "a") for index in range(len(samples))]
