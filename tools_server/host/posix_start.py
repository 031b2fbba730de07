"""Everywhere but on Windows: starting a host that is nobody's child, and hearing that it listens.

The host is made by a process in between that ends at once: so a client that ends its children (or its process group)
does not end the engine of all others, and no dead host waits to be collected.
"""

import os
import select
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

__all__ = ["start", "wait"]

PATIENCE_S = 90.0
"""Seconds for the process in between, on a machine that hardly moves."""

_ORPHAN = "import os, sys; os.fork() or os.execv(sys.argv[1], sys.argv[1:])"


def start(command: Sequence[str], log: IO[bytes], tell: int) -> None:
    """Start a host that prints to `log`, and give it the descriptor `tell` as last argument.

    Raises:
        OSError, SubprocessError: it cannot be started.
    """
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", _ORPHAN, *command, str(tell)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",  # a host keeps no folder of its starter from being moved or unmounted
        pass_fds=(tell,),
        start_new_session=True,
        check=True,
        timeout=PATIENCE_S,
    )


def wait(listening: int, limit_s: float) -> bytes | None:
    """Give what is said in time: nothing if the host ended, None if it is silent."""
    return os.read(listening, 1) if select.select([listening], [], [], limit_s)[0] else None
