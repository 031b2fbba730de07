"""A server process, its wire and its stderr, for tests that speak raw lines."""

import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

ROOT = Path(__file__).parents[2]
PYTHON = [sys.executable, "-W", "error"]
DOUBLE_SERVER = [*PYTHON, str(ROOT / "tests/server/double_server.py")]
LIMIT_S = 20.0

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Talk:
    """Raw lines with one server process; every wait is bounded."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self.process = process
        self._stdin = process.stdin
        self._out = BufferedByteReceiveStream(process.stdout)
        self._err = BufferedByteReceiveStream(process.stderr)
        self.heard: list[str] = []

    async def send(self, *messages: dict[str, Any] | bytes) -> None:
        for message in messages:
            data = message if isinstance(message, bytes) else json.dumps(message).encode()
            await self._stdin.send(data + b"\n")

    async def receive(self) -> Any:
        with anyio.fail_after(LIMIT_S):
            return json.loads(await self._out.receive_until(b"\n", 1 << 24))

    async def answer_to(self, number: int | str | None) -> Any:
        """The next answer with this id; notifications and other answers before it are dropped."""
        while True:
            message = await self.receive()
            if "id" in message and "method" not in message and message["id"] == number:
                return message

    async def said(self, text: str) -> None:
        """Wait until the process has said this on stderr."""
        with anyio.fail_after(LIMIT_S):
            while not any(text in line for line in self.heard):
                self.heard.append((await self._err.receive_until(b"\n", 1 << 20)).decode())

    async def handshake(self) -> Any:
        await self.send(INITIALIZE)
        answer = await self.answer_to(0)
        await self.send(INITIALIZED)
        return answer

    async def hang_up(self) -> None:
        await self._stdin.aclose()

    async def rest(self) -> bytes:
        """What is left on the wire; reads to the end, so the process must be about to end."""
        data = b""
        with anyio.fail_after(LIMIT_S):
            while True:
                try:
                    data += await self._out.receive()
                except anyio.EndOfStream:
                    return data

    async def ended(self) -> int:
        with anyio.fail_after(LIMIT_S):
            return await self.process.wait()


def call(number: int | str, text: str, **meta: Any) -> dict[str, Any]:
    params: dict[str, Any] = {"name": "run_skill", "arguments": {"skill": "classify", "arguments": {"text": text}}}
    if meta:
        params["_meta"] = meta
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


@asynccontextmanager
async def talk(*command: str | Path) -> AsyncGenerator[Talk, None]:
    """Start a process and talk to it; it is killed at the end if it has not ended."""
    async with await anyio.open_process(
        [str(part) for part in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        try:
            yield Talk(process)
        finally:
            if process.returncode is None:
                process.kill()


def write_skill(directory: Path, name: str, description: str = "") -> Path:
    """The smallest skill folder."""
    folder = directory / name
    folder.mkdir(parents=True)
    description = description or f"Label each text by {name}. Use for many texts; not for one."
    (folder / "output.schema.json").write_text(
        json.dumps(
            {
                "type": "object",
                "properties": {"label": {"type": "string", "enum": ["yes", "no"]}},
                "required": ["label"],
                "additionalProperties": False,
            }
        )
    )
    (folder / "prompt.jinja").write_text("{% block user %}Text: {{ text }}{% endblock %}")
    (folder / "skill.toml").write_text(
        f'name = "{name}"\nversion = "1.0.0"\ntitle = "{name}"\ndescription = "{description}"\nkind = "choose"\n'
    )
    return folder
