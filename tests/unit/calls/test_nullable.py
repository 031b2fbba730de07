import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tools_server.calls.nullable import widen


def accepts(schema: Any, value: Any) -> bool:
    return Draft202012Validator(schema).is_valid(value)


def obj(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {}), **more}


STRING = {"type": "string"}


def test_what_was_optional_is_listed_and_may_be_null() -> None:
    wide = widen(obj({"a": STRING, "b": STRING}, "a"))
    assert accepts(wide, {"a": "x", "b": None})
    assert accepts(wide, {"a": "x", "b": "y"})
    assert not accepts(wide, {"a": "x"})
    assert not accepts(wide, {"a": None, "b": None})


def test_the_order_of_properties_stays_and_the_given_schema_too() -> None:
    given = obj({"z": STRING, "a": STRING, "m": {"type": "integer"}}, "m")
    before = copy.deepcopy(given)
    wide = widen(given)
    assert list(wide["properties"]) == wide["required"] == ["z", "a", "m"]
    assert given == before


def test_nested_objects_and_array_items_are_widened() -> None:
    wide = widen(obj({"people": {"type": "array", "items": obj({"name": STRING, "age": {"type": "integer"}}, "name")}}))
    assert accepts(wide, {"people": [{"name": "Ada", "age": None}]})
    assert accepts(wide, {"people": None})
    assert not accepts(wide, {"people": [{"name": "Ada"}]})
    assert not accepts(wide, {"people": [{"name": None, "age": 3}]})


@pytest.mark.parametrize("defs", ["$defs", "definitions"])
def test_shared_definitions_are_widened_where_they_stand(defs: str) -> None:
    schema = obj({"home": {"$ref": f"#/{defs}/Place"}, "work": {"$ref": f"#/{defs}/Place"}}, "home")
    schema[defs] = {"Place": obj({"city": STRING, "zip": STRING}, "city")}
    wide = widen(schema)
    assert accepts(wide, {"home": {"city": "Bern", "zip": None}, "work": None})
    assert not accepts(wide, {"home": None, "work": None})
    assert not accepts(wide, {"home": {"city": "Bern"}, "work": None})


def test_a_schema_that_contains_itself_stays_finite() -> None:
    schema = obj(
        {"name": STRING, "children": {"type": "array", "items": {"$ref": "#"}}, "parent": {"$ref": "#"}}, "name"
    )
    wide = widen(schema)
    leaf = {"name": "leaf", "children": None, "parent": None}
    assert accepts(wide, {"name": "root", "children": [leaf], "parent": leaf})


def test_branches_of_any_of_are_widened() -> None:
    schema = obj(
        {"who": {"anyOf": [obj({"person": STRING, "title": STRING}, "person"), obj({"firm": STRING}, "firm")]}}, "who"
    )
    wide = widen(schema)
    assert accepts(wide, {"who": {"person": "Ada", "title": None}})
    assert accepts(wide, {"who": {"firm": "X"}})
    assert not accepts(wide, {"who": None})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"type": "null"},
        {"anyOf": [STRING, {"type": "null"}], "title": "A"},
        {"enum": ["a", None]},
        {},
        {"description": "anything"},
        True,
    ],
)
def test_what_takes_null_already_stays_as_it_is(schema: Any) -> None:
    assert widen(obj({"a": schema}))["properties"]["a"] == schema


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": ["a", "b"]},
        {"const": 3},
        {"type": ["string", "null"], "enum": ["a"]},
        {"type": "string", "enum": ["a", None]},
        {"type": ["string", "null"], "const": "a"},
        {"anyOf": [STRING, {"type": "null"}], "type": "string"},
        {"oneOf": [STRING, {"type": "integer"}]},
        {"allOf": [STRING]},
    ],
)
def test_what_looks_nullable_and_is_not_becomes_so(schema: Any) -> None:
    assert accepts(widen(obj({"a": schema})), {"a": None})


def test_a_property_that_must_not_be_there_is_not_asked_for() -> None:
    wide = widen(obj({"a": STRING, "gone": False}))
    assert wide["required"] == ["a"]
    assert accepts(wide, {"a": None})


def test_an_object_that_says_nothing_of_others_is_closed() -> None:
    assert not accepts(widen(obj({"a": STRING})), {"a": "x", "surprise": 1})
    assert accepts(widen(obj({"a": STRING}, additionalProperties=STRING)), {"a": "x", "more": "y"})
    assert accepts(widen(obj({"a": STRING}, "a", "undeclared")), {"a": "x", "undeclared": 1})
    assert accepts(widen({"type": "object"}), {"any": 1})


def test_a_property_named_like_a_keyword_is_a_property() -> None:
    wide = widen(obj({"properties": obj({"items": STRING}), "required": STRING, "$ref": STRING}, "required"))
    assert accepts(wide, {"properties": {"items": None}, "required": "x", "$ref": None})


LEAVES = st.sampled_from(
    [STRING, {"type": "integer"}, {"enum": ["a", "b"]}, {"type": ["number", "null"]}, {"const": 1}]
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def make(properties: dict[str, Any], keep: list[bool]) -> dict[str, Any]:
        return obj(properties, *[name for name, kept in zip(properties, keep, strict=False) if kept])

    return st.builds(
        make,
        st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3),
        st.lists(st.booleans(), max_size=3),
    )


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: (
        _objects(inner)
        | st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner)
    ),
    max_leaves=8,
)


def example(schema: Any) -> Any:
    """Make the fullest value of a schema without null."""
    if "anyOf" in schema:
        return example(schema["anyOf"][0])
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    match schema["type"]:
        case "object":
            return {name: example(sub) for name, sub in schema["properties"].items()}
        case "array":
            return [example(schema["items"])]
        case "string":
            return "s"
        case _:
            return 1


def fits(schema: Any, value: Any) -> bool:
    """Tell whether a value follows a schema if null in an optional property counts as absent."""
    if "anyOf" in schema:
        return any(fits(branch, value) for branch in schema["anyOf"])
    if schema.get("type") == "object" and isinstance(value, dict):
        required = schema.get("required", ())
        return all(
            (item is None and name not in required) or fits(schema["properties"][name], item)
            for name, item in value.items()
        )
    if schema.get("type") == "array" and isinstance(value, list):
        return all(fits(schema["items"], item) for item in value)
    return accepts(schema, value)


def emptiest(schema: Any) -> Any:
    """Make a value of a widened schema with null wherever it goes."""
    if Draft202012Validator(schema).is_valid(None):
        return None
    if "anyOf" in schema:
        return emptiest(schema["anyOf"][0])
    if schema.get("type") == "object":
        return {name: emptiest(sub) for name, sub in schema["properties"].items()}
    return example(schema)


@settings(max_examples=60)
@given(_objects(SCHEMAS))
def test_full_and_empty_answers_pass_and_answer_the_schema_as_given(schema: Any) -> None:
    wide = widen(schema)
    full, empty = example(schema), emptiest(wide)
    assert accepts(schema, full)
    for answer in (full, empty):
        assert accepts(wide, answer)
        assert fits(schema, answer)
        assert set(answer) == set(schema["properties"])
    assert not accepts(wide, {**full, "not asked for": 1})
    for name in full:
        assert not accepts(wide, {k: v for k, v in full.items() if k != name})
