"""The two sides of a row: skill calls over MCP on stdio, and chat completions over HTTP."""

import asyncio
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2

from bench.front_end import FrontEnd
from bench.measure import Comparison, Job, rated
from bench.programs import SERVER, BaselineError
from bench.workloads import Ask, Asks, Row

OURS = "tools-server"
TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call gave: `failure` says what came instead where `value` is None. The counts are tokens."""

    value: Any
    failure: str = ""
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    forced: int = 0


class Side(Protocol):
    """Answers calls; any number may be under way."""

    async def ask(self, ask: Ask) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Ours:
    """A front end of tools-server."""

    front_end: FrontEnd

    async def ask(self, ask: Ask) -> Answer:
        task = ask.task
        reply = await self.front_end.call(task.skill.name, {"text": ask.text, **task.arguments})
        if reply.data is None:
            return Answer(None, reply.error)
        value = task.answer_in(reply.data)
        valid = task.is_valid(value)
        return Answer(value if valid else None, "" if valid else json.dumps(value), **reply.usage)


@dataclass(frozen=True, slots=True)
class Theirs:
    """llama-server. `adapters` are the names of its LoRA files in the order in which it was given them."""

    client: httpx2.AsyncClient
    adapters: Sequence[str] = ()
    bare_labels: bool = False

    async def ask(self, ask: Ask) -> Answer:
        body = request_body(ask, self.adapters, bare_labels=self.bare_labels)
        response = await self.client.post("/v1/chat/completions", json=body)
        if response.is_error:
            raise BaselineError(f"{SERVER} answered {response.status_code}: {response.text[:400]}")
        reply = response.json()
        content = reply["choices"][0]["message"]["content"]
        try:
            value = {"label": content} if self.bare_labels else json.loads(content)
        except ValueError:
            value = None
        valid = ask.task.is_valid(value)
        usage = reply["usage"]
        return Answer(
            value if valid else None,
            "" if valid else content,
            prompt=usage["prompt_tokens"],
            cached=usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
            completion=usage["completion_tokens"],
        )


def request_body(ask: Ask, adapters: Sequence[str] = (), *, bare_labels: bool = False) -> dict[str, Any]:
    """A chat completion that may only answer in the schema (or with a bare label); greedy."""
    task = ask.task
    body: dict[str, Any] = {
        "messages": task.messages(ask.text),
        "max_tokens": task.max_tokens,
        "temperature": 0,
        "cache_prompt": True,
    }
    if adapters:
        body["lora"] = [{"id": adapters.index(task.adapter), "scale": 1.0}]
    if bare_labels:
        labels = task.schema["properties"]["label"]["enum"]
        return {**body, "grammar": f"root ::= {' | '.join(json.dumps(label) for label in labels)}"}
    schema = {"name": "answer", "strict": True, "schema": task.schema}
    return {**body, "response_format": {"type": "json_schema", "json_schema": schema}}


def http_client(url: str) -> httpx2.AsyncClient:
    """A client that may have every call of a round under way at once, and goes through no proxy."""
    limits = httpx2.Limits(max_connections=None)
    return httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=limits, trust_env=False)


def checked(answer: Answer) -> Answer:
    """Give an answer that a measurement cannot do without.

    Raises:
        BaselineError: it is none.
    """
    if answer.value is None:
        raise BaselineError(f"a call had no valid answer but {answer.failure}")
    return answer


@dataclass
class Tally:
    """What one side answered in the rounds that count. Token counts are sums; `seconds` are those of single calls."""

    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    forced: int = 0

    def add(self, ask: Ask, answer: Answer, seconds: float) -> None:
        """Count one call."""
        self.seconds.append(seconds)
        if answer.value is None:
            self.failures.append(answer.failure)
        else:
            self.answers[ask.task.question, ask.text] = answer.value
        self.prompt += answer.prompt
        self.cached += answer.cached
        self.completion += answer.completion
        self.forced += answer.forced

    def tokens(self) -> str:
        """Mean counts per call, in words."""
        calls = max(1, len(self.seconds))
        forced = f" ({self.forced / calls:.0f} of them forced)" if self.forced else ""
        return (
            f"{self.prompt / calls:.0f} prompt tokens ({self.cached / calls:.0f} cached), "
            f"{self.completion / calls:.1f} answer tokens{forced}"
        )


def job_of(side: Side, asks_of: Asks, row: Row, tally: Tally) -> Job[float]:
    """Make the job of one side of a row: it tells units per second, and counts in the tally but for the warm-up."""

    async def one(ask: Ask, round_number: int) -> None:
        started = time.perf_counter()
        answer = await side.ask(ask)
        if round_number >= 0:
            tally.add(ask, answer, time.perf_counter() - started)

    async def job(round_number: int) -> int:
        asks = asks_of(round_number)
        if row.one_by_one:
            for ask in asks:
                await one(ask, round_number)
        else:
            await asyncio.gather(*(one(ask, round_number) for ask in asks))
        return max(1, len(asks) // row.calls_per_unit)

    return rated(job)


def comparison(row: Row, ours: Tally, theirs: Tally, rates: Mapping[str, tuple[float, ...]]) -> Comparison:
    """One row, with what must be known of it."""
    mine, other = (
        rates[side] if row.per_unit is None else tuple(row.per_unit / rate for rate in rates[side])
        for side in (OURS, row.baseline)
    )
    notes = (*latency(ours, theirs, one_by_one=row.one_by_one), *remarks(ours, theirs, row.baseline))
    return Comparison(row.name, row.baseline, row.unit, mine, other, notes, lower_is_better=row.per_unit is not None)


def latency(ours: Tally, theirs: Tally, *, one_by_one: bool) -> Sequence[str]:
    """Median times of single calls; they say nothing where calls wait for each other."""
    if not one_by_one:
        return ()
    mine, other = (statistics.median(tally.seconds) for tally in (ours, theirs))
    return (f"a call takes {1000 * mine:.0f} ms (median), the baseline's {1000 * other:.0f} ms: {mine / other:.2f} ×",)


def remarks(ours: Tally, theirs: Tally, baseline: str) -> Sequence[str]:
    """How far the answers agree, whether they are what was asked for, and how much work they were."""
    both = ours.answers.keys() & theirs.answers.keys()
    same = sum(ours.answers[asked] == theirs.answers[asked] for asked in both)
    found = [f"same answer as {baseline} for {same} of {len(both)} calls"]
    for name, tally in ((OURS, ours), (baseline, theirs)):
        if tally.failures:
            shown = tally.failures[0][:80]
            failed = f"{len(tally.failures)} of {len(tally.seconds)}"
            found.append(f"{name} had no valid answer for {failed} calls, such as {shown!r}")
        found.append(f"{name}, per call: {tally.tokens()}")
    return found
