"""A runtime folder of the test's own, and no host left in it afterwards."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psutil
import pytest

from tests.host.places import LIMIT_S, link_to, settings_in
from tools_server.host.client import HostedEngine
from tools_server.host.lifecycle import HostLink, stop
from tools_server.host.paths import HostPaths

posix = pytest.mark.skipif(os.name != "posix", reason="about Unix sockets, owners and modes")
"""For tests of what Windows has not."""


def stop_all(folder: Path) -> None:
    """End every host of a folder, also one that has let go of its socket."""
    for pid in folder.glob("*.pid"):
        stop(HostPaths(folder, folder, pid.stem), patience_s=5)


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own folder: a socket's path must be short.
    made = Path(tempfile.mkdtemp(prefix="ts-"))
    yield made
    stop_all(made)
    shutil.rmtree(made, ignore_errors=os.name == "nt")  # where what a process still writes to cannot be removed


async def gone(pid: int) -> None:
    """Wait until a process has ended; nobody may have collected it yet."""
    with anyio.fail_after(LIMIT_S):
        while runs(pid):  # noqa: ASYNC110 - it is nobody's child, so there is no event to wait on
            await anyio.sleep(0.02)


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


Connect = Callable[..., Any]


@pytest.fixture
async def connect(folder: Path) -> AsyncIterator[Connect]:
    """Connect to the scripted host of the test's folder, starting it with the given options if none runs."""
    async with AsyncExitStack() as engines:

        async def connected(*options: str, link: HostLink | None = None, **settings: Any) -> HostedEngine:
            way = link or link_to(settings_in(folder, **settings), *options)
            engine = await anyio.to_thread.run_sync(partial(HostedEngine.connect, way))
            engines.push_async_callback(engine.aclose)
            return engine

        yield connected
