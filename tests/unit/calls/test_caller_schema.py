from typing import Any

import pytest

from tools_server.calls.caller_schema import check_schema
from tools_server.errors import InvalidArguments

PATH = "$.fields"


def obj(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **more}


def refusal(schema: dict[str, Any]) -> InvalidArguments:
    with pytest.raises(InvalidArguments) as caught:
        check_schema(schema, PATH)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    "schema",
    [
        obj({"a": {"type": "string", "pattern": r"^\p{Lu}+$"}}),
        obj({"a": {"$ref": "#/$defs/A"}}, **{"$defs": {"A": {"type": "string"}}}),
        obj({"a": {"$ref": "#/definitions/A~1b%20c"}}, definitions={"A/b c": {"type": "string"}}),
        {
            "$ref": "#/$defs/Tree",
            "$defs": {"Tree": obj({"kids": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}})},
        },
        obj({"a": {"allOf": [{"$ref": "#/$defs/A"}], "description": "old pydantic"}}, **{"$defs": {"A": obj({})}}),
        obj({"a": {"anyOf": [obj({"x": {}}), {"type": "null"}]}}),
        obj({"a": {"allOf": [{"minLength": 1}, {"maxLength": 3}]}}),
        {"type": "object"},
    ],
)
def test_ordinary_schemas_pass(schema: dict[str, Any]) -> None:
    check_schema(schema, PATH)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (obj({"a": {"type": "strin"}}), '$.fields.properties.a.type breaks `enum`: got "strin"'),
        (obj({"a": 3}), "$.fields.properties.a breaks `type`"),
        ({"type": "object", "required": "a"}, '$.fields.required breaks `type`: must be an array, got "a"'),
        (obj({"a": {"items": [{"type": "string"}]}}), "$.fields.properties.a.items breaks `type`"),
        (obj({"a": {"minLength": -1}}), "$.fields.properties.a.minLength breaks `minimum` (0): got -1"),
        ({"type": "array", "items": {}}, '$.fields.type is "array": the answer is an object'),
        ({"properties": {"a": {}}}, "$.fields.type is null: the answer is an object"),
        ({"anyOf": [obj({})]}, "$.fields.type is null"),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}}, '$.fields.type is "string"'),
        (
            obj({"a": {"$ref": "https://example.org/a.json"}}),
            '$.fields.properties.a.$ref: "https://example.org/a.json"',
        ),
        (obj({"a": {"$ref": "#/$defs/B"}}, **{"$defs": {"A": {}}}), "cannot be followed"),
        (obj({"a": {"$ref": "#/properties/b"}, "b": {}}), "cannot be followed"),
        (obj({"a": {"$ref": "#anchor"}}), "cannot be followed"),
        (
            obj({"a": {"$ref": "#/$defs/A", "required": ["x"]}}, **{"$defs": {"A": obj({})}}),
            "$.fields.properties.a has `$ref`",
        ),
        (obj({"a": {}}, anyOf=[{"required": ["a"]}]), "$.fields has `anyOf` beside `properties`"),
        (obj({"a": {"allOf": [obj({"x": {}}), obj({"y": {}})]}}), "$.fields.properties.a.allOf has several"),
        (obj({"a": {"$ref": "#/$defs/A"}}, **{"$defs": {"A": {"$ref": "#/$defs/A"}}}), "refers to itself"),
        (
            obj(
                {"a": {"$ref": "#/$defs/A"}},
                **{"$defs": {"A": {"anyOf": [{"$ref": "#/$defs/B"}]}, "B": {"$ref": "#/$defs/A"}}},
            ),
            "refers to itself",
        ),
    ],
)
def test_a_schema_that_cannot_be_honoured_is_refused_by_path(schema: dict[str, Any], told: str) -> None:
    assert told in refusal(schema).message


def test_a_huge_schema_is_refused_by_size() -> None:
    schema = obj({f"field{i}": {"type": "string", "description": "x" * 50} for i in range(1000)})
    assert "at most 65,536 are taken" in refusal(schema).message


def test_known_definitions_are_named_when_a_reference_leads_nowhere() -> None:
    schema = obj({"a": {"$ref": "#/$defs/Persn"}}, **{"$defs": {"Person": {}}})
    assert "`#/$defs/Person`" in refusal(schema).hint


def test_the_deepest_schema_that_arguments_may_hold_can_be_checked() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(30):
        schema = obj({"a": schema})
    check_schema(schema, PATH)
