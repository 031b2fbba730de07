"""What the engine takes and gives: requests, answers, and the `Engine` port.

The engine knows tokens, adapters and constraints. It knows nothing of skills, MCP, files or JSON answers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a message. `payload` marks text that came from the caller: data, never instructions."""

    text: str
    payload: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message: `role` is system, user or assistant; `content` are its spans in order."""

    role: str
    content: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Chat:
    """Messages to answer, and the text that the answer is made to begin with (often empty)."""

    messages: tuple[Message, ...]
    assistant_prefix: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Prompt tokens, and the lengths of those prefixes that other requests will share (ascending, each < len)."""

    tokens: tuple[int, ...]
    prefixes: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class Adapter:
    """Identity of a LoRA. Two adapters are equal, and may share a batch, when bytes, scale and base are."""

    sha256: str
    base_sha256: str
    scale: float = 1.0
    path: Path = field(default=Path(), compare=False)
    name: str = field(default="", compare=False)


class ConstraintKind(StrEnum):
    """What `Constraint.source` holds."""

    JSON_SCHEMA = "json_schema"
    SPANS = "spans"  # a JSON Schema whose strings with `"x-span": true` are copied from the text
    ALL_SPANS = "all_spans"  # the same, and all strings that say nothing of their form
    CHOICE = "choice"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class Constraint:
    """The language an answer must belong to.

    `source` is a JSON Schema as text, a JSON array of the allowed strings, or a regular expression. `text` is what
    spans are copied from; other kinds have none.
    """

    kind: ConstraintKind
    source: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn. Temperature 0 is greedy; the seed makes a draw repeatable."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Continue `prompt` under `adapter` and `constraint` for at most `max_tokens`.

    `deadline` is a `time.monotonic()` value in seconds; past it the request ends with `DeadlineExceeded`.
    """

    prompt: Prompt
    max_tokens: int
    constraint: Constraint | None = None
    adapter: Adapter | None = None
    sampling: Sampling = Sampling()
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Tell how likely each continuation of `prompt` is among them: no two alike, none the beginning of another.

    A chat is encoded on the way, which spares an engine in another process a round trip.
    """

    prompt: Prompt | Chat
    continuations: tuple[tuple[int, ...], ...]
    adapter: Adapter | None = None
    deadline: float | None = None


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"  # the constraint was complete, or the model ended its turn
    LENGTH = "length"  # the token budget ran out


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request. `prompt = cached + prefilled`; `completion = sampled + forced`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    forced: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.completion + other.completion,
            self.forced + other.forced,
        )


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds from submission: waiting in the queue, until the first answer token, and in all."""

    queued: float = 0.0
    first_token: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Token:
    """One answer token.

    `logprob` is the natural log of its probability under the model's own distribution (temperature 1, whole
    vocabulary); `allowed` is the probability mass that the constraint left, so that `logprob - log(allowed)` is
    its log-probability among what was allowed. A forced token was not sampled: both are None. `size` is how many bytes
    of the answer's text (UTF-8) it makes, known once the generation has ended.
    """

    id: int
    logprob: float | None
    allowed: float | None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished generation: `text` is the answer alone, without prompt, assistant prefix or end-of-turn token."""

    text: str
    tokens: tuple[Token, ...]
    finish_reason: FinishReason
    usage: Usage
    timings: Timings


@dataclass(frozen=True, slots=True)
class Scores:
    """Answer to a `ScoreRequest`, in its order.

    `logprobs[i]` is ln P(continuation i | prompt, the answer is in the set), as constrained decoding has it: wherever
    members part, the model's distribution over what they go on with, normalised. Their probabilities sum to one.
    `mass` is the probability that the model, unconstrained, would begin with any of them: low where none fits.
    """

    logprobs: tuple[float, ...]
    mass: float
    usage: Usage
    timings: Timings


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Identity and limits of the loaded base model."""

    id: str
    sha256: str
    architecture: str
    context_tokens: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters since start, and the load at this moment."""

    requests: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    preempted: int = 0
    decodes: int = 0
    decoded_tokens: int = 0
    forced_tokens: int = 0
    prefix_hits: int = 0
    prefix_misses: int = 0
    prefix_evictions: int = 0
    cached_tokens: int = 0
    adapter_switches: int = 0
    adapters_loaded: int = 0
    waiting: int = 0
    running: int = 0
    kv_cells: int = 0
    kv_cells_used: int = 0

    def as_dict(self) -> Mapping[str, int]:
        """Give the counters by name, for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class Engine(Protocol):
    """The port to a language model with adapters. Every request ends in exactly one answer or one error."""

    @property
    def info(self) -> ModelInfo:
        """Identity and limits of the loaded model."""
        ...

    async def encode(self, chat: Chat) -> Prompt:
        """Apply the model's chat template and tokenise; payload spans can never become special tokens."""
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text, taken as plain text: no special tokens are parsed and none is added."""
        ...

    async def continuations(self, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Tokenise a closed set for `ScoreRequest`, ending a text that is a prefix of another with end-of-turn."""
        ...

    async def check(self, constraint: Constraint) -> None:
        """Compile a constraint without using it.

        Raises:
            InvalidArguments: the backend cannot honour it; the message names JSON path and keyword.
        """
        ...

    async def load_adapter(self, adapter: Adapter) -> None:
        """Make an adapter ready. Requests also load theirs on first use.

        Raises:
            AdapterMismatch: another base, or a file that is not what it says.
        """
        ...

    async def unload_adapter(self, adapter: Adapter) -> None:
        """Free an adapter once no running request uses it. Unknown adapters are ignored."""
        ...

    async def generate(self, request: GenerationRequest) -> Generation:
        """Generate.

        Raises:
            InputTooLong: prompt and budget exceed the context.
            InvalidArguments: the constraint cannot be honoured.
            QueueFull, DeadlineExceeded, AdapterMismatch, DecodeFailed, EngineDied
        """
        ...

    async def score(self, request: ScoreRequest) -> Scores:
        """Score a closed set. Raises as `generate` does."""
        ...

    async def stats(self) -> EngineStats:
        """Counters and load."""
        ...

    async def aclose(self) -> None:
        """End every request with `EngineDied` and free what this engine holds."""
        ...


def as_json_schema(schema: Mapping[str, Any]) -> Constraint:
    """Make a constraint of a JSON Schema; property order is kept, for answers follow it."""
    return Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(schema, ensure_ascii=False))
