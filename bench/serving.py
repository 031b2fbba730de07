"""The whole of tools-server beside llama.cpp's own server: skill calls against chat completions over HTTP."""

import asyncio
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from bench.llama_server import TARGET, BaselineError
from bench.measure import Comparison, Job
from bench.workloads import Workload
from tools_server.app import App

OURS = "tools-server"
TIMEOUT_S = 600.0


@dataclass
class Tally:
    """What one side answered in the rounds that count. Token counts are sums; `seconds` are those of single calls."""

    answers: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    forced: int = 0

    def tokens(self) -> str:
        """Mean counts per text, in words."""
        texts = max(1, len(self.answers) + len(self.failures))
        forced = f" ({self.forced / texts:.0f} of them forced)" if self.forced else ""
        return (
            f"{self.prompt / texts:.0f} prompt tokens ({self.cached / texts:.0f} cached), "
            f"{self.completion / texts:.1f} answer tokens{forced}"
        )


def request_body(workload: Workload, text: str) -> dict[str, Any]:
    """A chat completion that may only answer in the schema; greedy."""
    return {
        "messages": workload.messages(text),
        "max_tokens": workload.max_tokens,
        "temperature": 0,
        "cache_prompt": True,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": workload.schema},
        },
    }


@dataclass
class Ours:
    """Skill calls in this process: one for each text, or one with all texts as its items."""

    app: App
    workload: Workload
    tally: Tally = field(default_factory=Tally)

    async def job(self, round_number: int) -> int:
        """Run one round."""
        texts = self.workload.texts(round_number)
        calls = [{"text": text} for text in texts] if self.workload.one_by_one else [{"items": texts}]
        results: list[Mapping[str, Any]] = []
        for call in calls:
            started = time.perf_counter()
            arguments = {**call, **self.workload.arguments}
            result = await self.app.runner.run(self.workload.skill, arguments, timeout_s=TIMEOUT_S)
            self.tally.seconds.append(time.perf_counter() - started)
            self.tally.prompt += result.usage.prompt
            self.tally.cached += result.usage.cached
            self.tally.completion += result.usage.completion
            self.tally.forced += result.usage.forced
            results += result.data.get("results", [result.data])
        for text, result in zip(texts, results, strict=True):
            answer = self.workload.answer_in(result)
            if answer is not None and self.workload.is_valid(answer):
                self.tally.answers[text] = answer
            else:
                self.tally.failures.append(json.dumps(answer if answer is not None else result["error"]))
        if round_number < 0:
            self.tally = Tally()
        return len(texts)


@dataclass
class Theirs:
    """Chat completions: one after the other, or all posted at once."""

    client: httpx2.AsyncClient
    workload: Workload
    tally: Tally = field(default_factory=Tally)

    async def job(self, round_number: int) -> int:
        """Run one round."""
        texts = self.workload.texts(round_number)
        if self.workload.one_by_one:
            for text in texts:
                await self._ask(text)
        else:
            await asyncio.gather(*map(self._ask, texts))
        if round_number < 0:
            self.tally = Tally()
        return len(texts)

    async def _ask(self, text: str) -> None:
        started = time.perf_counter()
        response = await self.client.post("/v1/chat/completions", json=request_body(self.workload, text))
        self.tally.seconds.append(time.perf_counter() - started)
        if response.is_error:
            raise BaselineError(f"{TARGET} answered {response.status_code}: {response.text[:400]}")
        reply = response.json()
        usage = reply["usage"]
        self.tally.prompt += usage["prompt_tokens"]
        self.tally.cached += usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
        self.tally.completion += usage["completion_tokens"]
        content = reply["choices"][0]["message"]["content"]
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if self.workload.is_valid(answer):
            self.tally.answers[text] = answer
        else:
            self.tally.failures.append(content)


def http_client(url: str) -> httpx2.AsyncClient:
    """A client that may have every text of a round under way at once, and goes through no proxy."""
    limits = httpx2.Limits(max_connections=None)
    return httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=limits, trust_env=False)


def jobs(ours: Ours, theirs: Theirs) -> dict[str, Job]:
    """The two sides of one workload."""
    return {OURS: ours.job, TARGET: theirs.job}


def comparison(ours: Ours, theirs: Theirs, rates: Mapping[str, tuple[float, ...]]) -> Comparison:
    """One row, with what must be known of it."""
    workload = ours.workload
    notes = [*latency(ours.tally, theirs.tally, one_by_one=workload.one_by_one), *remarks(ours.tally, theirs.tally)]
    return Comparison(
        workload.name,
        TARGET,
        "texts/s",
        rates[OURS],
        rates[TARGET],
        tuple(f"{workload.name}: {note}" for note in notes),
    )


def latency(ours: Tally, theirs: Tally, *, one_by_one: bool) -> Sequence[str]:
    """Median times of single calls; they say nothing where calls wait for each other."""
    if not one_by_one:
        return ()
    mine, other = (statistics.median(tally.seconds) for tally in (ours, theirs))
    return (f"a call takes {1000 * mine:.0f} ms (median), {TARGET}'s {1000 * other:.0f} ms: {mine / other:.2f} ×",)


def remarks(ours: Tally, theirs: Tally) -> Sequence[str]:
    """How far the answers agree, whether they are what was asked for, and how much work they were."""
    both = ours.answers.keys() & theirs.answers.keys()
    same = sum(ours.answers[text] == theirs.answers[text] for text in both)
    found = [f"same answer for {same} of {len(both)} texts"]
    for name, tally in ((OURS, ours), (TARGET, theirs)):
        if tally.failures:
            total = len(tally.answers) + len(tally.failures)
            shown = tally.failures[0][:80]
            found.append(f"{name} had no valid answer for {len(tally.failures)} of {total} texts, such as {shown!r}")
        found.append(f"{name}, per text: {tally.tokens()}")
    return found
