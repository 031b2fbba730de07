"""Starts a host that survives whoever started it.

That it listens is told through a pipe, whose end also tells when it never will.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from tools_server.errors import HostUnavailable
from tools_server.host.info import TOLD
from tools_server.host.paths import HostPaths
from tools_server.settings import Settings

if sys.platform == "win32":
    import msvcrt

    from tools_server.host.windows_start import start, wait
else:
    from tools_server.host.posix_start import start, wait

__all__ = ["COMMAND", "START_S", "launch", "see", "tell_listening"]

COMMAND = (sys.executable, "-P", "-m", "tools_server", "host", "serve")
"""`-P`: nothing is imported from the current folder."""

START_S = 90.0
"""Seconds until a host listens, at most: one that it replaces may first finish what is under way."""

LARGEST_LOG = 1 << 20
"""Bytes from which on a log is put aside when the next host starts."""


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
                command = [*command, "--settings", chosen, "--ready-fd"]
                start(command, log, tell)
            finally:
                os.close(tell)
        said = wait(listening, START_S)
        if said is None:
            raise HostUnavailable(f"The engine host did not listen within {START_S:g} s.", see(paths))
        if not said:
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


def tell_listening(ready: int) -> None:
    """Say through what `--ready-fd` named (on Windows, a handle) that clients can come, and close it."""
    descriptor = msvcrt.open_osfhandle(ready, os.O_WRONLY) if sys.platform == "win32" else ready
    os.write(descriptor, b"\n")
    os.close(descriptor)


def _open_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LARGEST_LOG:
        with suppress(PermissionError):  # on Windows, as long as the host before still writes
            path.replace(path.with_name(f"{path.name}.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _complaint(log: Path, begin: int) -> str:
    """Give what was printed last: the error, if there is one."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = [line.strip() for line in file.read().decode("utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it said nothing"])[-1]
