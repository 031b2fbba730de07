import itertools
from dataclasses import replace

import anyio
import pytest
from mcp import types
from mcp.shared.exceptions import MCPError

from tests.server.conversation import MODES, Mode, conversation, text_of
from tests.server.doubles import RESULT, Runs, Skills, make_skill
from tools_server.calls.types import Progress
from tools_server.errors import InvalidArguments, QueueFull, SkillNotFound

pytestmark = pytest.mark.parametrize("mode", MODES)


async def test_tools_are_listed_with_run_skill_first(mode: Mode):
    async with conversation(Skills(make_skill("b"), make_skill("a")), mode=mode) as (client, _):
        assert [tool.name for tool in (await client.list_tools()).tools] == ["run_skill", "a", "b"]


async def test_the_client_is_told_the_routing_rule_and_that_lists_change(mode: Mode):
    async with conversation(Skills(make_skill("classify")), mode=mode) as (client, _):
        assert "- classify: " in (client.instructions or "")
        capabilities = client.server_capabilities
        assert capabilities.tools == types.ToolsCapability(list_changed=True)
        assert capabilities.resources is not None
        assert capabilities.resources.list_changed is True


async def test_a_call_gives_the_whole_answer_twice_and_the_rest_in_meta(mode: Mode):
    runs = Runs()
    async with conversation(Skills(make_skill("classify")), runs, mode=mode) as (client, _):
        result = await client.call_tool("classify", {"text": "t"})
    assert result.structured_content == {"label": "größer"}
    assert text_of(result) == '{"label":"größer"}'
    assert (result.meta or {})["tools-server/usage"]["prompt"] == 10
    assert runs.calls == [("classify", {"text": "t"})]


async def test_run_skill_runs_the_skill_with_its_arguments(mode: Mode):
    runs = Runs()
    async with conversation(Skills(make_skill("classify")), runs, mode=mode) as (client, _):
        result = await client.call_tool("run_skill", {"skill": "classify", "arguments": {"text": "t"}})
    assert result.structured_content == {"label": "größer"}
    assert runs.calls == [("classify", {"text": "t"})]


async def test_an_unknown_tool_is_a_protocol_error_that_names_the_known_ones(mode: Mode):
    async with conversation(Skills(make_skill("classify")), mode=mode) as (client, _):
        with pytest.raises(MCPError, match="Known: classify") as caught:
            await client.call_tool("clasify", {"text": "t"})
    assert caught.value.code == types.INVALID_PARAMS


async def test_an_unknown_skill_inside_run_skill_is_a_result_that_the_model_can_read(mode: Mode):
    async with conversation(Skills(make_skill("classify")), mode=mode) as (client, _):
        result = await client.call_tool("run_skill", {"skill": "clasify"})
    assert result.is_error
    assert "Known: classify" in text_of(result)


async def test_a_skill_that_is_gone_inside_the_run_is_a_result_too(mode: Mode):
    runs = Runs(SkillNotFound("gone in between", "list again"))
    async with conversation(Skills(make_skill("classify")), runs, mode=mode) as (client, _):
        assert (await client.call_tool("classify", {"text": "t"})).is_error


async def test_bad_arguments_are_a_result_with_the_next_move(mode: Mode):
    runs = Runs(InvalidArguments("$.text: must be a string, got a number.", "Pass a string."))
    async with conversation(Skills(make_skill("classify")), runs, mode=mode) as (client, _):
        result = await client.call_tool("classify", {"text": 7})
    assert result.is_error
    assert text_of(result) == "$.text: must be a string, got a number. Pass a string."
    assert result.structured_content is None


async def test_a_full_queue_says_when_to_come_back(mode: Mode):
    runs = Runs(QueueFull("The queue is full.", "Call again in 2 s.", retry_after=2.0))
    async with conversation(Skills(make_skill("classify")), runs, mode=mode) as (client, _):
        result = await client.call_tool("classify", {"text": "t"})
    assert "Call again in 2 s." in text_of(result)


async def test_a_bug_is_a_result_with_an_id_and_without_its_inside(mode: Mode, caplog: pytest.LogCaptureFixture):
    runs = Runs(RuntimeError("secret"))
    async with conversation(Skills(make_skill("classify")), runs, mode=mode) as (client, _):
        result = await client.call_tool("classify", {"text": "t"})
    assert result.is_error
    assert text_of(result).startswith("internal error, id ")
    assert "secret" not in text_of(result)
    assert "RuntimeError: secret" in caplog.text


