"""`skill.toml`: the manifest of a skill. An unknown key is an error that names the nearest known one."""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from tools_server.skills.folder import Problem

FILE = "skill.toml"
NAME_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,29}")
RESERVED_NAMES = frozenset({"run_skill", "verify"})
"""Names that the server's own tools have."""

InputKind = Literal["text", "items", "paths"]
INPUT_KINDS: tuple[InputKind, ...] = ("text", "items", "paths")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Limits(_Section):
    """Tokens that one call may take and give, and what happens to a longer input."""

    max_input_tokens: int = Field(
        default=4000, ge=16, le=1_000_000
    )  # of the text alone, or of one chunk when it is split
    max_output_tokens: int = Field(default=512, ge=1, le=32_768)
    long_input: Literal["refuse", "split"] = "refuse"


class Decoding(_Section):
    """How tokens are drawn; temperature 0 is greedy."""

    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)


class Trust(_Section):
    """When an answer is deferred to the caller, and what it must be able to prove."""

    defer_below: float | None = Field(default=None, ge=0, le=1)  # on calibrated confidence; None: never defers
    confidence: bool = False  # of a `generate` skill: its answers have one, that of all their values together
    evidence: Literal["none", "spans", "claims"] = "none"


class Inputs(_Section):
    """Which of the common inputs the tool offers."""

    accepts: tuple[InputKind, ...] = Field(default=INPUT_KINDS, min_length=1, strict=False)


class Choose(_Section):
    """Of a `choose` skill: which argument holds the labels, and which one turns several labels on.

    Without `labels` the closed set is the enum of `properties.label` in output.schema.json. `none` is the argument that
    lets no label fit. `write` names properties of that file that the model writes once the label is known.
    """

    labels: str | None = None
    multi_label: str | None = None
    none: str | None = None
    write: tuple[str, ...] = Field(default=(), strict=False)


IdentifierForm = Literal["email", "ip_address", "payment_card", "iban", "us_ssn", "url", "phone_number", "iso_date"]
"""Identifiers that code can find: those of `evidence.identifiers.FORMS`."""


class Generate(_Section):
    """Of a `generate` skill: which argument holds the caller's own JSON Schema of `data`, and what is copied.

    `spans` says which strings of the answer are copied from the text, word for word: those that the schema marks, all
    that are free, or none. `locate` names a list of `{"type", "value"}` whose values are then found in the text, and
    `redact` gives the text with them replaced. `recognise` names, by type, identifiers that are found by their form
    besides, whatever the model says. `everywhere` names types whose words are one wherever they stand, once the model
    has found them in one place. `join` names, by type, the types that go on an entity which they stand behind, as
    a city does an address: all of it is then one entity.
    """

    schema_from: str | None = None
    spans: Literal["marked", "all", "none"] = "marked"
    locate: str | None = None
    redact: bool = False
    recognise: Mapping[str, IdentifierForm] = Field(default_factory=dict)
    everywhere: Annotated[tuple[str, ...], Field(strict=False)] = ()
    join: Mapping[str, Annotated[tuple[str, ...], Field(strict=False)]] = Field(default_factory=dict)


class AdapterEntry(_Section):
    """A LoRA for one base model: another base, or other bytes, are refused by name."""

    file: str
    sha256: Sha256
    base_sha256: Sha256
    scale: float = Field(default=1.0, gt=0, le=16)


class Manifest(_Section):
    """What `skill.toml` says."""

    name: str
    version: str = Field(pattern=r"^\d+\.\d+\.\d+([.+-][0-9A-Za-z.+-]+)?$")
    title: str = Field(default="", max_length=80)
    description: str = Field(min_length=10, max_length=1200)
    kind: Literal["choose", "generate"]
    needs_adapter: bool = False  # then it is offered only where there is an adapter for the served model
    limits: Limits = Limits()
    decoding: Decoding = Decoding()
    trust: Trust = Trust()
    inputs: Inputs = Inputs()
    choose: Choose = Choose()
    generate: Generate = Generate()
    adapters: Mapping[str, AdapterEntry] = Field(default_factory=dict)

    @property
    def has_confidence(self) -> bool:
        """Whether answers say how sure they are."""
        return self.kind == "choose" or self.trust.confidence


def parse_manifest(source: str, *, folder_name: str) -> Manifest:
    """Read `skill.toml`.

    Raises:
        Problem: the first thing that is wrong, with its key.
    """
    try:
        values = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise Problem(FILE, "", f"is not TOML: {error}") from error
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        raise _first_problem(error) from error
    _check_name(manifest.name, folder_name)
    for section, kind in (("choose", "choose"), ("generate", "generate")):
        if section in manifest.model_fields_set and manifest.kind != kind:
            raise Problem(FILE, section, f'belongs to kind = "{kind}", but kind is "{manifest.kind}"')
    if len(set(manifest.inputs.accepts)) < len(manifest.inputs.accepts):
        raise Problem(FILE, "inputs.accepts", f"names an input twice: {list(manifest.inputs.accepts)}")
    return manifest


def check_name(name: str) -> str | None:
    """Tell why a name cannot be a skill's, None when it can."""
    if not NAME_PATTERN.fullmatch(name):
        return (
            f"{name!r} is no skill name: 1 to 30 of a-z, 0-9, `_` and `-`, beginning with a letter{_suggestion(name)}"
        )
    if name in RESERVED_NAMES:
        return f"{name!r} is the name of a tool of the server itself; choose another"
    return None


def _suggestion(name: str) -> str:
    near = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_0123456789")[:30]
    return f", such as {near!r}" if NAME_PATTERN.fullmatch(near) else ""


def _check_name(name: str, folder_name: str) -> None:
    if reason := check_name(name):
        raise Problem(FILE, "name", reason)
    if name != folder_name:
        raise Problem(FILE, "name", f"{name!r} must be the folder's name, {folder_name!r}: rename one of the two")


def _first_problem(error: ValidationError) -> Problem:
    details = error.errors(include_url=False)
    # A misspelt key also shows up as a missing one; the misspelling is the better news.
    first = next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])
    return Problem(FILE, ".".join(str(step) for step in first["loc"]), _reason(first))


def _reason(detail: ErrorDetails) -> str:
    location = detail["loc"]
    if detail["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.0)
        return f"unknown key; did you mean `{near[0]}`? (known here: {', '.join(known)})"
    if detail["type"] == "missing":
        return "is missing"
    value = repr(detail["input"])
    shown = value if len(value) <= 80 else f"{value[:79]}…"
    return f"{detail['msg']} (got {shown})"


def _keys_at(location: Sequence[str | int]) -> list[str]:
    """Give the keys that are known in the section at `location`."""
    model: type[BaseModel] = Manifest
    for step in location:
        field = model.model_fields.get(str(step))
        if field is not None:
            model = _model_in(field.annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
