"""Files that are either whole or not there: hashing, writing aside, and the seal that saves hashing at each start."""

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools_server.models.report import Report

__all__ = [
    "Seal",
    "copy_bytes",
    "place",
    "read_seal",
    "remove",
    "remove_sealed",
    "sha256_of",
    "sync_folder",
    "write_aside",
    "write_seal",
]

_BLOCK = 1 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seal:
    """What a file was when its SHA-256 was last computed. Same size and time: not computed again."""

    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path, sha256: str) -> "Seal":
        """The seal of a file as it lies there now."""
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns, sha256)


def _seal_path(path: Path) -> Path:
    """Where the seal of a file lies: beside it."""
    return path.with_name(path.name + ".verified.json")


def read_seal(path: Path) -> Seal | None:
    """The seal of a file, or None when it has none or an unreadable one (the file is then hashed again)."""
    try:
        raw = json.loads(_seal_path(path).read_text("utf-8"))
        return Seal(size=int(raw["size"]), mtime_ns=int(raw["mtime_ns"]), sha256=str(raw["sha256"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("ignoring the unreadable seal %s: %s", _seal_path(path), error)
        return None


def write_seal(path: Path, sha256: str) -> None:
    """Note that the file as it lies there has this hash. A cache that cannot be written only costs time."""
    seal = Seal.of(path, sha256)
    text = json.dumps({"size": seal.size, "mtime_ns": seal.mtime_ns, "sha256": seal.sha256}) + "\n"
    try:
        write_aside(_seal_path(path), text)
    except OSError as error:
        _log.warning("cannot write %s (%s): the file will be hashed again at the next start", _seal_path(path), error)


def sha256_of(path: Path, report: Report, what: str) -> str:
    """Hash a file block by block."""
    total = path.stat().st_size
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK))
    done = 0
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(block):
            digest.update(block[:read])
            done += read
            report(done, total, what)
    return digest.hexdigest()


def copy_bytes(source: IO[bytes], target: IO[bytes], *, done: int, total: int, report: Report, what: str) -> int:
    """Append all of `source` to `target`, reporting from `done` on; gives the new number of bytes done."""
    while block := source.read(_BLOCK):
        target.write(block)
        done += len(block)
        report(done, total, what)
    return done


def place(finished: Path, target: Path) -> None:
    """Give a verified file its final name, so that a crash at any moment leaves the old file or the new one."""
    with finished.open("rb") as file:
        os.fsync(file.fileno())
    finished.replace(target)
    sync_folder(target.parent)


def write_aside(target: Path, text: str) -> None:
    """Write a small text file whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system has a way to ask for it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_sealed(path: Path) -> None:
    """Remove a file and its seal, if they are there."""
    remove(path)
    remove(_seal_path(path))
