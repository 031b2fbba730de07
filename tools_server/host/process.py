"""The host's process: it takes the life lock, listens, loads, serves, and leaves when nobody needs it any more.

It listens before it loads, so that front ends can wait for the model instead of for a socket.
"""

import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import anyio
import uvicorn
from filelock import FileLock, Timeout

from tools_server.engine.types import Engine
from tools_server.errors import HostUnavailable
from tools_server.host.info import Wanted
from tools_server.host.paths import HostPaths, secure
from tools_server.host.server import HostServer

_log = logging.getLogger(__name__)

FINISH_S = 30.0
"""Seconds that a host which ends gives to what is under way; what it cuts off is asked again of the next host."""

CLOSE_S = 5.0
"""Seconds for the engine to close in."""

FAILURE_S = 5.0
"""Seconds that a host whose model could not be loaded waits for somebody to tell it to."""

KEEP_ALIVE_S = 300
"""Seconds that an unused connection is kept: longer than clients keep theirs."""

OPEN_FILES = 4096
BACKLOG = 1024


def run_host(
    paths: HostPaths, about: Wanted, load: Callable[[], Engine], *, idle_s: float, listening: Callable[[], None]
) -> None:
    """Be the host until nobody has asked for anything for `idle_s`, or somebody says to leave.

    `load` blocks until the model is loaded. `listening` is called once clients can connect.

    Raises:
        HostUnavailable: another host lives on, or the folder is not the user's alone.
    """
    secure(paths)
    _allow_many_clients()
    with _life(paths), _listen(paths) as listener:
        listening()
        anyio.run(_serve, paths, about, load, listener, idle_s)


async def _serve(
    paths: HostPaths, about: Wanted, load: Callable[[], Engine], listener: socket.socket, idle_s: float
) -> None:
    def retire(why: str) -> None:
        if not http.should_exit:
            _log.info("leaving: %s", why)
            paths.socket.unlink(missing_ok=True)  # from now on, clients find or start another
            http.should_exit = True
            leaving.set()

    leaving = anyio.Event()
    host = HostServer(about, load, retire=retire)
    http = _Http(
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
        )
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
        await http.serve(sockets=[listener])
        tasks.cancel_scope.cancel()
    with anyio.move_on_after(CLOSE_S):
        await host.aclose()


class _Http(uvicorn.Server):
    """uvicorn, which leaves the signals to us: the socket must go first."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


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
        paths.pid.unlink(missing_ok=True)
        lock.release()


@contextmanager
def _listen(paths: HostPaths) -> Generator[socket.socket]:
    """Listen at the host's socket. It appears at once with its mode and its queue, in the place of a dead host's."""
    aside = paths.socket.with_suffix(".new")
    aside.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(aside))
        aside.chmod(0o600)
        listener.listen(BACKLOG)
        aside.rename(paths.socket)
        try:
            yield listener
        finally:
            paths.socket.unlink(missing_ok=True)


def _allow_many_clients() -> None:
    """Each request has a connection; some systems allow a process 256 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
