"""How good a neighbour tools-server is: calls beside busy compilers, and the compilers beside calls."""

import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.compilers import compilers, write_source
from bench.front_end import fresh
from bench.measure import Comparison, Job
from bench.progress import TakeTurns
from bench.serving import Ours, checked
from bench.skills import write_digest
from bench.terms import Terms
from bench.texts import Texts
from bench.workloads import Ask, catalog_of, classify_task, digest_task
from tools_server.settings import ENV_PREFIX

CALLS = 16

MANNERS: Mapping[str, Mapping[str, str]] = {
    # What libgomp does when nothing is set: 300,000 turns, about 3 ms, before a waiting thread sleeps (its env.c).
    "OpenMP's default": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "300000"},
    "our settings": {},
    "our settings, low priority": {f"{ENV_PREFIX}LOW_PRIORITY": "true"},
}
"""Ways to run the server, by what is put into its environment."""


@dataclass(frozen=True, slots=True)
class Found:
    """One round in one manner. Pairs are (alone, side by side)."""

    call_ms: tuple[float, float]
    decode_per_s: tuple[float, float]
    compile_beside_calls_s: tuple[float, float]
    compile_beside_decode_s: tuple[float, float]


async def compare(terms: Terms, texts: Texts, take_turns: TakeTurns) -> list[Comparison]:
    """Let the manners take turns; each is measured alone and side by side within its turn.

    Raises:
        BaselineError: there is no C++ compiler, or a call or a compilation failed.
    """
    with tempfile.TemporaryDirectory(prefix="bench-neighbour-") as folder:
        source = write_source(Path(folder))
        skills = Path(folder) / "skills"
        write_digest(skills)
        terms = terms.with_skills(skills)

        def job(manner: Mapping[str, str]) -> Job[Found]:
            return partial(_measure, terms, manner, texts, source)

        jobs = {name: job(manner) for name, manner in MANNERS.items()}
        found = await take_turns("neighbour", jobs, warm_up=False)  # each turn warms its own process up
    return [row for name, rounds in found.items() for row in rows(name, rounds)]


def rows(manner: str, found: Sequence[Found]) -> list[Comparison]:
    """What each side keeps of its speed when the other is there: 1 is all of it."""

    def row(name: str, baseline: str, unit: str, pairs: Sequence[tuple[float, float]], *, lower: bool) -> Comparison:
        alone, beside = zip(*pairs, strict=True)
        return Comparison(f"{name}, {manner}", baseline, unit, beside, alone, lower_is_better=lower)

    return [
        row("classify, one by one", "quiet machine", "ms/call", [each.call_ms for each in found], lower=True),
        row("decode, one answer", "quiet machine", "tokens/s", [each.decode_per_s for each in found], lower=False),
        row(
            "compiler beside classify",
            "compilers alone",
            "s",
            [each.compile_beside_calls_s for each in found],
            lower=True,
        ),
        row(
            "compiler beside decode",
            "compilers alone",
            "s",
            [each.compile_beside_decode_s for each in found],
            lower=True,
        ),
    ]


Enough = Callable[[], bool]
"""Tells whether work that goes on and on may end."""


async def _measure(terms: Terms, manner: Mapping[str, str], texts: Texts, source: Path, round_number: int) -> Found:
    catalog = catalog_of(terms)
    classify, digest = classify_task(catalog), digest_task(catalog)
    calls = [Ask(classify, text) for text in texts.messages("neighbour", round_number, CALLS)]
    paragraph = Ask(digest, texts.paragraphs("neighbour", round_number, 1)[0])
    async with fresh(terms, **manner) as server:
        side = Ours(server)

        async def call_ms(enough: Enough) -> float:
            count, started = 0, time.perf_counter()
            while count < CALLS or not enough():
                checked(await side.ask(calls[count % CALLS]))
                count += 1
            return 1000 * (time.perf_counter() - started) / count

        async def decode_per_s(enough: Enough) -> float:
            tokens, started = 0, time.perf_counter()
            while not tokens or not enough():
                tokens += (await side.ask(paragraph)).completion
            return tokens / (time.perf_counter() - started)

        async def beside(work: Callable[[Enough], Awaitable[float]]) -> tuple[float, float]:
            async with compilers(source) as compiling:
                return await work(compiling.enough), compiling.mean_s

        checked(await side.ask(calls[0]))  # loads the model
        quiet_ms, quiet_decode = await call_ms(_at_once), await decode_per_s(_at_once)
        async with compilers(source) as compiling:
            await compiling.until_enough()
            alone_s = compiling.mean_s
        beside_ms, beside_calls_s = await beside(call_ms)
        beside_decode, beside_decode_s = await beside(decode_per_s)
    return Found(
        (quiet_ms, beside_ms), (quiet_decode, beside_decode), (alone_s, beside_calls_s), (alone_s, beside_decode_s)
    )


def _at_once() -> bool:
    return True
