"""Prefill and decode: tokens per second of the engine beside the bare loop, at the same batch shapes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.backend import BenchBackend, Tokens
from bench.measure import Comparison, Job, rated
from tools_server.engine.types import Engine, GenerationRequest, Prompt

PREFILL_SHAPES = ((1, 512), (8, 64))
"""Prompts, tokens each."""

DECODE_SIZES = (1, 4, 16)
"""Sequences that generate at once."""

ANSWER_TOKENS = 64
PROMPT_TOKENS = 8
WARM_UP_TOKENS = 8
RAW = "llama_decode loop"


@dataclass(frozen=True, slots=True)
class Shape:
    """One row of the table: so many prompts of so many tokens, and so many tokens generated for each."""

    name: str
    prompts: int
    prompt_tokens: int
    answer_tokens: int
    counts_prompt: bool  # whether prompt tokens or generated ones are what is counted

    def units(self, answer_tokens: int) -> int:
        """Tokens that one round counts."""
        return self.prompts * (self.prompt_tokens if self.counts_prompt else answer_tokens)

    def answer_in(self, round_number: int) -> int:
        """Tokens to generate for each prompt; the warm-up touches every code path and stays short."""
        return min(self.answer_tokens, WARM_UP_TOKENS) if round_number < 0 else self.answer_tokens

    def make_prompts(self, round_number: int, vocabulary: int) -> list[Tokens]:
        """Random prompts, the same for both sides and new in each round, so that nothing can be reused."""
        rng = np.random.default_rng([self.prompts, self.prompt_tokens, round_number + 1])
        return rng.integers(vocabulary // 8, vocabulary // 2, (self.prompts, self.prompt_tokens)).tolist()


def prefill_shapes() -> tuple[Shape, ...]:
    return tuple(Shape(f"prefill, {n} × {size} tokens", n, size, 1, True) for n, size in PREFILL_SHAPES)


def decode_shapes() -> tuple[Shape, ...]:
    return tuple(
        Shape(f"decode, {n} × {ANSWER_TOKENS} tokens", n, PROMPT_TOKENS, ANSWER_TOKENS, False) for n in DECODE_SIZES
    )


def jobs(shape: Shape, engine: Engine, backend: BenchBackend) -> dict[str, Job[float]]:
    """The two sides of one shape."""
    vocabulary = engine.info.vocabulary

    async def ours(round_number: int) -> int:
        answer = shape.answer_in(round_number)
        backend.ends_turns = False
        try:
            results = await asyncio.gather(
                *(
                    engine.generate(GenerationRequest(Prompt(tuple(prompt)), max_tokens=answer))
                    for prompt in shape.make_prompts(round_number, vocabulary)
                )
            )
        finally:
            backend.ends_turns = True
        _check([len(result.tokens) for result in results], answer)
        return shape.units(answer)

    async def theirs(round_number: int) -> int:
        answer = shape.answer_in(round_number)
        generated = backend.bare_loop(shape.make_prompts(round_number, vocabulary), answer)
        _check([len(row) for row in generated], answer)
        return shape.units(answer)

    return {"engine": rated(ours), RAW: rated(theirs)}


def comparison(shape: Shape, rates: dict[str, tuple[float, ...]]) -> Comparison:
    return Comparison(shape.name, RAW, "tokens/s", rates["engine"], rates[RAW])


def _check(generated: Sequence[int], wanted: int) -> None:
    if any(count != wanted for count in generated):
        raise RuntimeError(f"the sides would differ in work: {generated} tokens were generated, {wanted} each wanted")
