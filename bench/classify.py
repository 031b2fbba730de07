"""A classify call beside Outlines on `llama_cpp.Llama`: the same texts, the same labels, the same chat messages."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import llama_cpp
import outlines
from outlines.generator import SteerableGenerator

from bench.measure import Comparison, Job, rated
from bench.terms import Terms
from bench.texts import LABELS, Texts
from tools_server.app import App
from tools_server.engine.types import Chat
from tools_server.skills.render import render
from tools_server.skills.types import Skill

ONE_BY_ONE = 8
"""Texts per round where one call follows another."""

BACKENDS: tuple[Literal["outlines_core", "llguidance"], ...] = ("outlines_core", "llguidance")
"""Outlines' default for a closed set, and the one that tools-server uses for generation."""

CONTEXT_TOKENS = 2048
MAX_TOKENS = 32
TIMEOUT_S = 600.0
AT_ONCE = 64
SINGLE = "tools-server, one by one"
TOGETHER = f"tools-server, {AT_ONCE} at once"


@dataclass
class OutlinesSide:
    """Outlines with one of its backends. `answers` maps text to label; what was no label is in `astray`."""

    backend: str
    generator: SteerableGenerator
    chat: Callable[[str], Chat]
    setup_s: float
    answers: dict[str, str] = field(default_factory=dict)
    astray: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"Outlines ({self.backend})"

    def classify(self, text: str) -> None:
        """Classify one text; greedy."""
        messages = [
            {"role": message.role, "content": "".join(span.text for span in message.content)}
            for message in self.chat(text).messages
        ]
        with _ignored_exceptions(self.ignored):
            answer = self.generator(outlines.inputs.Chat(messages), temperature=0.0, max_tokens=MAX_TOKENS)
        self.answers[text] = answer
        if answer not in LABELS:
            self.astray.append(answer)

    def remarks(self, ours: Mapping[str, str]) -> tuple[str, ...]:
        """What must be known of this side's numbers, and how far it gave our labels."""
        same = sum(ours[text] == label for text, label in self.answers.items())
        found = [
            f"same label for {same} of {len(self.answers)} texts",
            f"building Outlines' constraint took {self.setup_s:.1f} s, not counted",
        ]
        if self.ignored:
            found.insert(0, f"**unconstrained!** llama.cpp ignored {len(self.ignored)} × {self.ignored[0]}")
        elif self.astray:
            found.insert(0, f"**unconstrained!** answered {self.astray[0]!r}")
        return tuple(found)


@dataclass
class ClassifyBench:
    """Both sides, loaded."""

    app: App
    skill: Skill
    texts: Texts
    outlines: Sequence[OutlinesSide]
    answers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def prepare(cls, app: App, terms: Terms, texts: Texts) -> "ClassifyBench":
        """Load the baseline's model and build its constraints. Blocks for seconds."""
        skill = app.catalog.get("classify")

        def chat(text: str) -> Chat:
            return render(skill, {"labels": list(LABELS)}, text)

        model = outlines.from_llamacpp(_open(terms))
        sides: list[OutlinesSide] = []
        for backend in BACKENDS:
            started = time.perf_counter()
            generator = SteerableGenerator(model, Literal[LABELS], backend)
            sides.append(OutlinesSide(backend, generator, chat, time.perf_counter() - started))
        return cls(app, skill, texts, sides)

    def jobs(self) -> dict[str, Job[float]]:
        """Every side. The labels' common prefix is in the engine's cache from the warm-up on."""

        def outlines_job(side: OutlinesSide) -> Job[float]:
            async def job(round_number: int) -> int:
                texts = self._few(round_number)
                for text in texts:
                    side.classify(text)
                return len(texts)

            return rated(job)

        async def one_by_one(round_number: int) -> int:
            texts = self._few(round_number)
            for text in texts:
                self.answers[text] = await self._ask(text)
            return len(texts)

        async def together(round_number: int) -> int:
            texts = self.texts.messages(TOGETHER, round_number, AT_ONCE)
            return len(await asyncio.gather(*map(self._ask, texts)))

        return {
            SINGLE: rated(one_by_one),
            **{side.name: outlines_job(side) for side in self.outlines},
            TOGETHER: rated(together),
        }

    def _few(self, round_number: int) -> list[str]:
        return self.texts.messages(SINGLE, round_number, 1 if round_number < 0 else ONE_BY_ONE)

    async def _ask(self, text: str) -> str:
        arguments = {"text": text, "labels": list(LABELS)}
        result = await self.app.runner.run(self.skill, arguments, timeout_s=TIMEOUT_S)
        return result.data["label"]

    def comparisons(self, rates: Mapping[str, tuple[float, ...]]) -> list[Comparison]:
        """One by one, then all at once.

        Outlines cannot batch on llama.cpp (its `generate_batch` raises): its side is one by one in both.
        """
        return [
            Comparison(
                name,
                side.name,
                "texts/s",
                rates[job],
                rates[side.name],
                side.remarks(self.answers) if job == SINGLE else (),
            )
            for name, job in (("classify, one by one", SINGLE), (f"classify, {AT_ONCE} at once", TOGETHER))
            for side in self.outlines
        ]

    def close(self) -> None:
        """Free the baseline's model; the engine belongs to the app."""
        self.outlines[0].generator.model.model.close()


def _open(terms: Terms) -> llama_cpp.Llama:
    # By itself `Llama` would decode on half of the CPUs and without flash attention: it gets what the engine has.
    return llama_cpp.Llama(
        str(terms.weights),
        n_ctx=CONTEXT_TOKENS,
        n_batch=terms.settings.batch_tokens,
        n_ubatch=terms.settings.batch_tokens,
        n_threads=terms.threads,
        n_threads_batch=terms.threads,
        flash_attn=True,
        no_perf=True,
        verbose=False,
    )


@contextmanager
def _ignored_exceptions(found: list[str]) -> Iterator[None]:
    """Collect exceptions in ctypes callbacks, which Python prints and ignores: the sign of an idle constraint."""

    def hook(unraisable: Any) -> None:
        # As text only: the exception's traceback would keep its frames, and so the logits, alive.
        found.append(f"{type(unraisable.exc_value).__name__}: {unraisable.exc_value}")

    before, sys.unraisablehook = sys.unraisablehook, hook
    try:
        yield
    finally:
        sys.unraisablehook = before
