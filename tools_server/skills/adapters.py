"""Adapter versions: what was trained or adopted for a skill on a model, and which version is served.

    <adapters_dir>/<skill>/<model>/active.toml                which version is served, since when and why
    <adapters_dir>/<skill>/<model>/<version>/adapter.gguf     the LoRA
    <adapters_dir>/<skill>/<model>/<version>/adapter.toml     where it comes from
    <adapters_dir>/<skill>/<model>/<version>/evaluation.json  what it was promoted on, if it was

Here they are only read; `training.versions` and `training.promote` write them. A version never changes once it is
there. Without an `active.toml` the adapter in the skill's own folder is served, or none if it has none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tools_server.engine.types import Adapter
from tools_server.errors import AdapterMismatch, AdapterVersionNotFound, ManifestInvalid, SkillError
from tools_server.skills.manifest import Sha256
from tools_server.skills.types import Skill
from tools_server.toml_file import read_toml

__all__ = [
    "ACTIVE_FILE",
    "BARE",
    "EVALUATION_FILE",
    "PROVENANCE_FILE",
    "SHIPPED",
    "WEIGHTS_FILE",
    "Active",
    "AdapterProvenance",
    "AdapterVersion",
    "Change",
    "DataUse",
    "Origin",
    "active_of",
    "adapter_of",
    "find_version",
    "models_of",
    "overlay",
    "version_folder",
    "version_names",
    "warnings_of",
]

SHIPPED = "shipped"
"""Stands for the adapter in the skill's own folder, or for none if it has none."""
BARE = "none"
"""Stands for the bare base."""

ACTIVE_FILE = "active.toml"
WEIGHTS_FILE = "adapter.gguf"
PROVENANCE_FILE = "adapter.toml"
EVALUATION_FILE = "evaluation.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Of skills, models and versions alike: one plain step of a path."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataUse(_Strict):
    """Samples that an adapter was trained on. `sha256` is of exactly these samples."""

    dataset: str
    split: str
    licence: str
    records: int = Field(ge=0)
    sha256: Sha256


class Origin(_Strict):
    """What only whoever made an adapter knows about it.

    `prompt_digest` is the `Skill.prompt_digest` that it was trained for, None when that is unknown. `start` is the hash
    of the adapter that its training went on from, whose data `data` then lists too. `recipe` holds the
    hyper-parameters, `scores` what training measured, `tools` versions of what it was trained with.
    """

    source: str  # "trained here", or where the file was adopted from
    base_model: str
    base_sha256: Sha256
    created: datetime
    scale: float = Field(default=1.0, gt=0, le=16)
    prompt_digest: Sha256 | None = None
    start: Sha256 | None = None
    seed: int | None = None
    data: tuple[DataUse, ...] = ()
    recipe: Mapping[str, Any] = Field(default_factory=dict)
    scores: Mapping[str, float] = Field(default_factory=dict)
    tools: Mapping[str, str] = Field(default_factory=dict)


class AdapterProvenance(Origin):
    """`adapter.toml`: the origin, and what was read from the file itself when the version was written."""

    sha256: Sha256
    size_bytes: int = Field(gt=0)
    kind: Literal["lora", "alora"]
    architecture: str
    rank: int = Field(ge=1)
    alpha: float


class Change(_Strict):
    """One version that was or is served: since when, how it came to it, and why.

    `forced` says that no win on held-out samples was shown for it; `objections` then says what spoke against it.
    """

    version: Annotated[str, Field(pattern=f"^{_NAME.pattern}$")]
    since: datetime
    how: Literal["promoted", "rolled back"]
    reason: str
    forced: bool = False
    objections: tuple[str, ...] = ()


class Active(Change):
    """`active.toml`: what is served, and everything that was, the latest first."""

    previous: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """One version as it lies on disk."""

    skill: str
    model: str
    name: str
    folder: Path
    provenance: AdapterProvenance = field(repr=False)

    @property
    def adapter(self) -> Adapter:
        """What requests carry; errors of the engine show its name."""
        origin = self.provenance
        name = f"{self.skill}@{self.model}:{self.name}"
        return Adapter(origin.sha256, origin.base_sha256, origin.scale, self.folder / WEIGHTS_FILE, name)


def version_folder(root: Path, skill: str, model: str, version: str = "") -> Path:
    """Where the versions of a skill on a model lie, or one of them.

    Raises:
        AdapterVersionNotFound: one of the names could lead elsewhere.
    """
    for name in (skill, model, *([version] if version else ())):
        if not _NAME.fullmatch(name):
            raise AdapterVersionNotFound(
                f"{name!r} cannot be part of an adapter version's path.",
                "Names are 1 to 64 letters, digits, `.`, `_` and `-`, beginning with a letter or a digit.",
            )
    return root / skill / model / version


