"""Newline-delimited JSON-RPC over two file descriptors.

The SDK has such a transport. This one differs where a long-lived process with a native engine needs it: a line that
is no message is answered with an error instead of silence; a line has a greatest length; a reader that is blocked
never holds up the end of the process; the first answer is an event, after which heavy work may begin; a client that
is gone is an end, not an exception.
"""

import json
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import types
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from tools_server.server.descriptors import Descriptors
from tools_server.server.results import incident

logger = logging.getLogger(__name__)

MAX_LINE = 32 * 1024 * 1024
"""Bytes of one message. Larger inputs go through `paths`."""

FLUSH_S = 1.0
"""Seconds for the last messages to leave after the server is done."""


@dataclass(frozen=True, slots=True)
class Wire:
    """An open connection: messages in, messages out, and whether one went out already."""

    inbox: MemoryObjectReceiveStream[SessionMessage | Exception]
    outbox: MemoryObjectSendStream[SessionMessage]
    answered: anyio.Event


@asynccontextmanager
async def open_wire(
    descriptors: Descriptors, *, on_end: Callable[[], None] = lambda: None
) -> AsyncGenerator[Wire, None]:
    """Serve one connection.

    The inbox ends when the client is gone. `on_end` is then called, from any thread and perhaps more than once.
    """
    to_server, inbox = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outbox, to_client = anyio.create_memory_object_stream[SessionMessage](0)
    answered = anyio.Event()
    async with anyio.create_task_group() as tasks:
        reading = anyio.CancelScope()
        tasks.start_soon(_read, descriptors.stdin, to_server, outbox.clone(), reading, on_end)
        tasks.start_soon(_write, descriptors.stdout, to_client, answered, reading, on_end)
        with inbox, outbox:
            yield Wire(inbox, outbox, answered)
        # The server has closed its end; what it wrote last is still on its way.
        reading.cancel()
        tasks.cancel_scope.deadline = anyio.current_time() + FLUSH_S


async def _read(
    descriptor: int,
    to_server: MemoryObjectSendStream[SessionMessage | Exception],
    refusals: MemoryObjectSendStream[SessionMessage],
    scope: anyio.CancelScope,
    on_end: Callable[[], None],
) -> None:
    # closefd=False: an abandoned thread may still block on the descriptor, which must not be reused under it.
    source = os.fdopen(descriptor, "rb", 1 << 16, closefd=False)
    own_thread = anyio.CapacityLimiter(1)  # not the shared pool: slow file work must not keep messages waiting

    def next_line() -> bytes:
        line = _bounded_line(source)
        if not line:
            on_end()  # from this thread: it works even while the event loop is held up
        return line

    with scope, to_server, refusals:
        while line := await to_thread.run_sync(next_line, abandon_on_cancel=True, limiter=own_thread):
            parsed = parse(line)
            try:
                if isinstance(parsed, Refusal):
                    logger.warning("refused a line of %d bytes: %s", len(line), parsed.message)
                    await refusals.send(SessionMessage(parsed.as_error()))
                elif parsed is not None:
                    await to_server.send(SessionMessage(parsed))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return  # the server has ended; nobody is left to read for


async def _write(
    descriptor: int,
    to_client: MemoryObjectReceiveStream[SessionMessage],
    answered: anyio.Event,
    reading: anyio.CancelScope,
    on_end: Callable[[], None],
) -> None:
    own_thread = anyio.CapacityLimiter(1)
    with to_client:
        async for item in to_client:
            data = encode(item.message)
            try:
                await to_thread.run_sync(_write_all, descriptor, data, abandon_on_cancel=True, limiter=own_thread)
            except OSError as error:
                logger.info("the client no longer reads (%s); ending", error)
                on_end()
                reading.cancel()
                return
            answered.set()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _bounded_line(source: BinaryIO) -> bytes:
    """Read one line with its newline; of a line that is too long only the beginning."""
    line = source.readline(MAX_LINE)
    if len(line) == MAX_LINE and not line.endswith(b"\n"):
        while (rest := source.readline(1 << 16)) and not rest.endswith(b"\n"):
            pass
    return line


@dataclass(frozen=True, slots=True)
class Refusal:
    """What to answer to a line that is no message; `id` is its id where one can be made out."""

    code: int
    message: str
    id: str | int | None = None

    def as_error(self) -> types.JSONRPCError:
        """Give it as a message."""
        return types.JSONRPCError(
            jsonrpc="2.0", id=self.id, error=types.ErrorData(code=self.code, message=self.message)
        )


def parse(line: bytes) -> types.JSONRPCMessage | Refusal | None:
    """Read one line; None asks for no answer (a blank line, or an answer that is malformed itself)."""
    if not line.strip():
        return None
    if len(line) >= MAX_LINE:
        hint = "Pass file names in `paths` instead of the text."
        return Refusal(types.INVALID_REQUEST, f"A message may have {MAX_LINE - 1} bytes at most. {hint}")
    try:
        return types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        return _explain(line)


def _explain(line: bytes) -> Refusal | None:
    try:
        value: Any = json.loads(line)
    except RecursionError:
        return Refusal(types.PARSE_ERROR, "The message is nested too deeply to be read.")
    except ValueError as error:
        return Refusal(types.PARSE_ERROR, f"The line is not JSON: {error}. Send one JSON-RPC message per line.")
    if isinstance(value, list):
        return Refusal(types.INVALID_REQUEST, "Batches are not part of MCP. Send one JSON-RPC message per line.")
    if not isinstance(value, dict):
        return Refusal(types.INVALID_REQUEST, "A message must be a JSON object. Send one JSON-RPC message per line.")
    message = cast("dict[str, Any]", value)
    if "method" not in message and ("result" in message or "error" in message):
        logger.warning("ignored a malformed answer of %d bytes", len(line))
        return None
    number = message.get("id")
    known_id = number if isinstance(number, str) or type(number) is int else None
    text = 'Not a JSON-RPC 2.0 message: needs `jsonrpc` = "2.0", a string `method`, a string or integer `id`'
    return Refusal(types.INVALID_REQUEST, f"{text}, and `params` as an object if there are any.", known_id)


def encode(message: types.JSONRPCMessage) -> bytes:
    """Write one message as a line. An answer that cannot be written becomes an error with an id, never a dead pipe."""
    try:
        return _line(message)
    except (ValueError, RecursionError):  # lone surrogates, or nesting that the encoder refuses
        if not isinstance(message, types.JSONRPCResponse):
            incident(f"writing a {type(message).__name__}")
            raise
        error = types.ErrorData(code=types.INTERNAL_ERROR, message=incident("writing an answer as JSON"))
        return _line(types.JSONRPCError(jsonrpc="2.0", id=message.id, error=error))


def _line(message: types.JSONRPCMessage) -> bytes:
    return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
