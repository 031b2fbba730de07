"""A server process, spoken to in raw lines: the wire itself, signals, and the end of the process."""

import json
import signal
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.server.process import DOUBLE_SERVER, ENVELOPE, INITIALIZE, LIMIT_S, ROOT, Talk, call, talk, write_skill

PING = {"jsonrpc": "2.0", "id": "ping", "method": "ping"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[Talk, None]:
    write_skill(tmp_path, "classify")
    async with talk(*DOUBLE_SERVER, tmp_path) as conversation:
        yield conversation


@pytest.fixture
async def ready(server: Talk) -> Talk:
    await server.handshake()
    return server


async def test_the_engine_is_asked_for_once_the_first_answer_has_left(server: Talk):
    answer = await server.handshake()
    assert answer["result"]["serverInfo"]["name"] == "tools-server"
    await server.said("engine started")


async def test_a_2026_client_needs_no_handshake(server: Talk):
    await server.send({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": ENVELOPE}})
    result = (await server.answer_to(1))["result"]
    assert result["supportedVersions"] == ["2026-07-28"]
    assert result["capabilities"]["tools"]["listChanged"] is True
    assert "Hand over when" in result["instructions"]
    await server.send(call(2, "anything", **ENVELOPE))
    assert (await server.answer_to(2))["result"]["structuredContent"] == {"label": "größer"}


async def test_malformed_lines_are_answered_with_the_reason_and_the_server_lives(ready: Talk):
    wrong = [
        b"garbage",
        b"\xff\xfe\x00\x01",
        b'{"jsonrpc":"2.0","id":5,',
        b"[" * 50_000,
        b'[{"jsonrpc":"2.0","id":5,"method":"ping"}]',
        b'"text"',
    ]
    for line in wrong:
        await ready.send(line)
        error = (await ready.answer_to(None))["error"]
        assert error["code"] in (-32700, -32600)
        assert "Traceback" not in error["message"]
    await ready.send(b"", b"   ", b'{"error":7}', b'{"id":5,"method":"ping"}')
    assert "jsonrpc" in (await ready.answer_to(5))["error"]["message"]
    await ready.send(PING)
    assert (await ready.answer_to("ping"))["result"] == {}


async def test_a_huge_line_is_refused_and_the_server_lives(ready: Talk):
    await ready.send(b'{"jsonrpc":"2.0","id":5,"method":"' + b"x" * (33 * 1024 * 1024) + b'"}')
    assert "33554431 bytes at most" in (await ready.answer_to(None))["error"]["message"]
    await ready.send(PING)
    assert (await ready.answer_to("ping"))["result"] == {}


async def test_a_large_call_passes(ready: Talk):
    await ready.send(call(1, "x" * 10_000_000))
    assert (await ready.answer_to(1))["result"]["structuredContent"] == {"label": "größer"}


async def test_an_unknown_method_is_named(ready: Talk):
    await ready.send({"jsonrpc": "2.0", "id": 1, "method": "tools/destroy"})
    error = (await ready.answer_to(1))["error"]
    assert (error["code"], error["message"], error["data"]) == (-32601, "Method not found", "tools/destroy")


async def test_wrong_parameters_are_named(ready: Talk):
    await ready.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x", "arguments": [1]}})
    error = (await ready.answer_to(1))["error"]
    assert error["code"] == -32602
    assert "params.arguments: Input should be a valid dictionary (got list)" in error["message"]
    await ready.send({"jsonrpc": "2.0", "id": 2, "method": "resources/read", "params": {}})
    assert "params.uri: Field required" in (await ready.answer_to(2))["error"]["message"]


async def test_a_bug_reaches_stderr_with_its_traceback_and_the_client_with_an_id_alone(ready: Talk):
    await ready.send(call(1, "bug"))
    result = (await ready.answer_to(1))["result"]
    assert result["isError"] is True
    text = result["content"][0]["text"]
    assert text.startswith("internal error, id ")
    assert "structuredContent" not in result
    await ready.said(f"internal error {text.removeprefix('internal error, id ')[:8]}")
    await ready.said("KeyError: 'secret'")


async def test_nothing_but_protocol_reaches_the_wire(ready: Talk):
    await ready.send(call(1, "print"))
    assert (await ready.receive())["id"] == 1  # the next line on the wire is the answer, and it is JSON
    for text in ("python print", "native print", "libc puts", "child print"):
        await ready.said(text)
    await ready.hang_up()
    assert await ready.rest() == b""


async def test_a_handler_that_reads_stdin_reads_nothing_and_steals_no_message(ready: Talk):
    await ready.send(call(1, "read stdin"), PING)
    assert (await ready.answer_to(1))["result"]["structuredContent"] == {"label": "''"}
    await ready.send(PING)
    assert (await ready.answer_to("ping"))["result"] == {}


async def test_progress_comes_only_when_asked_for(ready: Talk):
    await ready.send(call(1, "progress"))
    assert (await ready.receive())["id"] == 1
    await ready.send(call(2, "progress", progressToken="t"))
    seen = [await ready.receive() for _ in range(4)]
    assert [message.get("method") for message in seen] == ["notifications/progress"] * 3 + [None]
    assert [message["params"] for message in seen[:3]] == [
        {"progressToken": "t", "progress": done, "total": 3, "message": f"step {done}"} for done in range(3)
    ]


@pytest.mark.parametrize("meta", [{}, ENVELOPE], ids=["handshake", "2026"])
async def test_a_cancelled_call_gets_no_answer(server: Talk, meta: dict[str, Any]):
    if not meta:
        await server.handshake()
    await server.send(call(7, "sleep", **meta))
    await server.said("call sleep")
    await server.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}})
    await server.said("ended CancelledError")
    await server.send(call(8, "anything", **meta))
    assert (await server.receive())["id"] == 8  # the very next message: nothing was said about 7
    await server.hang_up()
    assert await server.rest() == b""


