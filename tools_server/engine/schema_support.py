"""Which JSON Schemas the decoding backend enforces, and where a schema leaves that ground.

llguidance reports an unsupported keyword without saying where it stands, so the schema is walked here first; and
when it refuses a value (a pattern with a lookaround, an unknown format), the place is found by compiling the
subschemas one by one, the deepest first. The lists follow llguidance's documentation of its JSON Schema support.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

# fmt: off
ENFORCED = frozenset((
    "$ref", "anyOf", "oneOf", "allOf", "const", "enum", "type", "items", "prefixItems", "minItems", "maxItems",
    "properties", "additionalProperties", "patternProperties", "required", "minProperties", "maxProperties",
    "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf",
))
"""Keywords that the decoder enforces."""

ANNOTATIONS = frozenset((
    "$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples",
    "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema",
))
"""Keywords that restrict nothing."""
# fmt: on

SPAN = "x-span"
"""Ours: whether a string is copied from the text. It restricts nothing where there is no text to copy from."""

_ONE = ("items", "additionalProperties")
_LIST = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAP = ("properties", "patternProperties", "$defs", "definitions")

Problem = tuple[str, str, str]
"""JSON path, keyword (may be empty), reason."""


def subschemas(schema: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every subschema that is an object, with its JSON path, parents before children."""
    if not isinstance(schema, dict):
        return
    schema = cast(dict[str, Any], schema)
    yield path, schema
    for keyword in _ONE:
        if keyword in schema:
            yield from subschemas(schema[keyword], f"{path}.{keyword}")
    for keyword in _LIST:
        for index, item in enumerate(schema.get(keyword, ())):
            yield from subschemas(item, f"{path}.{keyword}[{index}]")
    for keyword in _MAP:
        for name, item in schema.get(keyword, {}).items():
            yield from subschemas(item, f"{path}.{keyword}.{name}")


def without_marks(schema: Any) -> Any:
    """Give a schema without `x-span`, which llguidance does not know; the given one is left as it is."""
    if not isinstance(schema, dict):
        return schema
    plain = {keyword: value for keyword, value in cast(dict[str, Any], schema).items() if keyword != SPAN}
    for keyword in plain.keys() & {*_ONE}:
        plain[keyword] = without_marks(plain[keyword])
    for keyword in plain.keys() & {*_LIST}:
        plain[keyword] = [without_marks(item) for item in plain[keyword]]
    for keyword in plain.keys() & {*_MAP}:
        plain[keyword] = {name: without_marks(item) for name, item in plain[keyword].items()}
    return plain


def first_unsupported(schema: Any) -> Problem | None:
    """Find the first keyword that the decoder would not enforce, or None."""
    for path, sub in subschemas(schema):
        for keyword in sub:
            if keyword == SPAN and not isinstance(sub[SPAN], bool):
                return path, SPAN, f"{sub[SPAN]!r} is neither true nor false"
            if keyword not in ENFORCED and keyword not in ANNOTATIONS and keyword != SPAN:
                return path, keyword, "it cannot be enforced while decoding"
        reference = sub.get("$ref", "#")
        if not str(reference).startswith("#"):
            return path, "$ref", f"{reference!r} is outside the schema; only local references are followed"
    return None


def readable(error: str) -> str:
    """Give the one line of a backend's error that says what is wrong; a regex error draws a picture around it."""
    lines = [line.strip() for line in error.splitlines() if line.strip()] or [""]
    telling = next((line.removeprefix("error:").strip() for line in lines if line.startswith("error:")), lines[0])
    return telling.rstrip(".:")


def locate(schema: Any, error_of: Callable[[Any], str]) -> Problem | None:
    """Find the deepest subschema that does not compile, and the keyword without which it would.

    `error_of` compiles a schema and gives the backend's error, or an empty string.
    """
    found = list(subschemas(schema))
    shared = {k: found[0][1][k] for k in ("$defs", "definitions") if found and k in found[0][1]}
    for path, sub in reversed(found):
        whole = {**shared, **sub}
        reason = error_of(whole)
        if not reason:
            continue
        reason = readable(reason)
        for keyword in sub:
            if keyword in ENFORCED and not error_of({k: v for k, v in whole.items() if k != keyword}):
                return path, keyword, reason
        return path, "", reason
    return None