def models_of(root: Path, skill: str) -> list[str]:
    """Give the models for which there is anything of a skill, sorted."""
    return _names(root / skill)


def version_names(root: Path, skill: str, model: str) -> list[str]:
    """Give the names of all versions, sorted: those that were not named by hand are so by age."""
    folder = version_folder(root, skill, model)
    return sorted(name for name in _names(folder) if (folder / name / PROVENANCE_FILE).is_file())


def find_version(root: Path, skill: str, model: str, version: str) -> AdapterVersion:
    """Read one version.

    The size of the file is compared, not its bytes: this runs at every start, and the engine hashes what it loads.

    Raises:
        AdapterVersionNotFound: there is none of that name; the hint names those that there are.
        ManifestInvalid: its adapter.toml breaks the contract.
        AdapterMismatch: its adapter.gguf is gone, or has another size than it was written with.
    """
    folder = version_folder(root, skill, model, version)
    if not (folder / PROVENANCE_FILE).is_file():
        known = ", ".join(version_names(root, skill, model)) or "none yet"
        raise AdapterVersionNotFound(
            f"`{skill}` has no adapter version {version!r} for {model}.", f"There are: {known}; {SHIPPED} and {BARE}."
        )
    found = AdapterVersion(
        skill, model, version, folder, read_toml(folder / PROVENANCE_FILE, AdapterProvenance, _wrong)
    )
    weights, expected = folder / WEIGHTS_FILE, found.provenance.size_bytes
    size = weights.stat().st_size if weights.is_file() else None
    if size != expected:
        what = "is not there" if size is None else f"has {size:,} bytes, {expected:,} were written"
        raise AdapterMismatch(
            f"Adapter {found.adapter.name}: {weights} {what}.",
            f"Restore the file, or serve another version: `tools-server skills adapters list {skill}`.",
        )
    return found


def active_of(root: Path, skill: str, model: str) -> Active | None:
    """Tell which version is served and why; None when nothing was ever promoted.

    Raises:
        ManifestInvalid: active.toml breaks its contract.
    """
    path = version_folder(root, skill, model) / ACTIVE_FILE
    return read_toml(path, Active, _wrong) if path.is_file() else None


def adapter_of(skill: Skill, root: Path, model: str, version: str) -> Adapter | None:
    """Give the adapter that a version stands for, None for the bare base. `skill` is as its folder gives it.

    Raises:
        SkillError: as `find_version` does.
    """
    if version == BARE:
        return None
    return skill.adapters.get(model) if version == SHIPPED else find_version(root, skill.name, model, version).adapter


def overlay(skill: Skill, root: Path) -> tuple[Skill, tuple[str, ...]]:
    """Put the active versions in the place of the skill folder's own adapters.

    A version that cannot be served harms nothing: the folder's own adapter stays. What is wrong, and which versions
    were trained for another prompt, comes back in words.
    """
    adapters, warnings = dict(skill.adapters), list[str]()
    try:
        models = models_of(root, skill.name)
    except OSError as error:
        return skill, (f"The adapter versions of `{skill.name}` cannot be listed: {error}.",)
    for model in models:
        try:
            active = active_of(root, skill.name, model)
            if active is None or active.version == SHIPPED:
                continue
            if active.version == BARE:
                adapters.pop(model, None)
                continue
            version = find_version(root, skill.name, model, active.version)
        except (SkillError, OSError) as error:
            instead = "The skill folder's own adapter" if model in skill.adapters else "The bare base"
            warnings.append(f"{error} {instead} serves `{skill.name}` on {model} meanwhile.")
            continue
        adapters[model] = version.adapter
        warnings += warnings_of(skill, version)
    return replace(skill, adapters=adapters), tuple(warnings)


def warnings_of(skill: Skill, version: AdapterVersion) -> list[str]:
    """Say what to know before a version is served: that it was trained for another prompt than the skill has now."""
    digest = version.provenance.prompt_digest
    if digest is None or digest == skill.prompt_digest:
        return []
    return [
        f"The prompt or the schemas of `{skill.name}` changed since adapter {version.adapter.name} was trained. "
        "Evaluate it again, or train another."
    ]


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))


def _wrong(message: str) -> ManifestInvalid:
    return ManifestInvalid(message, "Restore or remove the file.")
