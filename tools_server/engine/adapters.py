"""Which adapters are loaded, and whose turn it is: one decode has exactly one adapter."""

from collections.abc import Set as AbstractSet

from tools_server.engine.backend import Backend
from tools_server.engine.types import Adapter

TURN_TOKENS = 256
"""Tokens that an adapter may decode before another one that has work is served."""

MAX_ADAPTERS = 16
"""Adapters kept loaded; beyond it the one that was served longest ago goes, once it is idle. A server whose skills
are retrained while it runs would otherwise keep every version."""


class AdapterPool:
    """The adapters of one backend; None stands for the bare base, which is always there."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._loaded: set[Adapter] = set()
        self._retiring: set[Adapter] = set()
        self._turn: Adapter | None = None
        self._turn_tokens = 0
        self._served = 0
        self._last_served: dict[Adapter | None, int] = {}
        self.switches = 0

    def __len__(self) -> int:
        return len(self._loaded)

    def load(self, adapter: Adapter) -> None:
        """Make an adapter ready.

        Raises:
            AdapterMismatch: it does not fit the model, or is not what it says.
        """
        self._retiring.discard(adapter)
        if adapter in self._loaded:
            return
        self._backend.load_adapter(adapter)
        staying = self._loaded - self._retiring
        if len(staying) >= MAX_ADAPTERS:
            self._retiring.add(min(staying, key=self._last))
        self._loaded.add(adapter)

    def retire(self, adapter: Adapter) -> None:
        """Free an adapter as soon as nobody uses it. Unknown ones are ignored."""
        if adapter in self._loaded:
            self._retiring.add(adapter)

    def sweep(self, in_use: AbstractSet[Adapter | None]) -> list[Adapter]:
        """Free those that are to go and that nobody uses; returns them."""
        gone = list(self._retiring - in_use)
        for adapter in gone:
            self._backend.use_adapter(None)
            self._backend.unload_adapter(adapter)
            self._loaded.discard(adapter)
            self._retiring.discard(adapter)
            self._last_served.pop(adapter, None)
            self._turn, self._turn_tokens = None, 0
        return gone

    def choose(self, ready: AbstractSet[Adapter | None]) -> Adapter | None:
        """Say who is served next among those that have work: the one in use for its turn, then who waited longest."""
        if self._turn in ready and (self._turn_tokens < TURN_TOKENS or len(ready) == 1):
            return self._turn
        others = ready - {self._turn} if len(ready) > 1 else ready
        self._turn = min(others, key=self._last)
        self._turn_tokens = 0
        self.switches += 1
        return self._turn

    def served(self, adapter: Adapter | None, tokens: int) -> None:
        """Count a decode."""
        self._turn_tokens += tokens
        self._served += 1
        self._last_served[adapter] = self._served

    def _last(self, adapter: Adapter | None) -> int:
        return self._last_served.get(adapter, -1)