async def test_a_bug_in_a_list_is_a_protocol_error_with_an_id(mode: Mode, caplog: pytest.LogCaptureFixture):
    skills = Skills(make_skill("classify"))
    async with conversation(skills, mode=mode) as (client, _):
        skills.snapshot = None  # type: ignore[assignment]
        with pytest.raises(MCPError, match="internal error, id ") as caught:
            await client.list_tools()
    assert caught.value.code == types.INTERNAL_ERROR
    assert "NoneType" not in caught.value.message
    assert "Traceback" in caplog.text


async def test_parameters_that_break_the_protocol_name_the_parameter(mode: Mode):
    async with conversation(Skills(make_skill("classify")), mode=mode) as (client, _):
        request = types.CallToolRequest.model_construct(
            method="tools/call",
            params=types.CallToolRequestParams.model_construct(name="classify", arguments=[1, 2]),
        )
        with (
            pytest.warns(UserWarning, match="Pydantic serializer warnings"),
            pytest.raises(MCPError, match=r"tools/call: params\.arguments: .*dict.* \(got list\)") as caught,
        ):
            await client.session.send_request(request, types.CallToolResult)
    assert caught.value.code == types.INVALID_PARAMS


async def test_a_cursor_that_was_never_given_out_is_refused(mode: Mode):
    async with conversation(Skills(), mode=mode) as (client, _):
        with pytest.raises(MCPError, match="Unknown cursor 'p2'") as caught:
            await client.list_tools(cursor="p2")
    assert caught.value.code == types.INVALID_PARAMS


async def test_progress_reaches_the_client_and_always_grows(mode: Mode):
    runs = Runs()
    seen: list[tuple[float, float | None, str | None]] = []
    last = anyio.Event()

    async def act(progress: Progress) -> None:
        await progress(0, None, "loading the model")
        await progress(0, None, "loading the model")
        await progress(0, 2, "1 of 2")
        await progress(1, 2, "2 of 2")
        await progress(2, 2, "done")

    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        seen.append((done, total, message))
        if message == "done":
            last.set()

    runs.act = act
    async with conversation(Skills(make_skill("classify")), runs, mode=mode) as (client, _):
        await client.call_tool("classify", {"text": "t"}, progress_callback=on_progress)
        with anyio.fail_after(5):
            await last.wait()
    seen.sort()  # the client handles each report in a task of its own
    assert [message for _, _, message in seen] == ["loading the model", "1 of 2", "2 of 2", "done"]
    assert all(a[0] < b[0] for a, b in itertools.pairwise(seen))
    assert seen[-1][:2] == (2, 2)


async def test_a_cancelled_call_is_cancelled_inside_and_the_connection_lives(mode: Mode):
    runs = Runs()
    running, stopped = anyio.Event(), anyio.Event()

    async def act(_progress: Progress) -> None:
        running.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    runs.act = act
    async with conversation(Skills(make_skill("classify")), runs, mode=mode) as (client, _):
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "classify", {"text": "t"})
                await running.wait()
                tasks.cancel_scope.cancel()
            await stopped.wait()
        runs.act = None
        assert not (await client.call_tool("classify", {"text": "t"})).is_error


async def test_resources_are_listed_and_read(mode: Mode):
    async with conversation(Skills(make_skill("classify", card={"f1": 0.9})), mode=mode) as (client, _):
        for resource in (await client.list_resources()).resources:
            assert (await client.read_resource(resource.uri)).contents
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in templates] == [
            "tools-server://skills/{name}/manifest",
            "tools-server://skills/{name}/card",
        ]
        with pytest.raises(MCPError, match="Did you mean tools-server://skills/classify/card"):
            await client.read_resource("tools-server://skills/classify/crd")


async def test_calls_run_side_by_side(mode: Mode):
    runs = Runs()
    both = anyio.Event()

    async def act(_progress: Progress) -> None:
        if len(runs.calls) == 2:
            both.set()
        await both.wait()

    runs.act = act
    async with conversation(Skills(make_skill("classify")), runs, mode=mode) as (client, _):
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "classify", {"text": "1"})
                tasks.start_soon(client.call_tool, "classify", {"text": "2"})


async def test_an_answer_that_json_cannot_say_is_an_internal_error_and_no_broken_line(mode: Mode):
    runs = Runs(replace(RESULT, data={"score": float("inf")}))
    async with conversation(Skills(make_skill("classify")), runs, mode=mode) as (client, _):
        result = await client.call_tool("run_skill", {"skill": "classify"})
    assert text_of(result).startswith("internal error, id ")
