"""Reading one skill folder safely: size caps, UTF-8, strict JSON, and no way out of the folder.

Nothing here knows what the files mean, and nothing in a folder is ever executed.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

MAX_ENTRIES = 2000
"""Files and folders inside one skill folder, at most: a stray checkout or virtual environment is no skill."""

KIB = 1024
SIZE_CAPS = {
    "skill.toml": 64 * KIB,
    "prompt.jinja": 64 * KIB,
    "input.schema.json": 256 * KIB,
    "output.schema.json": 256 * KIB,
    "SKILL.md": 256 * KIB,
    "card.json": 256 * KIB,
    "calibration.json": 1024 * KIB,
}
"""Bytes that each file may have; a larger one is refused by name."""


class Problem(Exception):
    """Why a folder is not a skill: `file` and `key` say where, `reason` says what and what would do.

    It never leaves this room: the loader turns it into a `BrokenSkill`.
    """

    def __init__(self, file: str, key: str, reason: str) -> None:
        super().__init__(f"{file}: {key}: {reason}" if key else f"{file}: {reason}")
        self.file = file
        self.key = key
        self.reason = reason


class SkillFolder:
    """One folder on disk. Each file is read once, so that what is checked, used and hashed are the same bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: dict[str, bytes | None] = {}
        self._root = path.resolve()

    def check_links(self) -> None:
        """Walk the folder once.

        Raises:
            Problem: a symbolic link leads outside, or the folder holds more than `MAX_ENTRIES` entries.
        """
        for count, entry in enumerate(_walk(self._root), start=1):
            name = Path(entry.path).relative_to(self._root).as_posix()
            if count > MAX_ENTRIES:
                raise Problem(name, "", f"the folder holds more than {MAX_ENTRIES} files; a skill is a few")
            if entry.is_symlink() and not self._inside(Path(entry.path)):
                raise Problem(name, "", "a symbolic link leads outside the folder; copy the file instead")

    def read(self, name: str) -> bytes | None:
        """Give the bytes of a file, None when it is not there.

        Raises:
            Problem: it is no regular file, leads outside the folder, or is larger than its cap.
        """
        if name not in self._read:
            self._read[name] = self._bytes(name)
        return self._read[name]

    def digest(self, names: Iterable[str]) -> str:
        """Give the SHA-256 over the files of these names that are there. Raises `Problem` as `read` does."""
        digest = hashlib.sha256()
        for name in names:
            data = self.read(name)
            if data is not None:
                digest.update(f"{name}\0{len(data)}\0".encode() + data)
        return digest.hexdigest()

    def text(self, name: str) -> str | None:
        """Give a file as text, None when it is not there. Raises `Problem` as `read` does, and when it is not UTF-8."""
        data = self.read(name)
        if data is None:
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Problem(name, "", f"is not UTF-8 (byte {error.start}: {error.reason})") from error

    def json_object(self, name: str) -> dict[str, Any] | None:
        """Give a JSON file's object, None when it is not there.

        Raises:
            Problem: as `text`; or it is not JSON, not an object, names a key twice, or nests too deep.
        """
        source = self.text(name)
        if source is None:
            return None
        try:
            value: object = json.loads(source, object_pairs_hook=_without_twins, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            raise Problem(name, f"line {error.lineno} column {error.colno}", f"is not JSON: {error.msg}") from error
        except (ValueError, RecursionError) as error:
            raise Problem(name, "", str(error)) from error
        if not isinstance(value, dict):
            raise Problem(name, "", f"must hold a JSON object, not {type(value).__name__}")
        return cast("dict[str, Any]", value)

    def has(self, name: str) -> bool:
        """Tell whether a regular file of that relative path lies inside the folder."""
        path = self.path / name
        return self._inside(path) and path.is_file()

    def _bytes(self, name: str) -> bytes | None:
        path = self.path / name
        if not path.is_symlink() and not path.exists():
            return None
        if not self._inside(path) or not stat.S_ISREG(path.stat().st_mode):
            raise Problem(name, "", "is not a regular file inside the folder")
        cap = SIZE_CAPS[name]
        with path.open("rb") as file:
            data = file.read(cap + 1)
        if len(data) > cap:
            raise Problem(name, "", f"is larger than {cap // KIB} KiB ({path.stat().st_size:,} bytes)")
        return data

    def _inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self._root)


def skill_folders(directory: Path) -> list[Path]:
    """Give the folders in a skills directory, sorted; hidden ones and `__pycache__` are not skills.

    A directory that does not exist holds none.
    """
    if not directory.is_dir():
        return []
    names = (path for path in directory.iterdir() if not path.name.startswith((".", "__")))
    return sorted(path for path in names if path.is_dir())


def fingerprint(directories: Iterable[Path]) -> frozenset[tuple[str, int, int, int]]:
    """Tell what lies in the skills directories, from names, sizes and times alone: cheap, and equal when unchanged."""
    found: set[tuple[str, int, int, int]] = set()
    for folder in (folder for directory in directories for folder in skill_folders(directory)):
        try:
            found.add((str(folder.resolve()), 0, 0, folder.stat().st_ino))
            for count, entry in enumerate(_walk(folder)):
                if count > MAX_ENTRIES:
                    break
                info = entry.stat(follow_symlinks=False)
                found.add((entry.path, max(info.st_mtime_ns, info.st_ctime_ns), info.st_size, info.st_ino))
        except OSError:  # it changed under our feet: different from every quiet state, so it will be read again
            found.add((str(folder), -1, -1, -1))
    return frozenset(found)


def _walk(folder: Path) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object names the key {twin!r} twice")
    return values


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
