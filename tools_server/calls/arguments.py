"""The arguments of a call, checked against the skill's input schema before anything else happens."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry

from tools_server.calls.cache import Recent
from tools_server.calls.complaints import complaint_about, shortened
from tools_server.errors import InvalidArguments
from tools_server.skills.manifest import INPUT_KINDS, InputKind
from tools_server.skills.schemas import DETAIL, FULL, MIN_CONFIDENCE
from tools_server.skills.types import Skill

MAX_DEPTH = 64
"""How deep arguments may nest: far beyond any use, and far from Python's own limit."""

SHOWN_PROBLEMS = 3


@dataclass(frozen=True, slots=True)
class Checked:
    """Arguments that passed: the skill's own ones, and the inputs apart."""

    own: Mapping[str, Any]
    source: InputKind
    inputs: tuple[str, ...]
    min_confidence: float | None = None
    full: bool = False


class ArgumentCheck:
    """Checks arguments; keeps one compiled validator per skill, by its digest."""

    def __init__(self) -> None:
        self._validators: Recent[str, Draft202012Validator] = Recent(256)

    def check(self, skill: Skill, arguments: Mapping[str, Any]) -> Checked:
        """Check arguments against `skill.input_schema`, and what a schema cannot say.

        Raises:
            InvalidArguments: names the JSON path, the rule, the value, and how to mend it.
        """
        _check_values(arguments)
        validator = self._validators.get_or_make(skill.digest, lambda: validator_of(skill.input_schema))
        if errors := errors_in(dict(arguments), validator):
            raise _invalid(skill, errors)
        common = {*INPUT_KINDS, DETAIL, *((MIN_CONFIDENCE,) if skill.manifest.has_confidence else ())}
        own = {name: value for name, value in arguments.items() if name not in common}
        source = _the_one_input(skill, arguments)
        values = (arguments["text"],) if source == "text" else tuple(arguments[source])
        for index, value in enumerate(values):
            _refuse_blank(value, f"$.{source}" if source == "text" else f"$.{source}[{index}]")
        for name, value in own.items():
            _refuse_blank_strings(value, f"$.{name}")
        least = arguments.get(MIN_CONFIDENCE) if MIN_CONFIDENCE in common else None
        return Checked(own, source, values, least, arguments.get(DETAIL) == FULL)


def validator_of(schema: Mapping[str, Any], **options: Any) -> Draft202012Validator:
    """Make a validator that never fetches a reference from anywhere."""
    return cast("Any", Draft202012Validator)(schema, registry=cast("Any", Registry)(), **options)


def errors_in(value: Any, validator: Draft202012Validator) -> list[ValidationError]:
    """Give what is wrong with a value: the first 50 errors, for nobody reads more."""
    return list(islice(cast("Iterable[ValidationError]", cast("Any", validator).iter_errors(value)), 50))


def _the_one_input(skill: Skill, arguments: Mapping[str, Any]) -> InputKind:
    accepts = skill.manifest.inputs.accepts
    given: list[InputKind] = [kind for kind in INPUT_KINDS if kind in arguments]
    choices = " or ".join(f"`{kind}`" for kind in accepts)
    if not given:
        raise InvalidArguments(f"`{skill.name}` got nothing to work on: {choices} is missing.", f"Give {choices}.")
    if len(given) > 1:
        both = " and ".join(f"`{kind}`" for kind in given)
        raise InvalidArguments(
            f"`{skill.name}` got {both} in one call.", f"Give exactly one of {choices}; make one call for each."
        )
    if given[0] not in accepts:
        raise InvalidArguments(f"`{skill.name}` does not take `{given[0]}`.", f"Give {choices}.")
    return given[0]


def _invalid(skill: Skill, errors: list[ValidationError]) -> InvalidArguments:
    # The same complaint can come once per missing name; the order of the schema is kept.
    found = dict.fromkeys(complaint_about(error) for error in errors)
    shown = list(found)[:SHOWN_PROBLEMS]
    more = f" (and {len(found) - len(shown)} more)" if len(found) > len(shown) else ""
    return InvalidArguments(
        f"Invalid arguments for `{skill.name}`: {'; '.join(complaint.what for complaint in shown)}{more}.",
        " ".join(dict.fromkeys(complaint.mend for complaint in shown)),
    )


def _refuse_blank(value: str, path: str) -> None:
    if not value or value.isspace():
        raise InvalidArguments(
            f"{path} holds nothing but white space: {shortened(value)}.",
            "Give text with at least one visible character.",
        )


def _refuse_blank_strings(value: Any, path: str) -> None:
    """Refuse blank strings and lists of them; objects have a meaning of their own (a schema's empty description)."""
    if isinstance(value, str):
        _refuse_blank(value, path)
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[Any]", value)):
            _refuse_blank_strings(item, f"{path}[{index}]")


def _check_values(arguments: Mapping[str, Any]) -> None:
    """Refuse what JSON or UTF-8 cannot say, and nesting without end, before anything walks the values recursively."""
    open_values: list[tuple[str, Any, int]] = [("$", arguments, 0)]
    while open_values:
        path, value, depth = open_values.pop()
        if isinstance(value, str):
            _check_text(value, path)
        elif isinstance(value, float) and not math.isfinite(value):
            raise InvalidArguments(f"{path} is {value}, which is no JSON number.", "Give a finite number.")
        elif isinstance(value, Mapping | list):
            if depth >= MAX_DEPTH:
                top = ".".join(path.split(".")[:3])
                raise InvalidArguments(f"{top} nests more than {MAX_DEPTH} levels deep.", "Flatten it.")
            if isinstance(value, Mapping):
                for name, item in cast("Mapping[str, Any]", value).items():
                    _check_text(name, path)
                    open_values.append((f"{path}.{name}", item, depth + 1))
            else:
                items = cast("list[Any]", value)
                open_values.extend((f"{path}[{i}]", item, depth + 1) for i, item in enumerate(items))


def _check_text(text: str, path: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArguments(
            f"{path} is not valid Unicode: character {error.start} is {text[error.start]!r}, half of a surrogate pair.",
            "Remove it, or replace it by U+FFFD.",
        ) from error
