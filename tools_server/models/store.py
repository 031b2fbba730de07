"""The models that are known and the ones that are here. Only `pull` and `add` use the network."""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from tools_server.bundled import bundled_dir
from tools_server.errors import ChecksumMismatch, ManifestInvalid, ModelLoadFailed, ModelNotFound
from tools_server.models.adopt import examine, finish
from tools_server.models.files import remove, write_aside
from tools_server.models.install import Installer
from tools_server.models.machine import Machine
from tools_server.models.manifest import ModelManifest, dump_manifest, read_manifest
from tools_server.models.report import Report, silent
from tools_server.models.sources.base import megabytes
from tools_server.models.tuned import EngineChoice, TunedRecord, TunedWeights
from tools_server.settings import Settings

__all__ = ["ModelStatus", "ModelStore", "Serving"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One known model. `installed`: a file of the right size lies at `path`; `verified`: its hash was found right.

    `tuned` is what `models tune` found; `objection` says why that does not hold here, None when it does.
    """

    manifest: ModelManifest
    path: Path
    installed: bool
    verified: bool
    tuned: TunedRecord | None
    objection: str | None


@dataclass(frozen=True, slots=True)
class Serving:
    """What to load for a model: `path`, and the engine's settings if tuned. Its identity stays that of the model."""

    path: Path
    engine: EngineChoice | None


class ModelStore:
    """Manifests from several folders, weights in one cache folder. Nothing is cached in memory; safe between threads.

    A manifest lies in `<id>.toml`. When several folders have the same id the last folder wins; `add` writes there.
    """

    def __init__(self, *, cache_dir: Path, manifest_dirs: Sequence[Path]) -> None:
        self._dirs = tuple(manifest_dirs)
        self._installer = Installer(cache_dir / "models")

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The bundled models and the user's own (`models/` in the config folder)."""
        dirs = (bundled_dir("models"), settings.config_dir.expanduser() / "models")
        return cls(cache_dir=settings.cache_dir.expanduser(), manifest_dirs=dirs)

    def list(self) -> tuple[ModelStatus, ...]:
        """Every model with a valid manifest, by id; `broken` tells the others. Reads no weights, asks no network."""
        return tuple(
            self._status(found) for _, found in sorted(self._read_all().items()) if isinstance(found, ModelManifest)
        )

    def broken(self) -> tuple[ManifestInvalid, ...]:
        """What is wrong with the manifests that could not be read; they harm no other model."""
        return tuple(found for _, found in sorted(self._read_all().items()) if isinstance(found, ManifestInvalid))

    def manifest(self, model_id: str) -> ModelManifest:
        """The manifest of one model.

        Raises:
            ModelNotFound: no manifest has that id; names near ones.
            ManifestInvalid: it has a manifest, but a broken one.
        """
        found = self._files().get(model_id)
        if found is None:
            known = sorted(self._files())
            near = difflib.get_close_matches(model_id, known, n=3, cutoff=0.5) or known
            hint = f"Known: {', '.join(near)}. " if near else ""
            raise ModelNotFound(
                f"There is no model {model_id!r}.", f"{hint}`tools-server models add` makes another one known."
            )
        return read_manifest(found)

    def path(self, model_id: str) -> Path:
        """Where the weights lie on this machine. Never asks the network.

        Blocking: a file that was never hashed, or changed since, is hashed once (about two seconds per gigabyte).

        Raises:
            ModelNotFound: no such model, or its weights are not here.
            ChecksumMismatch: the file there is not the pinned one.
        """
        return self._checked(self.manifest(model_id), silent, always=False)

    def serving(self, model_id: str, *, tuned: bool = True) -> Serving:
        """What to serve: the tuned weights if they hold on this machine, else the published ones (the log says why).

        Blocking as `path` is, and raises as it does.
        """
        published = self.path(model_id)
        kept = self.tuned(model_id)
        record = kept.read() if tuned else None
        if record is None:
            return Serving(published, None)
        objection = kept.objection(record, source_sha256=self.manifest(model_id).sha256, machine=Machine.here())
        if objection is None and record.file is not None and not kept.intact(record.file):
            objection = f"{kept.file_path(record.file)} is not the file that was measured"
        if objection is not None:
            _log.warning(
                "model %s is served as published; its tuned weights are left out, for %s. "
                "`tools-server models tune %s` makes new ones.",
                model_id,
                objection,
                model_id,
            )
            return Serving(published, None)
        return Serving(kept.file_path(record.file) if record.file else published, record.engine)

    def tuned(self, model_id: str) -> TunedWeights:
        """The place of a model's tuned weights and their record.

        Raises:
            ModelNotFound: no such model.
        """
        return TunedWeights(self._installer.path(self.manifest(model_id)).parent)

    def verify(self, model_id: str, *, report: Report | None = None) -> Path:
        """Hash the weights again, whatever was found before.

        Raises:
            ModelNotFound: no such model, or its weights are not here.
            ChecksumMismatch: the file there is not the pinned one.
        """
        return self._checked(self.manifest(model_id), report or silent, always=True)

    def pull(self, model_id: str, *, report: Report | None = None) -> Path:
        """Fetch the weights, unless they are here. Blocking; goes on where an earlier pull stopped.

        Raises:
            ModelNotFound: no such model.
            DownloadFailed: no source delivered.
            ChecksumMismatch: every source delivered another file than the pinned one.
        """
        return self._installer.install(self.manifest(model_id), report or silent)

    def add(self, source: str, *, model_id: str | None = None, report: Report | None = None) -> ModelManifest:
        """Fetch or copy another GGUF (`hf:OWNER/NAME/FILE[@REVISION]` or a path) and pin it in the user's folder.

        Adding the same file under the same id again changes nothing.

        Raises:
            ModelNotFound, ModelLoadFailed: there is no such file, or it is not a GGUF language model.
            ManifestInvalid: the id is not allowed, or belongs to another file.
            DownloadFailed, ChecksumMismatch: see `pull`.
        """
        tell = report or silent
        try:
            candidate = examine(source, model_id, tell)
        except ValidationError as error:
            raise ManifestInvalid(
                f"{model_id or source!r}: {error.errors()[0]['msg']} (got {error.errors()[0]['input']!r}).",
                "Give an id of small letters, digits, `.`, `_` and `-` with `--id`.",
            ) from error
        weights = candidate.weights
        if weights.id in self._files():
            known = self.manifest(weights.id)
            if known.sha256 != weights.sha256:
                raise ManifestInvalid(
                    f"{self._files()[weights.id]}: id: {weights.id!r} already belongs to another file.",
                    "Give the new one an id of its own with `--id`.",
                )
            # A known model whose own sources cannot be reached: the file given here is as good as theirs.
            self._installer.install(known.model_copy(update={"source": (*weights.source, *known.source)}), tell)
            return known
        path = self._installer.install(weights, tell)
        try:
            manifest = finish(candidate, path)
        except ModelLoadFailed:
            remove(path.parent)  # no manifest speaks of it
            raise
        write_aside(self.manifest_path(manifest.id), dump_manifest(manifest))
        return manifest

    def manifest_path(self, model_id: str) -> Path:
        """The file of a model's manifest; for an unknown id, where `add` writes it."""
        return self._files().get(model_id) or self._dirs[-1] / f"{model_id}.toml"

    def _status(self, manifest: ModelManifest) -> ModelStatus:
        path = self._installer.path(manifest)
        kept = TunedWeights(path.parent)
        record = kept.read()
        return ModelStatus(
            manifest=manifest,
            path=path,
            installed=self._installer.is_present(manifest),
            verified=self._installer.is_sealed(manifest),
            tuned=record,
            objection=record and kept.objection(record, source_sha256=manifest.sha256, machine=Machine.here()),
        )

    def _checked(self, manifest: ModelManifest, report: Report, *, always: bool) -> Path:
        path = self._installer.path(manifest)
        pull = f"`tools-server models pull {manifest.id}`"
        if not path.is_file():
            raise ModelNotFound(
                f"Model {manifest.id!r} is not on this machine: there is no {path}.",
                f"Run {pull} ({megabytes(manifest.size_bytes)}).",
            )
        if not always and self._installer.is_sealed(manifest):
            return path
        if not self._installer.verify(manifest, report):
            raise ChecksumMismatch(
                f"{path} ({path.stat().st_size} bytes) is not the pinned file: {manifest.size_bytes} bytes, "
                f"SHA-256 {manifest.sha256}.",
                f"Run {pull}: it fetches the right one.",
            )
        return path

    def _files(self) -> dict[str, Path]:
        return {file.stem: file for folder in self._dirs for file in folder.glob("*.toml")}

    def _read_all(self) -> dict[str, ModelManifest | ManifestInvalid]:
        found: dict[str, ModelManifest | ManifestInvalid] = {}
        for model_id, file in self._files().items():
            try:
                found[model_id] = read_manifest(file)
            except ManifestInvalid as error:
                _log.warning("%s", error)
                found[model_id] = error
        return found
