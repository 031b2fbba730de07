"""The mutable progress of one request: what must be decoded next, and what its logits mean.

A sequence is WAITING until it is admitted (and again after it was preempted), RUNNING while it holds cells, FINISHED
once its ticket has been settled. The scheduler takes tokens from `pending` into batches and hands back logits;
everything a request is about happens in `observe`.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from tools_server.engine.backend import Tokenizer
from tools_server.engine.grammar import Matcher
from tools_server.engine.prefix import PrefixCache, PrefixKey, Segment
from tools_server.engine.sampling import sample
from tools_server.engine.trie import Node, Trie
from tools_server.engine.types import (
    Adapter,
    FinishReason,
    Generation,
    GenerationRequest,
    Prompt,
    ScoreRequest,
    Scores,
    Timings,
    Token,
    Usage,
)
from tools_server.errors import AdapterMismatch

Settle = Callable[[Generation | Scores | Exception], None]
"""Receives the one result or error of a request; called at most once, on the engine's thread."""


STRETCH = 128
"""Tokens of an answer for which cells are reserved at a time."""


class State(Enum):
    """Where a sequence is in its life."""

    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()


@dataclass(slots=True)
class Step:
    """A token to decode: its position, the sequence ids that share it, and the trie node that it completes, if any."""

    token: int
    position: int
    sequences: tuple[int, ...]
    node: Node | None = None


@dataclass(eq=False)
class Sequence(ABC):
    """What all requests share; `GenerationSequence` and `ScoreSequence` say what logits mean."""

    prompt: Prompt
    adapter: Adapter | None
    deadline: float | None
    settle: Settle
    state: State = State.WAITING
    slot: int = -1
    decoded: int = 0  # tokens whose KV is in the cache, all of `slot`'s positions
    cached: int = 0  # of those, how many came from a cached prefix
    pending: deque[int] = field(default_factory=deque[int])
    activation: int | None = None  # position from which on the adapter acts; None until the adapter is loaded
    keys: list[PrefixKey] = field(default_factory=list[PrefixKey])  # of the prompt's shareable prefixes, shortest first
    segment: Segment | None = None
    reserved: int = 0  # cells set aside beyond `segment`
    to_publish: deque[PrefixKey] = field(default_factory=deque[PrefixKey])
    submitted: float = field(default_factory=time.monotonic)
    admitted: float = 0.0
    first_token: float = 0.0

    @property
    @abstractmethod
    def next_cells(self) -> int:
        """Cells to reserve for the time being, shared ones included."""

    @property
    def prefilling(self) -> bool:
        """Whether its prompt is still being decoded."""
        return self.decoded < len(self.prompt)

    @property
    def adapter_now(self) -> Adapter | None:
        """What the next token is decoded under: before the activation, the bare base."""
        return None if self.decoded < (self.activation or 0) else self.adapter

    def activate(self, invocation: tuple[int, ...]) -> None:
        """Settle from where on the adapter acts: the last `invocation` in the prompt, or all of it if that is empty.

        Activated LoRA: Greenewald et al., 2025, arXiv:2504.12397. Everything before is the bare base's, so its KV is
        shared with whoever has the same tokens there, under whatever adapter.

        Raises:
            AdapterMismatch: the prompt does not invoke the adapter.
        """
        self.activation = find_last(self.prompt.tokens, invocation) if invocation else 0
        self.keys = PrefixCache.keys(self.adapter, self.prompt, self.activation)

    def start(self, slot: int, cached: int) -> None:
        """Begin running in `slot`, whose first `cached` cells are there already."""
        self.state = State.RUNNING
        self.slot = slot
        self.decoded = cached
        self.pending = deque(self.prompt.tokens[cached:])
        if not self.admitted:
            self.cached = cached
            self.admitted = time.monotonic()

    @abstractmethod
    def observe(self, logits: NDArray[np.float32]) -> Generation | Scores | None:
        """Take the logits after the last pending token, shape (vocabulary,); a result ends the request."""

    def timings(self) -> Timings:
        """Seconds so far."""
        now = time.monotonic()
        return Timings(
            queued=self.admitted - self.submitted,
            first_token=(self.first_token or now) - self.submitted,
            total=now - self.submitted,
        )


