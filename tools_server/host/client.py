"""The engine as a front end sees it: the `Engine` port over a host's socket.

Requests to an engine are pure: asked twice, they have the same answer and no other effect. So a request whose host is
gone is asked once more, of a new host. A second loss is an error, for the request itself may be what ends the hosts.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import httpx2

from tools_server.engine.types import (
    Adapter,
    Chat,
    Constraint,
    EngineStats,
    Generation,
    GenerationRequest,
    ModelInfo,
    Prompt,
    ScoreRequest,
    Scores,
)
from tools_server.errors import DeadlineExceeded, EngineDied
from tools_server.host import wire
from tools_server.host.info import OTHER_HOST, PID_HEADER
from tools_server.host.launch import see
from tools_server.host.lifecycle import Host, HostLink
from tools_server.host.reaching import transport

_log = logging.getLogger(__name__)

Q = TypeVar("Q")
A = TypeVar("A")

LOST = (httpx2.NetworkError, httpx2.RemoteProtocolError)
"""What a client sees when the host is not there, or is gone in the middle of an answer."""

TEXT_S = 120.0
"""Seconds for what has no deadline of its own: tokenising, checking a constraint, loading an adapter."""

GRACE_S = 5.0
"""Seconds beyond a deadline in which the host itself says that it has passed."""

KEPT_S = 30.0
"""Seconds that an unused connection is kept: less than the host keeps it, so that none is used while it closes it."""

MOST_LOSSES = 2
"""Hosts that may be gone while they answer one request. One that was gone before does not count."""

MOST_HOSTS = 8
"""Hosts that are tried for one request in all."""


class HostedEngine:
    """Implements the `Engine` port over the host that `link` leads to. All but `connect` belongs to one event loop."""

    def __init__(self, link: HostLink, host: Host) -> None:
        self._link = link
        self._connection = _Connection(link, host)
        self._lock = anyio.Lock()
        self._closed = False

    @classmethod
    def connect(cls, link: HostLink) -> "HostedEngine":
        """Find or start the host and wait until its model is loaded. Blocks; raises as `HostLink.ensure` does."""
        return cls(link, link.ensure())

    @property
    def info(self) -> ModelInfo:
        """Identity and limits of the model, as the present host has it."""
        return self._connection.host.model

    async def encode(self, chat: Chat) -> Prompt:
        """Apply the chat template and tokenise."""
        return await self._ask(wire.ENCODE, chat)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        return await self._ask(wire.COUNT_TOKENS, tuple(texts))

    async def continuations(self, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Tokenise a closed set."""
        return await self._ask(wire.CONTINUATIONS, tuple(texts))

    async def check(self, constraint: Constraint) -> None:
        """Compile a constraint without using it; raises InvalidArguments."""
        await self._ask(wire.CHECK, constraint)

    async def load_adapter(self, adapter: Adapter) -> None:
        """Make an adapter ready; see `Engine.load_adapter`."""
        await self._ask(wire.LOAD_ADAPTER, _absolute(adapter))

    async def unload_adapter(self, adapter: Adapter) -> None:
        """Free an adapter once no request uses it."""
        await self._ask(wire.UNLOAD_ADAPTER, _absolute(adapter))

    async def generate(self, request: GenerationRequest) -> Generation:
        """Generate; see `Engine.generate`."""
        return await self._ask(wire.GENERATE, _portable(request))

    async def score(self, request: ScoreRequest) -> Scores:
        """Score a closed set; see `Engine.score`."""
        return await self._ask(wire.SCORE, _portable(request))

    async def stats(self) -> EngineStats:
        """Counters and load of the host, whoever asked it."""
        return await self._ask(wire.STATS, None)

    async def aclose(self) -> None:
        """Hang up; requests that still wait end with `EngineDied`. The host goes on."""
        self._closed = True
        await self._connection.hang_up()

    async def _ask(self, operation: wire.Operation[Q, A], request: Q) -> A:
        losses = 0
        for _ in range(MOST_HOSTS):
            connection = await self._connected()
            try:
                return await connection.ask(operation, request)
            except _LostError as error:
                losses += error.while_asked
            if losses == MOST_LOSSES:
                break
        if self._closed:
            raise _closed()
        raise EngineDied(
            f"The engine host crashed while it answered, and so did the next one ({operation.path}).",
            f"Call again. {see(self._link.paths)}",
        )

    async def _connected(self) -> "_Connection":
        """Give the connection, made anew if the last one is lost; many may ask, one reconnects."""
        async with self._lock:
            if self._closed:
                raise _closed()
            if self._connection.lost:
                host = await anyio.to_thread.run_sync(self._link.ensure, abandon_on_cancel=True)
                if self._closed:
                    raise _closed()
                self._connection = _Connection(self._link, host)
            return self._connection


