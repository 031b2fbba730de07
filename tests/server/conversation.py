"""Clients of both eras, connected to a server in this process."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
from mcp import Client, types

from tests.server.doubles import Runs
from tools_server.server import ports
from tools_server.server.build import SkillServer, build_server

Mode = Literal["auto", "legacy"]
MODES: tuple[Mode, ...] = ("auto", "legacy")


@asynccontextmanager
async def conversation(
    skills: ports.Skills,
    runs: ports.Runs | None = None,
    *,
    mode: Mode = "auto",
    message_handler: Any = None,
    verifier: ports.Verifies | None = None,
) -> AsyncGenerator[tuple[Client, SkillServer], None]:
    server = build_server(skills, runs or Runs(), model="tiny", verifier=verifier)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.changes.run)
        async with Client(server.mcp, mode=mode, message_handler=message_handler) as client:
            yield client, server
        tasks.cancel_scope.cancel()


def text_of(result: types.CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    return block.text
