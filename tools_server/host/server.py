"""The host's HTTP side: one endpoint for each method of the engine, and a few about the host itself.

Every request ends in one answer. One whose client has hung up is cancelled, which frees its place in the engine.
"""

import logging
import os
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tools_server import __version__
from tools_server.engine.types import Engine
from tools_server.errors import (
    CallError,
    CapacityError,
    EngineDied,
    EngineError,
    ModelLoadFailed,
    SkillError,
    ToolsServerError,
)
from tools_server.host import wire
from tools_server.host.info import INFO, OTHER_HOST, PID_HEADER, PROTOCOL, RETIRE, HostInfo, State, Wanted
from tools_server.host.system import resident_bytes

_log = logging.getLogger(__name__)

Q = TypeVar("Q")
A = TypeVar("A")


class HostServer:
    """One engine, its clients, and what it is doing. `about` is what it was started with.

    `retire` is called when the host is to end; it must see to it that no new client can come.
    """

    def __init__(self, about: Wanted, load: Callable[[], Engine], *, retire: Callable[[str], None]) -> None:
        self._about = about
        self._load = load
        self._retire = retire
        self._loaded = anyio.Event()
        self._over = anyio.Event()
        self._outcome: Engine | ToolsServerError | None = None
        self._started = self._last_used = time.monotonic()
        self.under_way = 0
        self.told_failure = anyio.Event()
        """Set once a client knows that the model could not be loaded."""
        self.app = Starlette(routes=list(self._routes()))

    async def load(self) -> None:
        """Load the engine; requests wait for it. An error is what every request is answered with."""
        try:
            self._outcome = await anyio.to_thread.run_sync(self._load, abandon_on_cancel=True)
            _log.info("%s is loaded", self._about.model)
        except ToolsServerError as error:
            self._outcome = error
        except Exception as error:
            _log.exception("loading the model failed")
            self._outcome = ModelLoadFailed(
                f"Loading the model failed: {error!r}.", "The engine host's log has the traceback."
            )
        self._loaded.set()
        if isinstance(self._outcome, ToolsServerError):
            _log.error("no engine: %s", self._outcome)

    def cut_off(self) -> None:
        """Answer what is under way with `EngineDied`: clients ask the next host."""
        self._over.set()

    @property
    def loading(self) -> bool:
        """Whether the model is not there yet."""
        return self._outcome is None

    @property
    def failed(self) -> bool:
        """Whether the model could not be loaded."""
        return isinstance(self._outcome, ToolsServerError)

    @property
    def idle_s(self) -> float:
        """Seconds since anybody asked something of the engine; 0 while somebody waits for an answer."""
        return 0.0 if self.under_way else time.monotonic() - self._last_used

    async def aclose(self) -> None:
        """Close the engine, if it was loaded."""
        if self._outcome is not None and not isinstance(self._outcome, ToolsServerError):
            await self._outcome.aclose()

    def info(self) -> HostInfo:
        """Say what this host is and does."""
        return HostInfo(
            protocol=PROTOCOL,
            version=__version__,
            pid=os.getpid(),
            model=self._about.model,
            sha256=self._about.sha256,
            settings=self._about.settings,
            state=State.FAILED if self.failed else State.LOADING if self.loading else State.READY,
            under_way=self.under_way,
            idle_s=self.idle_s,
            uptime_s=time.monotonic() - self._started,
            memory_bytes=resident_bytes(),
        )

    def _routes(self) -> Generator[Route]:
        async def info(_request: Request) -> Response:
            return JSONResponse(asdict(self.info()))

        async def retire(_request: Request) -> Response:
            self._retire("asked to")
            return JSONResponse({})

        async def model(engine: Engine, _: None) -> Any:
            return engine.info

        yield Route(INFO, info)
        yield Route(RETIRE, retire, methods=["POST"])
        yield self._route(wire.MODEL, model)
        yield self._route(wire.ENCODE, lambda engine, chat: engine.encode(chat))
        yield self._route(wire.COUNT_TOKENS, lambda engine, texts: engine.count_tokens(texts))
        yield self._route(wire.CONTINUATIONS, lambda engine, texts: engine.continuations(texts))
        yield self._route(wire.CHECK, lambda engine, constraint: engine.check(constraint))
        yield self._route(wire.GENERATE, lambda engine, request: engine.generate(request))
        yield self._route(wire.SCORE, lambda engine, request: engine.score(request))
        yield self._route(wire.LOAD_ADAPTER, lambda engine, adapter: engine.load_adapter(adapter))
        yield self._route(wire.UNLOAD_ADAPTER, lambda engine, adapter: engine.unload_adapter(adapter))
        yield self._route(wire.STATS, lambda engine, _: engine.stats())

    def _route(self, operation: wire.Operation[Q, A], act: Callable[[Engine, Q], Awaitable[A]]) -> Route:
        own_pid = str(os.getpid())

        async def endpoint(request: Request) -> Response:
            if request.headers.get(PID_HEADER, own_pid) != own_pid:
                return Response(status_code=OTHER_HOST)
            with self._use():
                body = await request.body()
                return await self._while_wanted(request, partial(self._answer, operation, act, body))

        return Route(operation.path, endpoint, methods=["POST"])

    async def _answer(
        self, operation: wire.Operation[Q, A], act: Callable[[Engine, Q], Awaitable[A]], body: bytes
    ) -> Response:
        try:
            request = wire.unpack_request(operation, body)
            answer = await act(await self._engine(), request)
            return _json(wire.pack_answer(operation, answer))
        except ToolsServerError as error:
            return self._failure(error)
        except Exception as error:
            _log.exception("%s failed", operation.path)
            return self._failure(
                EngineError(
                    f"The engine host failed in an unforeseen way: {type(error).__name__}: {error}.",
                    "This is a bug; the engine host's log has the traceback.",
                )
            )

    async def _engine(self) -> Engine:
        await self._loaded.wait()
        if isinstance(self._outcome, ToolsServerError):
            self.told_failure.set()
            raise self._outcome.with_traceback(None)
        if self._outcome is None:
            raise RuntimeError("loaded without an outcome")
        return self._outcome

    def _failure(self, error: ToolsServerError) -> Response:
        if isinstance(error, EngineDied):  # the process would answer nothing else any more
            self._retire(f"its engine died: {error.message}")
        status = 400 if isinstance(error, CallError | SkillError) else 503 if isinstance(error, CapacityError) else 500
        return _json(wire.pack_error(error), status)

    async def _while_wanted(self, request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
        """Do the work unless the client hangs up or the host leaves."""
        # What is sent when the work was cancelled. To a client that hung up, it never arrives.
        response = _json(wire.pack_error(EngineDied("The engine host left before it had answered.")), 503)

        async with anyio.create_task_group() as tasks:

            async def until_disconnected() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            async def until_cut_off() -> None:
                await self._over.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(until_disconnected)
            tasks.start_soon(until_cut_off)
            response = await work()
            tasks.cancel_scope.cancel()
        return response

    @contextmanager
    def _use(self) -> Generator[None]:
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
            self._last_used = time.monotonic()


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")
