"""The host's process: it takes the life lock, listens, loads, serves, and leaves when nobody needs it any more.

It listens before it loads, so that front ends can wait for the model instead of for a socket.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

import anyio
import uvicorn
from filelock import FileLock, Timeout

from tools_server.engine.types import Engine
from tools_server.errors import HostUnavailable
from tools_server.host.info import Wanted
from tools_server.host.listening import BACKLOG, Http, Listener, listen
from tools_server.host.paths import HostPaths, remove, secure
from tools_server.host.server import HostServer
from tools_server.host.system import allow_many_clients

_log = logging.getLogger(__name__)

FINISH_S = 30.0
"""Seconds that a host which ends gives to what is under way; what it cuts off is asked again of the next host."""

CLOSE_S = 5.0
"""Seconds for the engine to close in."""

FAILURE_S = 5.0
"""Seconds that a host whose model could not be loaded waits for somebody to tell it to."""

KEEP_ALIVE_S = 300
"""Seconds that an unused connection is kept: longer than clients keep theirs."""


def run_host(
    paths: HostPaths, about: Wanted, load: Callable[[], Engine], *, idle_s: float, listening: Callable[[], None]
) -> None:
    """Be the host until nobody has asked for anything for `idle_s`, or somebody says to leave.

    `load` blocks until the model is loaded. `listening` is called once clients can connect.

    Raises:
        HostUnavailable: another host lives on, or the folder is not the user's alone.
    """
    secure(paths)
    allow_many_clients()
    with _life(paths), listen(paths) as listener:
        listening()
        anyio.run(_serve, paths, about, load, listener, idle_s)


async def _serve(
    paths: HostPaths, about: Wanted, load: Callable[[], Engine], listener: Listener, idle_s: float
) -> None:
    def retire(why: str) -> None:
        if not http.should_exit:
            _log.info("leaving: %s", why)
            remove(paths.socket)  # from now on, clients find or start another
            http.should_exit = True
            leaving.set()

    leaving = anyio.Event()
    host = HostServer(about, load, retire=retire)
    http = Http(
        uvicorn.Config(
            host.app,
            lifespan="off",
            log_config=None,
            access_log=False,
            http="h11",
            ws="none",
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(FINISH_S + CLOSE_S),
        ),
        listener,
    )

    async def until_loaded() -> None:
        await host.load()
        if host.failed:
            with anyio.move_on_after(FAILURE_S):
                await host.told_failure.wait()
            retire("no model")

    async def until_idle() -> None:
        while (left_s := idle_s - host.idle_s) > 0:  # noqa: ASYNC110 - time passing is no event
            await anyio.sleep(left_s)
        retire(f"nobody asked for anything for {idle_s:g} s")

    async def until_signal() -> None:
        if sys.platform == "win32":  # where a process is ended without being told
            return
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                retire(number.name)

    async def until_finished() -> None:
        await leaving.wait()
        if not host.loading:  # those who wait for the model would wait for nothing
            await anyio.sleep(FINISH_S)
        host.cut_off()

    async with anyio.create_task_group() as tasks:
        for task in (until_loaded, until_idle, until_signal, until_finished):
            tasks.start_soon(task)
        await http.serve()
        tasks.cancel_scope.cancel()
    with anyio.move_on_after(CLOSE_S):
        await host.aclose()


@contextmanager
def _life(paths: HostPaths) -> Generator[None]:
    """Hold the life lock. A host that was told to leave may still be finishing what is under way."""
    patience_s = FINISH_S + 3 * CLOSE_S
    lock = FileLock(paths.life_lock)
    try:
        lock.acquire(timeout=patience_s)
    except Timeout as error:
        raise HostUnavailable(
            f"Another engine host still runs after {patience_s:g} s (it holds {paths.life_lock}).",
            "See `tools-server host status`; end it with `tools-server host stop`.",
        ) from error
    try:
        paths.pid.write_text(str(os.getpid()), "ascii")
        yield
    finally:
        remove(paths.pid)
        lock.release()
