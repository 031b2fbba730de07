"""Windows: starting a host that survives whoever started it, and hearing that it listens."""

# pyright: standard
# The stubs of pywin32 leave many types out.

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

assert sys.platform == "win32"

import msvcrt  # noqa: E402 - these are only there on Windows

import pywintypes  # noqa: E402
import win32pipe  # noqa: E402

__all__ = ["start", "wait"]

_ALONE = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
_POLL_S = 0.02


def start(command: Sequence[str], log: IO[bytes], tell: int) -> None:
    """Start a host that prints to `log`, and give it the handle of the descriptor `tell` as last argument.

    It has no console and leaves the client's job. Where a job keeps its processes, the host ends with the client, and
    the next call of others starts another one.

    Raises:
        OSError: it cannot be started.
    """
    handle = msvcrt.get_osfhandle(tell)
    os.set_handle_inheritable(handle, True)
    try:
        _run([*command, str(handle)], log, handle, _ALONE | subprocess.CREATE_BREAKAWAY_FROM_JOB)
    except PermissionError:
        _run([*command, str(handle)], log, handle, _ALONE)


def _run(command: Sequence[str], log: IO[bytes], handle: int, flags: int) -> None:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=Path(sys.executable).anchor,
        startupinfo=subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]}),
        creationflags=flags,
    )
    process.returncode = 0  # nobody waits for it


def wait(listening: int, limit_s: float) -> bytes | None:
    """Give what is said in time: nothing if the host ended, None if it is silent."""
    handle, end = msvcrt.get_osfhandle(listening), time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            if win32pipe.PeekNamedPipe(handle, 0)[1]:
                return os.read(listening, 1)
        except pywintypes.error:  # its other end is closed
            return b""
        time.sleep(_POLL_S)  # an anonymous pipe cannot be waited for with a limit
    return None
