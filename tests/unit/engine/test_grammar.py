import json
from typing import Any

import pytest

from tools_server.engine.digits import MOST_DIGITS
from tools_server.engine.grammar import GrammarCompiler, Matcher
from tools_server.engine.scripted import ScriptedBackend
from tools_server.engine.types import Constraint, ConstraintKind, as_json_schema
from tools_server.errors import DecodeFailed, InvalidArguments


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(ScriptedBackend())


def obj(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def take_forced(matcher: Matcher) -> str:
    forced = matcher.forced()
    for token in forced:
        matcher.advance(token)
    return bytes(forced).decode()


def type_in(matcher: Matcher, text: str) -> None:
    for byte in text.encode():
        matcher.advance(byte)


def allowed(matcher: Matcher) -> set[str]:
    return {chr(i) for i in matcher.mask().nonzero()[0] if i < 256}


def test_punctuation_and_keys_are_forced_and_compact(compiler: GrammarCompiler):
    matcher = compiler.matcher(as_json_schema(obj(naïve={"enum": ["xa", "xb"]}, n={"type": "integer"})))
    assert take_forced(matcher) == '{"naïve":"x'
    matcher.advance(ord("a"))
    assert take_forced(matcher) == '","n":'


def test_a_complete_answer_needs_no_end_token(compiler: GrammarCompiler):
    matcher = compiler.matcher(as_json_schema(obj(a={"const": 1})))
    assert take_forced(matcher) == '{"a":1}'
    assert matcher.is_complete()


def test_properties_come_in_the_order_of_the_schema(compiler: GrammarCompiler):
    matcher = compiler.matcher(as_json_schema(obj(z={"const": 0}, a={"const": 0})))
    assert take_forced(matcher) == '{"z":0,"a":0}'


def test_choices_are_taken_literally(compiler: GrammarCompiler):
    matcher = compiler.matcher(Constraint(ConstraintKind.CHOICE, json.dumps(["a.b", "ac*"])))
    matcher.advance(ord("a"))
    assert allowed(matcher) == {".", "c"}


def test_regular_expressions_constrain(compiler: GrammarCompiler):
    matcher = compiler.matcher(Constraint(ConstraintKind.REGEX, "[0-9]{2}-x"))
    assert allowed(matcher) == set("0123456789")


def test_matchers_of_one_schema_do_not_share_their_place(compiler: GrammarCompiler):
    constraint = as_json_schema(obj(a={"enum": ["p", "q"]}))
    first, second = compiler.matcher(constraint), compiler.matcher(constraint)
    take_forced(first)
    first.advance(ord("p"))
    assert take_forced(second) == '{"a":"'
    assert allowed(second) == {"p", "q"}


def test_a_token_that_the_grammar_forbids_is_an_error(compiler: GrammarCompiler):
    matcher = compiler.matcher(as_json_schema(obj(a={"const": 1})))
    with pytest.raises(DecodeFailed, match="constraint failed"):
        matcher.advance(ord("x"))


@pytest.mark.parametrize(
    ("schema", "path", "keyword"),
    [
        (obj(a={"type": "array", "uniqueItems": True}), "$.properties.a", "uniqueItems"),
        (obj(a={"not": {"type": "null"}}), "$.properties.a", "not"),
        (obj(a={"type": "array", "contains": {"const": 1}}), "$.properties.a", "contains"),
        (obj(a={"if": {}, "then": {}}), "$.properties.a", "if"),
        (obj(a={"type": "object", "dependentRequired": {"x": ["y"]}}), "$.properties.a", "dependentRequired"),
        (obj(a={"type": "object", "propertyNames": {"maxLength": 3}}), "$.properties.a", "propertyNames"),
        (obj(a={"type": "string", "pattern": "(?=a)b"}), "$.properties.a", "pattern"),
        (obj(a={"type": "string", "pattern": "(a)\\1"}), "$.properties.a", "pattern"),
        (obj(a={"type": "string", "format": "zork"}), "$.properties.a", "format"),
        (obj(a={"anyOf": [{"type": "null"}, {"format": "zork", "type": "string"}]}), "$.properties.a.anyOf[1]",
         "format"),
        (obj(a={"$ref": "https://example.com/s.json"}), "$.properties.a", "$ref"),
        (obj(a={"$ref": "#/$defs/nope"}), "$.properties.a", "$ref"),
        (obj(a={"$ref": "#/$defs/d"}) | {"$defs": {"d": {"uniqueItems": True}}}, "$.$defs.d", "uniqueItems"),
        (obj(a={"oneOf": [{"type": "string"}, {"minLength": 2, "type": "string"}]}), "$.properties.a", "oneOf"),
        ({"type": "object", "x-guidance": {"lenient": True}}, "$", "x-guidance"),
        (obj(a={"type": "integer", "minimum": 5, "maximum": 3}), "$.properties.a", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_path_and_keyword(
    compiler: GrammarCompiler, schema: dict[str, Any], path: str, keyword: str
):
    with pytest.raises(InvalidArguments) as caught:
        compiler.matcher(as_json_schema(schema))
    assert f"at {path}, keyword `{keyword}" in caught.value.message
    assert "docs/schemas.md" in caught.value.hint


def test_annotations_are_no_obstacle(compiler: GrammarCompiler):
    notes = {"description": "d", "title": "t", "examples": ["x"], "default": "", "$comment": "c"}
    schema = obj(a={"type": "string", **notes})
    compiler.matcher(as_json_schema(schema))


def test_an_unusable_regular_expression_is_refused(compiler: GrammarCompiler):
    with pytest.raises(InvalidArguments, match="look-around"):
        compiler.matcher(Constraint(ConstraintKind.REGEX, "(?!x)a"))


@pytest.mark.parametrize("kind", [ConstraintKind.JSON_SCHEMA, ConstraintKind.SPANS])
@pytest.mark.parametrize(
    ("before", "digit", "after"),
    [
        ("", "1", {".", "e", "E", ","}),
        ("-", "1", {".", "e", "E", ","}),
        ("54.9", "0", {"e", "E", ","}),
        ("1e", "0", {","}),
    ],
)
def test_a_number_ends_after_forty_digits_in_a_row(
    compiler: GrammarCompiler, kind: ConstraintKind, before: str, digit: str, after: set[str]
):
    schema = obj(n={"type": "number"}, copied={"type": "string", "x-span": True})
    matcher = compiler.matcher(Constraint(kind, as_json_schema(schema).source, "a text"))
    take_forced(matcher)
    type_in(matcher, before)
    begun = len(before) - len(before.rstrip("0123456789"))
    for _ in range(MOST_DIGITS - begun):
        assert digit in allowed(matcher)
        type_in(matcher, digit)
    assert allowed(matcher) == after


def test_digits_in_a_string_are_no_number(compiler: GrammarCompiler):
    matcher = compiler.matcher(as_json_schema(obj(s={"type": "string"}, n={"type": "integer"})))
    take_forced(matcher)
    type_in(matcher, 'a\\"' + "0" * 2 * MOST_DIGITS)
    assert "0" in allowed(matcher)
    type_in(matcher, '"')
    take_forced(matcher)
    type_in(matcher, "1" * MOST_DIGITS)
    assert allowed(matcher) == {"}"}


def test_a_long_number_goes_on_where_its_schema_leaves_no_other_way(compiler: GrammarCompiler):
    matcher = compiler.matcher(as_json_schema(obj(n={"type": "integer", "multipleOf": 7})))
    take_forced(matcher)
    type_in(matcher, "1" * MOST_DIGITS)  # no multiple of 7
    assert "}" not in allowed(matcher)
    assert "0" in allowed(matcher)


def test_a_regular_expression_may_have_any_number_of_digits(compiler: GrammarCompiler):
    matcher = compiler.matcher(Constraint(ConstraintKind.REGEX, r"\d+"))
    type_in(matcher, "1" * 2 * MOST_DIGITS)
    assert "1" in allowed(matcher)
