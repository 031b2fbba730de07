"""Writing adapter versions: each is whole and final, or it is not there. `skills.adapters` says where they lie."""

import os
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any, cast

import tomlkit
from pydantic import BaseModel

from tools_server.errors import AdapterMismatch, AdapterVersionConflict
from tools_server.models.adapter_header import read_adapter_header
from tools_server.models.files import copy_bytes, remove, sha256_of, sync_folder, write_aside
from tools_server.models.report import silent
from tools_server.skills.adapters import (
    ACTIVE_FILE,
    BARE,
    PROVENANCE_FILE,
    SHIPPED,
    WEIGHTS_FILE,
    Active,
    AdapterProvenance,
    AdapterVersion,
    Origin,
    active_of,
    find_version,
    version_folder,
)

__all__ = ["add_version", "check_bytes", "remove_version", "write_active"]

_RESERVED = frozenset({SHIPPED, BARE, ACTIVE_FILE})


def add_version(
    root: Path, skill: str, model: str, weights: Path, origin: Origin, *, version: str | None = None
) -> AdapterVersion:
    """Copy an adapter's file into a version of its own, with its provenance. Nothing is served by that.

    The version is called `YYYYMMDD-HHMMSS-<first 8 of the SHA-256>`, by `origin.created` in UTC, unless it has a name.

    Raises:
        AdapterMismatch: the file is damaged, truncated, or no LoRA.
        AdapterVersionConflict: there is a version of that name, or the name stands for something else.
        AdapterVersionNotFound: a name could lead elsewhere.
        OSError: the folder cannot be written.
    """
    header = read_adapter_header(weights)
    home = version_folder(root, skill, model)
    if version is not None:
        _check_free(version_folder(root, skill, model, version))
    home.mkdir(parents=True, exist_ok=True)
    aside = home / f".{os.getpid()}.tmp"  # a leading dot: never taken for a version
    remove(aside)
    aside.mkdir()
    try:
        with weights.open("rb") as source, (aside / WEIGHTS_FILE).open("wb") as target:
            copy_bytes(source, target, done=0, total=header.size_bytes, report=silent, what="")
            target.flush()
            os.fsync(target.fileno())
        sha256 = sha256_of(aside / WEIGHTS_FILE, silent, "")
        provenance = AdapterProvenance(
            **dict(origin),
            sha256=sha256,
            size_bytes=header.size_bytes,
            kind=header.kind,
            architecture=header.architecture,
            rank=header.rank,
            alpha=header.alpha,
        )
        write_aside(aside / PROVENANCE_FILE, _toml(provenance))
        folder = home / (version or f"{origin.created.astimezone(UTC):%Y%m%d-%H%M%S}-{sha256[:8]}")
        _check_free(folder)
        aside.rename(folder)
        sync_folder(home)
    finally:
        remove(aside)
    return find_version(root, skill, model, folder.name)


def remove_version(root: Path, skill: str, model: str, version: str) -> AdapterVersion:
    """Remove a version that is not served; what it was is told one last time.

    Raises:
        AdapterVersionNotFound: there is none of that name.
        AdapterVersionConflict: it is the one that is served.
        ManifestInvalid, AdapterMismatch: it is damaged; its folder can be removed by hand.
    """
    found = find_version(root, skill, model, version)
    active = active_of(root, skill, model)
    if active is not None and active.version == version:
        raise AdapterVersionConflict(
            f"{found.adapter.name} is the version that is served.",
            f"Promote another one first, or run `tools-server skills adapters rollback {skill} --model {model}`.",
        )
    remove(found.folder)
    return found


def write_active(root: Path, skill: str, model: str, active: Active) -> None:
    """Serve a version from now on. A reader finds the old file or the new one, never a part of one."""
    write_aside(version_folder(root, skill, model) / ACTIVE_FILE, _toml(active))


def check_bytes(version: AdapterVersion) -> None:
    """Hash the file of a version.

    Raises:
        AdapterMismatch: it is not the file that was written.
    """
    path, expected = version.folder / WEIGHTS_FILE, version.provenance.sha256
    found = sha256_of(path, silent, "")
    if found != expected:
        raise AdapterMismatch(
            f"Adapter {version.adapter.name} has SHA-256 {found[:12]}…, {expected[:12]}… was written.",
            f"Restore {path}, or remove the version.",
        )


def _check_free(folder: Path) -> None:
    if folder.name in _RESERVED:
        raise AdapterVersionConflict(f"{folder.name!r} is no name for a version: it stands for something else.", "")
    if folder.exists():
        raise AdapterVersionConflict(f"There is an adapter version {folder.name!r} already: {folder}.", "Name another.")


def _toml(model: BaseModel) -> str:
    document = tomlkit.document()
    for key, value in _without_none(model.model_dump(mode="json")).items():
        document.add(key, tomlkit.item(value))
    return tomlkit.dumps(document)


def _without_none(value: Any) -> Any:
    """TOML knows no null: what is None is left out."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {key: _without_none(item) for key, item in items if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in cast("list[Any]", value)]
    return value
