"""Putting an adapter version into the skill's own folder, so that whoever gets the folder has the adapter."""

import os
from pathlib import Path
from typing import Any

import tomlkit

from tools_server.errors import ManifestInvalid
from tools_server.models.files import copy_bytes, remove, sync_folder, write_aside
from tools_server.models.report import silent
from tools_server.skills.adapters import PROVENANCE_FILE, WEIGHTS_FILE, AdapterVersion
from tools_server.skills.calibration import FILE as CALIBRATION_FILE
from tools_server.skills.calibration import CalibrationFile
from tools_server.skills.manifest import FILE as MANIFEST_FILE
from tools_server.skills.types import Skill
from tools_server.training.versions import check_bytes

__all__ = ["ship"]


def ship(skill: Skill, version: AdapterVersion) -> Path:
    """Copy a version's files into the skill's folder and name them in its manifest; give the adapter's path there.

    Files are called after their hash and the manifest is replaced at once, so a running server sees the old adapter or
    the new one. What the manifest named before is removed, with its calibrations. Comments of the manifest stay.

    Raises:
        AdapterMismatch: the version's file is not the one that was written.
        ManifestInvalid: the manifest cannot be edited.
        OSError: the skill's folder cannot be written, as that of an installed package.
    """
    check_bytes(version)
    origin = version.provenance
    name = origin.sha256[:8]
    home = skill.folder / "adapters" / version.model
    home.mkdir(parents=True, exist_ok=True)
    _copy(version.folder / PROVENANCE_FILE, home / f"{name}.toml")
    weights = home / f"{name}.gguf"
    _copy(version.folder / WEIGHTS_FILE, weights)
    entry: dict[str, Any] = {
        "file": weights.relative_to(skill.folder).as_posix(),
        "sha256": origin.sha256,
        "base_sha256": origin.base_sha256,
    }
    if origin.scale != 1.0:
        entry["scale"] = origin.scale
    manifest = skill.folder / MANIFEST_FILE
    write_aside(manifest, _with_adapter(manifest, version.model, entry))
    if (before := skill.manifest.adapters.get(version.model)) is not None and before.file != entry["file"]:
        old = skill.folder / before.file
        # Provenance lies beside the weights, under their name or, as versions have it, under its own.
        for path in (old, old.with_suffix(".toml"), old.with_name(PROVENANCE_FILE)):
            remove(path)
        if before.sha256 != origin.sha256 and skill.calibrations:
            left = CalibrationFile(calibrations=skill.calibrations).without(before.sha256)
            write_aside(skill.folder / CALIBRATION_FILE, left.as_json())
    return weights


def _with_adapter(manifest: Path, model: str, entry: dict[str, Any]) -> str:
    try:
        document = tomlkit.parse(manifest.read_text("utf-8"))
        adapters: Any = document.setdefault("adapters", tomlkit.table(is_super_table=True))
        adapters[model] = entry
    except (OSError, ValueError) as error:
        raise ManifestInvalid(f"{manifest}: cannot be edited: {error}.", "Mend the file.") from error
    return tomlkit.dumps(document)


def _copy(source: Path, target: Path) -> None:
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with source.open("rb") as reader, aside.open("wb") as writer:
            copy_bytes(reader, writer, done=0, total=source.stat().st_size, report=silent, what="")
            writer.flush()
            os.fsync(writer.fileno())
        aside.replace(target)
    finally:
        remove(aside)
    sync_folder(target.parent)
