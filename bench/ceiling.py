"""The engine under llama.cpp's own ceiling: the same shapes in `llama-batched-bench` and `llama-bench`.

They decode random tokens as fast as the library can, choose nothing and serve nobody: 1.0 is the most there is but for
noise.
"""

import asyncio
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.backend import BenchBackend, Tokens
from bench.llama_server import common_options
from bench.measure import Comparison
from bench.programs import BATCHED_BENCH, LLAMA_BENCH, BaselineError, native_environment
from bench.progress import TakeTurns
from bench.terms import Terms
from tools_server.engine.local import LocalEngine
from tools_server.engine.types import Engine, GenerationRequest, Prompt

PARALLEL = (1, 4, 16)
PROMPT_TOKENS = 128
ANSWER_TOKENS = 32
LONG_PROMPT = 512
LONG_ANSWER = 64
TIMEOUT_S = 600.0
ENGINE, CEILING = "engine", "llama.cpp's own"

Speeds = Mapping[str, float]
"""Tokens per second, by the name of the row."""

LONG_PREFILL = f"prefill, 1 × {LONG_PROMPT} tokens"
LONG_DECODE = f"decode, 1 × {LONG_ANSWER} tokens"


def prefill_row(parallel: int) -> str:
    return f"prefill, {parallel} × {PROMPT_TOKENS} tokens"


def decode_row(parallel: int) -> str:
    return f"decode, {parallel} × {ANSWER_TOKENS} tokens"


def total_row(parallel: int) -> str:
    return f"total, {parallel} × ({PROMPT_TOKENS} + {ANSWER_TOKENS}) tokens"


BASELINES: Mapping[str, str] = {
    **{row(parallel): BATCHED_BENCH for row in (prefill_row, decode_row, total_row) for parallel in PARALLEL},
    LONG_PREFILL: LLAMA_BENCH,
    LONG_DECODE: LLAMA_BENCH,
}
"""Every row, and the program that it is compared with."""


async def compare(terms: Terms, folder: Path, take_turns: TakeTurns) -> list[Comparison]:
    """Let engine and programs take turns. The engine is idle, and its threads asleep, while the others run.

    Raises:
        ModelError, BaselineError: a side cannot load the weights.
    """
    backend = BenchBackend.of(terms)
    backend.ends_turns = False
    engine = LocalEngine(backend, max_sequences=max(PARALLEL), queue_limit=terms.settings.queue_limit)

    async def ours(round_number: int) -> Speeds:
        return await _measure(engine, round_number)

    async def theirs(_: int) -> Speeds:
        batched = await _printed(batched_command(folder, terms), terms)
        return batched_speeds(batched) | single_speeds(await _printed(single_command(folder, terms), terms))

    try:
        found = await take_turns("ceiling", {ENGINE: ours, CEILING: theirs})
    finally:
        await engine.aclose()
    return [
        Comparison(
            row,
            baseline,
            "tokens/s",
            tuple(speeds[row] for speeds in found[ENGINE]),
            tuple(speeds[row] for speeds in found[CEILING]),
        )
        for row, baseline in BASELINES.items()
    ]


def batched_command(folder: Path, terms: Terms) -> list[str]:
    """Every shape in one run, on the engine's context; one KV cache for all, as the engine has it."""
    options = {
        **common_options(terms),
        "-npp": str(PROMPT_TOKENS),
        "-ntg": str(ANSWER_TOKENS),
        "-npl": ",".join(map(str, PARALLEL)),
        "--output-format": "jsonl",
    }
    return [str(folder / BATCHED_BENCH), *(word for option in options.items() for word in option), "--kv-unified"]


def single_command(folder: Path, terms: Terms) -> list[str]:
    """One long prompt, then one long answer to nothing; this program makes a context that just holds them."""
    options = {
        "--model": str(terms.weights),
        "--batch-size": str(terms.settings.batch_tokens),
        "--ubatch-size": str(terms.settings.batch_tokens),
        "--threads": str(terms.threads),
        "--flash-attn": "on",
        "--n-prompt": str(LONG_PROMPT),
        "--n-gen": str(LONG_ANSWER),
        "--repetitions": "1",
        "--output": "json",
    }
    return [str(folder / LLAMA_BENCH), *(word for option in options.items() for word in option)]


def batched_speeds(printed: str) -> dict[str, float]:
    """Read what llama-batched-bench prints.

    Raises:
        BaselineError: a shape is missing.
    """
    found: dict[str, float] = {}
    for line in printed.splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            for row, key in ((prefill_row, "speed_pp"), (decode_row, "speed_tg"), (total_row, "speed")):
                found[row(entry["pl"])] = entry[key]
    if missing := [parallel for parallel in PARALLEL if total_row(parallel) not in found]:
        raise BaselineError(f"{BATCHED_BENCH} printed nothing of {missing} prompts in parallel:\n{printed[-800:]}")
    return found


def single_speeds(printed: str) -> dict[str, float]:
    """Read what llama-bench prints."""
    return {LONG_PREFILL if entry["n_prompt"] else LONG_DECODE: entry["avg_ts"] for entry in json.loads(printed)}


async def _printed(command: Sequence[str], terms: Terms) -> str:
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        env=native_environment(terms.wait_policy),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise BaselineError(f"{command[0]} ended with exit code {done.returncode}:\n{done.stderr[-800:]}")
    return done.stdout


async def _measure(engine: Engine, round_number: int) -> Speeds:
    rng = np.random.default_rng(round_number + 1)
    found: dict[str, float] = {}
    for parallel in PARALLEL:
        prefill_s, total_s = await _seconds(engine, rng, parallel, PROMPT_TOKENS, ANSWER_TOKENS)
        found[prefill_row(parallel)] = parallel * PROMPT_TOKENS / prefill_s
        found[decode_row(parallel)] = parallel * ANSWER_TOKENS / max(total_s - prefill_s, 1e-9)
        found[total_row(parallel)] = parallel * (PROMPT_TOKENS + ANSWER_TOKENS) / total_s
    found[LONG_PREFILL] = LONG_PROMPT / (await _run(engine, rng, 1, LONG_PROMPT, 1))
    prefill_s, total_s = await _seconds(engine, rng, 1, 1, LONG_ANSWER)
    found[LONG_DECODE] = LONG_ANSWER / max(total_s - prefill_s, 1e-9)
    return found


async def _seconds(
    engine: Engine, rng: np.random.Generator, parallel: int, prompt_tokens: int, answer_tokens: int
) -> tuple[float, float]:
    """Seconds of prefill alone, then of prefill and decode on other prompts.

    One answer token comes out of the prefill itself, so that as many decoding steps as the programs do give one more.
    """
    prefill_s = await _run(engine, rng, parallel, prompt_tokens, 1)
    return prefill_s, await _run(engine, rng, parallel, prompt_tokens, answer_tokens + 1)


async def _run(
    engine: Engine, rng: np.random.Generator, parallel: int, prompt_tokens: int, answer_tokens: int
) -> float:
    vocabulary = engine.info.vocabulary
    # Random tokens, new in every call: nothing can be reused.
    prompts: list[Tokens] = rng.integers(vocabulary // 8, vocabulary // 2, (parallel, prompt_tokens)).tolist()
    started = time.perf_counter()
    results = await asyncio.gather(
        *(engine.generate(GenerationRequest(Prompt(tuple(prompt)), max_tokens=answer_tokens)) for prompt in prompts)
    )
    seconds = time.perf_counter() - started
    if any(len(result.tokens) != answer_tokens for result in results):
        raise RuntimeError(f"not every answer had {answer_tokens} tokens, so the sides would differ in work")
    return seconds
