"""The engine, loaded in the background: the server answers at once, and only calls wait for the model.

The load runs in a daemon thread, so a process that ends in the middle of it does not hang.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Literal

from tools_server.calls.types import Progress
from tools_server.engine.types import Engine
from tools_server.errors import EngineDied, EngineError, ModelLoadFailed, ToolsServerError

logger = logging.getLogger(__name__)

State = Literal["loading", "ready", "failed", "closed"]

TICK_S = 1.0
"""Seconds between two progress reports to a call that waits for the model."""


class EngineGate:
    """Lets calls through to the engine once it is there. `factory` blocks until the model is loaded.

    A model that cannot be loaded stays so until the process ends. A host that cannot be reached (an `EngineError`) is
    tried again by the next call.
    """

    def __init__(self, factory: Callable[[], Engine], *, tick_s: float = TICK_S) -> None:
        self._factory = factory
        self._tick_s = tick_s
        self._lock = Lock()
        self._state: State = "loading"
        self._thread: Thread | None = None
        self._started = time.monotonic()
        self._outcome = _new_outcome()

    @property
    def state(self) -> State:
        """`loading` also before `start`; `closed` is final, and so is `failed` unless it was by an `EngineError`."""
        return self._state

    def start(self) -> None:
        """Begin loading, unless that was done before and may not be tried again; returns at once."""
        with self._lock:
            if self._state == "closed" or (self._thread is not None and not self._may_try_again()):
                return
            if self._outcome.done():
                self._state, self._outcome = "loading", _new_outcome()
            self._started = time.monotonic()
            self._thread = Thread(target=self._load, name="load-engine", daemon=True)
            self._thread.start()

    async def get(self, progress: Progress | None = None) -> Engine:
        """Wait for the engine, starting the load if nobody has.

        Progress values stay below 1, so that a call's own progress can go on from there.

        Raises:
            ModelError: the load failed; the same error for every call.
            EngineError: the engine host cannot be reached, or the gate was closed.
        """
        self.start()
        pending = self._outcome
        if not pending.done():
            await self._wait(pending, progress)
        outcome = pending.result()
        if isinstance(outcome, ToolsServerError):
            raise outcome.with_traceback(None)
        if self._state == "closed":
            raise _closed()
        return outcome

    async def aclose(self) -> None:
        """Close the engine; calls that still wait for it end with `EngineDied`. A load under way is not waited for."""
        with self._lock:
            was_open, self._state = self._state != "closed", "closed"
            if not self._outcome.done():
                self._outcome.set_result(_closed())
        outcome = self._outcome.result()
        if was_open and not isinstance(outcome, ToolsServerError):
            await outcome.aclose()

    def _may_try_again(self) -> bool:
        return self._outcome.done() and isinstance(self._outcome.result(), EngineError)

    async def _wait(self, pending: "Future[Engine | ToolsServerError]", progress: Progress | None) -> None:
        waiter = asyncio.wrap_future(pending)
        try:
            while not waiter.done():
                if progress is not None:
                    elapsed = time.monotonic() - self._started
                    await progress(elapsed / (elapsed + 10), None, f"loading the model ({elapsed:.0f} s)")
                await asyncio.wait({waiter}, timeout=self._tick_s)
        finally:
            waiter.cancel()

    def _load(self) -> None:
        try:
            outcome: Engine | ToolsServerError = self._factory()
        except ToolsServerError as error:
            outcome = error  # its message says it all: no traceback in the log
        except Exception as error:
            logger.exception("loading the model failed")
            outcome = ModelLoadFailed(f"Loading the model failed: {error!r}.", "The server's log has the traceback.")
            outcome.__cause__ = error
        if isinstance(outcome, ToolsServerError):
            logger.error("no engine: %s", outcome)
        with self._lock:
            too_late = self._state == "closed"
            if not too_late:
                self._state = "failed" if isinstance(outcome, ToolsServerError) else "ready"
                self._outcome.set_result(outcome)
        if too_late and not isinstance(outcome, ToolsServerError):
            asyncio.run(outcome.aclose())  # no loop has ever used this engine


def _new_outcome() -> "Future[Engine | ToolsServerError]":
    # An error is a value here: a future's exception that nobody fetched would be logged a second time.
    outcome: Future[Engine | ToolsServerError] = Future()
    outcome.set_running_or_notify_cancel()  # from now on a cancelled waiter cannot cancel it for all
    return outcome


def _closed() -> EngineDied:
    return EngineDied("The engine was closed.", "Start the server again.")
