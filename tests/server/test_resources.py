import json
from pathlib import Path
from typing import Any

import pytest
from mcp import types
from mcp.shared.exceptions import MCPError

from tests.server.doubles import LABEL_OUTPUT, TEXT_INPUT, make_skill, snapshot_of
from tools_server.server.resources import contents_of, read, resources_of
from tools_server.skills.types import BrokenSkill, Snapshot

BROKEN = BrokenSkill("bad", Path("/skills/bad"), "skill.toml", "kind", "is missing")
SNAPSHOT = snapshot_of(make_skill("summarise"), make_skill("classify", card={"f1": 0.9}), broken=(BROKEN,))


def read_json(snapshot: Snapshot, uri: str) -> Any:
    (content,) = read(snapshot, uri).contents
    assert isinstance(content, types.TextResourceContents)
    assert content.uri == uri
    assert content.mime_type == "application/json"
    return json.loads(content.text)


def test_the_list_comes_first_and_a_card_is_listed_only_where_there_is_one():
    assert [resource.uri for resource in resources_of(SNAPSHOT)] == [
        "tools-server://skills",
        "tools-server://skills/classify/manifest",
        "tools-server://skills/classify/card",
        "tools-server://skills/summarise/manifest",
    ]


def test_everything_that_is_listed_can_be_read_and_nothing_else():
    assert {resource.uri for resource in resources_of(SNAPSHOT)} == contents_of(SNAPSHOT).keys()


def test_the_skill_list_names_skills_and_broken_folders_with_the_reason():
    listing = read_json(SNAPSHOT, "tools-server://skills")
    assert [skill["name"] for skill in listing["skills"]] == ["classify", "summarise"]
    assert listing["skills"][0]["card"] == "tools-server://skills/classify/card"
    assert "card" not in listing["skills"][1]
    assert listing["broken"] == [{"name": "bad", "file": "skill.toml", "key": "kind", "reason": "is missing"}]


def test_a_manifest_has_limits_and_both_schemas():
    manifest = read_json(SNAPSHOT, "tools-server://skills/classify/manifest")
    assert manifest["version"] == "1.2.3"
    assert manifest["limits"]["long_input"] == "refuse"
    assert manifest["input_schema"] == TEXT_INPUT
    assert manifest["output_schema"] == LABEL_OUTPUT


def test_a_card_is_given_as_it_was_measured():
    assert read_json(SNAPSHOT, "tools-server://skills/classify/card") == {"f1": 0.9}


def test_an_unknown_resource_names_the_nearest_one():
    with pytest.raises(MCPError) as caught:
        read(SNAPSHOT, "tools-server://skills/clasify/card")
    assert caught.value.code == types.INVALID_PARAMS
    assert "Did you mean tools-server://skills/classify/card?" in caught.value.message
