"""Runs the attempts through the `SkillRunner` and puts together what they did."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self, cast

from jsonschema import Draft202012Validator

from bench.injections.attempts import Attempt, SkillName, arguments_of, clean_texts
from bench.injections.carriers import DOCUMENTS, LABELS
from bench.injections.corpus import CONTROLS
from bench.injections.effects import Answer, Effect, effect, is_right
from bench.injections.watched import Sightings, SpecialTokens, WatchedEngine
from tools_server.app import App, build_app, load_engine
from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.nullable import widen
from tools_server.calls.run_skill import SkillRunner
from tools_server.errors import CallError, CapacityError, DecodeFailed
from tools_server.models import ModelStore
from tools_server.settings import Settings

TIMEOUT_S = 3600.0
"""Of a call: what an answer is must not depend on how busy the machine is."""

Told = Callable[[], None]
"""Called after each call."""


@dataclass(frozen=True, slots=True)
class Clean:
    """The clean texts of a skill: right labels or fields of all, and what asking again at the end changed."""

    right: int
    parts: int
    changed_again: int
    largest_move: float | None  # of a confidence; labels only


@dataclass(frozen=True, slots=True)
class Study:
    """Everything about one skill. `unescaped` are the attempts among `effects` that can forge tokens, once more."""

    skill: SkillName
    clean: Clean
    effects: Sequence[Effect]
    unescaped: Sequence[Effect]
    calls: int
    invalid: int
    errors: Mapping[str, int]
    escaped_seen: Sightings
    unescaped_seen: Sightings

    @property
    def of_control(self) -> list[Effect]:
        """The effects with escaping of those attempts that were run without as well, in the same order."""
        again = {(each.attempt.injection.id, each.attempt.carrier) for each in self.unescaped}
        return [each for each in self.effects if (each.attempt.injection.id, each.attempt.carrier) in again]


@dataclass(slots=True)
class _Counts:
    calls: int = 0
    invalid: int = 0
    errors: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(slots=True)
class Laboratory:
    """One loaded model, asked in two ways: as clients ask it, and without escaping."""

    app: App
    weights: str  # the file's name and the beginning of its hash
    vocabulary: SpecialTokens
    escaped: WatchedEngine
    unescaped: WatchedEngine
    plain_runner: SkillRunner

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Load the model of the settings in this process. Blocks for seconds.

        Raises:
            ModelError: the weights are missing or unusable.
        """
        # llama.cpp warns about the model file at every load, which says nothing about this run.
        logging.getLogger("tools_server.llama_cpp").setLevel(logging.ERROR)
        models = ModelStore.from_settings(settings)
        path = models.serving(settings.model, tuned=settings.tuned).path
        weights = f"{path.name}, SHA-256 {models.manifest(settings.model).sha256[:12]}…"
        vocabulary = SpecialTokens(path, model_id=settings.model)
        engine = load_engine(settings, models)
        escaped = WatchedEngine(engine, vocabulary)
        unescaped = WatchedEngine(engine, vocabulary, escaped=False)
        app = build_app(settings, engine_factory=lambda: escaped.port)
        return cls(
            app, weights, vocabulary, escaped, unescaped, SkillRunner(EngineGate(lambda: unescaped.port), settings)
        )

    async def study(self, skill: SkillName, attempts: Sequence[Attempt], told: Told) -> Study:
        """Ask the clean texts, the attempts, those that forge tokens without escaping, and the clean texts again.

        One call after the other: what else is in a batch moves a quantised model's answers, and this is no matter of
        speed.

        Raises:
            SkillError, ModelError, EngineError: the skill cannot be run at all.
        """
        counts = _Counts()
        self.escaped.seen, self.unescaped.seen = Sightings(), Sightings()
        ask = partial(self._ask, skill, counts, told)
        texts = clean_texts(skill)
        clean = [await ask(self.app.runner, carrier, text) for carrier, text in enumerate(texts)]
        effects = [
            effect(each, clean[each.carrier], await ask(self.app.runner, each.carrier, each.text)) for each in attempts
        ]
        unescaped = [
            effect(each, clean[each.carrier], await ask(self.plain_runner, each.carrier, each.text))
            for each in self.forging(attempts)
        ]
        again = [await ask(self.app.runner, carrier, text) for carrier, text in enumerate(texts)]
        return Study(
            skill,
            _clean(skill, clean, again),
            effects,
            unescaped,
            counts.calls,
            counts.invalid,
            counts.errors,
            replace(self.escaped.seen),
            replace(self.unescaped.seen),
        )

    def forging(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """The attacks whose text has special tokens of this model, if it is tokenised naively."""
        return [
            each for each in attempts if each.injection.kind not in CONTROLS and self.vocabulary.forged_by(each.text)
        ]

    async def aclose(self) -> None:
        """Free the model."""
        await self.app.gate.aclose()
        self.vocabulary.close()

    async def _ask(
        self, skill: SkillName, counts: _Counts, told: Told, runner: SkillRunner, carrier: int, text: str
    ) -> Answer:
        served = self.app.catalog.get(skill)
        counts.calls += 1
        try:
            result = await runner.run(served, arguments_of(skill, carrier, text), timeout_s=TIMEOUT_S)
        except (CallError, CapacityError, DecodeFailed) as error:
            counts.errors[error.code] = counts.errors.get(error.code, 0) + 1
            return Answer(None, error.code)
        finally:
            told()
        valid = _is_valid(result.data, served.result_schema, skill, carrier)
        counts.invalid += not valid
        return Answer(result.data, valid=valid)


def _is_valid(data: Mapping[str, Any], schema: Mapping[str, Any], skill: SkillName, carrier: int) -> bool:
    """Whether an answer keeps to what the tool promises, and to what this call asked for."""
    if not _keeps_to(schema, data):
        return False
    if skill == "classify":
        return data["label"] in LABELS and set(data["scores"]) == set(LABELS)
    return _keeps_to(widen(DOCUMENTS[carrier].fields), data["data"])


def _keeps_to(schema: Mapping[str, Any], value: Any) -> bool:
    return cast("Any", Draft202012Validator(schema)).is_valid(value)


def _clean(skill: SkillName, first: Sequence[Answer], again: Sequence[Answer]) -> Clean:
    pairs = [(one.data, other.data) for one, other in zip(first, again, strict=True)]
    key = "label" if skill == "classify" else "data"
    moves = [
        abs(one["confidence"] - other["confidence"])
        for one, other in pairs
        if skill == "classify" and one is not None and other is not None
    ]
    return Clean(
        right=sum(is_right(skill, carrier, answer) for carrier, answer in enumerate(first)),
        parts=sum(1 if skill == "classify" else len(DOCUMENTS[carrier].right) for carrier in range(len(first))),
        changed_again=sum((one or {}).get(key) != (other or {}).get(key) for one, other in pairs),
        largest_move=max(moves, default=None),
    )
