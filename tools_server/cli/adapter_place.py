"""What the commands about adapter versions have in common: their options, and what they work on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tools_server.errors import AdapterVersionNotFound
from tools_server.models import ModelStore
from tools_server.settings import Settings, load_settings
from tools_server.skills.adapters import find_version, version_names
from tools_server.skills.catalog import Catalog, standard_dirs

__all__ = [
    "ConfigOption",
    "JsonOption",
    "ModelOption",
    "Place",
    "SkillArgument",
    "SkillsDirOption",
    "VersionArgument",
    "open_place",
]

SkillArgument = Annotated[str, typer.Argument(metavar="SKILL", help="A skill's name.")]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="As `adapters list` shows it.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Default: the model of your settings.")]
SkillsDirOption = Annotated[
    list[Path] | None,
    typer.Option("--skills-dir", help="A further folder of skill folders; may be repeated, later ones win."),
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@dataclass(frozen=True, slots=True)
class Place:
    """What a command works on. Skills are as their folders give them, without promoted versions."""

    settings: Settings
    catalog: Catalog
    model: str

    @property
    def root(self) -> Path:
        """Where all versions lie."""
        return self.settings.adapters_dir

    @property
    def base_sha256(self) -> str:
        """The hash of the model's weights, as its manifest pins it."""
        return ModelStore.from_settings(self.settings).manifest(self.model).sha256

    def latest(self, skill: str) -> str:
        """Give the name of the youngest version.

        Raises:
            AdapterVersionNotFound: there is none.
        """
        names = version_names(self.root, skill, self.model)
        if not names:
            raise AdapterVersionNotFound(
                f"`{skill}` has no adapter version for {self.model}.",
                "Train one, or `tools-server skills adapters add` a file.",
            )
        versions = [find_version(self.root, skill, self.model, name) for name in names]
        return max(versions, key=lambda version: version.provenance.created).name


def open_place(model: str | None, skills_dir: list[Path] | None, config: Path | None) -> Place:
    """Read the settings, with what the command line says instead."""
    flags = {"model": model, "skills_dirs": tuple(skills_dir) if skills_dir else None}
    settings = load_settings(flags, config=config)
    return Place(settings, Catalog(standard_dirs(settings)), settings.model)
