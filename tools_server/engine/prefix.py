"""The KV cache as a budget of cells, and the prefixes that are kept in it for reuse.

Cells are shared: a sequence that begins with a cached prefix holds no second copy of it. So cells are counted as
segments of a tree. A segment is a stretch of tokens after its parent's; it lives while a running sequence, a cached
prefix or a longer segment holds it. What a sequence will need beyond its segment is reserved before it starts, so
that a decode never finds the cache full.

KV depends on the adapter (an adapter changes every hidden state), so a prefix is keyed by adapter and tokens; the
model is the engine's one and only. Before the tokens that invoke an activated adapter the KV is the bare base's.
"""

from collections import OrderedDict
from dataclasses import dataclass

from tools_server.engine.types import Adapter, Prompt

DOCUMENT_CELLS = 512
"""A prefix that holds this many cells of its own is a document: worth keeping while somebody asks about it."""

DOCUMENT_IDLE_S = 300.0
"""Seconds after which an unused document goes. Attention walks over every used cell, so 6,000 idle ones slow all other
calls by half (docs/experiments.md); reading one again is the price of coming back late."""


@dataclass(frozen=True, slots=True)
class PrefixKey:
    """What must agree for KV to be reused: adapter (its bytes, scale and base) and tokens."""

    adapter: Adapter | None
    tokens: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Segment:
    """Cells of the tokens `[start, end)`, after those of `parent`."""

    parent: "Segment | None"
    start: int
    end: int
    holders: int = 0


@dataclass(slots=True, eq=False)
class CachedPrefix:
    """A prefix kept under a sequence id of its own."""

    key: PrefixKey
    sequence: int
    segment: Segment
    used: float


class KvBudget:
    """Counts cells: those of live segments, and those reserved by running sequences."""

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self.used = 0

    @property
    def free(self) -> int:
        """Cells that nobody holds or has reserved."""
        return self.cells - self.used

    def reserve(self, cells: int) -> None:
        """Set cells aside; the caller has looked at `free`."""
        self.used += cells

    def release(self, cells: int) -> None:
        """Give reserved cells back."""
        self.used -= cells

    def hold(self, segment: Segment) -> None:
        """Add a holder."""
        segment.holders += 1

    def grow(self, parent: Segment | None, end: int) -> Segment:
        """Turn reserved cells into a segment `[parent.end, end)` with one holder. The reservation passes to it."""
        start = parent.end if parent else 0
        if parent:
            self.hold(parent)
        return Segment(parent, start, end, holders=1)

    def drop(self, segment: Segment | None) -> None:
        """Remove a holder; a segment without any frees its cells and lets go of its parent."""
        while segment is not None:
            segment.holders -= 1
            if segment.holders > 0:
                return
            self.used -= segment.end - segment.start
            segment = segment.parent


class PrefixCache:
    """Cached prefixes, least recently used first, and those that a running sequence is about to add."""

    def __init__(self, budget: KvBudget, limit: int) -> None:
        self._budget = budget
        self._limit = limit
        self._entries: OrderedDict[PrefixKey, CachedPrefix] = OrderedDict()
        self._building: dict[PrefixKey, object] = {}
        self.now = 0.0
        """Seconds on the engine's clock, set before requests are admitted."""
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: PrefixKey) -> bool:
        return key in self._entries

    @staticmethod
    def keys(adapter: Adapter | None, prompt: Prompt, activation: int = 0) -> list[PrefixKey]:
        """Keys of the prompt's shareable prefixes, shortest first; up to `activation` the KV is the bare base's."""
        return [
            PrefixKey(None if length <= activation else adapter, prompt.tokens[:length]) for length in prompt.prefixes
        ]

    def longest(self, keys: list[PrefixKey]) -> CachedPrefix | None:
        """The longest cached prefix among `keys`, which becomes the most recently used."""
        for key in reversed(keys):
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                entry.used = self.now
                return entry
        return None

    def being_built(self, keys: list[PrefixKey]) -> bool:
        """Whether a running sequence is prefilling one of them: waiting for it is cheaper than doing it twice."""
        return any(key in self._building for key in keys)

    def announce(self, keys: list[PrefixKey], builder: object) -> None:
        """Say that `builder` will add these prefixes."""
        for key in keys:
            self._building.setdefault(key, builder)

    def withdraw(self, builder: object) -> None:
        """Forget what `builder` announced and has not added."""
        self._building = {key: who for key, who in self._building.items() if who is not builder}

    def add(self, key: PrefixKey, sequence: int, segment: Segment) -> None:
        """Keep a prefix; the cache becomes a holder of its segment."""
        self._budget.hold(segment)
        self._building.pop(key, None)
        self._entries[key] = CachedPrefix(key, sequence, segment, self.now)

    @property
    def full(self) -> bool:
        """Whether one must go before another can be kept."""
        return len(self._entries) >= self._limit

    def evict(self, *, idle: bool = False, keep: CachedPrefix | None = None) -> CachedPrefix | None:
        """Drop the least recently used entry other than `keep`; the caller frees its sequence id.

        With `idle` only an entry whose cells nobody else holds: dropping another one would free nothing.
        """
        for key, entry in self._entries.items():
            if entry is not keep and not (idle and entry.segment.holders > 1):
                self.evictions += 1
                return self._remove(key)
        return None

    def expire(self) -> list[CachedPrefix]:
        """Drop the documents that nobody has used for a while; the caller frees their sequence ids."""
        gone = [
            key
            for key, entry in self._entries.items()
            if self.now - entry.used > DOCUMENT_IDLE_S and entry.segment.end - entry.segment.start >= DOCUMENT_CELLS
        ]
        self.evictions += len(gone)
        return [self._remove(key) for key in gone]

    def forget(self, adapter: Adapter) -> list[CachedPrefix]:
        """Drop every entry made under an adapter; the caller frees their sequence ids."""
        gone = [key for key in self._entries if key.adapter == adapter]
        return [self._remove(key) for key in gone]

    def _remove(self, key: PrefixKey) -> CachedPrefix:
        entry = self._entries.pop(key)
        self._budget.drop(entry.segment)
        return entry
