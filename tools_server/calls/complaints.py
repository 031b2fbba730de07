"""What a validator found, said so that the caller can mend it: JSON path, rule, value, and the next move."""

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from jsonschema.exceptions import ValidationError

SHOWN = 80
"""Characters of a value that a message quotes."""

_NOUNS = {
    "string": "a string",
    "array": "an array",
    "object": "an object",
    "number": "a number",
    "integer": "an integer",
    "boolean": "true or false",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Complaint:
    """`what` names path, rule and value; `mend` is a sentence that says what to do."""

    what: str
    mend: str


def complaint_about(error: ValidationError, root: str = "$") -> Complaint:
    """Word one validation error; `root` is the JSON path of what was validated."""
    best = _innermost(error)
    path = root + best.json_path.removeprefix("$")
    rule, limit, value = str(best.validator), cast("Any", best.validator_value), cast("Any", best.instance)
    special = _SPECIAL.get(rule)
    if special is not None and (complaint := special(path, best)) is not None:
        return complaint
    mend = _MENDS.get(rule, "Make `{path}` follow the rule `{rule}`: {limit}.")
    return Complaint(
        f"{path} breaks `{rule}` ({shortened(limit)}): got {shortened(value)}{_measure(rule, value)}",
        mend.format(path=path, rule=rule, limit=shortened(limit)),
    )


def _innermost(error: ValidationError) -> ValidationError:
    """Follow `anyOf` and `oneOf` into the one branch that is meant for values of this type, where there is one."""
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or []:
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    meant = [inner for inner in branches.values() if not any(_is_of_other_type(one) for one in inner)]
    if error.validator not in ("anyOf", "oneOf") or len(meant) != 1:
        return error
    return _innermost(min(meant[0], key=lambda inner: len(inner.path)))


def _is_of_other_type(error: ValidationError) -> bool:
    return error.validator == "type" and not error.relative_path


def shortened(value: Any) -> str:
    """Give a value as JSON, cut visibly after `SHOWN` characters."""
    if isinstance(value, str):
        more = f"… ({len(value):,} characters)" if len(value) > SHOWN else ""
        return json.dumps(value[:SHOWN], ensure_ascii=False) + more
    if isinstance(value, list) and len(cast("list[Any]", value)) > SHOWN:
        return f"an array of {len(cast('list[Any]', value)):,}"
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def nearest(name: str, known: list[str]) -> str:
    """Give ` Did you mean …?` for a misspelt name, or nothing."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean `{near[0]}`? " if near else ""


def _measure(rule: str, value: Any) -> str:
    if rule in ("minLength", "maxLength"):
        return f", {len(value):,} characters"
    if rule in ("minItems", "maxItems"):
        return f", {len(value):,} items"
    return ""


def _missing(path: str, error: ValidationError) -> Complaint:
    given = cast("Mapping[str, Any]", error.instance)
    names = [name for name in cast("list[str]", error.validator_value) if name not in given]
    listed = ", ".join(f"`{name}`" for name in names)
    got = ", ".join(f"`{name}`" for name in given) or "nothing"
    return Complaint(f"{path} breaks `required`: {listed} missing, got {got}", f"Add {listed}.")


def _unknown(path: str, error: ValidationError) -> Complaint | None:
    schema = cast("Mapping[str, Any]", error.schema)
    if error.validator_value is not False or "patternProperties" in schema:
        return None
    known = list(schema.get("properties", {}))
    given = cast("Mapping[str, Any]", error.instance)
    extra = [name for name in given if name not in known]
    listed = ", ".join(f"`{name[:SHOWN]}`" for name in extra[:5])
    return Complaint(
        f"{path} breaks `additionalProperties`: unknown {listed}",
        f"{nearest(extra[0], known)}Known here: {', '.join(f'`{name}`' for name in known) or 'nothing'}.",
    )


def _wrong_type(path: str, error: ValidationError) -> Complaint:
    names = _type_names(error)
    noun = " or ".join(_NOUNS.get(name, name) for name in names)
    value = cast("Any", error.instance)
    mend = f"Give {noun} at `{path}`."
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")) and {"array", "object"} & set(names):
        mend = f"Give the {names[0]} itself at `{path}`, not a string that holds its JSON."
    elif names == ["array"]:
        mend = f"Give an array at `{path}`, for example [{shortened(value)}]."
    return Complaint(f"{path} breaks `type`: must be {noun}, got {shortened(value)}", mend)


def _no_branch(path: str, error: ValidationError) -> Complaint | None:
    """Word an `anyOf` or `oneOf` of which every branch is for values of other types."""
    inner = [one for one in error.context or [] if _is_of_other_type(one)]
    branches = cast("list[Any]", error.validator_value)
    if len({one.relative_schema_path[0] for one in inner}) < len(branches):
        return None
    nouns = [_NOUNS.get(name, name) for one in inner for name in _type_names(one)]
    noun = " or ".join(dict.fromkeys(nouns))
    return Complaint(
        f"{path} breaks `{error.validator}`: must be {noun}, got {shortened(error.instance)}",
        f"Give {noun} at `{path}`.",
    )


def _type_names(error: ValidationError) -> list[str]:
    wanted = cast("str | list[str]", error.validator_value)
    return [wanted] if isinstance(wanted, str) else wanted


def _not_listed(path: str, error: ValidationError) -> Complaint:
    allowed = cast("list[Any]", error.validator_value)
    value = cast("Any", error.instance)
    near = nearest(value, [item for item in allowed if isinstance(item, str)]) if isinstance(value, str) else ""
    more = f" and {len(allowed) - 20} more" if len(allowed) > 20 else ""
    listed = ", ".join(map(shortened, allowed[:20]))
    return Complaint(f"{path} breaks `enum`: got {shortened(value)}", f"{near}Allowed: {listed}{more}.")


_SPECIAL: dict[str, Callable[[str, ValidationError], Complaint | None]] = {
    "required": _missing,
    "additionalProperties": _unknown,
    "type": _wrong_type,
    "enum": _not_listed,
    "anyOf": _no_branch,
    "oneOf": _no_branch,
}

_MENDS = {
    "const": "Give {limit} at `{path}`.",
    "minLength": "Give at least {limit} characters at `{path}`.",
    "maxLength": "Give at most {limit} characters at `{path}`, or pass a file in `paths`.",
    "minItems": "Give at least {limit} items at `{path}`.",
    "maxItems": "Give at most {limit} items at `{path}`; spread the rest over further calls.",
    "uniqueItems": "Give each item of `{path}` once.",
    "minimum": "Give at least {limit} at `{path}`.",
    "maximum": "Give at most {limit} at `{path}`.",
    "pattern": "Give a value at `{path}` that matches {limit}.",
}
