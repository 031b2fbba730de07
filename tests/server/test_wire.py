import json
import logging
import os
from collections.abc import Iterator

import anyio
import pytest
from mcp import types
from mcp.shared.message import SessionMessage

from tools_server.server import wire
from tools_server.server.descriptors import Descriptors
from tools_server.server.wire import Refusal, encode, open_wire, parse


def refused(line: bytes) -> Refusal:
    result = parse(line)
    assert isinstance(result, Refusal)
    return result


def test_requests_notifications_answers_and_errors_are_read():
    assert isinstance(parse(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'), types.JSONRPCRequest)
    assert isinstance(parse(b'{"jsonrpc":"2.0","method":"notifications/x"}\n'), types.JSONRPCNotification)
    assert isinstance(parse(b'{"jsonrpc":"2.0","id":1,"result":{}}\n'), types.JSONRPCResponse)
    assert isinstance(parse(b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}\n'), types.JSONRPCError)


@pytest.mark.parametrize("line", [b"\n", b"  \t\r\n"])
def test_a_blank_line_asks_for_no_answer(line: bytes):
    assert parse(line) is None


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (b"hello\n", types.PARSE_ERROR, "not JSON"),
        (b'{"jsonrpc":"2.0","id":1,"method":"pi\n', types.PARSE_ERROR, "not JSON"),
        (b"\xff\xfe\x00\n", types.PARSE_ERROR, "not JSON"),
        (b"[" * 100_000 + b"\n", types.PARSE_ERROR, "nested too deeply"),
        (b"[]\n", types.INVALID_REQUEST, "Batches"),
        (b"42\n", types.INVALID_REQUEST, "must be a JSON object"),
        (b'{"id":1,"method":"ping"}\n', types.INVALID_REQUEST, "`jsonrpc`"),
        (b'{"jsonrpc":"2.0","id":1,"method":7}\n', types.INVALID_REQUEST, "string `method`"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}\n', types.INVALID_REQUEST, "`params` as an object"),
    ],
)
def test_a_line_that_is_no_message_is_answered_with_the_reason(line: bytes, code: int, said: str):
    refusal = refused(line)
    assert refusal.code == code
    assert said in refusal.message


def test_a_refusal_carries_the_id_of_the_request_where_it_has_one():
    assert refused(b'{"id":7,"method":"ping"}\n').id == 7
    assert refused(b'{"id":"a","method":"ping"}\n').id == "a"
    assert refused(b'{"id":true,"method":"ping"}\n').id is None
    assert json.loads(encode(refused(b"x\n").as_error()))["id"] is None


def test_a_malformed_answer_is_not_answered_or_two_sides_would_quarrel_for_ever():
    assert parse(b'{"id":1,"result":7}\n') is None
    assert parse(b'{"error":7}\n') is None


def test_an_answer_that_cannot_be_written_becomes_an_error_for_the_same_request(caplog: pytest.LogCaptureFixture):
    line = encode(types.JSONRPCResponse(jsonrpc="2.0", id=9, result={"text": "\ud800"}))
    error = json.loads(line)
    assert error["id"] == 9
    assert error["error"]["code"] == types.INTERNAL_ERROR
    assert error["error"]["message"].startswith("internal error, id ")
    assert "Traceback" in caplog.text


class Pipes:
    """Two pipes: the test holds the client's ends, the wire the server's."""

    def __init__(self) -> None:
        server_in, self.to_server = os.pipe()
        self.from_server, server_out = os.pipe()
        self.descriptors = Descriptors(server_in, server_out)
        self.open = {server_in, server_out, self.to_server, self.from_server}

    def close(self, *ends: int) -> None:
        for end in ends or tuple(self.open):
            if end in self.open:
                self.open.remove(end)
                os.close(end)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.close(made.to_server)  # first, so that a reading thread sees the end
    made.close()


PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
PONG = types.JSONRPCResponse(jsonrpc="2.0", id=1, result={})


async def test_messages_go_in_and_out_and_the_first_answer_is_an_event(pipes: Pipes):
    with anyio.fail_after(5):
        async with open_wire(pipes.descriptors) as opened:
            os.write(pipes.to_server, PING)
            message = await opened.inbox.receive()
            assert isinstance(message, SessionMessage)
            assert isinstance(message.message, types.JSONRPCRequest)
            assert not opened.answered.is_set()
            await opened.outbox.send(SessionMessage(PONG))
            await opened.answered.wait()
            assert os.read(pipes.from_server, 100) == b'{"jsonrpc":"2.0","id":1,"result":{}}\n'


async def test_a_bad_line_is_answered_and_the_next_one_is_read(pipes: Pipes):
    with anyio.fail_after(5):
        async with open_wire(pipes.descriptors) as opened:
            os.write(pipes.to_server, b"garbage\n" + PING)
            message = await opened.inbox.receive()
            assert isinstance(message, SessionMessage)
            assert json.loads(os.read(pipes.from_server, 1000))["error"]["code"] == types.PARSE_ERROR


async def test_a_line_that_is_too_long_is_refused_and_the_next_one_is_read(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(wire, "MAX_LINE", 100)
    with anyio.fail_after(5):
        async with open_wire(pipes.descriptors) as opened:
            os.write(pipes.to_server, b"x" * 5000 + b"\n" + PING)
            message = await opened.inbox.receive()
            assert isinstance(message, SessionMessage)
            error = json.loads(os.read(pipes.from_server, 1000))["error"]
            assert error["code"] == types.INVALID_REQUEST
            assert "99 bytes at most" in error["message"]
            assert "`paths`" in error["message"]


async def test_the_inbox_ends_and_the_end_is_told_when_the_client_closes_its_pipe(pipes: Pipes):
    ends: list[str] = []
    with anyio.fail_after(5):
        async with open_wire(pipes.descriptors, on_end=lambda: ends.append("end")) as opened:
            pipes.close(pipes.to_server)
            with pytest.raises(anyio.EndOfStream):
                await opened.inbox.receive()
    assert ends == ["end"]


async def test_a_client_that_no_longer_reads_is_an_end_and_no_exception(pipes: Pipes):
    ends: list[str] = []
    with anyio.fail_after(5):
        async with open_wire(pipes.descriptors, on_end=lambda: ends.append("end")) as opened:
            pipes.close(pipes.from_server)
            await opened.outbox.send(SessionMessage(PONG))
            with pytest.raises(anyio.EndOfStream):
                await opened.inbox.receive()
    assert ends == ["end"]


async def test_a_reader_that_is_blocked_does_not_hold_up_the_end(pipes: Pipes):
    with anyio.fail_after(5):
        async with open_wire(pipes.descriptors):
            pass


async def test_what_was_written_last_still_leaves(pipes: Pipes):
    with anyio.fail_after(5):
        async with open_wire(pipes.descriptors) as opened:
            await opened.outbox.send(SessionMessage(PONG))
    assert json.loads(os.read(pipes.from_server, 100))["id"] == 1


async def test_a_client_that_never_reads_cannot_hold_up_the_end_for_ever(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(wire, "FLUSH_S", 0.05)
    flood = types.JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": "x" * 1_000_000})
    with anyio.fail_after(5):
        async with open_wire(pipes.descriptors) as opened:
            await opened.outbox.send(SessionMessage(flood))
    pipes.close(pipes.from_server)  # the blocked thread wakes with a broken pipe
