"""Answers and errors as MCP shows them.

A success is complete in `structuredContent` and again as text, for clients differ in which one the model sees. An
error is text only, for some clients show `structuredContent` instead of the text, and the text has the next move.
What only programs want (usage, timings, ids) rides in `_meta`, which costs the calling model no tokens.
"""

import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mcp import types
from mcp.shared.exceptions import MCPError

from tools_server.calls.types import SkillResult
from tools_server.errors import QueueFull, ToolsServerError
from tools_server.surfaces import surface_of

logger = logging.getLogger(__name__)

META = "tools-server"
"""The namespace of our `_meta` keys."""


def answer(result: SkillResult) -> types.CallToolResult:
    """Show a finished call.

    Raises:
        ValueError: the data holds what JSON cannot say (NaN, infinity).
    """
    return structured(
        result.data,
        {
            f"{META}/call": result.call_id,
            f"{META}/skill": {"name": result.skill, "version": result.version},
            f"{META}/model": result.model,
            f"{META}/usage": asdict(result.usage),
            f"{META}/timings": asdict(result.timings),
        },
    )


def structured(data: Mapping[str, Any], meta: Mapping[str, Any] | None = None) -> types.CallToolResult:
    """Show typed data; raises ValueError as `answer` does."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content=dict(data),
        _meta=dict(meta) if meta else None,
    )


def failure(error: ToolsServerError, *, unknown_tool: bool = False) -> types.CallToolResult:
    """Show an error where `surfaces.surface_of` says: as a result that the calling model can read, or by raising.

    `unknown_tool` tells that the error is about the tool's name itself. (Inside `run_skill` an unknown name is an
    argument that a smarter caller could have avoided, and always shows as a result.)

    Raises:
        MCPError: the error belongs to the protocol.
    """
    surface = surface_of(error)
    if surface.logged:
        logger.error("%s: %s", error.code, error)
    if unknown_tool and not surface.mcp_result:
        raise MCPError(types.INVALID_PARAMS, str(error))
    detail: dict[str, Any] = {"code": error.code}
    if isinstance(error, QueueFull):
        detail["retry_after"] = error.retry_after
    return _error_text(str(error), detail)


def incident(what: str) -> str:
    """Log the exception that is being handled, with its traceback, under a new id; return what a client may know."""
    number = uuid.uuid4().hex[:8]
    logger.exception("internal error %s in %s", number, what)
    return f"internal error, id {number}. The call may be repeated once; the server's log has the cause under this id."


def internal_failure(what: str) -> types.CallToolResult:
    """Show a bug: its id and nothing of its inside."""
    return _error_text(incident(what), {"code": "internal_error"})


def _error_text(text: str, detail: dict[str, Any]) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], is_error=True, _meta={f"{META}/error": detail}
    )
