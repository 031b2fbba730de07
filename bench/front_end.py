"""A `tools-server serve` process and a small MCP client that talks to it over stdio, as an agent's client does."""

import asyncio
import json
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import ROOT
from bench.programs import BaselineError
from bench.terms import HOME, Terms
from tools_server.host.lifecycle import find, stop
from tools_server.host.paths import HostPaths, listed_paths
from tools_server.settings import ENV_PREFIX

PROTOCOL = "2025-11-25"
LONGEST_LINE = 1 << 24
STOP_S = 20.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call gave: `data` is None where it failed, and `error` says why. `usage` counts the model's tokens."""

    data: Mapping[str, Any] | None
    error: str
    usage: Mapping[str, int]


class FrontEnd:
    """The client's side. Any number of calls may be under way."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())

    async def initialize(self) -> None:
        """Shake hands."""
        client = {"name": "bench", "version": "1"}
        await self._ask("initialize", {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client})
        self._send({"method": "notifications/initialized"})

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Reply:
        """Call a tool."""
        result = await self._ask("tools/call", {"name": tool, "arguments": arguments})
        meta = result.get("_meta", {})
        if result.get("isError"):
            return Reply(None, result["content"][0]["text"], {})
        return Reply(result["structuredContent"], "", meta["tools-server/usage"])

    async def close(self) -> None:
        """Hang up, and see the process end; kill it if it does not."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._reader.cancel()

    async def _ask(self, method: str, params: Mapping[str, Any]) -> Any:
        self._number += 1
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._send({"id": self._number, "method": method, "params": params})
        return await answer

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # it was opened with a pipe
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            answer = self._waiting.pop(message.get("id"), None)
            if answer is None or answer.done():
                continue  # a notification, or an answer whose caller has gone
            if "error" in message:
                answer.set_exception(BaselineError(f"tools-server answered {message['error']}"))
            else:
                answer.set_result(message["result"])
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(BaselineError(f"tools-server ended; its log: {HOME / 'tools-server.log'}"))


@contextmanager
def engine_home(terms: Terms) -> Iterator[Mapping[str, str]]:
    """A place for the engine host of some front ends, who find it by these environment variables; it ends with them.

    It is empty at first: the first call starts the engine, whatever else runs on the machine.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            yield {f"{ENV_PREFIX}RUNTIME_DIR": folder}
        finally:
            for paths in _hosts(terms, folder):
                stop(paths)


def engine_pid(terms: Terms, home: Mapping[str, str]) -> int:
    """The process that has the model in memory. A call must have been answered."""
    (paths,) = _hosts(terms, home[f"{ENV_PREFIX}RUNTIME_DIR"])
    info = find(paths)
    if info is None:
        raise BaselineError(f"no engine host answers at {paths.socket}.")
    return info.pid


@asynccontextmanager
async def front_end(terms: Terms, home: Mapping[str, str], **environment: str) -> AsyncIterator[FrontEnd]:
    """Start `tools-server serve` and shake hands."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "tools-server.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tools_server", "serve"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            env={**terms.environment(), **home, **environment},
            cwd=ROOT,
            limit=LONGEST_LINE,
        )
    side = FrontEnd(process)
    try:
        await side.initialize()
        yield side
    finally:
        await side.close()


@asynccontextmanager
async def fresh(terms: Terms, **environment: str) -> AsyncIterator[FrontEnd]:
    """One front end with an engine of its own."""
    with engine_home(terms) as home:
        async with front_end(terms, home, **environment) as side:
            yield side


def _hosts(terms: Terms, folder: str) -> list[HostPaths]:
    return listed_paths(terms.settings.model_copy(update={"runtime_dir": Path(folder)}))
