"""Who holds which cells and sequence ids of the KV cache.

A running request holds a slot: a sequence id and the cells that it has reserved. Of an answer whose length nobody
knows only the next stretch is reserved, so that many requests run at once although each might become long; a
reservation grows with its answer, and `grow` says so when there is nothing left. Prefixes are kept under ids of their
own for as long as nobody needs their cells, and label paths borrow ids for one wave.
"""

from collections import deque

from tools_server.engine.backend import Backend
from tools_server.engine.prefix import CachedPrefix, KvBudget, PrefixCache
from tools_server.engine.sequence import ScoreSequence, Sequence
from tools_server.engine.types import Adapter

LEAVES = 64
"""Sequence ids set aside for the label paths that are scored at once."""


class KvCache:
    """The cells and sequence ids of one backend; `max_sequences` requests can hold a slot at the same time."""

    def __init__(self, backend: Backend, *, max_sequences: int) -> None:
        prefixes = backend.n_sequences - max_sequences - LEAVES
        if prefixes < 1:
            raise ValueError(f"{backend.n_sequences} sequence ids are too few for {max_sequences} requests")
        self._backend = backend
        self._free_slots = list(range(max_sequences))
        self._free_leaves = list(range(max_sequences, max_sequences + LEAVES))
        self._free_prefix_slots = list(range(max_sequences + LEAVES, backend.n_sequences))
        self.budget = KvBudget(backend.kv_cells)
        self.prefixes = PrefixCache(self.budget, limit=prefixes)

    # Requests.

    @property
    def has_slot(self) -> bool:
        """Whether another request could hold a slot."""
        return bool(self._free_slots)

    @property
    def has_leaf(self) -> bool:
        """Whether a label path could be given a sequence id."""
        return bool(self._free_leaves)

    def admit(self, sequence: Sequence, *, alone: bool) -> bool:
        """Give a request its slot, on top of the longest cached prefix; False when there are too few cells.

        `alone`: no other request holds any, so that whatever is cached may go.
        """
        entry = self.prefixes.longest(sequence.keys)
        cached = entry.segment.end if entry else 0
        if not self._make_room(sequence.next_cells - cached, keep=entry):
            if not alone:
                return False
            # What stands in its way is the kept prefix, and what that begins with.
            entry, cached = None, 0
            self._make_room(sequence.next_cells, idle=False)
        sequence.reserved = sequence.next_cells - cached
        self.budget.reserve(sequence.reserved)
        sequence.start(self._free_slots.pop(), cached)
        if entry is not None:
            self._backend.copy_sequence(entry.sequence, sequence.slot, cached)
            self.budget.hold(entry.segment)
            sequence.segment = entry.segment
        missing = [key for key in sequence.keys if len(key.tokens) > cached]
        self.prefixes.hits += cached > 0
        self.prefixes.misses += bool(sequence.keys) and not cached
        sequence.to_publish = deque(missing)
        self.prefixes.announce(missing, sequence)
        return True

    def grow(self, sequence: Sequence) -> bool:
        """Make sure that what a request is about to decode has cells; False when there are none left."""
        start = sequence.segment.end if sequence.segment else 0
        if sequence.decoded + len(sequence.pending) <= start + sequence.reserved:
            return True
        wanted = sequence.next_cells - start - sequence.reserved
        if not self._make_room(wanted):
            return False
        self.budget.reserve(wanted)
        sequence.reserved += wanted
        return True

    def release(self, sequence: Sequence) -> None:
        """Take back all that a request holds, but for the prefixes that it has published."""
        if isinstance(sequence, ScoreSequence):
            self.free_leaves(sequence)
        self._backend.clear_sequence(sequence.slot)
        self._free_slots.append(sequence.slot)
        self.budget.release(sequence.reserved)
        self.budget.drop(sequence.segment)
        self.prefixes.withdraw(sequence)
        sequence.segment, sequence.reserved = None, 0

    def _make_room(self, cells: int, *, keep: CachedPrefix | None = None, idle: bool = True) -> bool:
        while self.budget.free < cells:
            evicted = self.prefixes.evict(idle=idle, keep=keep)
            if evicted is None:
                return False
            self._free_prefix(evicted)
        return True

    # Prefixes.

    def publish(self, sequence: Sequence) -> None:
        """Keep those of a request's prefixes that it has decoded by now."""
        while sequence.to_publish and len(sequence.to_publish[0].tokens) <= sequence.decoded:
            key = sequence.to_publish.popleft()
            if key in self.prefixes:
                continue
            if self.prefixes.full and (evicted := self.prefixes.evict()):
                self._free_prefix(evicted)
            slot = self._free_prefix_slots.pop()
            self._backend.copy_sequence(sequence.slot, slot, len(key.tokens))
            segment = self.budget.grow(sequence.segment, len(key.tokens))
            sequence.reserved -= segment.end - segment.start
            self.budget.drop(sequence.segment)
            sequence.segment = segment
            self.prefixes.add(key, slot, segment)

    def tick(self, now: float) -> None:
        """Tell the time (`time.monotonic()`), and let go of documents that nobody has used for a while."""
        self.prefixes.now = now
        for entry in self.prefixes.expire():
            self._free_prefix(entry)

    def forget(self, adapter: Adapter) -> None:
        """Drop every prefix that was made under an adapter."""
        for entry in self.prefixes.forget(adapter):
            self._free_prefix(entry)

    def _free_prefix(self, entry: CachedPrefix) -> None:
        self._backend.clear_sequence(entry.sequence)
        self._free_prefix_slots.append(entry.sequence)

    # Label paths.

    def give_leaves(self, sequence: ScoreSequence) -> None:
        """Begin a wave of label paths, if one is due and there are ids for it."""
        wanted = min(sequence.wants_leaves, len(self._free_leaves))
        if wanted:
            leaves = [self._free_leaves.pop() for _ in range(wanted)]
            for leaf in leaves:
                self._backend.copy_sequence(sequence.slot, leaf, sequence.base_cells)
            sequence.begin_wave(leaves)

    def free_leaves(self, sequence: ScoreSequence) -> None:
        """Take back the ids of a wave."""
        for leaf in sequence.leaves:
            self._backend.clear_sequence(leaf)
        self._free_leaves.extend(sequence.leaves)
        sequence.leaves = []