class GenerationSequence(Sequence):
    """Generates under a constraint: samples a token, then takes over those that the constraint forces."""

    def __init__(
        self, request: GenerationRequest, matcher: Matcher | None, tokenizer: Tokenizer, settle: Settle
    ) -> None:
        super().__init__(request.prompt, request.adapter, request.deadline, settle)
        self._request = request
        self._matcher = matcher
        self._tokenizer = tokenizer
        self._tokens: list[Token] = []
        self._forced = 0
        # Numpy's PCG64: one generator per request, so that nothing else in the batch can move its draws.
        self._rng = np.random.default_rng(request.sampling.seed)

    @property
    def next_cells(self) -> int:
        """Prompt, what has been written, and a stretch of what is to come."""
        return len(self.prompt) + min(len(self._tokens) + STRETCH, self._request.max_tokens)

    def start(self, slot: int, cached: int) -> None:
        """Begin, with what the constraint forces at the very start joined to the prompt's prefill; or resume."""
        resumed = bool(self._tokens)
        super().start(slot, cached)
        self.pending.extend(token.id for token in self._tokens)
        if not resumed:
            self._take_forced()

    def _take_forced(self) -> None:
        if self._matcher is None:
            return
        room = self._request.max_tokens - len(self._tokens)
        for token in self._matcher.forced()[:room]:
            self._matcher.advance(token)
            self._append(Token(token, logprob=None, allowed=None))
            self._forced += 1

    def _append(self, token: Token) -> None:
        self._tokens.append(token)
        self.pending.append(token.id)

    def finished_early(self) -> Generation | None:
        """The result, when the constraint left nothing to decide."""
        return self._result_if_done()

    def observe(self, logits: NDArray[np.float32]) -> Generation | None:
        """Sample one token, then fast-forward."""
        mask = None if self._matcher is None else self._matcher.mask()
        token = sample(logits, mask, self._request.sampling, self._rng)
        self.first_token = self.first_token or time.monotonic()
        if token.id in self._tokenizer.eog_tokens:
            return self._result(FinishReason.STOP)
        if self._matcher is not None:
            self._matcher.advance(token.id)
        self._append(token)
        self._take_forced()
        return self._result_if_done()

    def _result_if_done(self) -> Generation | None:
        if self._matcher is not None and self._matcher.is_complete():
            return self._result(FinishReason.STOP)
        if len(self._tokens) >= self._request.max_tokens:
            return self._result(FinishReason.LENGTH)
        return None

    def _result(self, reason: FinishReason) -> Generation:
        pieces = [self._tokenizer.piece(token.id) for token in self._tokens]
        return Generation(
            text=b"".join(pieces).decode("utf-8", errors="replace"),
            tokens=tuple(replace(token, size=len(piece)) for token, piece in zip(self._tokens, pieces, strict=True)),
            finish_reason=reason,
            usage=Usage(len(self.prompt), self.cached, len(self._tokens), self._forced),
            timings=self.timings(),
        )


class ScoreSequence(Sequence):
    """Scores a closed set: the prompt once, then where labels part, each path under a sequence id of its own."""

    def __init__(self, request: ScoreRequest, prompt: Prompt, trie: Trie, settle: Settle) -> None:
        super().__init__(prompt, request.adapter, request.deadline, settle)
        self._trie = trie
        self._paths: deque[list[Node]] = deque()
        self._open: set[int] = set()  # nodes of this wave that have not been observed yet, by id()
        self._stepped = 0
        self.steps: deque[Step] = deque()
        self.leaves: list[int] = []  # sequence ids held by this wave

    @property
    def next_cells(self) -> int:
        """Prompt and inner nodes; waves free their cells, so this is the most at any time."""
        return len(self.prompt) + self._trie.inner_tokens

    @property
    def base_cells(self) -> int:
        """Cells that every path begins with: the prompt, and what all labels begin with."""
        return len(self.prompt) + len(self._trie.root.edge)

    @property
    def wants_leaves(self) -> int:
        """Sequence ids that the next wave could use; 0 while one is under way or none is left."""
        return len(self._paths) if not self._open and not self.steps else 0

    @property
    def open_nodes(self) -> int:
        """Nodes of this wave whose logits are still to come."""
        return len(self._open)

    def start(self, slot: int, cached: int) -> None:
        """Begin, with what all labels begin with joined to the prompt's prefill."""
        super().start(slot, cached)
        self.pending.extend(self._trie.root.edge)

    def begin_wave(self, leaves: list[int]) -> None:
        """Lay out the next `len(leaves)` paths, sharing the nodes that they have in common."""
        self.leaves = leaves
        through: dict[int, list[int]] = {}
        order: list[Node] = []
        for leaf in leaves:
            for node in self._paths.popleft():
                if id(node) not in through:
                    order.append(node)
                through.setdefault(id(node), []).append(leaf)
        self.steps = deque(step for node in order for step in self._steps_to(node, tuple(through[id(node)])))
        self._stepped += len(self.steps)
        self._open = {id(node) for node in order}

    def _steps_to(self, node: Node, leaves: tuple[int, ...]) -> list[Step]:
        start = len(self.prompt) + node.depth - len(node.edge)
        last = len(node.edge) - 1
        return [
            Step(token, start + offset, leaves, node if offset == last else None)
            for offset, token in enumerate(node.edge)
        ]

    def observe(self, logits: NDArray[np.float32]) -> Scores | None:
        """Take the logits after the prompt."""
        self.first_token = time.monotonic()
        self._trie.observe(self._trie.root, logits)
        self._paths = deque(self._trie.paths())
        return self._result_if_done()

    def observe_node(self, node: Node, logits: NDArray[np.float32]) -> Scores | None:
        """Take the logits after an inner node. A later wave may decode it again, to the same end."""
        self._open.discard(id(node))
        self._trie.observe(node, logits)
        return self._result_if_done()

    def _result_if_done(self) -> Scores | None:
        if self._paths or self._open:
            return None
        return Scores(
            logprobs=tuple(self._trie.logprobs()),
            mass=self._trie.mass,
            usage=Usage(self.base_cells + self._stepped, self.cached, 0, 0),
            timings=self.timings(),
        )


def find_last(tokens: tuple[int, ...], invocation: tuple[int, ...]) -> int:
    """Where the last `invocation` begins; raises AdapterMismatch when there is none."""
    for start in range(len(tokens) - len(invocation), -1, -1):
        if tokens[start : start + len(invocation)] == invocation:
            return start
    raise AdapterMismatch(
        f"The adapter acts from its invocation tokens {list(invocation)} on, which are not in the prompt.",
        "Put the text that invokes it into the skill's prompt, behind the document.",
    )
