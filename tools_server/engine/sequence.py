"""The mutable progress of one request: what must be decoded next, and what its logits mean.

A sequence is WAITING until it is admitted, RUNNING while it holds cells, FINISHED once its ticket has been settled.
The scheduler takes tokens from `pending` into batches and hands back logits; everything a request is about happens
in `observe`.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from tools_server.engine.backend import Tokenizer, join_pieces
from tools_server.engine.grammar import Matcher
from tools_server.engine.prefix import PrefixCache, PrefixKey, Segment
from tools_server.engine.sampling import log_normalise, sample
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

Settle = Callable[[Generation | Scores | Exception], None]
"""Receives the one result or error of a request; called at most once, on the engine's thread."""


class State(Enum):
    """Where a sequence is in its life."""

    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()


@dataclass(slots=True)
class Step:
    """One token to decode: its position, the sequence ids that share it, and the trie node it leads to, if any."""

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
    keys: list[PrefixKey] = field(init=False)  # of the prompt's shareable prefixes, shortest first
    segment: Segment | None = None
    reserved: int = 0  # cells set aside beyond `segment`
    to_publish: deque[PrefixKey] = field(default_factory=deque[PrefixKey])
    submitted: float = field(default_factory=time.monotonic)
    admitted: float = 0.0
    first_token: float = 0.0

    def __post_init__(self) -> None:
        self.keys = PrefixCache.keys(self.adapter, self.prompt)

    @property
    @abstractmethod
    def needed_cells(self) -> int:
        """Cells that the request may come to hold, shared ones included."""

    @property
    def prefilling(self) -> bool:
        """Whether its prompt is still being decoded."""
        return self.decoded < len(self.prompt)

    def start(self, slot: int, cached: int) -> None:
        """Begin running in `slot`, whose first `cached` cells are there already."""
        self.state = State.RUNNING
        self.slot = slot
        self.decoded = self.cached = cached
        self.pending = deque(self.prompt.tokens[cached:])
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
    def needed_cells(self) -> int:
        """Prompt and token budget."""
        return len(self.prompt) + self._request.max_tokens

    def start(self, slot: int, cached: int) -> None:
        """Begin, with what the constraint forces at the very start joined to the prompt's prefill."""
        super().start(slot, cached)
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
        return Generation(
            text=join_pieces(self._tokenizer, [t.id for t in self._tokens]),
            tokens=tuple(self._tokens),
            finish_reason=reason,
            usage=Usage(len(self.prompt), self.cached, len(self._tokens), self._forced),
            timings=self.timings(),
        )


class ScoreSequence(Sequence):
    """Scores a closed set: the prompt once, then the trie's inner nodes, each path under a sequence id of its own."""

    def __init__(self, request: ScoreRequest, settle: Settle) -> None:
        super().__init__(request.prompt, request.adapter, request.deadline, settle)
        self._trie = Trie(request.continuations)
        self._inner = self._trie.inner_nodes()
        self._paths: deque[list[Node]] = deque()
        self._open: set[int] = set()  # nodes of this wave that have not been observed yet, by id()
        self._counted: set[int] = set()  # nodes that are in the scores, by id()
        self.steps: deque[Step] = deque()
        self.leaves: list[int] = []  # sequence ids held by this wave

    @property
    def needed_cells(self) -> int:
        """Prompt and inner nodes; waves free their cells, so this is the most at any time."""
        return len(self.prompt) + self._inner

    @property
    def wants_leaves(self) -> int:
        """Sequence ids that the next wave could use; 0 while one is under way or none is left."""
        return len(self._paths) if not self._open and not self.steps else 0

    @property
    def open_nodes(self) -> int:
        """Nodes of this wave whose logits are still to come."""
        return len(self._open)

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
        base = len(self.prompt)
        self.steps = deque(Step(n.token, base + n.depth - 1, tuple(through[id(n)]), n) for n in order)
        self._open = {id(n) for n in order}

    def observe(self, logits: NDArray[np.float32]) -> Scores | None:
        """Take the logits after the prompt."""
        self.first_token = time.monotonic()
        self._trie.observe(self._trie.root, logits)
        self._paths = deque(self._trie.paths())
        return self._result_if_done()

    def observe_node(self, node: Node, logits: NDArray[np.float32]) -> Scores | None:
        """Take the logits after an inner node. A later wave may decode it again: it counts once."""
        self._open.discard(id(node))
        if id(node) not in self._counted:
            self._counted.add(id(node))
            self._trie.observe(node, logits)
        return self._result_if_done()

    def _result_if_done(self) -> Scores | None:
        if self._paths or self._open:
            return None
        raw = self._trie.scores
        return Scores(
            raw=tuple(raw.tolist()),
            normalised=tuple(log_normalise(raw).tolist()),
            usage=Usage(len(self.prompt) + self._inner, self.cached, 0, 0),
            timings=self.timings(),
        )
