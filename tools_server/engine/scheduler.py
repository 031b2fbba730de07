"""Continuous batching over one KV cache: which sequences run, and what goes into each decode.

A step is one `llama_decode` under one adapter. Sequences join and leave between steps. Prefill is done in chunks, in
turn with the tokens of answers, so that a long prompt never stalls the others for more than one step; short prompts of
further answers may go first, for then all are decoded together. Only small batches hold both. Adapters take turns: the
one in use keeps its turn for a bounded number of tokens, then the one that has waited longest follows, so that no
request waits for ever.

Cells are reserved a stretch at a time. When they run out, the request that came last gives its own back and waits to be
resumed: its prompt and what it has written so far are then decoded again (recomputation, as in vLLM: Kwon et al., 2023,
arXiv:2309.06180). The request that came first always goes on, so all of them end.

Everything here runs on the engine's thread.
"""

import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from tools_server.engine.adapters import AdapterPool
from tools_server.engine.backend import Backend, Batch
from tools_server.engine.cache import KvCache
from tools_server.engine.composer import Composer, Output
from tools_server.engine.sequence import GenerationSequence, ScoreSequence, Sequence, State
from tools_server.engine.types import Adapter, EngineStats, Generation, Scores
from tools_server.errors import DeadlineExceeded, DecodeFailed, ToolsServerError


class Scheduler:
    """Runs sequences to their end. `step` does one decode and tells whether there is more to do."""

    def __init__(self, backend: Backend, *, max_sequences: int) -> None:
        self._backend = backend
        self._cache = KvCache(backend, max_sequences=max_sequences)
        self._composer = Composer(backend, self._cache)
        self._adapters = AdapterPool(backend)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []  # in the order of their admission
        self._stalled: set[int] = set()  # running sequences without cells for their next token, by id()
        self._crowded = False  # somebody was preempted, and nobody has finished since
        self._counters = dict.fromkeys(
            ("requests", "finished", "failed", "cancelled", "preempted", "decodes", "decoded_tokens", "forced_tokens",
             "cached_tokens"), 0
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
        self._adapters.load(adapter)

    def unload_adapter(self, adapter: Adapter) -> None:
        """Free an adapter as soon as no sequence uses it."""
        self._adapters.retire(adapter)

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
            prefix_hits=self._cache.prefixes.hits,
            prefix_misses=self._cache.prefixes.misses,
            prefix_evictions=self._cache.prefixes.evictions,
            adapter_switches=self._adapters.switches,
            adapters_loaded=len(self._adapters),
            waiting=len(self._waiting),
            running=len(self._running),
            kv_cells=self._cache.budget.cells,
            kv_cells_used=self._cache.budget.used,
        )

    def step(self) -> bool:
        """Expire, admit, decode once. Returns whether there is more to do."""
        self._expire()
        self._retire()
        self._admit()
        self._grow()
        if self._running:
            self._decode()
        return self.busy

    # Admission.

    def _expire(self) -> None:
        now = time.monotonic()
        self._cache.tick(now)
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
        for adapter in self._adapters.sweep({sequence.adapter for sequence in [*self._running, *self._waiting]}):
            self._cache.forget(adapter)

    def _admit(self) -> None:
        # In order of arrival. A request whose prefix somebody is prefilling lets others pass; one that does not fit
        # lets nobody pass, or small requests would keep a large one out for ever.
        if self._crowded and self._running:
            return
        for sequence in list(self._waiting):
            if not self._cache.has_slot:
                return
            try:
                self._ready_adapter(sequence)
            except ToolsServerError as error:
                self._fail(sequence, error)
                continue
            if self._cache.prefixes.being_built(sequence.keys):
                continue
            if not self._cache.admit(sequence, alone=not self._running):
                return
            self._waiting.remove(sequence)
            self._running.append(sequence)
            self._counters["cached_tokens"] += sequence.decoded
            if isinstance(sequence, GenerationSequence) and (result := sequence.finished_early()):
                self._finish(sequence, result)

    def _ready_adapter(self, sequence: Sequence) -> None:
        if sequence.adapter is not None:
            self._adapters.load(sequence.adapter)
        if sequence.activation is None:
            sequence.activate(() if sequence.adapter is None else self._backend.invocation(sequence.adapter))

    def _grow(self) -> None:
        """Find cells for what comes next: from idle prefixes, else from the generation that was admitted last."""
        self._stalled.clear()
        for sequence in list(self._running):
            while sequence.state is State.RUNNING and not self._cache.grow(sequence):
                later = self._running[self._running.index(sequence) + 1 :]
                victims = [other for other in later if isinstance(other, GenerationSequence)]
                if victims:
                    self._preempt(victims[-1])
                else:
                    self._stalled.add(id(sequence))  # until one of those before it has finished
                    break

    def _preempt(self, sequence: Sequence) -> None:
        self._counters["preempted"] += 1
        self._crowded = True
        self._running.remove(sequence)
        self._cache.release(sequence)
        sequence.state = State.WAITING
        self._waiting.appendleft(sequence)

    # One decode.

    def _decode(self) -> None:
        running = [s for s in self._running if id(s) not in self._stalled]
        # A score sequence that waits for leaves which another adapter's sequences hold has nothing to decode now.
        ready = {
            s.adapter_now
            for s in running
            if s.pending or (isinstance(s, ScoreSequence) and (s.steps or self._cache.has_leaf))
        }
        adapter = self._adapters.choose(ready)
        group = [s for s in running if s.adapter_now == adapter]
        batch, outputs = Batch(), list[Output]()
        taken = self._composer.compose(group, batch, outputs)
        self._backend.use_adapter(adapter)
        try:
            logits = self._backend.decode(batch)
        except DecodeFailed as error:
            for sequence in {id(s): s for s, _ in taken}.values():
                self._fail(sequence, error)
            return
        self._counters["decodes"] += 1
        self._counters["decoded_tokens"] += len(batch)
        self._adapters.served(adapter, len(batch))
        for sequence, count in taken:
            sequence.decoded += count
            self._cache.publish(sequence)
        for row, output in enumerate(outputs):
            self._observe(output, logits[row])

    def _observe(self, output: Output, logits: NDArray[np.float32]) -> None:
        sequence = output.sequence
        if sequence.state is State.FINISHED:
            return
        try:
            if output.node is not None and isinstance(sequence, ScoreSequence):
                result = sequence.observe_node(output.node, logits)
                if not sequence.steps and not sequence.open_nodes:
                    self._cache.free_leaves(sequence)
            else:
                result = sequence.observe(logits)
        except DecodeFailed as error:
            self._fail(sequence, error)
        except ValueError as error:
            self._fail(sequence, DecodeFailed(f"Decoding failed: {error}.", "Try again; if it repeats, report it."))
        else:
            if result is not None:
                self._finish(sequence, result)

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
            self._cache.release(sequence)
        sequence.state = State.FINISHED
        self._crowded = False
