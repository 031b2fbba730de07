"""A file of a Hugging Face repository, by ranged requests through huggingface_hub's own session.

`hf_hub_download` is not used: it throws an interrupted download away and begins again at byte 0, and it spends half a
minute on retries before it says that the Hub cannot be reached, when the next source could be running already.
huggingface_hub still decides endpoint, token, proxy and offline mode.
"""

import os
import time
from pathlib import Path
from typing import Any

from tools_server.models.manifest import HuggingFaceSource
from tools_server.models.sources.base import Job, SourceFailed, WrongBytes

__all__ = ["describe", "fetch_huggingface", "is_offline"]

_TIMEOUT_S = 30.0  # without a byte
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)  # before trying again; the first one after a try that gained bytes
_BLOCK = 1 << 20
_PARTIAL_CONTENT = 206


def is_offline() -> bool:
    """Whether the user forbade the Hub (`HF_HUB_OFFLINE`), asked before the slow import of huggingface_hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def fetch_huggingface(job: Job) -> None:
    """Download the file, going on where an earlier try stopped.

    Raises:
        SourceFailed: offline, unreachable, not found, or not allowed.
        WrongBytes: the Hub has another file there than the pinned one.
    """
    _ask_permission()
    # Imported here: huggingface_hub takes a third of a second, which no other command should wait for.
    import httpx2  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    try:
        _check_before(job)
        broken = 0  # times in a row, without a byte gained
        while _size(job.target) < job.size_bytes:
            before = _size(job.target)
            try:
                _download(job)
            except httpx2.TransportError as error:
                broken = 0 if _size(job.target) > before else broken + 1
                if broken == len(_PAUSES_S):
                    raise SourceFailed(f"the connection broke {broken} times in a row: {_reason(error)}") from error
                time.sleep(_PAUSES_S[broken])
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise SourceFailed(_reason(error)) from error


def _ask_permission() -> None:
    if is_offline():
        raise SourceFailed("HF_HUB_OFFLINE is set")
    # huggingface_hub otherwise looks up and tells the Hub which agent it runs under. It reads this when it is
    # imported; whoever wants to be counted sets it to 0.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def _check_before(job: Job) -> None:
    """Ask for the file's size and hash first: a wrong file is refused before its bytes travel."""
    from huggingface_hub import get_hf_file_metadata  # noqa: PLC0415 # pyright: ignore[reportUnknownVariableType]

    metadata = get_hf_file_metadata(_url(job), token=None, timeout=10)
    if metadata.size is not None and metadata.size != job.size_bytes:
        raise WrongBytes(f"the file there has {metadata.size} bytes, not the pinned {job.size_bytes}")
    # For large files the Hub's ETag is the SHA-256 of the content.
    if metadata.etag and len(metadata.etag) == len(job.sha256) and metadata.etag != job.sha256:
        raise WrongBytes(f"the file there has SHA-256 {metadata.etag}, not the pinned {job.sha256}")


def _download(job: Job) -> None:
    from huggingface_hub import get_session  # noqa: PLC0415 (see fetch_huggingface)
    from huggingface_hub.utils import (  # noqa: PLC0415
        build_hf_headers,  # pyright: ignore[reportUnknownVariableType]
        hf_raise_for_status,
    )

    done = _size(job.target)
    job.have_room(done=done)
    # A compressed answer has other byte positions than the file.
    headers = {**build_hf_headers(library_name="tools-server"), "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    what = f"downloading from Hugging Face {_hub_file(job).repo}"
    with get_session().stream("GET", _url(job), headers=headers, timeout=_TIMEOUT_S, follow_redirects=True) as response:
        hf_raise_for_status(response)
        resumed = response.status_code == _PARTIAL_CONTENT and _starts_at(response.headers, done)
        done = done if resumed else 0
        with job.target.open("ab" if resumed else "wb") as target:
            for block in response.iter_bytes(_BLOCK):
                target.write(block)
                done += len(block)
                job.report(done, job.size_bytes, what)
                if done > job.size_bytes:
                    raise WrongBytes(f"the server sent more than the pinned {job.size_bytes} bytes")
    if done < job.size_bytes:
        raise SourceFailed(f"the server ended the file after {done} of {job.size_bytes} bytes")


def describe(repo: str, file: str, revision: str | None) -> tuple[str, int, str, str]:
    """Ask the Hub about one file: (commit, size in bytes, SHA-256, licence or "").

    Raises:
        SourceFailed: offline, unreachable, no such repository, revision or file, or the Hub knows no SHA-256 of it.
    """
    _ask_permission()
    import httpx2  # noqa: PLC0415 (see fetch_huggingface)
    from huggingface_hub import HfApi, RepoFile  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    try:
        api = HfApi(library_name="tools-server")
        info = api.model_info(repo, revision=revision, timeout=10)
        commit = info.sha or revision or "main"
        found = api.get_paths_info(repo, [file], revision=commit)
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError) as error:
        raise SourceFailed(_reason(error)) from error
    entry = next((item for item in found if isinstance(item, RepoFile) and item.path == file), None)
    if entry is None:
        raise SourceFailed(f"there is no file {file!r} in {repo} at {commit}")
    if entry.lfs is None:
        raise SourceFailed(f"the Hub names no SHA-256 for {file!r}: it is not stored as a large file")
    tags = info.tags or []
    licence = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "")
    return commit, entry.lfs.size, entry.lfs.sha256, licence


def _hub_file(job: Job) -> HuggingFaceSource:
    assert isinstance(job.source, HuggingFaceSource)
    return job.source


def _url(job: Job) -> str:
    from huggingface_hub import hf_hub_url  # noqa: PLC0415 (see fetch_huggingface)

    source = _hub_file(job)
    return hf_hub_url(source.repo, source.file, revision=source.revision)


def _starts_at(headers: Any, offset: int) -> bool:
    return str(headers.get("Content-Range", "")).startswith(f"bytes {offset}-")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    first = str(error).strip().splitlines()
    return first[0] if first else type(error).__name__
