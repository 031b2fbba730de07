"""Fifty JSON Schemas of many kinds, each bounded, so that a model that rambles still comes to an end."""

from typing import Any

Schema = dict[str, Any]

S: Schema = {"type": "string", "maxLength": 24}
N: Schema = {"type": "integer", "minimum": 0, "maximum": 9999}
NULLABLE: Schema = {"anyOf": [S, {"type": "null"}]}


def obj(_extra: Schema | None = None, **properties: Any) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **(_extra or {}),
    }


def arr(items: Any, low: int = 0, high: int = 3) -> Schema:
    return {"type": "array", "items": items, "minItems": low, "maxItems": high}


TREE = {
    "$defs": {
        "leaf": obj(name=S),
        "branch": obj(name=S, leaves=arr({"$ref": "#/$defs/leaf"}, 1, 2)),
    }
}

SCHEMAS: dict[str, Schema] = {
    # strings
    "a string": obj(a=S),
    "a non-empty string": obj(a={"type": "string", "minLength": 1, "maxLength": 10}),
    "an exact length": obj(a={"type": "string", "minLength": 4, "maxLength": 4}),
    "a pattern": obj(a={"type": "string", "pattern": "^[A-Z]-[0-9]{4}$"}),
    "a pattern with alternatives": obj(a={"type": "string", "pattern": "^(low|high)-[0-9]$"}),
    "a date": obj(a={"type": "string", "format": "date"}),
    "a time": obj(a={"type": "string", "format": "time", "maxLength": 24}),  # a second may have any number of digits
    "an e-mail address": obj(a={"type": "string", "pattern": "^[a-z.]{2,12}@[a-z]{2,9}\\.(org|com)$"}),
    "an ipv4 address": obj(a={"type": "string", "format": "ipv4"}),
    "a uuid": obj(a={"type": "string", "format": "uuid"}),
    # numbers
    "an integer": obj(a={"type": "integer", "minimum": -50, "maximum": 50}),
    "a positive integer": obj(a={"type": "integer", "exclusiveMinimum": 0, "maximum": 100000}),
    "a multiple": obj(a={"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 95}),
    "a number in a range": obj(a={"type": "number", "minimum": 0, "maximum": 1}),
    "a rating": obj(a={"type": "integer", "minimum": 1, "maximum": 5}),
    "a number by choice": obj(a={"enum": [0.5, 1, 2.25]}),
    # closed sets and constants
    "an enum": obj(a={"enum": ["red", "green", "blue"]}),
    "an enum of mixed types": obj(a={"enum": ["none", 0, False, None]}),
    "an enum with common beginnings": obj(a={"enum": ["card", "card payment", "card payment failed"]}),
    "a constant": obj(a={"const": "fixed"}),
    "a constant object": obj(a={"const": {"x": [1, 2], "y": None}}),
    "a boolean": obj(a={"type": "boolean"}),
    "a null": obj(a={"type": "null"}),
    "unicode in keys and values": obj(größe={"enum": ["klein", "groß", "日本"]}),
    "quotes and backslashes in an enum": obj(a={"enum": ['say "hi"', "back\\slash", "tab\tbed"]}),
    # nullable and unions
    "a nullable string": obj(a=NULLABLE),
    "a type list": obj(a={"type": ["string", "null"], "maxLength": 12}),
    "a string or an integer": obj(a={"anyOf": [S, N]}),
    "disjoint oneOf": obj(a={"oneOf": [{"type": "boolean"}, N]}),
    "an object or null": obj(a={"anyOf": [obj(b=N), {"type": "null"}]}),
    "allOf of bounds": obj(a={"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 7}]}),
    # arrays
    "an array of strings": obj(a=arr(S)),
    "an array that may not be empty": obj(a=arr(N, 1, 4)),
    "an array of an exact size": obj(a=arr({"type": "boolean"}, 3, 3)),
    "an array of enums": obj(a=arr({"enum": ["x", "y", "z"]}, 1, 3)),
    "a tuple": obj(a={"type": "array", "prefixItems": [S, N], "items": False, "minItems": 2}),
    "an array of arrays": obj(a=arr(arr(N, 1, 2), 1, 2)),
    "an array of objects": obj(a=arr(obj(name=S, n=N), 1, 2)),
    "an empty array": obj(a={"type": "array", "maxItems": 0}),
    # objects
    "many fields": obj(name=S, mail=NULLABLE, order=S, quantity=N, urgent={"type": "boolean"}, city=S),
    "an optional field": {**obj(a=N, b=S), "required": ["a"]},
    "no required field": {**obj(a=N, b=S), "required": []},
    "nested objects": obj(a=obj(b=obj(c=obj(d=N)))),
    "an empty object": obj(),
    "a map with bounded keys": {
        "type": "object",
        "patternProperties": {"^[a-z]{1,3}$": N},
        "additionalProperties": False,
        "maxProperties": 2,
    },
    "long key names": obj(**{"the total number of boxes that were ordered": N, "x" * 60: {"type": "null"}}),
    "descriptions and titles": obj({"title": "T", "description": "D"}, a={**S, "description": "what it is"}),
    # references
    "a reference": {**obj(a={"$ref": "#/$defs/n"}), "$defs": {"n": N}},
    "references in references": {**obj(tree={"$ref": "#/$defs/branch"}), **TREE},
    "everything at once": obj(
        id={"type": "string", "pattern": "^[A-Z]-[0-9]{1,6}$"},
        date={"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        lines=arr(obj(item=S, price={"type": "number", "minimum": 0, "maximum": 99}, unit={"enum": ["EUR"]}), 1, 2),
        status={"enum": ["open", "urgent", "done"]},
        note=NULLABLE,
    ),
}  # fmt: skip
