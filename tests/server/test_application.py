"""The whole application over a scripted engine, in a process of its own, with the SDK's client of both eras."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters

from tests.server.conversation import MODES, Mode, text_of
from tests.server.process import INITIALIZE, LIMIT_S, PYTHON, ROOT, Talk, talk, write_skill
from tests.server.scripted_server import HEAVY
from tools_server.bundled import bundled_dir
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog

BUNDLED = list(Catalog([bundled_dir("skills")], model=Settings().model).snapshot.skills)

SCRIPTED_SERVER = [*PYTHON, str(ROOT / "tests/server/scripted_server.py")]
SUMMARY = {"summary": "It is a short one.", "key_points": ["the first of them", "the second of them"]}
ANSWER = json.dumps(SUMMARY, separators=(",", ":"))


@asynccontextmanager
async def application(config: Path, mode: Mode, answer: str = ANSWER, *allowed: Path) -> AsyncGenerator[Client, None]:
    args = [*SCRIPTED_SERVER[1:], str(config), answer, *map(str, allowed)]
    server = StdioServerParameters(command=SCRIPTED_SERVER[0], args=args, cwd=ROOT)
    async with Client(server, mode=mode, read_timeout_seconds=LIMIT_S) as client:
        yield client


@pytest.mark.parametrize("mode", MODES)
async def test_the_bundled_skills_are_listed_and_answer(tmp_path: Path, mode: Mode):
    async with application(tmp_path, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == ["run_skill", "verify", *BUNDLED]

        result = await client.call_tool("summarise", {"text": "A long text."})
        assert result.structured_content == SUMMARY
        assert json.loads(text_of(result)) == SUMMARY
        assert (result.meta or {})["tools-server/model"] == "scripted"

        several = await client.call_tool("run_skill", {"skill": "summarise", "arguments": {"items": ["a", "b"]}})
        assert several.structured_content == {"results": [{"index": 0, **SUMMARY}, {"index": 1, **SUMMARY}]}

        labelled = await client.call_tool("classify", {"text": "t", "labels": ["bug", "billing"]})
        assert labelled.structured_content["label"] in ("bug", "billing")
        schema = tools["classify"].output_schema
        assert schema is not None
        Draft202012Validator(schema).validate(labelled.structured_content)


@pytest.mark.parametrize("mode", MODES)
async def test_bad_arguments_say_what_is_wrong_and_what_to_do(tmp_path: Path, mode: Mode):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "note.txt").write_text("A note.")
    async with application(tmp_path, mode, ANSWER, docs) as client:
        assert str(docs) in (client.instructions or "")
        for arguments, said in [
            ({"text": 7}, "text"),
            ({}, "`text` or `items` or `paths` is missing"),
            ({"text": "a", "items": ["b"]}, "exactly one"),
            ({"text": "a", "extra": 1}, "extra"),
            ({"paths": ["/etc/passwd"]}, "outside the allowed folders"),
            ({"paths": [str(docs / "missing.txt")]}, "missing.txt"),
        ]:
            result = await client.call_tool("summarise", arguments)
            assert result.is_error, arguments
            assert said in text_of(result)
            assert "Traceback" not in text_of(result)
            assert result.structured_content is None
        result = await client.call_tool("summarise", {"paths": [str(docs / "note.txt")]})
        assert result.structured_content["results"][0]["summary"] == SUMMARY["summary"]


@pytest.mark.parametrize("mode", MODES)
async def test_without_weights_the_tools_are_listed_and_calls_say_how_to_get_them(tmp_path: Path, mode: Mode):
    async with application(tmp_path, mode, "no model") as client:
        assert len((await client.list_tools()).tools) == 2 + len(BUNDLED)
        for _ in range(2):
            result = await client.call_tool("summarise", {"text": "t"})
            assert result.is_error
            assert "`tools-server models pull qwen2.5-coder-1.5b-instruct`" in text_of(result)


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_comes_before_the_model_is_ready_waits_with_progress(tmp_path: Path, mode: Mode):
    seen: list[str | None] = []
    told = anyio.Event()

    async def on_progress(_done: float, _total: float | None, message: str | None) -> None:
        seen.append(message)
        if message == "answered (1 of 1)":
            told.set()

    async with application(tmp_path, mode) as client:
        result = await client.call_tool("summarise", {"text": "t"}, progress_callback=on_progress)
        with anyio.fail_after(LIMIT_S):
            await told.wait()
    assert result.structured_content == SUMMARY
    assert any((message or "").startswith("loading the model") for message in seen)


async def test_the_first_message_is_answered_before_anything_heavy_is_imported(tmp_path: Path):
    async with talk(*SCRIPTED_SERVER, tmp_path, ANSWER) as server:
        await server.handshake()
        await server.said("heavy modules at the first answer: []")


def test_the_serve_command_imports_nothing_heavy():
    script = "import sys, tools_server.cli.serve, tools_server.server.build; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "tools_server.server.build" in loaded.stdout.split()
    assert not HEAVY & set(loaded.stdout.split())


async def test_a_skill_dropped_in_is_listed_answers_and_is_gone_again(tmp_path: Path):
    async with (
        application(tmp_path, "auto") as client,
        client.listen(tools_list_changed=True) as events,
    ):
        folder = write_skill(tmp_path / "skills", "topic")
        with anyio.fail_after(LIMIT_S):
            await anext(events)
        assert "topic" in [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("topic", {"text": "t"})
        assert result.structured_content["label"] in ("yes", "no")
        shutil.rmtree(folder)
        with anyio.fail_after(LIMIT_S):
            while "topic" in [tool.name for tool in (await client.list_tools()).tools]:
                await anext(events)


def slow_call(number: int) -> dict[str, Any]:
    params = {"name": "summarise", "arguments": {"text": "slow"}}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


async def quick_answer(server: Talk) -> Any:
    params = {"name": "summarise", "arguments": {"text": "quick"}}
    await server.send({"jsonrpc": "2.0", "id": "quick", "method": "tools/call", "params": params})
    while (message := await server.receive()).get("method"):
        pass
    return message


async def test_a_call_cancelled_in_the_middle_of_decoding_gets_no_answer_and_frees_the_engine(tmp_path: Path):
    async with talk(*SCRIPTED_SERVER, tmp_path, ANSWER) as server:
        await server.handshake()
        await server.send(slow_call(1))
        await server.said("decoding slowly")
        await server.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        message = await quick_answer(server)
        assert message["id"] == "quick"
        assert message["result"]["structuredContent"] == SUMMARY


async def test_no_process_stays_behind_when_the_client_is_killed_in_the_middle_of_decoding(tmp_path: Path):
    script = (
        "import sys\n"
        "from subprocess import PIPE, Popen\n"
        "server = Popen(sys.argv[2:], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)\n"
        "server.stdin.write(sys.argv[1])\n"
        "server.stdin.flush()\n"
        "for line in server.stderr:\n"
        "    print(line, end='', file=sys.stderr, flush=True)\n"
    )
    lines = "".join(json.dumps(message) + "\n" for message in (INITIALIZE, slow_call(1)))
    command = [*SCRIPTED_SERVER, tmp_path, ANSWER]
    async with talk(sys.executable, "-c", script, lines, *command) as client:
        await client.said("decoding slowly")
        (server,) = psutil.Process(client.process.pid).children(recursive=True)
        client.process.send_signal(signal.SIGKILL)
        with anyio.fail_after(LIMIT_S):
            await anyio.to_thread.run_sync(lambda: psutil.wait_procs([server], timeout=LIMIT_S))
        assert not server.is_running()


async def test_the_real_command_serves_and_leaves_with_its_client(tmp_path: Path):
    config = tmp_path / "tools-server.toml"
    config.write_text(f'config_dir = "{tmp_path}"\ncache_dir = "{tmp_path}/cache"\n')
    command = [*PYTHON, "-m", "tools_server", "serve", "--config", config, "--model", "smollm2-135m-instruct"]
    async with talk(*command) as server:
        answer = await server.handshake()
        assert "A small language model (smollm2-135m-instruct)" in answer["result"]["instructions"]
        await server.send({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        names = [tool["name"] for tool in (await server.answer_to(1))["result"]["tools"]]
        assert names[:2] == ["run_skill", "verify"]
        assert {"banking_intent", *BUNDLED} <= set(names), "the small model has an adapter for banking_intent"
        await server.hang_up()
        assert await server.rest() == b""
        assert await server.ended() == 0


def test_a_wrong_setting_is_one_line_on_stderr_and_nothing_on_stdout():
    command = [*PYTHON, "-m", "tools_server", "serve", "--log-level", "loud"]
    ended = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=ROOT, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "log_level" in ended.stderr
    assert "Traceback" not in ended.stderr
