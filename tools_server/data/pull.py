"""Download the files of a data set that are published as they are pinned. Only `tools-server data pull` does that."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tools_server.data.recipe import FilePin, Recipe
from tools_server.errors import DataNotFound, DataUnreachable

__all__ = ["MAX_BYTES", "Told", "pull"]

MAX_BYTES = 256 * 1024 * 1024
"""Largest file that is taken; the recipes that ship stay below 12 MB."""

TIMEOUT_S = 30.0  # without a byte
_BLOCK = 1 << 20

Told = Callable[[int, int | None, str], None]
"""Called with (bytes done, total bytes if known, what is being done)."""


def pull(recipe: Recipe, folder: Path, told: Told, *, client: Any = None) -> list[Path]:
    """Download the files that are not in the folder yet, each whole and verified before it gets its name.

    `client` is an `httpx2.Client`; by default one that honours the user's proxy settings. Gives the files that are new.

    Raises:
        DataNotFound: a file that is missing has no address; the hint says where the set is published.
        DataUnreachable: the address did not deliver the pinned bytes; nothing of the file was kept.
    """
    missing = [pin for pin in recipe.pins if not recipe.path_of(pin, folder).is_file()]
    for pin in missing:
        if pin.url is None:
            raise DataNotFound(
                f"Data set {recipe.name!r} names no address for {pin.path}.",
                f"{recipe.published} Put the pinned file at {folder / pin.path}.",
            )
    if not missing:
        return []
    import httpx2  # noqa: PLC0415 - a quarter of a second, which the other commands need not pay

    with client or httpx2.Client(timeout=TIMEOUT_S, follow_redirects=True) as connection:
        for pin in missing:
            try:
                _download(connection, recipe, pin, folder / pin.path, told)
            except (httpx2.HTTPError, OSError) as error:
                reason = str(error) or type(error).__name__
                raise DataUnreachable(
                    f"{pin.url} did not deliver {pin.path} of data set {recipe.name!r}: {reason}.",
                    f"Try again later, or put the file at {folder / pin.path} yourself.",
                ) from error
    return [folder / pin.path for pin in missing]


def _download(connection: Any, recipe: Recipe, pin: FilePin, target: Path, told: Told) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with connection.stream("GET", pin.url) as response:
            response.raise_for_status()
            with partial.open("wb") as file:
                found = _copy(response, file, pin, told)
        if found != pin.sha256:
            raise DataUnreachable(
                f"{pin.url} delivers a file with SHA-256 {found}; data set {recipe.name!r} pins {pin.sha256}.",
                "Nothing was kept. The file was changed there or the recipe is wrong; do not just change the hash.",
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _copy(response: Any, file: IO[bytes], pin: FilePin, told: Told) -> str:
    """Write the body to `file` and give its SHA-256; the size is capped whatever the server announces."""
    length = response.headers.get("Content-Length", "")
    # A compressed body has another length than the file.
    total = int(length) if length.isdigit() and "Content-Encoding" not in response.headers else None
    digest = hashlib.sha256()
    done = 0
    for block in response.iter_bytes(_BLOCK):
        done += len(block)
        if done > MAX_BYTES:
            raise DataUnreachable(
                f"{pin.url} sends more than {MAX_BYTES:,} bytes.", "Nothing was kept. Download and check it by hand."
            )
        digest.update(block)
        file.write(block)
        told(done, total, f"downloading {pin.path}")
    return digest.hexdigest()
