"""The tool `verify`: typed in and out, bounded, and closed to files outside the allowed folders."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.server.conversation import MODES, Mode, conversation, text_of
from tests.server.doubles import Skills, make_skill
from tools_server.calls.verify import LONGEST_TEXT, VERIFY_INPUT, VERIFY_OUTPUT, Verifier
from tools_server.settings import Settings

TEXT = "Ann Lee of Oslo paid 19.95 EUR."
ANSWER = {"who": "Ann Lee", "city": "Rome"}


async def call(arguments: dict[str, Any], *, mode: Mode = "auto", allowed: tuple[Path, ...] = ()) -> Any:
    verifier = Verifier(Settings(allow_paths=allowed))
    async with conversation(Skills(make_skill("classify")), mode=mode, verifier=verifier) as (client, _):
        return await client.call_tool("verify", arguments)


@pytest.mark.parametrize("mode", MODES)
async def test_it_is_listed_behind_run_skill_and_answers_as_its_schema_says(mode: Mode):
    Draft202012Validator.check_schema(VERIFY_INPUT)
    async with conversation(Skills(make_skill("a")), mode=mode, verifier=Verifier(Settings())) as (client, _):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == ["run_skill", "verify", "a"]
        result = await client.call_tool("verify", {"answer": ANSWER, "text": TEXT})
        assert tools["verify"].output_schema is not None
    assert result.structured_content == {
        "supported": False,
        "checked": 2,
        "missing": [{"path": "$.city", "value": "Rome", "kind": "value"}],
        "evidence": {"$.who": {"start": 0, "end": 7, "how": "exact"}},
    }
    Draft202012Validator(VERIFY_OUTPUT).validate(result.structured_content)


async def test_in_full_the_words_of_each_place_are_quoted():
    result = await call({"answer": {"price": "19,95 eur"}, "text": TEXT, "detail": "full"})
    assert result.structured_content["evidence"] == {
        "$.price": {"start": 21, "end": 26, "how": "number", "quote": "19.95"}
    }


async def test_a_file_is_read_only_where_folders_are_allowed(tmp_path: Path):
    note = tmp_path / "note.txt"
    note.write_text(TEXT, "utf-8")
    refused = await call({"answer": ANSWER, "path": str(note)})
    assert refused.is_error
    assert "no folder is allowed" in text_of(refused)
    read = await call({"answer": ANSWER, "path": str(note)}, allowed=(tmp_path,))
    assert read.structured_content["checked"] == 2


async def test_a_file_that_would_take_too_long_is_refused_with_both_numbers(tmp_path: Path):
    note = tmp_path / "log.txt"
    note.write_text("x" * (LONGEST_TEXT + 1), "utf-8")
    refused = await call({"answer": ANSWER, "path": str(note)}, allowed=(tmp_path,))
    assert refused.is_error
    assert "1,000,001 characters" in text_of(refused)
    assert "1,000,000 at most" in text_of(refused)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"text": TEXT}, "answer"),
        ({"answer": ANSWER}, "exactly one of `text` and `path`"),
        ({"answer": ANSWER, "text": TEXT, "path": "/x"}, "exactly one of `text` and `path`"),
        ({"answer": 3, "text": TEXT}, "$.answer"),
        ({"answer": ANSWER, "text": TEXT, "mode": 1}, "mode"),
        ({"answer": {"results": []}, "text": TEXT}, "several texts"),
        ({"answer": "x" * 200_001, "text": TEXT}, "longer than 200,000"),
    ],
)
async def test_a_call_that_cannot_be_answered_says_why(arguments: dict[str, Any], said: str):
    result = await call(arguments)
    assert result.is_error
    assert said in text_of(result)
