"""The handlers of the MCP methods: look up, hand on, map back."""

from collections.abc import Mapping
from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from tools_server.calls.types import Progress
from tools_server.errors import ToolsServerError
from tools_server.server import resources, results, tools
from tools_server.server.changes import Peer
from tools_server.server.ports import Runs, Skills, Verifies

Context = ServerRequestContext[Peer, Any]


class Handlers:
    """Answers tools and resources out of the catalog and the runner; holds no state of its own."""

    def __init__(self, skills: Skills, runs: Runs, verifier: Verifies | None = None) -> None:
        self._skills = skills
        self._runs = runs
        self._verifier = verifier

    async def list_tools(self, _ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """List `run_skill`, `verify` and the skills."""
        _refuse_cursor(params)
        listed = tools.tools_of(self._skills.snapshot, verifies=self._verifier is not None)
        return types.ListToolsResult(tools=listed)

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Run a skill; every outcome is a result but an unknown tool, which is a protocol error.

        A cancelled call leaves through the cancellation that the SDK raises here: it gets no answer.

        Raises:
            MCPError: INVALID_PARAMS, no tool has that name.
        """
        arguments: Mapping[str, Any] = params.arguments or {}
        direct = params.name != tools.RUN_SKILL
        known = False
        try:
            if params.name == tools.VERIFY and self._verifier is not None:
                known = True
                return results.structured(await self._verifier.run(arguments))
            name, arguments = (params.name, arguments) if direct else tools.unwrap_run_skill(arguments)
            skill = self._skills.get(name)
            known = True
            result = await self._runs.run(skill, arguments, progress=_progress(ctx))
            return results.answer(result)
        except ToolsServerError as error:
            return results.failure(error, unknown_tool=direct and not known)
        except Exception:
            return results.internal_failure(f"tools/call {params.name[:60]!r}")

    async def list_resources(
        self, _ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """List the skill list, the manifests and the cards."""
        _refuse_cursor(params)
        return types.ListResourcesResult(resources=resources.resources_of(self._skills.snapshot))

    async def list_resource_templates(
        self, _ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """List how the URI of a manifest and of a card is made."""
        _refuse_cursor(params)
        return types.ListResourceTemplatesResult(resource_templates=resources.TEMPLATES)

    async def read_resource(self, _ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        """Read one resource.

        Raises:
            MCPError: INVALID_PARAMS, no resource has that URI.
        """
        return resources.read(self._skills.snapshot, params.uri)


def _refuse_cursor(params: types.PaginatedRequestParams | None) -> None:
    if params is not None and params.cursor is not None:
        message = f"Unknown cursor {params.cursor[:60]!r}. The list has one page: ask without a cursor."
        raise MCPError(types.INVALID_PARAMS, message)


def _progress(ctx: Context) -> Progress:
    """Make the progress callback of one call. The SDK drops reports for a client that gave no progress token.

    The protocol wants every value to be greater than the last. Reports that only bring a new message (the model is
    still loading) would break that, so they advance the value by a trace; repetitions are not sent.
    """
    last: float | None = None
    last_message = ""

    async def report(done: float, total: float | None, message: str) -> None:
        nonlocal last, last_message
        if last is not None and done <= last:
            if message == last_message:
                return
            done = last + 1e-6
        last, last_message = done, message
        await ctx.session.report_progress(done, total, message)

    return report
