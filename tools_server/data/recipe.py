"""Recipes: what a data set is, whose it is, which bytes are meant, and what samples are made of them.

A recipe is a TOML file called `<name>.toml`. Those that ship lie in `datasets/`, the user's own in `datasets/` of the
config folder; of two with one name the user's wins. Data that was fetched is part of neither; what was written for a
recipe may lie beside it.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, model_validator

from tools_server.bundled import bundled_dir
from tools_server.data.mappings import LabelMapping, SampleMapping
from tools_server.errors import DataInvalid, DataNotFound
from tools_server.settings import Settings
from tools_server.toml_file import read_toml

__all__ = ["FilePin", "Recipe", "Recipes", "SplitPin", "read_recipe"]

RelativePath = Annotated[
    str, StringConstraints(pattern=r"^(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*$")
]
"""Inside the data folder, or the recipe's: no part begins with a dot, so none leads out of it."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FilePin(_Section):
    """One file: `path` in the data folder or beside the recipe, its bytes' SHA-256, and where it can be downloaded."""

    path: RelativePath
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    url: Annotated[str, StringConstraints(pattern=r"^https://")] | None = None


class SplitPin(FilePin):
    """The file of one split: JSON Lines with `records` records."""

    records: int = Field(ge=1)


class Recipe(_Section):
    """One data set.

    `licence` is an SPDX expression, `attribution` what it asks to be said, `changes` how the pinned files differ from
    what `homepage` publishes. What was written for the recipe and lies beside it needs no `homepage`.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,49}$")]
    title: str = Field(min_length=1, max_length=120)
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
    licence: str = Field(min_length=1)
    attribution: str = Field(min_length=1)
    homepage: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    changes: str = ""
    files: Annotated[Mapping[str, SplitPin], Field(min_length=1)]
    labels: FilePin | None = None
    samples: tuple[SampleMapping, ...] = ()
    _home: Path | None = PrivateAttr(None)  # the folder of the recipe's own file

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        seen: set[tuple[str, str]] = set()
        for index, mapping in enumerate(self.samples):
            for split in mapping.splits:
                if split not in self.files:
                    raise ValueError(f"samples[{index}].splits names {split!r}; there are: {', '.join(self.files)}")
                if (mapping.skill, split) in seen:
                    raise ValueError(f"samples[{index}] is the second one for skill {mapping.skill!r} on {split!r}")
                seen.add((mapping.skill, split))
            if isinstance(mapping, LabelMapping) and mapping.labels != "fixed" and self.labels is None:
                raise ValueError(f"samples[{index}].labels needs the [labels] file of the data set")
        return self

    @property
    def skills(self) -> tuple[str, ...]:
        """The skills that samples can be made for."""
        return tuple(dict.fromkeys(mapping.skill for mapping in self.samples))

    @property
    def pins(self) -> tuple[FilePin, ...]:
        """Every file of the data set."""
        return (*self.files.values(), *([self.labels] if self.labels else []))

    def found_in(self, home: Path) -> Self:
        """The same recipe, which knows the folder of its own file."""
        copied = self.model_copy()
        copied._home = home
        return copied

    def path_of(self, pin: FilePin, folder: Path) -> Path:
        """Where a file of the data set is: in the data folder, unless it lies beside the recipe and not there."""
        if self._home is not None and not (folder / pin.path).exists() and (self._home / pin.path).exists():
            return self._home / pin.path
        return folder / pin.path

    @property
    def published(self) -> str:
        """Where the set can be had, as a sentence for people."""
        credit = f"{self.licence}; {self.attribution.rstrip('.')}"
        if self.homepage is None:
            return f"It belongs beside the recipe ({credit})."
        return f"It is published at {self.homepage} ({credit})."

    def split(self, name: str) -> SplitPin:
        """The file of one split.

        Raises:
            DataNotFound: the data set has no such split.
        """
        if name not in self.files:
            raise DataNotFound(f"Data set {self.name!r} has no split {name!r}.", f"It has: {', '.join(self.files)}.")
        return self.files[name]

    def mapping(self, split: str, skill: str) -> SampleMapping:
        """How samples for a skill are made of a split.

        Raises:
            DataNotFound: there is no such split, or the recipe does not say how.
        """
        self.split(split)
        for mapping in self.samples:
            if mapping.skill == skill and split in mapping.splits:
                return mapping
        known = ", ".join(f"{mapping.skill} on {'/'.join(mapping.splits)}" for mapping in self.samples) or "nothing"
        raise DataNotFound(
            f"Data set {self.name!r} makes no samples for skill {skill!r} of its split {split!r}.",
            f"It makes: {known}. A recipe of your own can make others (docs/data.md).",
        )


def read_recipe(path: Path) -> Recipe:
    """Read one recipe file.

    Raises:
        DataInvalid: names file, key and reason.
    """
    hint = "docs/data.md explains the keys of a recipe."
    recipe = read_toml(path, Recipe, lambda message: DataInvalid(message, hint))
    if recipe.name != path.stem:
        raise DataInvalid(f"{path}: name: {recipe.name!r} is not the file's name.", f"Call it {path.stem!r}.")
    return recipe.found_in(path.parent)


class Recipes:
    """The recipes in some folders; later folders win. Files are read when asked for, so nothing here gets stale."""

    def __init__(self, dirs: Sequence[Path]) -> None:
        self._dirs = tuple(dirs)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The bundled recipes and the user's own (`datasets/` in the config folder)."""
        return cls((bundled_dir("datasets"), settings.config_dir / "datasets"))

    def names(self) -> tuple[str, ...]:
        """The names of all recipes, sorted, broken ones included."""
        return tuple(sorted(self._files()))

    def get(self, name: str) -> Recipe:
        """Give one recipe.

        Raises:
            DataNotFound: there is none of that name; the hint names near ones.
            DataInvalid: there is one, and it is broken.
        """
        files = self._files()
        if name not in files:
            near = difflib.get_close_matches(name, files, n=3, cutoff=0.5) or sorted(files)
            raise DataNotFound(f"There is no data set {name!r}.", f"Known: {', '.join(near) or 'none'}.")
        return read_recipe(files[name])

    def _files(self) -> dict[str, Path]:
        return {path.stem: path for folder in self._dirs for path in sorted(folder.glob("*.toml"))}
