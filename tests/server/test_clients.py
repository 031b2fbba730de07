"""The SDK's own client, in both protocol eras, with a server process."""

import shutil
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from mcp import Client, StdioServerParameters, types
from mcp.shared.exceptions import MCPError

from tests.server.conversation import MODES, Mode, text_of
from tests.server.process import DOUBLE_SERVER, LIMIT_S, ROOT, talk, write_skill


class Heard:
    """What a client of either era is told about its tools."""

    def __init__(self) -> None:
        self.changed = anyio.Event()

    async def __call__(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.changed.set()

    async def next(self) -> None:
        with anyio.fail_after(LIMIT_S):
            await self.changed.wait()
        self.changed = anyio.Event()


@asynccontextmanager
async def client_of(skills: Path, mode: Mode, heard: Heard | None = None) -> AsyncGenerator[Client, None]:
    command, *args = DOUBLE_SERVER
    server = StdioServerParameters(command=command, args=[*args, str(skills)], cwd=ROOT)
    async with Client(server, mode=mode, message_handler=heard, read_timeout_seconds=LIMIT_S) as client:
        yield client


@pytest.fixture
def skills(tmp_path: Path) -> Path:
    write_skill(tmp_path, "classify")
    return tmp_path


@pytest.mark.parametrize("mode", MODES)
async def test_list_call_bad_arguments_unknown_tool_and_progress(skills: Path, mode: Mode):
    seen: list[float] = []
    over = anyio.Event()

    async def on_progress(done: float, _total: float | None, _message: str | None) -> None:
        seen.append(done)
        if len(seen) == 3:
            over.set()

    async with client_of(skills, mode) as client:
        assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names == ["run_skill", "classify"]
        assert [tool.name for tool in (await client.list_tools()).tools] == names
        result = await client.call_tool("run_skill", {"skill": "classify", "arguments": {"text": "t"}})
        assert result.structured_content == {"label": "größer"}
        assert text_of(result) == '{"label":"größer"}'
        bad = await client.call_tool("run_skill", {"skill": "classify", "arguments": 7})
        assert bad.is_error
        assert text_of(bad).startswith("$.arguments: must be an object, got a number.")
        with pytest.raises(MCPError, match=r"no skill 'clasify'.*Did you mean `classify`"):
            await client.call_tool("clasify", {"text": "t"})
        await client.call_tool(
            "run_skill", {"skill": "classify", "arguments": {"text": "progress"}}, progress_callback=on_progress
        )
        with anyio.fail_after(LIMIT_S):
            await over.wait()
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_the_client_gives_up_leaves_the_connection_usable(skills: Path, mode: Mode):
    async with client_of(skills, mode) as client:
        with pytest.raises(MCPError, match="timed out"):
            await client.call_tool(
                "run_skill", {"skill": "classify", "arguments": {"text": "sleep"}}, read_timeout_seconds=0.2
            )
        result = await client.call_tool("run_skill", {"skill": "classify", "arguments": {"text": "t"}})
        assert not result.is_error


async def test_a_handshake_client_follows_a_folder_dropped_in_and_removed(skills: Path):
    heard = Heard()
    async with client_of(skills, "legacy", heard) as client:
        await client.list_tools()
        folder = write_skill(skills, "topic")
        await heard.next()
        assert [tool.name for tool in (await client.list_tools()).tools] == ["run_skill", "classify", "topic"]
        shutil.rmtree(folder)
        await heard.next()
        assert [tool.name for tool in (await client.list_tools()).tools] == ["run_skill", "classify"]
        with pytest.raises(MCPError, match="no skill 'topic'"):
            await client.call_tool("topic", {"text": "t"})


async def test_a_2026_client_follows_a_folder_dropped_in_and_removed(skills: Path):
    async with (
        client_of(skills, "auto") as client,
        client.listen(tools_list_changed=True, resources_list_changed=True) as events,
    ):
        folder = write_skill(skills, "topic")
        with anyio.fail_after(LIMIT_S):
            await anext(events)
        assert [tool.name for tool in (await client.list_tools()).tools] == ["run_skill", "classify", "topic"]
        assert len((await client.list_resources()).resources) == 3
        shutil.rmtree(folder)
        with anyio.fail_after(LIMIT_S):
            while len((await client.list_tools()).tools) > 2:
                await anext(events)
        assert len((await client.list_resources()).resources) == 2


async def test_a_broken_folder_keeps_its_reason_in_reach_and_harms_no_other(skills: Path):
    (write_skill(skills, "broken") / "skill.toml").write_text('name = "broken"\n')
    async with client_of(skills, "auto") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["run_skill", "classify"]
        result = await client.call_tool("broken", {"text": "t"})
        assert result.is_error
        assert "skill.toml" in text_of(result)


KILLED_CLIENT = f"""
import anyio, sys
from mcp import Client, StdioServerParameters

async def main():
    args = [*{DOUBLE_SERVER[1:]!r}, sys.argv[1]]
    server = StdioServerParameters(command={DOUBLE_SERVER[0]!r}, args=args, cwd={str(ROOT)!r})
    async with Client(server, mode=sys.argv[2]) as client:
        await client.call_tool("run_skill", {{"skill": "classify", "arguments": {{"text": sys.argv[3]}}}})

anyio.run(main)
"""


@pytest.mark.parametrize(
    ("mode", "text"),
    [("auto", "sleep"), ("legacy", "sleep"), ("auto", "block a thread"), ("legacy", "block the loop")],
)
async def test_no_process_stays_behind_when_the_client_is_killed_in_the_middle_of_a_call(
    skills: Path, mode: Mode, text: str
):
    async with talk(sys.executable, "-c", KILLED_CLIENT, skills, mode, text) as client:
        await client.said(f"call {text}")
        (server,) = psutil.Process(client.process.pid).children(recursive=True)
        client.process.send_signal(signal.SIGKILL)
        await client.ended()
        with anyio.fail_after(LIMIT_S):
            await anyio.to_thread.run_sync(lambda: psutil.wait_procs([server], timeout=LIMIT_S))
        assert not server.is_running()
