"""Rows (a) to (g) and memory: the whole of tools-server beside the whole of llama-server."""

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.front_end import engine_home, engine_pid, fresh, front_end
from bench.llama_server import serving
from bench.measure import Comparison, Job
from bench.memory import bound_mib, resident_mib
from bench.programs import SERVER
from bench.progress import TakeTurns
from bench.serving import OURS, Ours, Side, Tally, Theirs, checked, comparison, http_client, job_of
from bench.skills import write_adapted_skills, write_digest
from bench.terms import Terms
from bench.texts import Texts
from bench.workloads import AT_ONCE, Ask, Row, adapter_rows, catalog_of, classify_task, plain_rows

START, MEMORY = "start", "memory"
ROW_KEYS = (
    "one", "one-bare", "many", "many-bare", "extract", "mixed", "document", "document-activated", "paragraphs", START,
    MEMORY,
)  # fmt: skip
"""Everything that can be measured beside llama-server, in the order of the table."""

ADAPTED = {"mixed", "document", "document-activated"}
"""Rows whose skills have adapters."""


@dataclass(frozen=True, slots=True)
class BesideServer:
    """Measures rows; `programs` is the folder of llama.cpp's own."""

    terms: Terms
    programs: Path
    texts: Texts
    take_turns: TakeTurns
    quick: bool

    async def run(self, wanted: Sequence[str]) -> list[Comparison]:
        """Measure the rows of these keys. Rows that need no adapters meet servers that have none loaded."""
        found: dict[str, Comparison] = {}
        with tempfile.TemporaryDirectory(prefix="bench-skills-") as folder:
            terms = self.terms.with_skills(Path(folder))
            write_digest(Path(folder))
            rows = plain_rows(catalog_of(terms), self.texts, quick=self.quick)
            found |= await self._rows(terms, [row for row in rows if row.key in wanted], {})
            if ADAPTED & set(wanted):
                adapters = write_adapted_skills(Path(folder), terms)
                rows = adapter_rows(catalog_of(terms), self.texts)
                found |= await self._rows(terms, [row for row in rows if row.key in wanted], adapters)
        if START in wanted:
            found[START] = await self._start()
        if MEMORY in wanted:
            found[MEMORY] = await self._memory()
        return [found[key] for key in ROW_KEYS if key in found]

    async def _rows(self, terms: Terms, rows: Sequence[Row], adapters: Mapping[str, Path]) -> dict[str, Comparison]:
        if not rows:
            return {}
        found: dict[str, Comparison] = {}
        with serving(self.programs, terms, tuple(adapters.values())) as server:
            async with fresh(terms) as ours, http_client(server.url) as client:
                for row in rows:
                    theirs = Theirs(client, tuple(adapters), bare_labels=row.bare_labels)
                    found[row.key] = await self._row(row, Ours(ours), theirs)
        return found

    async def _row(self, row: Row, ours: Side, theirs: Side) -> Comparison:
        mine, other = Tally(), Tally()
        jobs = {OURS: job_of(ours, row.ours, row, mine), row.baseline: job_of(theirs, row.theirs, row, other)}
        return comparison(row, mine, other, await self.take_turns(row.name, jobs))

    async def _start(self) -> Comparison:
        """Seconds from the start of a process to its first answer over its public surface; it is stopped untimed."""

        async def ours(round_number: int) -> float:
            (ask,) = self._classify(START, round_number, 1)
            started = time.perf_counter()
            async with fresh(self.terms) as side:
                checked(await Ours(side).ask(ask))
                return time.perf_counter() - started

        async def theirs(round_number: int) -> float:
            (ask,) = self._classify(START, round_number, 1)
            started = time.perf_counter()
            with serving(self.programs, self.terms) as server:
                async with http_client(server.url) as client:
                    checked(await Theirs(client).ask(ask))
                    return time.perf_counter() - started

        return await self._compared("(g) start to first answer", "s", {OURS: ours, SERVER: theirs})

    async def _memory(self) -> Comparison:
        """Resident memory of the process with the model, after as many calls as row (b) has."""

        async def calls(side: Side, round_number: int) -> None:
            for answer in await asyncio.gather(*map(side.ask, self._classify(MEMORY, round_number, AT_ONCE))):
                checked(answer)

        async def ours(round_number: int) -> float:
            with engine_home(self.terms) as home:
                async with front_end(self.terms, home) as side:
                    await calls(Ours(side), round_number)
                    return resident_mib(engine_pid(self.terms, home))

        async def theirs(round_number: int) -> float:
            with serving(self.programs, self.terms) as server:
                async with http_client(server.url) as client:
                    await calls(Theirs(client), round_number)
                    return resident_mib(server.pid)

        bound = bound_mib(self.terms.weights, self.terms.settings.context_tokens)
        note = f"the bound, 1.3 × (weights + KV cache) + 150 MiB, is {bound:,.0f} MiB"
        name = f"memory after {AT_ONCE} calls"
        return await self._compared(name, "MiB", {OURS: ours, SERVER: theirs}, note)

    async def _compared(self, name: str, unit: str, jobs: Mapping[str, Job[float]], *notes: str) -> Comparison:
        values = await self.take_turns(name, jobs)
        return Comparison(name, SERVER, unit, values[OURS], values[SERVER], notes, lower_is_better=True)

    def _classify(self, key: str, round_number: int, count: int) -> list[Ask]:
        task = classify_task(catalog_of(self.terms))
        return [Ask(task, text) for text in self.texts.messages(key, round_number, count)]
