"""Opens a file below a folder, and never one outside of it, whatever happens to the names in the meantime."""

# pyright: standard
# The stubs of pywin32 leave many types out.

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    import win32file

__all__ = ["open_below"]


def open_below(root: Path, relative: Path) -> int:
    """Give a descriptor for reading. `root` and the way below it are resolved: a symlink met there was slipped in.

    Raises:
        OSError: it is not there, cannot be opened, or is not where it was.
    """
    return _open_and_look(root / relative) if sys.platform == "win32" else _open_step_by_step(root, relative)


if sys.platform == "win32":

    def _open_and_look(path: Path) -> int:
        """Open a file, then ask where it lies that was opened."""
        file = os.open(path, os.O_RDONLY | os.O_BINARY | os.O_NOINHERIT)
        try:
            found = _place_of(file)
        except win32file.error:  # a device, which has no place
            found = None
        if found != path:
            os.close(file)
            raise PermissionError(13, "It was exchanged while it was opened")
        return file

    def _place_of(file: int) -> Path:
        handle = msvcrt.get_osfhandle(file)
        place = win32file.GetFinalPathNameByHandle(handle, 0).removeprefix("\\\\?\\")
        return Path("\\" + place[3:] if place.startswith("UNC\\") else place)

else:
    _FOLDER = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    # O_NONBLOCK: opening a named pipe that nobody writes to must not hang; it has no effect on regular files.
    _FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

    def _open_step_by_step(root: Path, relative: Path) -> int:
        """Open each folder on the way from the one before, following no symlink."""
        folder = os.open(root, _FOLDER)
        try:
            for part in relative.parts[:-1]:
                below = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = below
            return os.open(relative.name or ".", _FILE, dir_fd=folder)
        finally:
            os.close(folder)
