from pathlib import Path
from typing import Any

import pytest

from tests.unit.calls.calls_fakes import LABELS, classify_skill, extract_skill, make_skill
from tools_server.calls import arguments as module
from tools_server.calls.arguments import ArgumentCheck
from tools_server.errors import InvalidArguments
from tools_server.skills.types import Skill

OK: dict[str, Any] = {"labels": ["question", "complaint"], "text": "hello"}


@pytest.fixture
def skill(tmp_path: Path) -> Skill:
    return classify_skill(tmp_path)


def refusal(skill: Skill, arguments: dict[str, Any]) -> InvalidArguments:
    with pytest.raises(InvalidArguments) as caught:
        ArgumentCheck().check(skill, arguments)
    assert caught.value.message
    assert caught.value.hint
    return caught.value


def test_good_arguments_are_parted_into_own_ones_and_inputs(skill: Skill) -> None:
    checked = ArgumentCheck().check(skill, {**OK, "several": True})
    assert checked.own == {"labels": ["question", "complaint"], "several": True}
    assert (checked.source, checked.inputs) == ("text", ("hello",))
    several = ArgumentCheck().check(skill, {"labels": OK["labels"], "items": ["a", "b"]})
    assert (several.source, several.inputs) == ("items", ("a", "b"))


@pytest.mark.parametrize(
    ("change", "told", "mend"),
    [
        ({"labels": None}, "$.labels breaks `type`: must be an array, got null", "Give an array at `$.labels`"),
        ({"labels": "a, b"}, '$.labels breaks `type`: must be an array, got "a, b"', 'for example ["a, b"]'),
        ({"labels": '["a", "b"]'}, "$.labels breaks `type`", "not a string that holds its JSON"),
        ({"labels": ["a"]}, '$.labels breaks `minItems` (2): got ["a"], 1 items', "Give at least 2 items"),
        ({"labels": ["a", "a"]}, '$.labels breaks `uniqueItems` (true): got ["a", "a"]', "Give each item"),
        ({"labels": ["a", 7]}, "$.labels[1] breaks `type`: must be a string, got 7", "Give a string"),
        ({"several": "yes"}, '$.several breaks `type`: must be true or false, got "yes"', "Give true or false"),
        ({"lables": ["x"]}, "$ breaks `additionalProperties`: unknown `lables`", "Did you mean `labels`?"),
        ({"text": "x" * 300_000}, '$.text breaks `maxLength` (200000): got "xxx', "at most 200000 characters"),
        ({"text": " \n\t "}, '$.text holds nothing but white space: " \\n\\t "', "visible character"),
        ({"text": ""}, "$.text breaks `minLength` (1)", "at least 1 characters"),
        ({"labels": ["a", " "]}, '$.labels[1] holds nothing but white space: " "', "visible"),
        ({"text": "a\ud800b"}, "$.text is not valid Unicode: character 1 is '\\ud800'", "Remove it"),
        ({"labels": ["a", "\udfff"]}, "$.labels[1] is not valid Unicode", "Remove it"),
        ({"several": float("nan")}, "$.several is nan", "finite"),
    ],
)
def test_a_refusal_names_path_rule_value_and_mend(skill: Skill, change: dict[str, Any], told: str, mend: str) -> None:
    error = refusal(skill, {**OK, **change})
    assert told in error.message
    assert mend in error.hint
    assert len(str(error)) < 600


def test_a_missing_argument_is_named_with_what_was_given(skill: Skill) -> None:
    error = refusal(skill, {"text": "x"})
    assert error.message == "Invalid arguments for `classify`: $ breaks `required`: `labels` missing, got `text`."
    assert error.hint == "Add `labels`."


def test_several_problems_are_told_at_once(skill: Skill) -> None:
    error = refusal(skill, {"labels": ["a"], "several": 3, "items": [], "other": 1, "text": 5})
    assert error.message.count("breaks") == 3
    assert "(and 2 more)" in error.message


def test_a_value_that_is_not_listed_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    arguments = {
        "type": "object",
        "properties": {"style": {"enum": ["short", "long", "bullet points"]}},
        "additionalProperties": False,
    }
    output = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    skill = make_skill(tmp_path, 'name = "x"\nkind = "generate"', arguments=arguments, output=output)
    error = refusal(skill, {"style": "shrt", "text": "a"})
    assert '$.style breaks `enum`: got "shrt"' in error.message
    assert error.hint == 'Did you mean `short`? Allowed: "short", "long", "bullet points".'


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (5, "$.labels[1] breaks `anyOf`: must be a string or an object, got 5"),
        ({"nam": "b"}, "$.labels[1] breaks `required`: `name` missing, got `nam`"),
        ({"name": "b", "why": "c"}, "$.labels[1] breaks `additionalProperties`: unknown `why`"),
        ({"name": ""}, "$.labels[1].name breaks `minLength` (1)"),
    ],
)
def test_of_several_branches_the_one_that_was_meant_is_told(tmp_path: Path, label: Any, told: str) -> None:
    named = {"type": "object", "properties": {"name": {"type": "string", "minLength": 1}}, "required": ["name"]}
    named["additionalProperties"] = False
    arguments = {
        "type": "object",
        "properties": {"labels": {"type": "array", "items": {"anyOf": [{"type": "string"}, named]}}},
        "additionalProperties": False,
    }
    output = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    skill = make_skill(tmp_path, 'name = "x"\nkind = "generate"', arguments=arguments, output=output)
    assert told in refusal(skill, {"labels": ["a", label], "text": "a"}).message


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({}, "`classify` got nothing to work on: `text` or `items` or `paths` is missing"),
        ({"text": "a", "items": ["b"]}, "`classify` got `text` and `items` in one call"),
        ({"text": "a", "paths": ["b"], "items": ["c"]}, "`text` and `items` and `paths`"),
    ],
)
def test_exactly_one_of_the_inputs_is_taken(skill: Skill, inputs: dict[str, Any], told: str) -> None:
    assert told in refusal(skill, {"labels": ["a", "b"], **inputs}).message


def test_an_input_that_the_skill_does_not_accept_is_refused(tmp_path: Path) -> None:
    skill = classify_skill(tmp_path, '[inputs]\naccepts = ["text"]')
    assert "unknown `paths`" in refusal(skill, {"labels": ["a", "b"], "paths": ["x"]}).message


def test_a_blank_item_is_refused_by_its_place(skill: Skill) -> None:
    assert "$.items[1] holds nothing" in refusal(skill, {"labels": ["a", "b"], "items": ["x", "  "]}).message


def test_nesting_without_end_is_refused_before_anything_recurses(tmp_path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"items": deep}
    error = refusal(extract_skill(tmp_path), {"fields": deep, "text": "a"})
    assert "$.fields" in error.message
    assert "64 levels" in error.message
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert "64 levels" in refusal(extract_skill(tmp_path / "b"), {"fields": endless, "text": "a"}).message


def test_the_validator_is_compiled_once_per_skill(skill: Skill, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    real = module.validator_of
    monkeypatch.setattr(module, "validator_of", lambda schema: made.append(schema) or real(schema))
    check = ArgumentCheck()
    for _ in range(3):
        check.check(skill, OK)
    assert made == [skill.input_schema]
    assert LABELS["required"] == ["labels"]
