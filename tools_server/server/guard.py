"""The last line before the wire: whatever goes wrong inside, a client reads one sentence and never a traceback."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mcp import types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, ValidationError

from tools_server.server.results import incident

Params = TypeVar("Params")
Result = TypeVar("Result", bound=BaseModel)
Handler = Callable[[ServerRequestContext[Any, Any], Params], Awaitable[Result]]


def contained(method: str, handler: Handler[Params, Result]) -> Handler[Params, Result]:
    """Wrap a handler: an exception that is no `MCPError` is a bug, and becomes one with an id."""

    async def guarded(ctx: ServerRequestContext[Any, Any], params: Params) -> Result:
        try:
            return await handler(ctx, params)
        except MCPError:
            raise
        except Exception as error:
            raise MCPError(types.INTERNAL_ERROR, incident(method)) from error

    return guarded


async def explain_invalid_params(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware: say which parameter is wrong, where the SDK says only that some are.

    Handlers are `contained`, so a `ValidationError` that arrives here is about what the client sent.

    Raises:
        MCPError: INVALID_PARAMS, naming the parameter and what it must be.
    """
    try:
        return await call_next(ctx)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(["params", *(str(part) for part in first["loc"] if part != "params")])
        text = f"{ctx.method}: {where}: {first['msg']} (got {type(first['input']).__name__})."
        raise MCPError(types.INVALID_PARAMS, text) from error
