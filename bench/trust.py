"""What confidence, calibration and evidence cost: the time they take within calls, beside the rest of these calls."""

import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import wraps
from typing import Any
from unittest.mock import patch

from bench.measure import Comparison, Job
from bench.progress import TakeTurns
from bench.terms import Terms
from bench.texts import LABELS, Texts
from bench.workloads import FIELDS
from tools_server.app import App, build_app
from tools_server.calls import generate
from tools_server.calls.trust import Trust
from tools_server.engine.types import ModelInfo
from tools_server.skills.calibration import Calibration, Figures, FittedOn
from tools_server.skills.catalog import Catalog
from tools_server.skills.types import Skill

CALLS: Mapping[str, int] = {"classify": 16, "extract": 4, "summarise": 2}
"""Calls of each skill in a round, one after the other; a summary takes seconds."""

KNOTS = tuple((step / 100, step / 100) for step in range(101))
"""More than a fitted map has."""


@dataclass(frozen=True, slots=True)
class Found:
    """Milliseconds of a call with everything, and without what is measured."""

    whole: float
    rest: float


class Clock:
    """Adds up the seconds that functions take, in whatever thread."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, whose time is counted."""

        @wraps(function)
        def counted(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                with self._lock:
                    self.seconds += time.perf_counter() - started

        return counted

    @contextmanager
    def watching(self) -> Generator[None]:
        """Count what makes an answer's confidence and evidence, until the block ends."""
        watched = (
            (Trust, ("tempered", "confidence", "deferral")),
            (generate, ("value_signals", "evidence_of", "answer_confidence")),
        )
        with ExitStack() as stack:
            for place, names in watched:
                for name in names:
                    stack.enter_context(patch.object(place, name, self.timed(getattr(place, name))))
            yield


async def compare(terms: Terms, texts: Texts, take_turns: TakeTurns) -> list[Comparison]:
    """Time calls of the bundled skills in this process, all with a calibration of a hundred knots.

    Raises:
        ModelError: the weights are unusable.
    """
    application = build_app(terms.settings.model_copy(update={"in_process": True, "tuned": False}))
    try:
        engine = await application.gate.get()
        jobs = {name: _job(application, engine.info, name, texts) for name in CALLS}
        found = await take_turns("trust", jobs)
    finally:
        await application.gate.aclose()
    return [
        Comparison(
            f"{name}, one by one",
            "the same without",
            "ms/call",
            tuple(each.whole for each in rounds),
            tuple(each.rest for each in rounds),
            lower_is_better=True,
        )
        for name, rounds in found.items()
    ]


def calibrated(skill: Skill, model: ModelInfo) -> Skill:
    """The skill with a made-up calibration, which costs what a fitted one does and means nothing."""
    adapter, figures = skill.adapters.get(model.id), Figures(ece=0, auroc=None, brier=0)
    made = Calibration(
        model=model.id,
        base_sha256=model.sha256,
        adapter_sha256=adapter.sha256 if adapter else None,
        prompt_digest=skill.prompt_digest,
        method="isotonic",
        temperature=1.5,
        knots=KNOTS,
        fitted=1,
        checked=1,
        data=(FittedOn(dataset="none", split="none", licence="none", samples=1, sha256="0" * 64),),
        before=figures,
        after=figures,
        made=date(2026, 1, 1),
    )
    return replace(skill, calibrations=(made,))


def _job(application: App, model: ModelInfo, name: str, texts: Texts) -> Job[Found]:
    skill = calibrated(Catalog(application.catalog.dirs).get(name), model)
    arguments: dict[str, Any] = {"classify": {"labels": list(LABELS)}, "extract": {"fields": FIELDS}}.get(name, {})
    take = {"classify": texts.messages, "extract": texts.mails, "summarise": texts.paragraphs}[name]

    async def run(round_number: int) -> Found:
        clock, calls = Clock(), CALLS[name]
        given = take(f"trust {name}", round_number, calls)
        started = time.perf_counter()
        with clock.watching():
            for text in given:
                await application.runner.run(skill, {**arguments, "text": text})
        whole = time.perf_counter() - started
        return Found(1000 * whole / calls, 1000 * (whole - clock.seconds) / calls)

    return run
