"""Bring a model's pinned bytes onto this machine: fetched aside, verified, renamed."""

import hashlib
import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tools_server.errors import ChecksumMismatch, DownloadFailed
from tools_server.models.files import Seal, place, read_seal, remove, sha256_of, write_seal
from tools_server.models.manifest import Source, Weights
from tools_server.models.report import Report
from tools_server.models.sources import FETCHERS, Fetch, Job, SourceFailed, WrongBytes

__all__ = ["Installer"]

_log = logging.getLogger(__name__)


class Installer:
    """Keeps weights under `root/<id>/<file>`, their seal beside them, and unfinished work in `<file>.partial/`."""

    def __init__(self, root: Path, fetchers: Mapping[str, Fetch] = FETCHERS) -> None:
        self._root = root
        self._fetchers = fetchers

    def path(self, weights: Weights) -> Path:
        """Where the weights lie once they are here."""
        return self._root / weights.id / weights.file_name

    def is_present(self, weights: Weights) -> bool:
        """Whether a file of the right size lies there; reads no content."""
        path = self.path(weights)
        return path.is_file() and path.stat().st_size == weights.size_bytes

    def is_sealed(self, weights: Weights) -> bool:
        """Whether the file is the one whose hash was last found right; reads no content."""
        path = self.path(weights)
        return self.is_present(weights) and read_seal(path) == Seal.of(path, weights.sha256)

    def verify(self, weights: Weights, report: Report) -> bool:
        """Hash the file that lies there, and seal it when it is the pinned one."""
        path = self.path(weights)
        if not self.is_present(weights) or sha256_of(path, report, f"checking {weights.id}") != weights.sha256:
            return False
        write_seal(path, weights.sha256)
        return True

    def install(self, weights: Weights, report: Report) -> Path:
        """Fetch from the first source that delivers the pinned bytes; does nothing when they are here already.

        Raises:
            DownloadFailed: no source delivered; names what each of them said.
            ChecksumMismatch: every source delivered, and all of them another file.
        """
        if self.is_sealed(weights):
            return self.path(weights)
        self._root.mkdir(parents=True, exist_ok=True)
        with self._locked(weights, report):
            if self.is_sealed(weights) or self.verify(weights, report):
                return self.path(weights)
            return self._fetch_any(weights, report)

    @contextmanager
    def _locked(self, weights: Weights, report: Report) -> Generator[None]:
        lock = FileLock(self._root / f".{weights.id}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report(0, weights.size_bytes, f"waiting for another pull of {weights.id}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _fetch_any(self, weights: Weights, report: Report) -> Path:
        path = self.path(weights)
        partial = path.with_name(path.name + ".partial")
        failures: list[tuple[str, SourceFailed]] = []
        for source in weights.source:
            job = Job(source, partial / _work_name(source, weights), weights.sha256, weights.size_bytes, report)
            try:
                self._fetch(job)
            except SourceFailed as failure:
                _log.warning("model %s: %s did not deliver: %s", weights.id, source.label, failure)
                failures.append((source.label, failure))
                continue
            place(job.target, path)
            write_seal(path, weights.sha256)
            remove(partial)
            return path
        raise _failure(weights, failures, partial)

    def _fetch(self, job: Job) -> None:
        job.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._fetchers[job.source.kind](job)
            _check(job)
        except WrongBytes:
            remove(job.folder)  # nothing here is worth resuming
            raise


def _check(job: Job) -> None:
    found = job.target.stat().st_size
    if found != job.size_bytes:
        raise WrongBytes(f"delivered {found} bytes, not the pinned {job.size_bytes}")
    digest = sha256_of(job.target, job.report, "checking the download")
    if digest != job.sha256:
        raise WrongBytes(f"delivered SHA-256 {digest}, not the pinned {job.sha256}")


def _work_name(source: Source, weights: Weights) -> str:
    """A folder name that changes with the source and the hash, so that no pull resumes another file's bytes."""
    identity = hashlib.sha256(f"{weights.sha256}\n{source.model_dump_json()}".encode()).hexdigest()
    return f"{source.kind}-{identity[:12]}"


def _failure(weights: Weights, failures: list[tuple[str, SourceFailed]], partial: Path) -> Exception:
    said = "; ".join(f"{label}: {failure}" for label, failure in failures)
    if all(isinstance(failure, WrongBytes) for _, failure in failures):
        remove(partial)
        return ChecksumMismatch(
            f"Every source of model {weights.id!r} has another file than the manifest pins: {said}.",
            "Nothing was kept. The manifest is wrong or the sources were changed; do not just change the hash.",
        )
    return DownloadFailed(
        f"No source delivered model {weights.id!r}: {said}.",
        f"Mend what the sources name and run `tools-server models pull {weights.id}` again: it resumes. "
        f"If you have the file, `tools-server models add PATH --id {weights.id}` takes it from there.",
    )
