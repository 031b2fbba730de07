"""Finds the host of one model, starts it, replaces it, or stops it. Everything here blocks: call it from a thread.

Two locks make it safe between any number of processes. Whoever starts a host holds the start lock, so of two starters
one waits and then finds the other's host. A host holds the life lock as long as it lives, so there is never a second
one: a new one waits for the old to end, and a socket that lies there while the lock is free is a dead host's.
"""

import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from tools_server.engine.types import ModelInfo
from tools_server.errors import EngineDied, EngineError, HostUnavailable
from tools_server.host.info import INFO, RETIRE, HostInfo, Verdict, Wanted, negotiate
from tools_server.host.launch import COMMAND, START_S, launch, see
from tools_server.host.paths import HostPaths, remove, secure
from tools_server.host.reaching import LOST, ask
from tools_server.host.wire import MODEL, pack_request, unpack_answer
from tools_server.settings import Settings

__all__ = ["Host", "HostLink", "find", "stop"]

_log = logging.getLogger(__name__)

ASK_S = 10.0
"""Seconds for an answer that no host has to think about."""

_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows, each number but two ends a process without a word

ATTEMPTS = 3
"""Hosts that may end while their model loads before that is called a crash."""

_INFO = TypeAdapter(HostInfo)


@dataclass(frozen=True, slots=True)
class Host:
    """A host whose model is loaded."""

    info: HostInfo
    model: ModelInfo


class HostLink:
    """One front end's way to the host of its model. Safe between threads and processes."""

    def __init__(
        self, paths: HostPaths, settings: Settings, wanted: Wanted, *, command: Sequence[str] = COMMAND
    ) -> None:
        self.paths = paths
        self._settings = settings
        self._wanted = wanted
        self._command = command
        self._used_one = False

    def ensure(self) -> Host:
        """Give a host whose model is loaded: the one that runs, or a new one.

        Raises:
            HostUnavailable: none can be started or reached, or the folder is not the user's alone.
            HostMismatch: the one that runs is of a later release.
            ModelError: it could not load the model.
            EngineDied: it ended while it loaded the model, again and again.
        """
        secure(self.paths)
        for _ in range(ATTEMPTS):
            info = find(self.paths)
            if info is None or self._verdict(info) is Verdict.REPLACE:
                info = self._start()
            if info is None:
                continue
            try:
                # As long as loading takes: a host that ends is seen at once.
                answer = ask(self.paths, "POST", MODEL.path, None, pack_request(MODEL, None))
                host = Host(info, unpack_answer(MODEL, answer))
            except (*LOST, EngineDied):
                _log.warning("the engine host (pid %d) ended while its model was loading", info.pid)
                continue
            self._used_one = True
            return host
        raise EngineDied(
            f"The engine host ended {ATTEMPTS} times while it was loading {self._wanted.model}.", see(self.paths)
        )

    def _verdict(self, info: HostInfo) -> Verdict:
        return negotiate(info, self._wanted, first=not self._used_one)

    def _start(self) -> HostInfo | None:
        """Start a host, or find the one that another front end has started; None when it is gone again."""
        with _locked(self.paths):
            info = find(self.paths)
            if info is not None:
                if self._verdict(info) is Verdict.USE:
                    return info
                _log.info("replacing the engine host of tools-server %s (pid %d)", info.version, info.pid)
                _retire(self.paths)
            launch(self.paths, self._settings, self._command)
            info = find(self.paths)
        if info is not None:
            _log.info("started the engine host of %s (pid %d), log %s", info.model, info.pid, self.paths.log)
        return info


def find(paths: HostPaths) -> HostInfo | None:
    """Ask a host about itself; None when none listens.

    Raises:
        HostUnavailable: there is one, and it does not answer.
    """
    if not paths.socket.exists():
        return None
    try:
        return _INFO.validate_json(ask(paths, "GET", INFO, ASK_S))
    except LOST:
        return None
    except TimeoutError as error:
        raise HostUnavailable(
            f"The engine host (pid {_pid(paths)}) does not answer within {ASK_S:g} s.",
            "End it with `tools-server host stop`.",
        ) from error
    except OSError as error:
        raise HostUnavailable(f"Cannot connect to {paths.socket}: {error}.", "Or use `--in-process`.") from error
    except ValueError as error:
        raise HostUnavailable(
            f"What listens at {paths.socket} is no engine host: {error}.", "End it with `tools-server host stop`."
        ) from error


def stop(paths: HostPaths, *, patience_s: float = 40.0) -> bool:
    """End a host: it finishes what is under way. One that does not answer, or takes too long, is killed.

    Gives False when it had to be killed.
    """
    if _retire(paths) and _is_gone(paths, patience_s):
        return True
    if _is_gone(paths, 0):  # it was dead already, and only its socket lay there
        remove(paths.socket)
        return True
    pid = _pid(paths)
    if pid is not None:
        with suppress(OSError):
            os.kill(pid, _KILL)
    if not _is_gone(paths, ASK_S):
        raise EngineError(f"The engine host (pid {pid}) cannot be ended.", "End it by hand.")
    remove(paths.socket)
    return False


def _retire(paths: HostPaths) -> bool:
    """Ask a host to end, and tell whether it will. It has let go of its socket when it answers."""
    try:
        ask(paths, "POST", RETIRE, ASK_S)
    except (*LOST, TimeoutError):
        return False
    return True


def _is_gone(paths: HostPaths, wait_s: float) -> bool:
    """See whether nobody holds the life lock."""
    try:
        with FileLock(paths.life_lock, timeout=wait_s):
            return True
    except Timeout:
        return False


def _locked(paths: HostPaths) -> Any:
    try:
        return FileLock(paths.start_lock).acquire(timeout=START_S + ASK_S)
    except Timeout as error:
        raise HostUnavailable(
            f"Another process has been starting the engine host for {START_S + ASK_S:g} s.", see(paths)
        ) from error


def _pid(paths: HostPaths) -> int | None:
    with suppress(OSError, ValueError):
        return int(paths.pid.read_text("ascii"))
    return None
