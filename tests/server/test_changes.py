from typing import Any

import anyio
import pytest
from mcp import types
from mcp.client.subscriptions import ResourcesListChanged, ResourceUpdated, Subscription, ToolsListChanged

from tests.server.conversation import MODES, Mode, conversation
from tests.server.doubles import Skills, make_skill


class Heard:
    """Keeps the notifications of a handshake-era client."""

    def __init__(self) -> None:
        self.methods: list[str] = []
        self.changed = anyio.Event()

    async def __call__(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification | types.ResourceListChangedNotification):
            self.methods.append(message.method)
            self.changed.set()


async def test_a_handshake_client_is_notified_and_lists_the_new_tool():
    heard = Heard()
    skills = Skills(make_skill("classify"))
    async with conversation(skills, mode="legacy", message_handler=heard) as (client, _):
        await client.list_tools()
        skills.set(make_skill("classify"), make_skill("extract"))
        with anyio.fail_after(5):
            await heard.changed.wait()
        assert [tool.name for tool in (await client.list_tools()).tools] == ["run_skill", "classify", "extract"]
    assert heard.methods[0] == "notifications/tools/list_changed"


async def next_event(subscription: Subscription) -> Any:
    with anyio.fail_after(5):
        return await anext(subscription)


async def test_a_2026_client_hears_on_the_stream_that_it_opened_and_lists_the_new_tool():
    skills = Skills(make_skill("classify"))
    async with (
        conversation(skills) as (client, _),
        client.listen(tools_list_changed=True, resources_list_changed=True) as subscription,
    ):
        skills.set(make_skill("classify"), make_skill("extract"))
        assert {type(await next_event(subscription)), type(await next_event(subscription))} == {
            ToolsListChanged,
            ResourcesListChanged,
        }
        assert [tool.name for tool in (await client.list_tools()).tools] == ["run_skill", "classify", "extract"]
        skills.set(make_skill("classify"))
        assert await next_event(subscription) == ToolsListChanged()
        assert [tool.name for tool in (await client.list_tools()).tools] == ["run_skill", "classify"]


async def test_a_reload_that_changes_no_list_is_not_announced():
    skills = Skills(make_skill("classify"))
    listing = "tools-server://skills"
    async with (
        conversation(skills) as (client, _),
        client.listen(tools_list_changed=True, resource_subscriptions=[listing]) as subscription,
    ):
        skills.set(make_skill("classify"))  # the same again
        skills.set(make_skill("classify", description="Another description, for a change."))
        assert await next_event(subscription) == ToolsListChanged()
        assert await next_event(subscription) == ResourceUpdated(listing)
        # Had the first reload been announced, another ToolsListChanged would come before this removal's.
        skills.set()
        assert [await next_event(subscription), await next_event(subscription)] == [
            ToolsListChanged(),
            ResourceUpdated(listing),
        ]


@pytest.mark.parametrize("mode", MODES)
async def test_instructions_follow_the_skills_for_those_who_connect_later(mode: Mode):
    skills = Skills(make_skill("classify"))
    async with conversation(skills, mode=mode) as (_, server):
        skills.set(make_skill("extract"))
        assert "- extract: " in (server.mcp.instructions or "")
        assert "- extract: " in (server.mcp.create_initialization_options().instructions or "")


async def test_the_announcer_lets_go_of_the_catalog_when_it_ends():
    skills = Skills()
    async with conversation(skills) as (client, _):
        await client.list_tools()
        assert skills.subscribers == 2  # the instructions, the announcer
    assert skills.subscribers == 1
