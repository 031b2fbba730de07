"""Text files that a caller names, read only from folders that the user allowed.

Default deny. A path is resolved first, symlinks and `..` included, and must then lie inside an allowed folder with no
hidden folder or file (`.git`, `.env`) below it. It is opened so that a symlink that is slipped in between the check and
the read leads nowhere (`opening`).
"""

import os
import stat
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio.to_thread

from tools_server.errors import InputNotAllowed, InputTooLong, InputUnreadable
from tools_server.inputs.opening import open_below

MAX_BYTES = 8 * 1024 * 1024
"""Largest file that is read: about two million tokens, far more than any call can answer in time."""


class Sandbox:
    """The folders whose files a call may read. Resolved once: a root that later becomes a symlink stays what it was."""

    def __init__(self, roots: Sequence[Path], *, max_bytes: int = MAX_BYTES) -> None:
        self._roots = tuple(dict.fromkeys(root.expanduser().resolve() for root in roots))
        self._max_bytes = max_bytes

    @property
    def roots(self) -> tuple[Path, ...]:
        """The allowed folders, resolved."""
        return self._roots

    async def read(self, path: str) -> str:
        """Read a file in a worker thread; see `read_now`."""
        return await anyio.to_thread.run_sync(partial(self.read_now, path), abandon_on_cancel=True)

    def read_now(self, path: str) -> str:
        """Read a UTF-8 text file; a leading byte order mark is dropped.

        A relative path is looked up below each allowed folder in turn, for a server's working directory means
        nothing to its caller.

        Raises:
            InputNotAllowed: it leads outside the allowed folders, or through a hidden file or folder.
            InputUnreadable: it is missing, not a regular file, binary, not UTF-8, or holds nothing but white space.
            InputTooLong: it is larger than `max_bytes`.
        """
        root, relative = self._locate(path)
        try:
            content = self._read_bytes(path, root, relative)
        except OSError as error:
            if sys.platform == "win32" and (root / relative).is_dir():  # which cannot be opened there
                raise _no_file(path, "a folder") from error
            raise _unreadable(path, error) from error
        return _decode(path, content)

    def _locate(self, path: str) -> tuple[Path, Path]:
        """Find the allowed folder that a path leads into, and the way from there; nothing is opened."""
        if not self._roots:
            raise InputNotAllowed(
                f"Cannot read {path!r}: no folder is allowed.",
                "Start the server with `--allow-path DIR` (or set `allow_paths`), or pass the content as `text`.",
            )
        if "\0" in path:
            raise InputUnreadable(f"{path!r} is no path: it holds a NUL character.", "Give the path of a text file.")
        hidden = False
        allowed: tuple[Path, Path] | None = None
        for resolved in self._candidates(path):
            for root in self._roots:
                if not resolved.is_relative_to(root):
                    continue
                relative = resolved.relative_to(root)
                if any(part.startswith(".") for part in relative.parts):
                    hidden = True
                    continue
                if os.path.lexists(resolved):
                    return root, relative
                allowed = allowed or (root, relative)
        if allowed is not None:
            return allowed
        if hidden:
            raise InputNotAllowed(
                f"Cannot read {path!r}: files and folders whose name begins with a dot are never read.",
                "Pass the content as `text`, or copy the file to a visible name.",
            )
        folders = ", ".join(str(root) for root in self._roots)
        raise InputNotAllowed(
            f"Cannot read {path!r}: it leads outside the allowed folders ({folders}).",
            "Pass a file inside them, or start the server with a further `--allow-path DIR`.",
        )

    def _candidates(self, path: str) -> list[Path]:
        try:
            given = Path(path).expanduser()
            places = [given] if given.is_absolute() else [root / given for root in self._roots]
            return [place.resolve() for place in places]
        except (OSError, RuntimeError) as error:  # a loop of symlinks, a name that is too long, an unknown ~user
            raise InputUnreadable(f"Cannot follow {path!r}: {error}.", "Give the path of a text file.") from error

    def _read_bytes(self, path: str, root: Path, relative: Path) -> bytes:
        file = open_below(root, relative)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise _no_file(path, kind)
            size, content = status.st_size, b""
            if size <= self._max_bytes:
                with os.fdopen(file, "rb", closefd=False) as opened:
                    # One byte more than allowed: the file may have grown since fstat.
                    content = opened.read(self._max_bytes + 1)
                size = max(size, len(content))
        finally:
            os.close(file)
        if size > self._max_bytes:
            raise InputTooLong(
                f"{path!r} holds {size:,} bytes; at most {self._max_bytes:,} are read.",
                "Split the file, or pass the part that matters as `text`.",
            )
        return content


def _decode(path: str, content: bytes) -> str:
    if (nul := content.find(b"\0")) >= 0:
        raise InputUnreadable(
            f"{path!r} is not a text file: byte {nul} is NUL.", "Convert it to UTF-8 text, or pass the text itself."
        )
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputUnreadable(
            f"{path!r} is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}.",
            "Convert it first, for example with `iconv -f latin1 -t utf-8`.",
        ) from error
    if not text.strip():
        raise InputUnreadable(f"{path!r} holds no text: it has {len(content)} bytes.", "Name a file with text in it.")
    return text


def _no_file(path: str, kind: str) -> InputUnreadable:
    return InputUnreadable(f"Cannot read {path!r}: it is {kind}.", "Name text files one by one.")


def _unreadable(path: str, error: OSError) -> InputUnreadable:
    reason = (error.strerror or str(error)).lower()
    return InputUnreadable(f"Cannot read {path!r}: {reason}.", "Check the path; name text files one by one.")
