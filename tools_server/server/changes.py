"""Tells clients that tools or resources changed, in the way of each protocol era.

A client of the handshake era gets `notifications/*/list_changed` on its connection. A client of the 2026-07-28 era
gets them only on a `subscriptions/listen` stream that it opened, fed through the bus. Both are told, each is told
once, and only when what it would list is really different.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
    ToolsListChanged,
)

from tools_server.server.ports import Skills
from tools_server.server.resources import contents_of, resources_of
from tools_server.server.tools import tools_of
from tools_server.skills.types import Snapshot

logger = logging.getLogger(__name__)


class Peer:
    """One connection. `session` is there once a client of the handshake era said that it is initialized."""

    def __init__(self) -> None:
        self.session: ServerSession | None = None


class Changes:
    """Knows the open connections and announces what changed since the last announcement."""

    def __init__(self, skills: Skills) -> None:
        self._skills = skills
        self._bus = InMemorySubscriptionBus()
        self._peers: set[Peer] = set()
        self.listen = ListenHandler(self._bus)

    @asynccontextmanager
    async def connection(self, _server: object) -> AsyncGenerator[Peer, None]:
        """Serve as the SDK server's lifespan: one `Peer` for as long as one connection is open."""
        peer = Peer()
        self._peers.add(peer)
        try:
            yield peer
        finally:
            self._peers.discard(peer)

    async def on_initialized(self, ctx: ServerRequestContext[Peer, Any], _params: types.NotificationParams) -> None:
        """Remember the channel to a client of the handshake era; before this moment it may not be written to."""
        ctx.lifespan_context.session = ctx.session

    async def run(self) -> None:
        """Announce changes, for ever. Several reloads in a row become one announcement."""
        wake = asyncio.Event()
        loop = asyncio.get_running_loop()
        known = self._skills.snapshot
        unsubscribe = self._skills.subscribe(lambda _snapshot: _call(loop, wake))
        try:
            while True:
                await wake.wait()
                wake.clear()
                known, before = self._skills.snapshot, known
                await self._announce(before, known)
        finally:
            unsubscribe()

    async def _announce(self, before: Snapshot, after: Snapshot) -> None:
        sessions = [peer.session for peer in self._peers if peer.session is not None]
        if tools_of(before) != tools_of(after):
            await self._bus.publish(ToolsListChanged())
            for session in sessions:
                await session.send_tool_list_changed()
        if resources_of(before) != resources_of(after):
            await self._bus.publish(ResourcesListChanged())
            for session in sessions:
                await session.send_resource_list_changed()
        old, new = contents_of(before), contents_of(after)
        for uri in sorted(old.keys() | new.keys()):
            if old.get(uri) != new.get(uri):
                await self._bus.publish(ResourceUpdated(uri))


def _call(loop: asyncio.AbstractEventLoop, wake: asyncio.Event) -> None:
    # A reload may run in any thread, and may end after the loop did.
    if not loop.is_closed():
        loop.call_soon_threadsafe(wake.set)
