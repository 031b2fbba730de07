"""Where candidates are tried for real: in a child process, so that a crash of llama.cpp costs one candidate only."""

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar

from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.gather import gather
from tools_server.calls.run_skill import SkillRunner
from tools_server.data.types import Sample
from tools_server.engine.llama import LlamaBackend, LlamaEngine
from tools_server.engine.llama_weights import Format, WeightFacts, examine, quantise
from tools_server.errors import CallError, CapacityError, TuningFailed
from tools_server.models import ModelManifest
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog, standard_dirs
from tools_server.tuning.speed import CONTEXT_TOKENS, measure
from tools_server.tuning.types import DECODE_SIZES, Candidate, Rates, Workload

__all__ = ["Answer", "Lab", "Laboratory"]

P = ParamSpec("P")
T = TypeVar("T")

Answer = Mapping[str, Any] | None
"""The `data` of a call, None when it failed."""

_PATIENCE_S = 600.0
"""Seconds that a sample may take: an evaluation is not to depend on how fast a candidate is."""


class Lab(Protocol):
    """What tuning asks of the machine. Everything blocks, for seconds to minutes."""

    def examine(self, source: Path) -> WeightFacts:
        """Read the facts of the published weights.

        Raises:
            TuningFailed: they cannot be read.
        """
        ...

    def write(self, source: Path, target: Path, to: Format) -> Path:
        """Write weights in another format.

        Raises:
            TuningFailed: disk space is short, or llama.cpp cannot.
        """
        ...

    def measure(self, candidate: Candidate, workload: Workload) -> Rates:
        """Load a candidate, measure it once, unload it.

        Raises:
            ModelLoadFailed: llama.cpp cannot run it.
            TuningFailed: llama.cpp crashed.
        """
        ...

    def answers(self, candidate: Candidate, samples: Sequence[Sample]) -> list[Answer]:
        """Load a candidate and let it answer the samples.

        Raises:
            ModelLoadFailed, EngineError: llama.cpp cannot run it.
            TuningFailed: llama.cpp crashed.
        """
        ...


class Laboratory:
    """The real one, for one model. One child process lives through all of it and is replaced when it dies."""

    def __init__(self, manifest: ModelManifest, settings: Settings) -> None:
        self._manifest = manifest
        self._settings = settings
        self._pool = _child()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def examine(self, source: Path) -> WeightFacts:
        """Read the facts of the published weights."""
        return examine(source)

    def write(self, source: Path, target: Path, to: Format) -> Path:
        """Write weights in another format."""
        return quantise(source, target, to)

    def measure(self, candidate: Candidate, workload: Workload) -> Rates:
        """Load, measure, unload."""
        return self._in_child(f"measuring {candidate.name}", _measure, candidate, self._settings.threads, workload)

    def answers(self, candidate: Candidate, samples: Sequence[Sample]) -> list[Answer]:
        """Load, answer, unload."""
        settings = self._settings.model_copy(update=dict(candidate.engine))
        what = f"{candidate.name} answered samples"
        return self._in_child(what, _answers, candidate, self._manifest, settings, list(samples))

    def _in_child(self, what: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return self._pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            self._pool = _child()
            raise TuningFailed(
                f"llama.cpp crashed while {what}.", "This candidate is left out; the others go on."
            ) from error


def _child() -> ProcessPoolExecutor:
    # Not forked: a child that inherits llama.cpp's threads and locks may hang.
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_quietly)


def _quietly() -> None:
    """What llama.cpp warns about at every load is not about this run; its errors come back as exceptions."""
    logging.getLogger("tools_server.llama_cpp").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once; the parent cleans up


def _measure(candidate: Candidate, threads: int | None, workload: Workload) -> Rates:
    """Run in the child."""
    backend = LlamaBackend(
        candidate.path,
        model_id=candidate.name,
        sha256="",
        context_tokens=CONTEXT_TOKENS,
        max_sequences=max(DECODE_SIZES),
        threads=threads,
        **dict(candidate.engine),
    )
    try:
        return measure(backend, workload)
    finally:
        backend.close()


def _answers(
    candidate: Candidate, manifest: ModelManifest, settings: Settings, samples: Sequence[Sample]
) -> list[Answer]:
    """Run in the child."""
    return asyncio.run(_answered(candidate, manifest, settings, samples))


async def _answered(
    candidate: Candidate, manifest: ModelManifest, settings: Settings, samples: Sequence[Sample]
) -> list[Answer]:
    catalog = Catalog(standard_dirs(settings))
    gate = EngineGate(
        lambda: LlamaEngine.load(
            model_path=candidate.path,
            model_id=manifest.id,
            model_sha256=manifest.sha256,
            context_tokens=settings.context_tokens,
            max_sequences=settings.max_sequences,
            threads=settings.threads,
            **dict(candidate.engine),
        )
    )
    runner = SkillRunner(gate, settings)

    async def answer(sample: Sample) -> Answer:
        try:
            result = await runner.run(catalog.get(sample.skill), sample.arguments, timeout_s=_PATIENCE_S)
        except (CallError, CapacityError):
            return None  # such as an answer that hit its budget: wrong, and compared as such
        return result.data

    try:
        # Labels one at a time: what else is in a batch moves a quantised model's probabilities, and would be taken for
        # a difference of the weights (docs/experiments.md). Of what is generated only correctness is compared.
        scored = [_is_scored(catalog, sample) for sample in samples]
        alone = [await answer(sample) for sample, one in zip(samples, scored, strict=True) if one]
        others = [partial(answer, sample) for sample, one in zip(samples, scored, strict=True) if not one]
        found = iter(alone), iter(await gather(others, settings.max_sequences))
        return [next(found[0 if one else 1]) for one in scored]
    finally:
        await gate.aclose()


def _is_scored(catalog: Catalog, sample: Sample) -> bool:
    return catalog.get(sample.skill).manifest.kind == "choose"
