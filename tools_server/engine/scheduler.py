"""Continuous batching over one KV cache: which sequences run, and what goes into each decode.

A step is one `llama_decode` under one adapter. Sequences join and leave between steps. Those that generate go
first, for somebody waits for each of their tokens; prefill fills what room is left, in chunks, so that a long prompt
never stalls the others for more than one step. Adapters take turns: the one in use keeps its turn for a bounded
number of tokens, then the one that has waited longest follows, so that no request waits for ever.

Everything here runs on the engine's thread.
"""

import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools_server.engine.backend import Backend, Batch
from tools_server.engine.prefix import KvBudget, PrefixCache
from tools_server.engine.sequence import GenerationSequence, ScoreSequence, Sequence, State
from tools_server.engine.trie import Node
from tools_server.engine.types import Adapter, EngineStats, Generation, Scores
from tools_server.errors import DeadlineExceeded, DecodeFailed, ToolsServerError

TURN_TOKENS = 256
"""Tokens that an adapter may decode before another one that has work is served."""

MAX_ADAPTERS = 16
"""Adapters kept loaded; beyond it the one that was served longest ago goes, once it is idle. A server whose skills
are retrained while it runs would otherwise keep every version."""

LEAVES = 64
"""Sequence ids set aside for the label paths that are scored at once."""


@dataclass(slots=True)
class _Output:
    """Who gets a logits row: a sequence after its last pending token, or a trie node of it."""

    sequence: Sequence
    node: Node | None = None


