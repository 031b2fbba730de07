"""The host's end of the socket, or of the pipe on Windows: listening, and HTTP over it."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn

from tools_server.host.paths import HostPaths, remove

if sys.platform == "win32":
    from tools_server.host.windows_pipe import PipeListener, new_name

    Listener = PipeListener
else:
    import socket

    Listener = socket.socket

__all__ = ["BACKLOG", "Http", "Listener", "listen"]

BACKLOG = 1024
"""Clients that may wait to be taken."""


class Http(uvicorn.Server):
    """uvicorn on one listener. It leaves the signals to us: the socket must go first."""

    def __init__(self, config: uvicorn.Config, listener: Listener) -> None:
        super().__init__(config)
        self._listener = listener

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Take none."""
        yield

    async def startup(self, sockets: Any = None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Answer those who come."""
        if sys.platform == "win32":
            self._listener.serve(
                partial(
                    self.config.http_protocol_class,
                    config=self.config,
                    server_state=self.server_state,
                    app_state=self.lifespan.state,
                )
            )
            self.servers: list[Any] = [self._listener]
            self.started = True
        else:
            await super().startup([self._listener])


@contextmanager
def listen(paths: HostPaths) -> Generator[Listener]:
    """Listen at the host's socket. It appears at once with its mode and its queue, in the place of a dead host's."""
    aside = paths.socket.with_suffix(".new")
    remove(aside)
    if sys.platform == "win32":
        name = new_name()
        listener = PipeListener(name)
        aside.write_text(name, "ascii")
    else:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(aside))
        aside.chmod(0o600)
        listener.listen(BACKLOG)
    try:
        aside.replace(paths.socket)
        yield listener
    finally:
        listener.close()
        remove(paths.socket)
