"""Starts a host that survives whoever started it.

The host is made by a process in between that ends at once: so it is nobody's child, a client that ends its children
(or its process group) does not end the engine of all others, and no dead host waits to be collected. That it listens
is told through a pipe, whose end also tells when it never will.
"""

import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tools_server.errors import HostUnavailable
from tools_server.host.info import TOLD
from tools_server.host.paths import HostPaths
from tools_server.settings import Settings

COMMAND = (sys.executable, "-P", "-m", "tools_server", "host", "serve")
"""`-P`: nothing is imported from the current folder."""

START_S = 90.0
"""Seconds until a host listens, at most: one that it replaces may first finish what is under way."""

LARGEST_LOG = 1 << 20
"""Bytes from which on a log is put aside when the next host starts."""

_ORPHAN = "import os, sys; os.fork() or os.execv(sys.argv[1], sys.argv[1:])"


def launch(paths: HostPaths, settings: Settings, command: Sequence[str] = COMMAND) -> None:
    """Start a host and wait until it listens.

    Raises:
        HostUnavailable: it ended before, or did not come up in time; says what it printed last.
    """
    # They travel whole, so that the host reads neither this environment nor a file that may have changed.
    # A default stays one: what `models tune` found holds only where the user has not decided.
    settings = settings.model_copy(
        update={"runtime_dir": paths.folder, "config_dir": settings.config_dir, "cache_dir": settings.cache_dir}
    )
    chosen = settings.model_dump_json(include=set(TOLD), exclude_unset=True)
    listening, tell = os.pipe()
    try:
        with _open_log(paths.log) as log:
            begin = paths.log.stat().st_size
            try:
                _start([*command, "--settings", chosen, "--ready-fd", str(tell)], log, tell)
            finally:
                os.close(tell)
        if not select.select([listening], [], [], START_S)[0]:
            raise HostUnavailable(f"The engine host did not listen within {START_S:g} s.", see(paths))
        if not os.read(listening, 1):
            raise HostUnavailable(
                f"The engine host ended before it listened: {_complaint(paths.log, begin).rstrip('.')}.", see(paths)
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise HostUnavailable(f"The engine host cannot be started: {error}.", "Or use `--in-process`.") from error
    finally:
        os.close(listening)


def see(paths: HostPaths) -> str:
    """Say where more can be read."""
    return f"Its log is {paths.log}."


def _start(command: Sequence[str], log: IO[bytes], tell: int) -> None:
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", _ORPHAN, *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",  # a host keeps no folder of its starter from being moved or unmounted
        pass_fds=(tell,),
        start_new_session=True,
        check=True,
        timeout=START_S,
    )


def _open_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LARGEST_LOG:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _complaint(log: Path, begin: int) -> str:
    """Give what was printed last: the error, if there is one."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = [line.strip() for line in file.read().decode("utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it said nothing"])[-1]