class Scheduler:
    """Runs sequences to their end. `step` does one decode and tells whether there is more to do."""

    def __init__(self, backend: Backend, *, max_sequences: int) -> None:
        prefixes = backend.n_sequences - max_sequences - LEAVES
        if prefixes < 1:
            raise ValueError(f"{backend.n_sequences} sequence ids are too few for {max_sequences} requests")
        self._backend = backend
        self._max_sequences = max_sequences
        self._free_slots = list(range(max_sequences))
        self._free_leaves = list(range(max_sequences, max_sequences + LEAVES))
        self._free_prefix_slots = list(range(max_sequences + LEAVES, backend.n_sequences))
        self._budget = KvBudget(backend.kv_cells)
        self._prefixes = PrefixCache(self._budget, limit=prefixes)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._adapters: set[Adapter] = set()
        self._retiring: set[Adapter] = set()
        self._turn: Adapter | None = None
        self._turn_tokens = 0
        self._last_served: dict[Adapter | None, int] = {}
        self._counters = dict.fromkeys(
            ("requests", "finished", "failed", "cancelled", "decodes", "decoded_tokens", "forced_tokens",
             "cached_tokens", "adapter_switches"), 0
        )  # fmt: skip

    # What the worker calls between steps.

    def submit(self, sequence: Sequence) -> None:
        """Queue a request."""
        self._counters["requests"] += 1
        self._waiting.append(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """Stop a request and free what it holds. Nothing is settled: its caller has gone."""
        if sequence.state is not State.FINISHED:
            self._counters["cancelled"] += 1
            self._release(sequence)

    def load_adapter(self, adapter: Adapter) -> None:
        """Make an adapter ready; raises AdapterMismatch."""
        self._retiring.discard(adapter)
        if adapter not in self._adapters:
            self._backend.load_adapter(adapter)
            if len(self._adapters - self._retiring) >= MAX_ADAPTERS:
                oldest = min(self._adapters - self._retiring, key=lambda a: self._last_served.get(a, -1))
                self._retiring.add(oldest)
            self._adapters.add(adapter)

    def unload_adapter(self, adapter: Adapter) -> None:
        """Free an adapter as soon as no running sequence uses it."""
        if adapter in self._adapters:
            self._retiring.add(adapter)

    def abort(self, error: ToolsServerError) -> None:
        """End every request with `error`."""
        for sequence in [*self._running, *self._waiting]:
            self._fail(sequence, error)

    @property
    def busy(self) -> bool:
        """Whether any request is unfinished."""
        return bool(self._running or self._waiting)

    @property
    def waiting(self) -> int:
        """Requests that have not been admitted."""
        return len(self._waiting)

    def stats(self) -> EngineStats:
        """Counters and load."""
        return EngineStats(
            **self._counters,
            prefix_hits=self._prefixes.hits,
            prefix_misses=self._prefixes.misses,
            prefix_evictions=self._prefixes.evictions,
            adapters_loaded=len(self._adapters),
            waiting=len(self._waiting),
            running=len(self._running),
            kv_cells=self._budget.cells,
            kv_cells_used=self._budget.used,
        )

    def step(self) -> bool:
        """Expire, admit, decode once. Returns whether there is more to do."""
        self._expire()
        self._retire()
        self._admit()
        if self._running:
            self._decode()
        return self.busy

    # Admission.

    def _expire(self) -> None:
        now = time.monotonic()
        for sequence in [*self._running, *self._waiting]:
            if sequence.deadline is not None and now >= sequence.deadline:
                waited = now - sequence.submitted
                state = "waiting in the queue" if sequence.state is State.WAITING else "running"
                self._fail(
                    sequence,
                    DeadlineExceeded(
                        f"The deadline passed after {waited:.1f} s, while the request was {state}.",
                        "Send less text per call, or raise `call_timeout_s`.",
                    ),
                )

    def _retire(self) -> None:
        in_use = {sequence.adapter for sequence in [*self._running, *self._waiting]}
        for adapter in self._retiring - in_use:
            for entry in self._prefixes.forget(adapter):
                self._free_prefix(entry.sequence)
            self._backend.use_adapter(None)
            self._backend.unload_adapter(adapter)
            self._adapters.discard(adapter)
            self._retiring.discard(adapter)
            self._last_served.pop(adapter, None)
            self._turn, self._turn_tokens = None, 0

    def _admit(self) -> None:
        # In order of arrival. A request whose prefix somebody is prefilling lets others pass; one that does not fit
        # lets nobody pass, or small requests would keep a large one out for ever.
        for sequence in list(self._waiting):
            if not self._free_slots:
                return
            keys = sequence.keys
            if self._prefixes.being_built(keys):
                continue
            entry = self._prefixes.longest(keys)
            cached = entry.segment.end if entry else 0
            needed = sequence.needed_cells - cached
            while self._budget.free < needed:
                evicted = self._prefixes.evict(idle=True, keep=entry)
                if evicted is None:
                    break
                self._free_prefix(evicted.sequence)
            if self._budget.free < needed:
                if self._running:
                    return
                # Alone on an otherwise empty cache: the kept prefix is what stands in its way.
                if entry is not None and (evicted := self._prefixes.evict()):
                    self._free_prefix(evicted.sequence)
                    entry, cached, needed = None, 0, sequence.needed_cells
            try:
                if sequence.adapter is not None:
                    self.load_adapter(sequence.adapter)
            except ToolsServerError as error:
                self._fail(sequence, error)
                continue
            self._waiting.remove(sequence)
            self._start(sequence, cached, needed)
            if entry is not None:
                self._backend.copy_sequence(entry.sequence, sequence.slot, cached)
                self._budget.hold(entry.segment)
                sequence.segment = entry.segment
            missing = [key for key in keys if len(key.tokens) > cached]
            self._prefixes.hits += cached > 0
            self._prefixes.misses += bool(keys) and not cached
            sequence.to_publish = deque(missing)
            self._prefixes.announce(missing, sequence)
            self._counters["cached_tokens"] += cached
            if isinstance(sequence, GenerationSequence) and (result := sequence.finished_early()):
                self._finish(sequence, result)

    def _start(self, sequence: Sequence, cached: int, needed: int) -> None:
        self._budget.reserve(needed)
        sequence.reserved = needed
        sequence.start(self._free_slots.pop(), cached)
        self._running.append(sequence)

    # One decode.

    def _decode(self) -> None:
        adapter = self._choose_adapter()
        group = [s for s in self._running if s.adapter == adapter]
        batch, outputs = Batch(), list[_Output]()
        generating = [s for s in group if s.pending and not s.prefilling]
        prefilling = [s for s in group if s.pending and s.prefilling]
        taken = [
            *self._take_pending(generating, batch, outputs, limit=self._backend.n_batch),
            *self._take_score_steps(group, batch, outputs),
        ]
        # While others generate, prefill takes half a batch at most: that bounds the wait for their next token.
        chunk = self._backend.n_batch // 2 if generating else self._backend.n_batch
        # The oldest is sure of half of it; the rest goes to the shortest first, so that nobody sits behind a book.
        oldest, others = prefilling[:1], sorted(prefilling[1:], key=lambda s: len(s.pending))
        sure = min(chunk // 2, sum(len(s.pending) for s in oldest))
        for_others = min(chunk - sure, sum(len(s.pending) for s in others))
        taken += self._take_pending(oldest, batch, outputs, limit=chunk - for_others)
        taken += self._take_pending(others, batch, outputs, limit=for_others)
        self._backend.use_adapter(adapter)
        try:
            logits = self._backend.decode(batch)
        except DecodeFailed as error:
            for sequence in {id(s): s for s, _ in taken}.values():
                self._fail(sequence, error)
            return
        self._counters["decodes"] += 1
        self._counters["decoded_tokens"] += len(batch)
        self._turn_tokens += len(batch)
        self._last_served[adapter] = self._counters["decodes"]
        for sequence, count in taken:
            sequence.decoded += count
            self._publish_prefixes(sequence)
        for row, output in enumerate(outputs):
            self._observe(output, logits[row])

    def _choose_adapter(self) -> Adapter | None:
        # A score sequence that waits for leaves which another adapter's sequences hold has nothing to decode now.
        ready = {
            s.adapter
            for s in self._running
            if s.pending or (isinstance(s, ScoreSequence) and (s.steps or self._free_leaves))
        }
        if self._turn in ready and (self._turn_tokens < TURN_TOKENS or len(ready) == 1):
            return self._turn
        others = ready - {self._turn} if len(ready) > 1 else ready
        self._turn = min(others, key=lambda adapter: self._last_served.get(adapter, -1))
        self._turn_tokens = 0
        self._counters["adapter_switches"] += 1
        return self._turn

    def _take_score_steps(
        self, group: list[Sequence], batch: Batch, outputs: list[_Output]
    ) -> list[tuple[Sequence, int]]:
        taken: list[tuple[Sequence, int]] = []
        for sequence in group:
            if not isinstance(sequence, ScoreSequence) or sequence.pending:
                continue
            wanted = min(sequence.wants_leaves, len(self._free_leaves))
            if wanted:
                leaves = [self._free_leaves.pop() for _ in range(wanted)]
                for leaf in leaves:
                    self._backend.copy_sequence(sequence.slot, leaf, len(sequence.prompt))
                sequence.begin_wave(leaves)
            room = min(self._backend.n_batch - len(batch), self._backend.n_outputs - batch.n_outputs)
            count = min(room, len(sequence.steps))
            for _ in range(count):
                step = sequence.steps.popleft()
                batch.add(step.token, step.position, step.sequences, output=True)
                outputs.append(_Output(sequence, step.node))
            if count:
                # Leaves hold these cells, not the slot: nothing is added to `decoded`.
                taken.append((sequence, 0))
        return taken

    def _take_pending(
        self, sequences: list[Sequence], batch: Batch, outputs: list[_Output], *, limit: int
    ) -> list[tuple[Sequence, int]]:
        taken: list[tuple[Sequence, int]] = []
        for sequence in sequences:
            count = min(self._backend.n_batch - len(batch), limit, len(sequence.pending))
            if count == len(sequence.pending) and batch.n_outputs == self._backend.n_outputs:
                count -= 1  # no row left for its logits: its last token waits for the next step
            if count <= 0:
                continue
            limit -= count
            for offset in range(count):
                token = sequence.pending.popleft()
                batch.add(token, sequence.decoded + offset, (sequence.slot,), output=not sequence.pending)
            if not sequence.pending:
                outputs.append(_Output(sequence))
            taken.append((sequence, count))
        return taken

    def _observe(self, output: _Output, logits: NDArray[np.float32]) -> None:
        sequence = output.sequence
        if sequence.state is State.FINISHED:
            return
        try:
            if output.node is not None and isinstance(sequence, ScoreSequence):
                result = sequence.observe_node(output.node, logits)
                if not sequence.steps and not sequence.open_nodes:
                    self._free_wave(sequence)
            else:
                result = sequence.observe(logits)
        except DecodeFailed as error:
            self._fail(sequence, error)
        except ValueError as error:
            self._fail(sequence, DecodeFailed(f"Decoding failed: {error}.", "Try again; if it repeats, report it."))
        else:
            if result is not None:
                self._finish(sequence, result)

    def _publish_prefixes(self, sequence: Sequence) -> None:
        while sequence.to_publish and len(sequence.to_publish[0].tokens) <= sequence.decoded:
            key = sequence.to_publish.popleft()
            if key in self._prefixes:
                continue
            if self._prefixes.full and (evicted := self._prefixes.evict()):
                self._free_prefix(evicted.sequence)
            slot = self._free_prefix_slots.pop()
            self._backend.copy_sequence(sequence.slot, slot, len(key.tokens))
            segment = self._budget.grow(sequence.segment, len(key.tokens))
            sequence.reserved -= segment.end - segment.start
            self._budget.drop(sequence.segment)
            sequence.segment = segment
            self._prefixes.add(key, slot, segment)

    # Endings: every sequence goes through `_release` exactly once.

    def _finish(self, sequence: Sequence, result: Generation | Scores) -> None:
        self._counters["finished"] += 1
        self._counters["forced_tokens"] += result.usage.forced
        self._release(sequence)
        sequence.settle(result)

    def _fail(self, sequence: Sequence, error: ToolsServerError) -> None:
        self._counters["failed"] += 1
        self._release(sequence)
        sequence.settle(error)

    def _release(self, sequence: Sequence) -> None:
        if sequence.state is State.WAITING:
            self._waiting.remove(sequence)
        else:
            self._running.remove(sequence)
            if isinstance(sequence, ScoreSequence):
                self._free_wave(sequence)
            self._backend.clear_sequence(sequence.slot)
            self._free_slots.append(sequence.slot)
            self._budget.release(sequence.reserved)
            self._budget.drop(sequence.segment)
            self._prefixes.withdraw(sequence)
        sequence.state = State.FINISHED

    def _free_wave(self, sequence: ScoreSequence) -> None:
        for leaf in sequence.leaves:
            self._backend.clear_sequence(leaf)
        self._free_leaves.extend(sequence.leaves)
        sequence.leaves = []

    def _free_prefix(self, slot: int) -> None:
        self._backend.clear_sequence(slot)
        self._free_prefix_slots.append(slot)
