"""One run of tuning: weight formats are measured and checked, then the engine's settings on the best of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tools_server.data.types import Sample
from tools_server.errors import EngineError, ModelError, TuningFailed
from tools_server.models import EngineChoice
from tools_server.tuning.quality import Decision, Quality, compare, decisions
from tools_server.tuning.ranking import CLOSE, ranked, ratio, relative
from tools_server.tuning.types import Candidate, Rates, Told, Workload

if TYPE_CHECKING:
    from tools_server.engine.llama_weights import Format, WeightFacts
    from tools_server.tuning.lab import Answer, Lab

__all__ = ["Outcome", "Plan", "Tuner"]

BATCHES = (128, 256, 512, 1024)
KV_BYTES = {"f16": 2.0, "bf16": 2.0, "q8_0": 8.5 / 8}
BUFFERS = 300_000_000
"""Bytes that llama.cpp and Python take beside weights and KV cache, roughly."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to try. `base` are the engine's settings as they are, `free` those that the user has not fixed."""

    source: Path
    work: Path  # folder for new weights; on the file system of the source
    formats: tuple["Format", ...]
    base: EngineChoice
    free: frozenset[str]
    context_tokens: int
    memory: int  # bytes that a served model may take
    samples: tuple[Sample, ...]
    workload: Workload
    rounds: int
    settings_too: bool


@dataclass(slots=True)
class Outcome:
    """What a run found. Each of `runs` has the rounds of candidates that were measured side by side."""

    published: Candidate
    chosen: Candidate
    runs: list[dict[Candidate, list[Rates]]] = field(default_factory=list[dict[Candidate, list[Rates]]])
    quality: dict[Candidate, Quality] = field(default_factory=dict[Candidate, Quality])
    left_out: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def last(self) -> tuple[list[Rates], list[Rates]]:
        """The rounds of the chosen candidate and of the published weights, from the last run that has both."""
        run = next(run for run in reversed(self.runs) if self.chosen in run)
        return run[self.chosen], run[self.published]


