"""The whole way with the real small model: an SDK client, `tools-server serve`, shipped skills, llama.cpp."""

import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import psutil
import pytest
from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters

from tests.native.conftest import MODEL
from tools_server.bundled import bundled_dir
from tools_server.skills.catalog import Catalog

BUNDLED = list(Catalog([bundled_dir("skills")], model=MODEL).snapshot.skills)

Mode = Literal["auto", "legacy"]
LIMIT_S = 120
ROOT = Path(__file__).parents[2]
LABELS = [{"name": "billing", "description": "charges and refunds"}, "delivery", "account"]
FIELDS = {
    "type": "object",
    "properties": {"order": {"type": "string", "maxLength": 12}, "amount": {"type": "number"}},
    "required": ["order"],
}


@asynccontextmanager
async def client(mode: Mode, *more: str) -> AsyncIterator[Client]:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "tools_server", "serve", "--model", MODEL, *more],
        env={**os.environ},
    )
    with anyio.fail_after(LIMIT_S):
        async with Client(server, mode=mode) as connected:
            yield connected


def checked(result: Any, schema: Any) -> dict[str, Any]:
    assert not result.is_error, result.content
    Draft202012Validator(schema).validate(result.structured_content)
    return result.structured_content


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_calls_every_shipped_skill_and_gets_typed_answers(weights: Path, mode: Mode, tmp_path: Path):
    note = tmp_path / "note.txt"
    note.write_text("Order A-1042 was charged twice. Please refund 54.90 EUR. The parcel itself arrived on Monday.")
    async with client(mode, "--allow-path", str(tmp_path)) as mcp:
        tools = {tool.name: tool for tool in (await mcp.list_tools()).tools}
        assert list(tools) == ["run_skill", "verify", *BUNDLED]

        label = checked(
            await mcp.call_tool("classify", {"text": note.read_text(), "labels": LABELS}),
            tools["classify"].output_schema,
        )
        assert label["scores"][label["label"]] == max(label["scores"].values())
        assert 0 < label["confidence"] < 1, "calibrated, and so not the score itself"
        assert sum(label["scores"].values()) == pytest.approx(1.0, abs=0.001)

        data = checked(
            await mcp.call_tool("extract", {"paths": [str(note)], "fields": FIELDS}), tools["extract"].output_schema
        )
        assert set(data["results"][0]["data"]) == {"order", "amount"}

        call = {"skill": "summarise", "arguments": {"text": note.read_text(), "max_words": 20}}
        result = await mcp.call_tool("run_skill", call)
        if result.is_error:  # the tiny model sometimes rambles to the end of its budget, and then that is said
            assert "`max_output_tokens`" in result.content[0].text
        else:
            assert checked(result, tools["summarise"].output_schema)["summary"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_calls_before_the_model_is_ready_wait_with_progress_and_a_cancelled_one_frees_the_engine(
    weights: Path, mode: Mode
):
    async with client(mode) as mcp:
        seen: list[float] = []
        answered = False

        async def progress(done: float, total: float | None, message: str | None) -> None:
            seen.append(done)

        async def long_call() -> None:
            nonlocal answered
            items = [f"item {i}: {'words and more words ' * 12}" for i in range(100)]
            await mcp.call_tool("classify", {"items": items, "labels": LABELS}, progress_callback=progress)
            answered = True

        async with anyio.create_task_group() as group:
            group.start_soon(long_call)
            with anyio.fail_after(60):
                while len(seen) < 4:
                    await mcp.call_tool("classify", {"text": "hello", "labels": LABELS})
            group.cancel_scope.cancel()
        assert not answered
        assert seen == sorted(seen)
        assert len(set(seen)) == len(seen)
        # Were the hundred items still running, this one would have to stand behind them.
        result = await mcp.call_tool("classify", {"text": "where is my parcel?", "labels": LABELS})
        assert not result.is_error


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_example_skill_dropped_into_a_running_server_answers_and_is_gone_when_removed(
    weights: Path, mode: Mode, tmp_path: Path
):
    (tmp_path / "skills").mkdir()
    folder = tmp_path / "skills" / "log_level"
    call = {"skill": "log_level", "arguments": {"text": "2026-05-01 12:00:01 ERROR disk full, giving up"}}
    async with client(mode, "--skills-dir", str(tmp_path / "skills")) as mcp:
        assert (await mcp.call_tool("run_skill", call)).is_error
        shutil.copytree(ROOT / "examples" / "skills" / "log_level", folder)
        while (result := await mcp.call_tool("run_skill", call)).is_error:
            pass
        tools = {tool.name: tool for tool in (await mcp.list_tools()).tools}
        assert checked(result, tools["log_level"].output_schema)["label"] in ("debug", "info", "warning", "error")
        shutil.rmtree(folder)
        while not (result := await mcp.call_tool("run_skill", call)).is_error:
            pass
        assert "There is no skill 'log_level'" in result.content[0].text
        assert "log_level" not in [tool.name for tool in (await mcp.list_tools()).tools]


async def test_no_process_stays_behind_when_the_client_is_killed_while_llama_cpp_decodes(weights: Path, tmp_path: Path):
    script = tmp_path / "client.py"
    script.write_text(
        f"""
import anyio, os, sys
from mcp import Client, StdioServerParameters

async def main():
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "tools_server", "serve", "--in-process", "--model", {MODEL!r}],
        env=dict(os.environ),
    )
    async with Client(server) as mcp:
        await mcp.call_tool("classify", {{"text": "warm up", "labels": ["a", "b"]}})
        print("decoding", flush=True)
        await mcp.call_tool("summarise", {{"text": "The long story goes on and on. " * 800}})

anyio.run(main)
"""
    )
    with anyio.fail_after(LIMIT_S):
        async with await anyio.open_process([sys.executable, str(script)], stderr=None) as process:
            assert process.stdout is not None
            assert (await process.stdout.receive()).startswith(b"decoding")
            servers = psutil.Process(process.pid).children(recursive=True)
            assert servers
            os.kill(process.pid, signal.SIGKILL)
        gone, alive = await anyio.to_thread.run_sync(lambda: psutil.wait_procs(servers, timeout=20))
    assert gone
    assert not alive
