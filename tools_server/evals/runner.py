"""Let a variant of a skill answer samples, through the same `SkillRunner` as a client's call."""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version

import numpy as np

from tools_server import __version__
from tools_server.calls.gather import gather
from tools_server.calls.run_skill import SkillRunner
from tools_server.data.types import Sample
from tools_server.engine.types import Adapter, Usage
from tools_server.errors import CallError, CapacityError, DecodeFailed
from tools_server.evals.answers import Answered, AnswerLog, Pass
from tools_server.evals.samples import spread
from tools_server.evals.scoring import Data
from tools_server.skills.types import Skill

__all__ = ["TIMED_CALLS", "Evaluation", "Told", "Variant", "evaluate", "of_answers", "of_data", "tokens_per_call"]

TIMED_CALLS = 50
"""Calls that are timed alone, at most: what a p95 needs to mean anything, and no more."""

_PATIENCE_S = 3600.0
"""Seconds that a call may take: a score is not to depend on how fast the machine is."""

Told = Callable[[int, int, str], None]
"""Called with (calls done, calls in all, what is being done)."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What answers: a skill on a model, with an adapter or bare. `weights` is the file that the model comes from."""

    name: str
    skill: Skill
    model: str
    base_sha256: str
    weights: str = ""
    adapter: Adapter | None = None

    @property
    def key(self) -> str:
        """What its answers are kept under: everything that shapes them, hashed."""
        adapter = self.adapter
        shaping = [self.skill.name, self.skill.digest, self.model, self.base_sha256, self.weights]
        shaping += [__version__, version("llama-cpp-python")]
        shaping += [adapter.sha256, adapter.base_sha256, str(adapter.scale)] if adapter else ["bare"]
        return hashlib.sha256(json.dumps(shaping).encode()).hexdigest()[:16]

    @property
    def served(self) -> Skill:
        """The skill with this adapter in the place of what its folder, or a promotion, says."""
        others = {model: adapter for model, adapter in self.skill.adapters.items() if model != self.model}
        return replace(self.skill, adapters=others | ({self.model: self.adapter} if self.adapter else {}))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The answers of one variant to all samples, in their order, and what they took.

    `latencies` are seconds of calls made alone, empty when none were timed. `calls_per_second` is that of the batched
    calls together. Baselines, which are not `by_model`, have answers alone.
    """

    name: str
    adapter: Adapter | None
    answers: Sequence[Data]
    errors: Mapping[str, int]
    usage: Usage
    latencies: Sequence[float] = ()
    calls_per_second: float | None = None
    by_model: bool = True

    def latency(self, share: float) -> float:
        """A quantile of the latencies in seconds, NaN when none were timed."""
        return float(np.quantile(self.latencies, share)) if self.latencies else math.nan


async def evaluate(
    runner: SkillRunner,
    variant: Variant,
    samples: Sequence[Sample],
    log: AnswerLog,
    *,
    limit: int,
    timed: int = TIMED_CALLS,
    told: Told = lambda _done, _all, _what: None,
) -> Evaluation:
    """Let a variant answer what is not in the log yet: first `timed` calls alone, then all, `limit` at a time.

    The timed calls come first, while no prefix cache knows their texts; latencies in a batch would only tell how large
    the batch was. A call that the skill, its input or the answer's budget failed counts as failed and is kept.

    Raises:
        SkillError, ModelError, EngineError: the variant cannot be run at all, such as an adapter for another base.
    """
    skill = variant.served
    alone = spread(samples, timed)
    waiting = [sample for sample in samples if log.get(variant.key, "batched", sample) is None]
    # Samples with the same labels or fields share the beginning of their prompts: side by side, it is computed once.
    waiting.sort(key=lambda sample: json.dumps({**sample.arguments, "text": ""}, sort_keys=True))
    untimed = [sample for sample in alone if log.get(variant.key, "alone", sample) is None]
    total, done = len(samples) + len(alone), len(samples) - len(waiting) + len(alone) - len(untimed)
    told(done, total, variant.name)

    async def ask(sample: Sample, how: Pass) -> None:
        nonlocal done
        log.put(variant.key, how, sample, await _answer(runner, skill, sample))
        done += 1
        told(done, total, f"{variant.name}: {'one at a time' if how == 'alone' else 'many at once'}")

    if untimed:
        await _answer(runner, skill, samples[0])  # to load what a first call loads; not counted
    for sample in untimed:
        await ask(sample, "alone")
    before, started = done, time.monotonic()
    try:
        await gather([partial(ask, sample, "batched") for sample in waiting], limit)
    finally:
        if done > before:
            log.add_time(variant.key, done - before, time.monotonic() - started)
    return of_answers(variant.name, variant.key, samples, log, adapter=variant.adapter, timed=alone)


async def _answer(runner: SkillRunner, skill: Skill, sample: Sample) -> Answered:
    started = time.monotonic()
    try:
        result = await runner.run(skill, sample.arguments, timeout_s=_PATIENCE_S)
    except (CallError, CapacityError, DecodeFailed) as error:
        return Answered(None, error.code, Usage(), time.monotonic() - started)
    return Answered(result.data, None, result.usage, time.monotonic() - started)


def of_answers(
    name: str,
    key: str,
    samples: Sequence[Sample],
    log: AnswerLog,
    *,
    adapter: Adapter | None = None,
    timed: Sequence[Sample] = (),
) -> Evaluation:
    """Put together what the log has of a variant; every sample must be answered in it."""
    answered = [found for sample in samples if (found := log.get(key, "batched", sample)) is not None]
    assert len(answered) == len(samples)
    alone = [found for sample in timed if (found := log.get(key, "alone", sample)) is not None]
    return Evaluation(
        name=name,
        adapter=adapter,
        answers=[each.data for each in answered],
        errors=dict(Counter(each.error for each in answered if each.error)),
        usage=sum((each.usage for each in answered), Usage()),
        latencies=[each.seconds for each in alone if each.error is None],
        calls_per_second=log.calls_per_second(key),
    )


def of_data(name: str, answers: Sequence[Data]) -> Evaluation:
    """The evaluation of a baseline, which no model answered."""
    return Evaluation(name, None, answers, {}, Usage(), by_model=False)


def tokens_per_call(evaluation: Evaluation) -> dict[str, float]:
    """Mean tokens of one call, by kind (`Usage`)."""
    calls = max(1, len(evaluation.answers))
    return {kind: round(total / calls, 1) for kind, total in asdict(evaluation.usage).items()}
