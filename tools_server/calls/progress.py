"""What one call counts on its way: progress in finished pieces, tokens, and time."""

import anyio

from tools_server.calls.types import Progress
from tools_server.engine.types import Timings, Usage


class Meter:
    """Reports finished pieces; values never decrease, though the total may grow while a long text is split."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._done = 0
        self._total = total
        self._lock = anyio.Lock()

    def expect(self, pieces: int) -> None:
        """Add pieces to the total."""
        self._total += pieces

    async def finished(self, what: str) -> None:
        """Count one more piece as finished."""
        if self._progress is None:
            return
        async with self._lock:  # reports leave in the order of their values
            self._done += 1
            await self._progress(self._done, self._total, f"{what} ({self._done} of {self._total})")


class Tally:
    """Sums what the requests of one call took; times are counted from `started` (`time.monotonic()`)."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._first_token: float | None = None
        self._queued = 0.0
        self.usage = Usage()

    def add(self, submitted: float, usage: Usage, timings: Timings) -> None:
        """Count one answered request that was submitted at `submitted`."""
        self.usage += usage
        first = submitted - self._started + timings.first_token
        self._first_token = first if self._first_token is None else min(first, self._first_token)
        self._queued = max(self._queued, timings.queued)

    def timings(self, now: float) -> Timings:
        """Sum up: the longest wait in the engine's queue, the earliest answer token, and the whole call."""
        return Timings(self._queued, self._first_token or 0.0, now - self._started)
