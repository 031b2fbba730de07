"""A front end's end of the socket, or of the pipe on Windows."""

import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import httpx2

from tools_server.host.paths import HostPaths

if sys.platform == "win32":
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from tools_server.host.windows_pipe import PipeTransport
else:
    import socket

__all__ = ["LOST", "ask", "transport"]

LOST = (ConnectionError, FileNotFoundError, HTTPException)
"""What `ask` raises when no host listens, or when it is gone in the middle of an answer."""


def transport(paths: HostPaths, limits: httpx2.Limits) -> httpx2.AsyncBaseTransport:
    """Give what an HTTP client reaches the host through."""
    if sys.platform == "win32":
        return PipeTransport(paths.socket, limits)
    return httpx2.AsyncHTTPTransport(uds=str(paths.socket), limits=limits)


def ask(paths: HostPaths, method: str, path: str, timeout_s: float | None, body: bytes = b"") -> bytes:
    """Ask once, on a connection of its own; without `timeout_s`, wait for ever. Blocks.

    Raises:
        OSError, HTTPException: the host cannot be reached or is gone (`LOST`), or does not answer (TimeoutError).
    """
    if sys.platform == "win32":
        with ThreadPoolExecutor(1) as thread:  # there may be a loop in this one
            return thread.submit(asyncio.run, _ask(paths, method, path, timeout_s, body)).result()
    with closing(_UnixConnection(paths.socket, timeout_s)) as connection:
        connection.request(method, path, body)
        return connection.getresponse().read()


if sys.platform == "win32":

    async def _ask(paths: HostPaths, method: str, path: str, timeout_s: float | None, body: bytes) -> bytes:
        async with httpx2.AsyncClient(
            transport=transport(paths, httpx2.Limits()), base_url="http://host", trust_env=False, timeout=timeout_s
        ) as client:
            try:
                return (await client.request(method, path, content=body)).content
            except httpx2.TimeoutException as error:
                raise TimeoutError(str(error)) from error
            except (httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
                raise ConnectionError(str(error)) from error

else:

    class _UnixConnection(HTTPConnection):
        """HTTP on a Unix socket."""

        def __init__(self, path: Path, timeout_s: float | None) -> None:
            super().__init__("host", timeout=timeout_s)
            self._path = path

        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # closed with the connection
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(self._path))
