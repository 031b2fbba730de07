import pytest
from jsonschema import Draft202012Validator

from tests.server.doubles import make_skill, snapshot_of
from tools_server.errors import InvalidArguments
from tools_server.server.tools import RUN_SKILL_TOOL, tool_of, tools_of, unwrap_run_skill


def test_run_skill_comes_first_and_the_skills_follow_by_name():
    snapshot = snapshot_of(make_skill("summarise"), make_skill("classify"), make_skill("extract"))
    assert [tool.name for tool in tools_of(snapshot)] == ["run_skill", "classify", "extract", "summarise"]


def test_a_tool_carries_schemas_title_and_annotations_of_its_skill():
    skill = make_skill("classify")
    tool = tool_of(skill)
    assert tool.input_schema == skill.input_schema
    assert tool.output_schema == skill.result_schema
    assert tool.title == "Classify text"
    assert tool.description == skill.manifest.description
    wire = tool.model_dump(by_alias=True, exclude_none=True)["annotations"]
    assert wire == {
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
    }


def test_a_skill_without_a_title_is_shown_by_its_name():
    assert tool_of(make_skill("classify", title="")).title == "classify"


def test_only_run_skill_is_always_loaded_for_it_costs_tokens_in_every_conversation():
    tools = tools_of(snapshot_of(make_skill("classify")))
    assert [(tool.meta or {}).get("anthropic/alwaysLoad") for tool in tools] == [True, None]
    assert all((tool.meta or {}).get("anthropic/searchHint") for tool in tools)


def test_run_skill_does_not_depend_on_the_skills():
    few, many = snapshot_of(), snapshot_of(make_skill("a"), make_skill("b"))
    assert tools_of(few)[0] == tools_of(many)[0] == RUN_SKILL_TOOL


def test_no_schema_has_a_combinator_at_the_top_which_model_apis_refuse():
    for schema in (RUN_SKILL_TOOL.input_schema, RUN_SKILL_TOOL.output_schema):
        assert schema is not None
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert not {"anyOf", "oneOf", "allOf"} & schema.keys()


def test_run_skill_unwraps_name_and_arguments():
    assert unwrap_run_skill({"skill": "x", "arguments": {"text": "t"}}) == ("x", {"text": "t"})
    assert unwrap_run_skill({"skill": "x"}) == ("x", {})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "$.skill: must be a string, it is missing."),
        ({"skill": 7}, "$.skill: must be a string, got a number."),
        ({"skill": None}, "$.skill: must be a string, got null."),
        ({"skill": True}, "$.skill: must be a string, got a boolean."),
        ({"skill": "x", "arguments": [1]}, "$.arguments: must be an object, got an array."),
        ({"skill": "x", "arguments": "{}"}, "Pass the object itself, not its JSON text."),
        ({"skill": "x", "text": "t"}, "got also `text`"),
    ],
)
def test_a_wrong_call_of_run_skill_says_what_is_wrong_and_how_it_is_meant(arguments: dict[str, object], said: str):
    with pytest.raises(InvalidArguments) as caught:
        unwrap_run_skill(arguments)
    assert said in caught.value.message
    assert '{"skill": "NAME", "arguments": {…}}' in caught.value.hint
