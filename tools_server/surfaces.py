"""How errors show over MCP, on the command line and in the log: one map from the error tree to each surface."""

from dataclasses import dataclass

from tools_server.errors import (
    CallError,
    CapacityError,
    DataError,
    EngineError,
    EvaluationError,
    ModelError,
    SettingsError,
    SkillError,
    SkillNotFound,
    ToolsServerError,
    TrainingError,
)

__all__ = ["Surface", "surface_of"]


@dataclass(frozen=True, slots=True)
class Surface:
    """How an error shows: as an MCP tool result with `isError` (else a protocol error), as an exit code, in the log."""

    mcp_result: bool
    exit_code: int
    logged: bool


_SURFACES: dict[type[ToolsServerError], Surface] = {
    CallError: Surface(mcp_result=True, exit_code=1, logged=False),
    CapacityError: Surface(mcp_result=True, exit_code=1, logged=False),
    SkillNotFound: Surface(mcp_result=False, exit_code=2, logged=False),
    SkillError: Surface(mcp_result=True, exit_code=2, logged=True),
    DataError: Surface(mcp_result=True, exit_code=2, logged=True),
    EvaluationError: Surface(mcp_result=True, exit_code=2, logged=True),
    ModelError: Surface(mcp_result=True, exit_code=3, logged=True),
    TrainingError: Surface(mcp_result=True, exit_code=3, logged=True),
    EngineError: Surface(mcp_result=True, exit_code=4, logged=True),
    SettingsError: Surface(mcp_result=True, exit_code=2, logged=True),
}


def surface_of(error: ToolsServerError | type[ToolsServerError]) -> Surface:
    """Tell how an error shows on every surface: the entry of its nearest ancestor in the map.

    Raises:
        KeyError: the class has no ancestor in the map (a test keeps that from happening).
    """
    kind = error if isinstance(error, type) else type(error)
    for ancestor in kind.__mro__:
        if ancestor in _SURFACES:
            return _SURFACES[ancestor]
    raise KeyError(kind.__name__)
