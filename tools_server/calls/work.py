"""One call's dealings with the engine: everything that is asked of it passes here, bounded, counted and in time."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from tools_server.calls.progress import Meter, Tally
from tools_server.calls.types import SkillCall
from tools_server.engine.types import (
    Adapter,
    Chat,
    Constraint,
    Engine,
    Generation,
    GenerationRequest,
    Prompt,
    Sampling,
    ScoreRequest,
    Scores,
)
from tools_server.errors import DeadlineExceeded, InputTooLong
from tools_server.skills.labels import Label
from tools_server.skills.render import render

T = TypeVar("T")

TEMPLATE_TOKENS = 512
"""More than any chat template adds to what it is given."""


@dataclass(frozen=True, slots=True)
class Work:
    """A call under way: what it is, with what, and how far."""

    call: SkillCall
    engine: Engine
    adapter: Adapter | None
    limiter: anyio.CapacityLimiter  # requests that the call has in the engine at once
    limit: int  # the same as a number
    meter: Meter
    tally: Tally

    def chat(self, text: str, label: Label | None = None) -> Chat:
        """Render the prompt for one text.

        Raises:
            ManifestInvalid: the template failed.
        """
        return render(self.call.skill, self.call.arguments, text, label=label)

    async def prompt(self, text: str, label: Label | None = None) -> Prompt:
        """Render and tokenise the prompt for one text; raises as `chat` does."""
        return await self.engine.encode(self.chat(text, label))

    async def count(self, text: str) -> int:
        """Count the tokens of a text."""
        return (await self.engine.count_tokens([text]))[0]

    async def exceeds(self, text: str, limit: int) -> int | None:
        """Give the token count of a text that has more than `limit` tokens, None for one that has not."""
        # A token is at least one byte, and a character at most four: most texts need no counting.
        if 4 * len(text) <= limit:
            return None
        tokens = await self.count(text)
        return tokens if tokens > limit else None

    async def score(self, prompt: Prompt | Chat, continuations: tuple[tuple[int, ...], ...]) -> Scores:
        """Score a closed set; raises what the engine raises."""
        async with self.limiter:
            submitted = time.monotonic()
            scores = await self.engine.score(ScoreRequest(prompt, continuations, self.adapter, self.call.deadline))
        self.tally.add(submitted, scores.usage, scores.timings)
        return scores

    async def generate(self, prompt: Prompt, constraint: Constraint, *, bare: bool = False) -> Generation:
        """Generate under the skill's own decoding, `bare` without its adapter; raises what the engine raises."""
        adapter = None if bare else self.adapter
        manifest = self.call.skill.manifest
        sampling = Sampling(manifest.decoding.temperature, manifest.decoding.top_p, manifest.decoding.seed)
        async with self.limiter:
            submitted = time.monotonic()
            generation = await self.engine.generate(
                GenerationRequest(
                    prompt, manifest.limits.max_output_tokens, constraint, adapter, sampling, self.call.deadline
                )
            )
        self.tally.add(submitted, generation.usage, generation.timings)
        return generation

    def surely_fits(self, chat: Chat, answer_tokens: int) -> bool:
        """Whether a chat fits into the context however it is tokenised."""
        characters = sum(len(span.text) for message in chat.messages for span in message.content)
        return self.room(4 * characters + TEMPLATE_TOKENS, answer_tokens) >= 0

    def room(self, prompt_tokens: int, answer_tokens: int) -> int:
        """Tell how many tokens of the context are left over; negative when they do not fit."""
        return self.engine.info.context_tokens - prompt_tokens - answer_tokens

    def too_long(self, tokens: int, limit: int, *, why: str) -> InputTooLong:
        """Word the refusal of a text that does not fit."""
        split = self.call.skill.manifest.limits.long_input == "split"
        return InputTooLong(
            f"The text is {tokens:,} tokens; `{self.call.skill.name}` takes {limit:,} ({why}).",
            "Send less text." if split else "Send the part that matters, or send it in several parts as `items`.",
        )

    def no_room(self, tokens: int, left: int) -> InputTooLong:
        """Word the refusal of a call whose arguments leave hardly any context for the text."""
        context = self.engine.info.context_tokens
        return InputTooLong(
            f"Instructions, arguments and answer leave {left:,} of the context's {context:,} tokens for the text, "
            f"which has {tokens:,}.",
            "Shorten the arguments (fewer labels or fields, shorter descriptions), or raise `context_tokens`.",
        )


async def within(deadline: float, job: Callable[[], Awaitable[T]], *, late: Callable[[], DeadlineExceeded]) -> T:
    """Run a job that is cancelled at the deadline (`time.monotonic()`).

    Raises:
        DeadlineExceeded: what `late` words; or the engine's own, whichever notices first.
    """
    with anyio.move_on_after(deadline - time.monotonic()):
        return await job()
    raise late()