class _LostError(Exception):
    """The host is not there, is another one, is gone, or its engine is dead. `while_asked`: it had the request."""

    def __init__(self, why: str, *, while_asked: bool) -> None:
        super().__init__(why)
        self.while_asked = while_asked


class _Connection:
    """The way to one host, until it is lost. Closed when the last one who uses it has left."""

    def __init__(self, link: HostLink, host: Host) -> None:
        self.host = host
        self.lost = False
        self._users = 0
        self._client = httpx2.AsyncClient(
            # The engine bounds how many requests wait; here each has a connection, so that none waits unseen.
            transport=transport(
                link.paths, httpx2.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=KEPT_S)
            ),
            base_url="http://host",
            headers={PID_HEADER: str(host.info.pid)},
            trust_env=False,
        )

    async def ask(self, operation: wire.Operation[Q, A], request: Q) -> A:
        """Ask once.

        Raises:
            _LostError: the host could not answer; another may.
            ToolsServerError: what it answered.
        """
        deadline = wire.deadline_of(request)
        limit = TEXT_S if deadline is None else max(0.0, deadline - time.monotonic()) + GRACE_S
        self._users += 1
        try:
            answer = await self._client.post(
                operation.path, content=wire.pack_request(operation, request), timeout=httpx2.Timeout(limit, pool=None)
            )
            if answer.status_code == OTHER_HOST:
                raise self._gone("another one answers", while_asked=False)
            return wire.unpack_answer(operation, answer.content)
        except LOST as error:
            raise self._gone(repr(error), while_asked=not isinstance(error, httpx2.ConnectError)) from error
        except EngineDied as error:
            raise self._gone(error.message, while_asked=True) from error
        except httpx2.TimeoutException as error:
            raise _silent(limit, deadline) from error
        finally:
            self._users -= 1
            if self.lost and not self._users:
                await self.hang_up()

    def _gone(self, why: str, *, while_asked: bool) -> _LostError:
        if not self.lost:  # said once, however many were waiting
            _log.warning("the engine host (pid %d) is gone: %s", self.host.info.pid, why)
        self.lost = True
        return _LostError(why, while_asked=while_asked)

    async def hang_up(self) -> None:
        """Close every connection to this host."""
        self.lost = True
        with anyio.CancelScope(shield=True):
            await self._client.aclose()


def _silent(limit: float, deadline: float | None) -> Exception:
    what = f"The engine host did not answer within {limit:g} s."
    hint = "Look at it with `tools-server host status`; end it with `tools-server host stop`."
    return EngineDied(what, hint) if deadline is None else DeadlineExceeded(what, hint)


def _closed() -> EngineDied:
    return EngineDied("The engine was closed.", "Start the server again.")


def _absolute(adapter: Adapter) -> Adapter:
    """Name the file so that a process in another folder finds it."""
    return replace(adapter, path=adapter.path.absolute())


def _portable(request: Any) -> Any:
    return request if request.adapter is None else replace(request, adapter=_absolute(request.adapter))
