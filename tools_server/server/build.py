"""Puts the MCP server together: handlers, capabilities, instructions, change announcements."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import types
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions

from tools_server import __version__
from tools_server.server.changes import Changes, Peer
from tools_server.server.guard import contained, explain_invalid_params
from tools_server.server.handlers import Handlers
from tools_server.server.instructions import instructions
from tools_server.server.ports import Runs, Skills, Verifies
from tools_server.skills.types import Snapshot

NAME = "tools-server"


class _Server(Server[Peer]):
    """The SDK's server, telling clients of the handshake era the truth: lists do change here.

    Every transport of the SDK asks for these options without flags, and the SDK's default is "they never change".
    """

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        flags = notification_options or NotificationOptions(tools_changed=True, resources_changed=True)
        return super().create_initialization_options(flags, experimental_capabilities, extensions)


@dataclass(frozen=True, slots=True)
class SkillServer:
    """The SDK's server, and what must run beside it while it serves."""

    mcp: Server[Peer]
    changes: Changes


def build_server(
    skills: Skills,
    runs: Runs,
    *,
    model: str,
    allow_paths: Sequence[Path] = (),
    verifier: Verifies | None = None,
) -> SkillServer:
    """Build the server over a catalog and a runner; with a verifier, it offers `verify` as well."""
    handlers = Handlers(skills, runs, verifier)
    changes = Changes(skills)
    server = _Server(
        NAME,
        version=__version__,
        title="tools-server: local skills",
        instructions=instructions(skills.snapshot, model=model, allow_paths=allow_paths),
        lifespan=changes.connection,
        on_list_tools=contained("tools/list", handlers.list_tools),
        on_call_tool=contained("tools/call", handlers.call_tool),
        on_list_resources=contained("resources/list", handlers.list_resources),
        on_list_resource_templates=contained("resources/templates/list", handlers.list_resource_templates),
        on_read_resource=contained("resources/read", handlers.read_resource),
        on_subscriptions_listen=changes.listen,
    )
    server.add_notification_handler("notifications/initialized", types.NotificationParams, changes.on_initialized)
    server.middleware.append(explain_invalid_params)

    def refresh(snapshot: Snapshot) -> None:
        # Read by clients that connect or discover after this; a running conversation keeps what it was told.
        server.instructions = instructions(snapshot, model=model, allow_paths=allow_paths)

    skills.subscribe(refresh)
    return SkillServer(server, changes)
