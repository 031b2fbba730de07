"""What a skill folder becomes once read: a frozen `Skill`, and a `Snapshot` of all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Template

from tools_server.engine.types import Adapter
from tools_server.skills.calibration import Calibration
from tools_server.skills.manifest import Manifest


@dataclass(frozen=True, slots=True, eq=False)
class Skill:
    """Frozen, versioned content of one skill folder. A call keeps the `Skill` it began with."""

    manifest: Manifest
    folder: Path
    digest: str  # SHA-256 over every file that shapes answers; two skills are the same when it is
    prompt_digest: str  # SHA-256 over what the model is asked and how it must answer: what an adapter is trained for
    arguments_schema: Mapping[str, Any]  # the skill's own arguments, from input.schema.json
    output_schema: Mapping[str, Any]  # `data` of one answer, from output.schema.json
    input_schema: Mapping[str, Any]  # what the tool takes: own arguments and the common text/items/paths
    result_schema: Mapping[str, Any]  # what the tool answers: one result, or `results` for several inputs
    template: Template
    adapters: Mapping[str, Adapter]  # by model id
    prose: str  # body of SKILL.md, empty when there is none
    card: Mapping[str, Any] | None  # card.json
    calibrations: tuple[Calibration, ...] = ()  # of which the first one that fits is used

    @property
    def name(self) -> str:
        """The skill's name: its folder's name, its tool's name."""
        return self.manifest.name

    def calibration(self, model: str, base_sha256: str, adapter: Adapter | None) -> Calibration | None:
        """The calibration of answers by this model with this adapter, None where there is none for them."""
        wanted = (model, base_sha256, adapter.sha256 if adapter else None, self.prompt_digest)
        return next((each for each in self.calibrations if each.key == wanted), None)


@dataclass(frozen=True, slots=True)
class BrokenSkill:
    """A folder that could not become a skill: which file and key, and why."""

    name: str
    folder: Path
    file: str
    key: str
    reason: str

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.file, self.key) if part) or "folder"
        return f"{self.name} ({self.folder}): {where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All skills at one moment, by name in sorted order, and the folders that are broken or hidden by a later one.

    `warnings` say what to know of skills that are served all the same, such as a promoted adapter that is gone.
    """

    skills: Mapping[str, Skill]
    broken: tuple[BrokenSkill, ...] = ()
    shadowed: Mapping[str, tuple[Path, ...]] = field(default_factory=dict[str, tuple[Path, ...]])
    """By name, the folders of earlier directories that hold a skill of that name and are not served."""
    warnings: tuple[str, ...] = ()
    unserved: Mapping[str, Skill] = field(default_factory=dict[str, Skill])
    """Skills that need an adapter for the served model and have none; they are served as soon as they have one."""
