"""Serves one client over the process's pipes, from the first message to the last.

Order matters. Messages are served before anything heavy is imported; the model starts to load once the first answer
has left. The end of stdin, SIGINT and SIGTERM all end the process: calls in flight are cancelled, then the engine is
closed, and a timer in a thread of its own sees to it that nothing, native code included, can hold the process back.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn

import anyio

from tools_server.server.build import SkillServer
from tools_server.server.descriptors import Descriptors
from tools_server.server.wire import Wire, open_wire

logger = logging.getLogger(__name__)

CLOSE_S = 1.0
"""Seconds for the engine to close in."""

LEAVE_S = 1.8
"""Seconds from the end of stdin to the end of the process, whatever happens. Clients send SIGTERM after 2."""


async def serve(
    server: SkillServer,
    descriptors: Descriptors,
    *,
    start_engine: Callable[[], None],
    watch: Callable[[], Awaitable[None]] | None,
    aclose: Callable[[], Awaitable[None]],
    on_end: Callable[[], None] = lambda: None,
) -> None:
    """Serve until the client leaves or a signal arrives.

    `on_end` is called as soon as the end is certain, from any thread and perhaps more than once.
    """
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_end_on_signal, tasks.cancel_scope, on_end)
            tasks.start_soon(server.changes.run)
            if watch is not None:
                tasks.start_soon(_keep_watching, watch)
            async with open_wire(descriptors, on_end=on_end) as wire:
                tasks.start_soon(_start_once_answered, wire, start_engine)
                await server.mcp.run(wire.inbox, wire.outbox, server.mcp.create_initialization_options())
            tasks.cancel_scope.cancel()
    finally:
        on_end()
        with anyio.move_on_after(CLOSE_S, shield=True) as closing:
            await aclose()
        if closing.cancelled_caught:
            logger.warning("the engine did not close within %s s; leaving it behind", CLOSE_S)


class Leaving:
    """Ends the process at the latest `seconds` after the first call of `begin`."""

    def __init__(self, seconds: float = LEAVE_S) -> None:
        # No flush here: stderr may be the very thing that everything waits for.
        self._timer = threading.Timer(seconds, os._exit, [0])
        self._timer.daemon = True
        self._begun = threading.Lock()

    def begin(self) -> None:
        """Start the clock; later calls change nothing."""
        if self._begun.acquire(blocking=False):
            self._timer.start()


def leave(code: int = 0) -> NoReturn:
    """End the process now. A thread that is blocked in a read or in native code is not waited for."""
    with suppress(OSError, ValueError):  # whoever read our stderr may be gone
        sys.stderr.flush()
    os._exit(code)


async def _end_on_signal(scope: anyio.CancelScope, on_end: Callable[[], None]) -> None:
    if sys.platform == "win32":  # clients close stdin or end the process; Ctrl-C ends it as any other program
        return
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            logger.info("%s: ending", number.name)
            on_end()
            scope.cancel()
            return


async def _start_once_answered(wire: Wire, start_engine: Callable[[], None]) -> None:
    await wire.answered.wait()
    start_engine()


async def _keep_watching(watch: Callable[[], Awaitable[None]]) -> None:
    try:
        await watch()
    except Exception:  # inotify may be used up or forbidden: that costs hot reload and nothing else
        logger.exception("skill folders are no longer watched; restart the server to load changes")
