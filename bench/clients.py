"""Several front ends, as with several agents at once, beside one that makes all the calls."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from bench.front_end import engine_home, front_end
from bench.measure import Comparison, Job, rated
from bench.progress import TakeTurns
from bench.serving import Ours, checked
from bench.terms import Terms
from bench.texts import Texts
from bench.workloads import Ask, catalog_of, classify_task

FRONT_ENDS = 4
CALLS_EACH = 16
SEVERAL = f"{FRONT_ENDS} front ends × {CALLS_EACH} calls"
ONE = f"1 front end × {FRONT_ENDS * CALLS_EACH} calls"


async def compare(terms: Terms, texts: Texts, take_turns: TakeTurns) -> list[Comparison]:
    """Send the same number of calls through one front end, and spread over several; one engine answers them all."""
    task = classify_task(catalog_of(terms))
    async with AsyncExitStack() as stack:
        home = stack.enter_context(engine_home(terms))
        sides = [Ours(await stack.enter_async_context(front_end(terms, home))) for _ in range(FRONT_ENDS)]

        def job(key: str, used: Sequence[Ours]) -> Job[float]:
            async def run(round_number: int) -> int:
                found = texts.messages(key, round_number, FRONT_ENDS * CALLS_EACH)
                asks = [used[place % len(used)].ask(Ask(task, text)) for place, text in enumerate(found)]
                return len([checked(answer) for answer in await asyncio.gather(*asks)])

            return rated(run)

        rates = await take_turns("clients", {SEVERAL: job(SEVERAL, sides), ONE: job(ONE, sides[:1])})
    return [Comparison("classify over one engine, " + SEVERAL, ONE, "calls/s", rates[SEVERAL], rates[ONE])]