class Tuner:
    """Runs one plan in a lab. Blocking; tells `told` what it does."""

    def __init__(self, lab: "Lab", plan: Plan, told: Told) -> None:
        self._lab = lab
        self._plan = plan
        self._told = told
        self._done = self._all = 0
        self._base_answers: list[Answer] = []

    def run(self) -> Outcome:
        """Find the fastest candidate that answers as well as the published weights.

        Raises:
            TuningFailed: the published weights themselves cannot be read or measured.
            ModelLoadFailed, EngineError: the published weights do not load or answer.
        """
        plan = self._plan
        self._all = len(plan.formats) * (1 + plan.rounds) + plan.rounds + 2
        facts = self._lab.examine(plan.source)
        memory = plan.source.stat().st_size + self._kv_bytes(facts, plan.base)
        published = Candidate(facts.format, plan.source, plan.base, memory)
        outcome = Outcome(published, chosen=published)
        made = self._make(facts, outcome)
        measured = self._measure([published], made, outcome)
        outcome.chosen = self._best(relative(measured, published), outcome) or published
        if plan.settings_too:
            self._tune_settings(facts, outcome)
        self._told(self._all, self._all, "done")
        return outcome

    # Candidates.

    def _kv_bytes(self, facts: "WeightFacts", engine: EngineChoice) -> int:
        return int(self._plan.context_tokens * facts.kv_values * KV_BYTES[engine.kv_type])

    def _make(self, facts: "WeightFacts", outcome: Outcome) -> list[Candidate]:
        """Write the weights in every other format that memory allows."""
        plan = self._plan
        made: list[Candidate] = []
        for to in plan.formats:
            if to == facts.format:
                continue
            estimated = facts.bytes_as(to) + self._kv_bytes(facts, plan.base)
            candidate = Candidate(to, plan.work / f"{to}.gguf", plan.base, estimated)
            if estimated + BUFFERS > plan.memory:
                outcome.left_out[to] = (
                    f"would take {(estimated + BUFFERS) / 1e6:,.0f} MB of memory; "
                    f"{plan.memory / 1e6:,.0f} MB may be used"
                )
                continue
            self._step(f"writing {to} weights")
            try:
                self._lab.write(plan.source, candidate.path, to)
            except TuningFailed as error:
                outcome.left_out[to] = error.message
                continue
            made.append(replace(candidate, memory=candidate.path.stat().st_size + self._kv_bytes(facts, plan.base)))
        return made

    # Speed.

    def _measure(
        self, known: Sequence[Candidate], others: Sequence[Candidate], outcome: Outcome
    ) -> dict[Candidate, list[Rates]]:
        """Measure candidates in turn (A B C A B C): what else happens on the machine falls on all of them alike.

        One of `others` that cannot be run is left out; what is `known` must run, for the others are compared with it.
        """
        rates: dict[Candidate, list[Rates]] = {candidate: [] for candidate in (*known, *others)}
        for number in range(self._plan.rounds):
            for candidate in list(rates):
                self._step(f"measuring {candidate.name}, round {number + 1} of {self._plan.rounds}")
                try:
                    rates[candidate].append(self._lab.measure(candidate, self._plan.workload))
                except ModelError as error:
                    if candidate in known:
                        raise
                    outcome.left_out[candidate.name] = error.message
                    del rates[candidate]
        outcome.runs.append(rates)
        return rates

    # Quality.

    def _best(self, shares: Mapping[Candidate, float], outcome: Outcome) -> Candidate | None:
        """The fastest candidate against which no evaluation speaks, None when nothing better than the base is left."""
        for candidate in ranked(shares):
            if not self._base_answers:
                self._step(f"answering {len(self._plan.samples)} samples with the published weights")
                self._base_answers = self._lab.answers(outcome.published, self._plan.samples)
            if candidate not in outcome.quality:
                try:
                    outcome.quality[candidate] = self._check(candidate)
                except (ModelError, EngineError) as error:
                    outcome.left_out[candidate.name] = error.message
                    continue
            if outcome.quality[candidate].objection is None:
                return candidate
        return None

    def _check(self, candidate: Candidate) -> Quality:
        samples = self._plan.samples
        self._step(f"answering {len(samples)} samples with {candidate.name}")
        answers = self._lab.answers(candidate, samples)
        return compare(_taken_apart(samples, self._base_answers), _taken_apart(samples, answers))

    # Settings.

    def _tune_settings(self, facts: "WeightFacts", outcome: Outcome) -> None:
        """Change one setting at a time, then all together that helped; each change is measured and checked."""
        winner = outcome.chosen
        variants = self._variants(facts, winner)
        if not variants:
            return
        self._all = self._done + self._plan.rounds * (2 + len(variants)) + 2
        measured = self._measure([outcome.published, winner], variants, outcome)
        shares = relative(measured, winner)
        together = self._together(facts, winner, measured)
        if together is not None:
            self._all += self._plan.rounds * 3
            shares |= relative(self._measure([outcome.published, winner], [together], outcome), winner)
        del shares[winner]
        shares.pop(outcome.published, None)  # where the formats were compared it has lost, or it is the winner
        outcome.chosen = self._best(shares, outcome) or winner

    def _variants(self, facts: "WeightFacts", winner: Candidate) -> list[Candidate]:
        engines: list[EngineChoice] = []
        if "batch_tokens" in self._plan.free:
            others = [size for size in BATCHES if size != winner.engine.batch_tokens]
            engines += [winner.engine.model_copy(update={"batch_tokens": size}) for size in others]
        if "flash_attention" in self._plan.free:
            engines.append(winner.engine.model_copy(update={"flash_attention": False}))
        if "kv_type" in self._plan.free:
            engines += [winner.engine.model_copy(update={"kv_type": kind}) for kind in ("q8_0", "bf16")]
        return [self._with(facts, winner, engine) for engine in engines]

    def _with(self, facts: "WeightFacts", winner: Candidate, engine: EngineChoice) -> Candidate:
        more = self._kv_bytes(facts, engine) - self._kv_bytes(facts, winner.engine)
        return replace(winner, engine=engine, memory=winner.memory + more)

    def _together(
        self, facts: "WeightFacts", winner: Candidate, measured: dict[Candidate, list[Rates]]
    ) -> Candidate | None:
        """The best value of every setting at once, None when fewer than two of them help."""
        best: dict[str, tuple[float, object]] = {}
        for variant, rounds in measured.items():
            faster = ratio(rounds, measured[winner]).median
            if (variant.format, variant.path) != (winner.format, winner.path) or faster < 1 + CLOSE:
                continue
            for key, value in dict(variant.engine).items():
                if value != getattr(winner.engine, key) and faster > best.get(key, (0.0, None))[0]:
                    best[key] = (faster, value)
        if len(best) < 2:
            return None
        update = {key: value for key, (_, value) in best.items()}
        if update.get("flash_attention") is False and update.get("kv_type") == "q8_0":
            return None  # a quantised KV cache needs flash attention
        return self._with(facts, winner, winner.engine.model_copy(update=update))

    def _step(self, what: str) -> None:
        self._told(self._done, max(self._all, self._done + 1), what)
        self._done += 1


def _taken_apart(samples: Sequence[Sample], answers: "Sequence[Answer]") -> list[dict[str, Decision]]:
    return [decisions(sample.expected, answer) for sample, answer in zip(samples, answers, strict=True)]
