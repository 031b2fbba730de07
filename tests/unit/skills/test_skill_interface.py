from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tools_server.skills.interface import Common, filled
from tools_server.skills.types import Skill

Good = Callable[..., Skill]

GENERATE = 'name = "@"\nversion = "1.0.0"\ndescription = "Say something."\nkind = "generate"\n'
ONE = {"label": "cat", "confidence": 0.9, "scores": {"cat": 0.9, "dog": 0.1}}


def validator(schema: Any) -> Draft202012Validator:
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_tool_takes_own_arguments_and_the_common_inputs(good: Good):
    schema = good().input_schema
    assert list(schema["properties"]) == ["focus", "words", "text", "items", "paths", "detail"]
    assert schema["additionalProperties"] is False
    assert "required" not in schema
    assert all("description" in schema["properties"][name] for name in ("text", "items", "paths"))
    check = validator(schema)
    check.validate({"text": "x", "words": 3})
    assert not check.is_valid({"text": "x", "word": 3})
    assert not check.is_valid({"text": "x" * (Common().text_chars + 1)})
    assert not check.is_valid({"items": ["x"] * 257})
    assert not check.is_valid({"paths": []})


@pytest.mark.parametrize("kind", ["generate", "choose", "own-labels"])
def test_the_tools_input_has_no_alternatives_on_its_top_level(good: Good, kind: str):
    assert not {"anyOf", "oneOf", "allOf"} & good(kind=kind).input_schema.keys()


def test_required_arguments_stay_required(good: Good):
    assert good(kind="own-labels").input_schema["required"] == ["labels"]


def test_only_the_accepted_inputs_appear(good: Good):
    skill = good(**{"skill.toml": GENERATE + '[inputs]\naccepts = ["items", "paths"]\n'})
    assert list(skill.input_schema["properties"]) == ["focus", "words", "items", "paths", "detail"]
    assert skill.result_schema["required"] == ["results"]
    assert "answer" not in skill.result_schema["properties"]


def test_a_single_accepted_input_is_required(good: Good):
    skill = good(**{"skill.toml": GENERATE + '[inputs]\naccepts = ["text"]\n'})
    assert skill.input_schema["required"] == ["text"]
    assert "exactly one" not in skill.input_schema["properties"]["text"]["description"]
    assert skill.result_schema["required"] == ["answer"]
    assert "results" not in skill.result_schema["properties"]


def test_references_of_both_schemas_still_resolve(good: Good):
    skill = good(
        **{
            "input.schema.json": {
                "type": "object",
                "properties": {"focus": {"$ref": "#/$defs/short"}, "words": {"$ref": "#/properties/focus"}},
                "$defs": {"short": {"type": "string", "maxLength": 3}},
            },
            "output.schema.json": {
                "type": "object",
                "properties": {"answer": {"$ref": "#/$defs/tree"}},
                "required": ["answer"],
                "$defs": {
                    "tree": {
                        "type": "object",
                        "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
                        "required": ["children"],
                    }
                },
            },
        }
    )
    assert validator(skill.input_schema).is_valid({"text": "x", "focus": "abc", "words": "abc"})
    assert not validator(skill.input_schema).is_valid({"text": "x", "words": "abcd"})
    result = validator(skill.result_schema)
    assert result.is_valid({"answer": {"children": [{"children": []}]}})
    assert not result.is_valid({"answer": {"children": [{}]}})
    assert not result.is_valid({"results": [{"index": 0, "answer": {"children": [{}]}}]})


def test_an_answer_is_one_result_or_several_and_never_both(good: Good):
    result = validator(good().result_schema)
    result.validate({"answer": "x"})
    result.validate({"answer": "x", "warnings": ["split"]})
    result.validate({"results": [{"index": 0, "answer": "x"}, {"index": 1, "error": {"code": "c", "message": "m"}}]})
    result.validate({"results": [{"index": 0, "path": "/a", "answer": "x"}]})
    for wrong in ({}, {"answer": 1}, {"results": [{"answer": "x"}]}, {"answer": "x", "results": []}):
        assert not result.is_valid(wrong), wrong


def test_a_fixed_closed_set_is_part_of_the_answers_schema(good: Good):
    result = validator(good(kind="choose").result_schema)
    result.validate(ONE)
    assert not result.is_valid({**ONE, "label": "cow"})
    assert not result.is_valid({"label": "cat"})
    assert not result.is_valid({**ONE, "confidence": 1.1})
    assert "labels" not in good(kind="choose").result_schema["properties"]


def test_several_labels_are_an_answer_only_where_they_can_be_turned_on(good: Good):
    several = {"labels": ["cat"], "confidence": 0.8, "scores": {"cat": 0.8, "dog": 0.2}}
    assert validator(good(kind="own-labels").result_schema).is_valid(several)
    assert validator(good(kind="own-labels").result_schema).is_valid(ONE)
    assert not validator(good(kind="choose").result_schema).is_valid(several)


def test_what_is_written_after_a_choice_is_part_of_the_answer(good: Good):
    skill = good(
        kind="choose",
        **{
            "skill.toml": 'name = "@"\nversion = "1.0.0"\ndescription = "Pick one of them."\nkind = "choose"\n'
            '[choose]\nwrite = ["title"]\n',
            "output.schema.json": {
                "type": "object",
                "properties": {"label": {"enum": ["cat", "dog"]}, "title": {"type": "string"}},
                "required": ["label", "title"],
            },
        },
    )
    validator = Draft202012Validator(skill.result_schema)
    answer = {"label": "cat", "confidence": 1.0, "scores": {"cat": 1.0}}
    validator.validate({**answer, "title": "a cat"})
    assert not validator.is_valid(answer)


def test_missing_arguments_get_their_default_or_none(good: Good):
    assert filled(good(), {"text": "x"}) == {"focus": None, "words": 7}
    assert filled(good(), {"words": 3, "focus": "a", "unknown": 1}) == {"focus": "a", "words": 3}


def test_what_code_adds_to_located_entities_is_in_the_tools_answer(good: Good):
    entity = {"type": "object", "properties": {"type": {"enum": ["a"]}, "value": {"type": "string"}}}
    found = {"type": "array", "maxItems": 2, "items": {**entity, "required": ["type", "value"]}}
    schema = {"type": "object", "properties": {"found": found}, "required": ["found"]}
    skill = good(
        **{"skill.toml": GENERATE + '[generate]\nlocate = "found"\nredact = true\n', "output.schema.json": schema}
    )
    assert skill.output_schema == schema
    check = validator(skill.result_schema)
    place = {"type": "a", "value": "x", "start": 0, "end": 1}
    check.validate({"found": [place] * 3, "redacted": "[A]"})
    check.validate({"results": [{"index": 0, "found": [], "redacted": ""}]})
    assert not check.is_valid({"found": [place]})
    assert not check.is_valid({"found": [{**place, "start": -1}], "redacted": ""})


def test_claims_that_a_text_does_not_have_are_in_the_tools_answer_and_need_not_be_there(good: Good):
    check = validator(good(**{"skill.toml": GENERATE + '[trust]\nevidence = "claims"\n'}).result_schema)
    claim = {"path": "answer", "claim": "1,250", "kind": "number"}
    check.validate({"answer": "x"})
    check.validate({"answer": "x", "unsupported": [claim], "warnings": ["y"]})
    check.validate({"results": [{"index": 0, "answer": "x", "unsupported": [claim]}]})
    assert not check.is_valid({"answer": "x", "unsupported": [{"claim": "1,250"}]})
    assert not check.is_valid({"answer": "x", "unsupported": [{**claim, "kind": "other"}]})
