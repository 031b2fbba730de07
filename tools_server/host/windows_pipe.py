"""Windows: a named pipe that only its user can open, as a Unix socket is elsewhere, and HTTP over it.

A host makes a pipe under a name that nobody can guess and writes the name into the file where the socket would lie, in
a folder that is the user's alone: so nobody can wait under the name before the host does. The pipe's rights name the
user and nobody else, and it takes no clients from other machines.

asyncio serves such pipes (`start_serving_pipe`), but with the rights that Windows gives by default, under which
everybody may read; so the instances are made here. pywin32 is there wherever mcp is.
"""

# pyright: standard
# The stubs of pywin32 leave many types out.

import asyncio
import logging
import secrets
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
import httpcore2
import httpx2

assert sys.platform == "win32"

from asyncio.windows_utils import PipeHandle  # noqa: E402 - all of these are only there on Windows

import ntsecuritycon  # noqa: E402
import win32api  # noqa: E402
import win32con  # noqa: E402
import win32file  # noqa: E402
import win32pipe  # noqa: E402
import win32security  # noqa: E402

__all__ = ["PipeListener", "PipeTransport", "new_name"]

_log = logging.getLogger(__name__)

SHORTAGE_S = 1.0
"""Seconds after which a pipe that could not be made is tried again."""

BUFFER = 1 << 16
"""Bytes that wait in each direction before a writer does."""

_ONE_USERS = win32pipe.PIPE_REJECT_REMOTE_CLIENTS | win32pipe.PIPE_TYPE_BYTE | win32pipe.PIPE_READMODE_BYTE
_FIRST = 0x00080000  # FILE_FLAG_FIRST_PIPE_INSTANCE, which pywin32 does not name


def new_name() -> str:
    """Make a name that nobody knows."""
    return rf"\\.\pipe\tools-server-{secrets.token_hex(16)}"


class PipeListener:
    """Takes clients of one pipe, like an asyncio server. It listens from the beginning; `serve` answers."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rights = _own_rights()
        self._free: PipeHandle | None = self._instance(_FIRST)
        self._accepting: asyncio.Task[None] | None = None

    def serve(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Give each client a protocol of its own, in the running loop."""
        self._accepting = asyncio.get_running_loop().create_task(self._accept(protocol))

    def close(self) -> None:
        """Take no more clients. Those that are connected stay."""
        if self._accepting is not None:
            self._accepting.cancel()
        if self._free is not None:
            self._free.close()
            self._free = None

    async def wait_closed(self) -> None:
        """Wait until nobody is accepted any more."""
        if self._accepting is not None:
            await asyncio.wait([self._accepting])

    async def _accept(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        loop: Any = asyncio.get_running_loop()  # what `start_serving_pipe` is made of has no public name
        while self._free is not None:
            instance = self._free
            try:
                await loop._proactor.accept_pipe(instance)
            except OSError:  # a client that left before it was taken
                instance.close()
            else:
                loop._make_duplex_pipe_transport(instance, protocol(), extra={"addr": self._name})
            self._free = None
            self._free = await self._next()  # clients wait as long as there is none

    async def _next(self) -> PipeHandle:
        while True:
            try:
                return self._instance()
            except win32pipe.error as error:  # the system has no more to give: as with sockets, until others leave
                _log.error("no pipe for the next client: %s", error)
                await asyncio.sleep(SHORTAGE_S)

    def _instance(self, first: int = 0) -> PipeHandle:
        handle: Any = win32pipe.CreateNamedPipe(
            self._name,
            win32pipe.PIPE_ACCESS_DUPLEX | win32con.FILE_FLAG_OVERLAPPED | first,
            _ONE_USERS,
            win32pipe.PIPE_UNLIMITED_INSTANCES,
            BUFFER,
            BUFFER,
            0,
            self._rights,
        )
        return PipeHandle(handle.Detach())


def _own_rights() -> Any:
    """Rights of this process's user, and of nobody else."""
    token = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32con.TOKEN_QUERY)
    user, _ = win32security.GetTokenInformation(token, ntsecuritycon.TokenUser)
    allowed = win32security.ACL()
    allowed.AddAccessAllowedAce(win32security.ACL_REVISION, win32file.FILE_ALL_ACCESS, user)
    described = win32security.SECURITY_DESCRIPTOR()
    described.SetSecurityDescriptorDacl(1, allowed, 0)
    rights = win32security.SECURITY_ATTRIBUTES()
    rights.SECURITY_DESCRIPTOR = described
    return rights


class PipeTransport(httpx2.AsyncHTTPTransport):
    """httpx2's transport over the pipe whose name stands in the file `address`."""

    def __init__(self, address: Path, limits: httpx2.Limits) -> None:
        super().__init__(limits=limits, trust_env=False)
        # httpx2 passes no network backend on to its pool.
        self._pool = httpcore2.AsyncConnectionPool(
            uds=str(address),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_PipeBackend(),
        )


class _PipeBackend(httpcore2.AsyncNetworkBackend):
    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the signatures are httpcore2's
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        loop: Any = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            with anyio.fail_after(timeout):
                name = Path(path).read_text("ascii")  # noqa: ASYNC240 - a line of a local file
                transport, _ = await loop.create_pipe_connection(lambda: protocol, name)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        except (OSError, ValueError) as error:
            raise httpcore2.ConnectError(str(error)) from error
        return _PipeStream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class _PipeStream(httpcore2.AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        try:
            with anyio.fail_after(timeout):
                return await self._reader.read(max_bytes)
        except TimeoutError as error:
            raise httpcore2.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        try:
            with anyio.fail_after(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except TimeoutError as error:
            raise httpcore2.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._writer.close()

    def get_extra_info(self, info: str) -> Any:
        # Asked of a connection that lies idle: what can be read from it then is only its end.
        return self._reader.at_eof() if info == "is_readable" else None
