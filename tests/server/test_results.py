import json
import logging
from dataclasses import replace
from typing import Any

import pytest
from mcp import types
from mcp.shared.exceptions import MCPError

from tests.server.doubles import RESULT
from tools_server import errors
from tools_server.server.results import answer, failure, internal_failure


def all_classes(root: type[errors.ToolsServerError] = errors.ToolsServerError) -> list[type[errors.ToolsServerError]]:
    return [found for child in root.__subclasses__() for found in (child, *all_classes(child))]


def make(kind: type[errors.ToolsServerError]) -> errors.ToolsServerError:
    extra: dict[str, Any] = {"retry_after": 2.5} if issubclass(kind, errors.QueueFull) else {}
    return kind("What failed: 'value'.", "Do this next.", **extra)


def text_of(result: types.CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    return block.text


def test_an_answer_is_complete_in_structured_content_and_again_as_text():
    result = answer(RESULT)
    assert result.structured_content == {"label": "größer"}
    assert text_of(result) == '{"label":"größer"}'
    assert json.loads(text_of(result)) == result.structured_content
    assert not result.is_error


def test_what_only_programs_want_rides_in_meta():
    assert answer(RESULT).meta == {
        "tools-server/call": "call-1",
        "tools-server/skill": {"name": "classify", "version": "1.2.3"},
        "tools-server/model": "tiny",
        "tools-server/usage": {"prompt": 10, "cached": 4, "completion": 3, "forced": 1},
        "tools-server/timings": {"queued": 0.1, "first_token": 0.2, "total": 0.3},
    }


def test_an_answer_that_json_cannot_say_is_refused_rather_than_sent_as_broken_json():
    with pytest.raises(ValueError, match="JSON"):
        answer(replace(RESULT, data={"score": float("nan")}))


@pytest.mark.parametrize("kind", all_classes(), ids=lambda kind: kind.__name__)
def test_every_error_shows_as_text_alone_with_message_and_next_move(kind: type[errors.ToolsServerError]):
    result = failure(make(kind))
    assert result.is_error
    assert text_of(result) == "What failed: 'value'. Do this next."
    assert result.structured_content is None
    assert (result.meta or {})["tools-server/error"]["code"] == kind.code


def test_an_unknown_tool_is_a_protocol_error():
    with pytest.raises(MCPError) as caught:
        failure(errors.SkillNotFound("No skill 'sumarise'.", "Did you mean summarise?"), unknown_tool=True)
    assert caught.value.code == types.INVALID_PARAMS
    assert caught.value.message == "No skill 'sumarise'. Did you mean summarise?"


def test_a_full_queue_tells_programs_when_to_come_back():
    assert (failure(make(errors.QueueFull)).meta or {})["tools-server/error"] == {
        "code": "queue_full",
        "retry_after": 2.5,
    }


def test_only_errors_that_the_map_wants_logged_are_logged(caplog: pytest.LogCaptureFixture):
    failure(make(errors.InvalidArguments))
    assert not caplog.records
    failure(make(errors.DecodeFailed))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "decode_failed: What failed" in caplog.text


def test_a_bug_shows_an_id_and_the_log_has_its_traceback(caplog: pytest.LogCaptureFixture):
    try:
        _ = {}["secret detail"]
    except KeyError:
        result = internal_failure("tools/call 'x'")
    text = text_of(result)
    assert result.is_error
    assert "secret" not in text
    assert "Traceback" not in text
    number = text.removeprefix("internal error, id ")[:8]
    assert number in caplog.text
    assert "KeyError: 'secret detail'" in caplog.text
