"""A JSON Schema widened so that every answer lists every property: one that may be absent may be null instead.

A model that may leave a property out leaves out what it should have looked for. So each property that the caller did
not require becomes required and nullable, at every depth; those that were required stay as they are.
"""

from collections.abc import Mapping
from typing import Any, cast

SUBSCHEMA = ("items", "additionalProperties")
SUBSCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
SUBSCHEMA_MAPS = ("properties", "patternProperties", "$defs", "definitions")
"""Where schemas stand inside a schema, as far as the decoder knows them."""

_NULL = {"type": "null"}
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly"}
)


def widen(schema: Any) -> Any:
    """Widen a schema; the given one is left as it is.

    An object with named properties that says nothing of others is closed as well: nobody asked for them.
    """
    if not isinstance(schema, Mapping):
        return schema
    given = cast("Mapping[str, Any]", schema)
    wide = {keyword: _widened_value(keyword, value) for keyword, value in given.items()}
    if given.get("properties"):
        _require_all(given, wide)
    return wide


def _widened_value(keyword: str, value: Any) -> Any:
    if keyword in SUBSCHEMA:
        return widen(value)
    if keyword in SUBSCHEMA_LISTS:
        return [widen(item) for item in value]
    if keyword in SUBSCHEMA_MAPS:
        return {name: widen(item) for name, item in value.items()}
    return value


def _require_all(given: Mapping[str, Any], wide: dict[str, Any]) -> None:
    required = cast("list[str]", given.get("required", []))
    properties = cast("dict[str, Any]", wide["properties"])
    wide["properties"] = {name: sub if name in required else _or_null(sub) for name, sub in properties.items()}
    # `false` means that the property must not be there; requiring it would leave no answer at all.
    listed = [name for name, sub in properties.items() if sub is not False]
    wide["required"] = listed + [name for name in required if name not in listed]
    if "patternProperties" not in given and all(name in properties for name in required):
        wide.setdefault("additionalProperties", False)


def _or_null(schema: Any) -> Any:
    return schema if isinstance(schema, bool) or _takes_null(schema) else {"anyOf": [schema, _NULL]}


def _takes_null(schema: Any) -> bool:
    """Tell whether a schema obviously admits null; a doubtful one is widened once more, which harms nothing."""
    if isinstance(schema, bool):
        return schema
    keywords = cast("Mapping[str, Any]", schema)
    if "enum" in keywords:
        return None in keywords["enum"] and "type" not in keywords
    if "anyOf" in keywords:
        return set(keywords) <= _ANNOTATIONS | {"anyOf"} and any(_takes_null(branch) for branch in keywords["anyOf"])
    kind = keywords.get("type")
    if kind is not None:
        return (kind == "null" or "null" in kind) and not {"const", "$ref", "oneOf", "allOf"} & set(keywords)
    return set(keywords) <= _ANNOTATIONS
