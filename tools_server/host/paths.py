"""Where a host's socket, locks and log lie, and whether that place is this user's alone.

    <runtime folder>/<name>.sock     the socket; there only while the host listens. On Windows, the name of its pipe
    <runtime folder>/<name>.lock     held by the host as long as it lives
    <runtime folder>/<name>.start    held by the front end that starts one
    <runtime folder>/<name>.pid      whom to end when the host does not answer
    <log folder>/<name>.log          what the host and its native libraries print; `.log.1` is the one before

Whoever can open the socket can use the engine, so the folder is the lock: mode 0700, owned by the user. On Windows it
lies in the user's profile, and the pipe itself is the user's alone.
"""

import hashlib
import logging
import os
import stat
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tools_server.errors import HostUnavailable
from tools_server.settings import Settings

_log = logging.getLogger(__name__)

LONGEST_SOCKET = 100
"""Bytes of a socket's path. The kernels' own limits are 108 (Linux) and 104 (macOS), a closing zero included."""

READ_S = 2.0
"""Seconds that somebody may read one of these files for."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class HostPaths:
    """The files of one host."""

    folder: Path
    logs: Path
    name: str

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / f"{self.name}.sock"

    @property
    def life_lock(self) -> Path:
        """Held by the host for its whole life."""
        return self.folder / f"{self.name}.lock"

    @property
    def start_lock(self) -> Path:
        """Held while a host is started or replaced."""
        return self.folder / f"{self.name}.start"

    @property
    def pid(self) -> Path:
        """Holds the host's process id."""
        return self.folder / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.logs / f"{self.name}.log"


def host_paths(settings: Settings, *, model_id: str, model_sha256: str) -> HostPaths:
    """Give the files of this user's host for one model: other weights under the same id are another model.

    Raises:
        HostUnavailable: no folder is short enough for a socket, or the user's runtime folder is not the user's.
    """
    name = f"{model_id[:24]}-{hashlib.sha256(f'{model_id} {model_sha256}'.encode()).hexdigest()[:8]}"
    return HostPaths(_folder(settings, name), _logs(settings), name)


def listed_paths(settings: Settings) -> list[HostPaths]:
    """Give the files of every host of this user whose socket is there, by name."""
    folders = {_folder(settings, name) for name in ("x", "x" * 33)}  # a short name may fit where a long one does not
    found = [socket for folder in folders for socket in folder.glob("*.sock")]
    return [HostPaths(socket.parent, _logs(settings), socket.stem) for socket in sorted(found)]


def secure(paths: HostPaths) -> None:
    """Make the folder, or see that it is the user's alone. Nobody else may have put something there.

    Raises:
        HostUnavailable: it is a link, belongs to somebody else, is open to others, or cannot be made.
    """
    folder = paths.folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = folder.lstat()
    except OSError as error:
        raise HostUnavailable(f"Cannot make the folder {folder}: {error}.", _ELSEWHERE) from error
    if not stat.S_ISDIR(there.st_mode):
        raise HostUnavailable(
            f"{folder} must be a folder, but it is {stat.filemode(there.st_mode)}: somebody else may have put it "
            "there.",
            _ELSEWHERE,
        )
    if sys.platform == "win32":  # no owner and no mode to read; a folder that is made here gets the user's rights alone
        return
    if there.st_uid != os.getuid():
        raise HostUnavailable(
            f"{folder} must be of user {os.getuid()}, but it is of user {there.st_uid}, who may have put it there.",
            _ELSEWHERE,
        )
    if there.st_mode & _OTHERS:
        raise HostUnavailable(
            f"{folder} is open to other users (mode {stat.S_IMODE(there.st_mode):04o}); it must be 0700.",
            f"If you trust what lies in it: chmod 700 {folder}",
        )


def remove(path: Path) -> None:
    """Remove a file, if it is there. On Windows none can go while somebody reads it, which takes a moment."""
    end = time.monotonic() + READ_S
    while True:
        try:
            return path.unlink(missing_ok=True)
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > end:
                raise
            time.sleep(0.01)


_ELSEWHERE = "Set `runtime_dir` to a folder of your own, or use `--in-process`."


def _folder(settings: Settings, name: str) -> Path:
    if settings.runtime_dir is not None:
        candidates = [settings.runtime_dir.absolute()]
    elif sys.platform == "win32":
        candidates = [_runtime_dir()]
    else:
        candidates = [_runtime_dir(), Path(tempfile.gettempdir()) / f"tools-server-{os.getuid()}"]
    for folder in candidates:
        if sys.platform == "win32" or len(os.fsencode(HostPaths(folder, folder, name).socket)) <= LONGEST_SOCKET:
            return folder
    raise HostUnavailable(
        f"{HostPaths(candidates[-1], candidates[-1], name).socket} is too long for a socket: at most "
        f"{LONGEST_SOCKET} bytes.",
        "Set `runtime_dir` to a shorter path.",
    )


def _runtime_dir() -> Path:
    try:
        with warnings.catch_warnings(record=True) as said:
            # Without a usable XDG_RUNTIME_DIR it takes another folder, which `secure` looks at as well, and warns.
            warnings.simplefilter("always")
            folder = platformdirs.user_runtime_path("tools-server")
        for each in said:
            _log.debug("%s", each.message)
        return folder  # noqa: TRY300 - the except is for the call above
    except PermissionError as error:  # what it would fall back to in the temporary folder is somebody else's
        raise HostUnavailable(f"There is no runtime folder: {error}.", _ELSEWHERE) from error


def _logs(settings: Settings) -> Path:
    return settings.runtime_dir.absolute() if settings.runtime_dir else platformdirs.user_log_path("tools-server")