async def test_a_cancellation_of_a_call_that_is_over_is_ignored(ready: Talk):
    await ready.send(call(1, "anything"))
    await ready.answer_to(1)
    await ready.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}, PING)
    assert (await ready.receive())["id"] == "ping"


async def test_the_end_of_stdin_cancels_calls_closes_the_engine_and_ends_the_process(ready: Talk):
    await ready.send(call(1, "sleep"))
    await ready.said("call sleep")
    await ready.hang_up()
    await ready.said("ended CancelledError")
    await ready.said("engine closed")
    await ready.said("left in order")
    assert await ready.ended() == 0


async def test_the_end_of_stdin_before_any_message_ends_the_process(server: Talk):
    await server.hang_up()
    await server.said("left in order")
    assert await server.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_a_signal_ends_the_process_in_order_although_stdin_is_open(ready: Talk, number: signal.Signals):
    await ready.send(call(1, "sleep"))
    await ready.said("call sleep")
    ready.process.send_signal(number)
    await ready.said("ended CancelledError")
    await ready.said("engine closed")
    await ready.said("left in order")
    assert await ready.ended() == 0


@pytest.mark.parametrize("what", ["block a thread", "block the loop", "fill stderr"])
async def test_work_that_cannot_be_cancelled_does_not_keep_the_process(ready: Talk, what: str):
    await ready.send(call(1, what))
    await ready.said(f"call {what}")
    await ready.hang_up()
    assert await ready.ended() == 0


def test_a_client_that_no_longer_reads_ends_the_process(tmp_path: Path):
    write_skill(tmp_path, "classify")
    with subprocess.Popen(
        [*DOUBLE_SERVER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd=ROOT,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        assert process.stdout.readline()
        process.stdout.close()
        process.stdin.write(json.dumps(PING).encode() + b"\n")
        assert process.wait(LIMIT_S) == 0


async def test_a_folder_dropped_in_while_serving_is_announced_and_callable(server: Talk, tmp_path: Path):
    await server.handshake()
    write_skill(tmp_path, "topic")
    with anyio.fail_after(LIMIT_S):
        while (message := await server.receive()).get("method") != "notifications/tools/list_changed":
            pass
    assert "id" not in message
    await server.send({"jsonrpc": "2.0", "id": 3, "method": "tools/list"})
    tools = (await server.answer_to(3))["result"]["tools"]
    assert [tool["name"] for tool in tools] == ["run_skill", "classify", "topic"]
