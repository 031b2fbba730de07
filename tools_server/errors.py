"""Every error that tools-server raises on purpose, and how each surface shows it.

A message says what failed and the offending value; the hint says the next move. A call that its caller cancelled
ends with no answer and so has no error. The tree:

    ToolsServerError
    ├ CallError
    │ ├ InvalidArguments    the arguments break the skill's input schema, or a schema among them is unusable
    │ ├ InputTooLong        the input does not fit and the skill does not split it
    │ ├ InputNotAllowed     a path lies outside the allowed roots
    │ ├ InputUnreadable     a file is missing, binary, or not UTF-8
    │ └ OutputTruncated     the answer hit its token budget before it was complete
    ├ CapacityError
    │ ├ QueueFull           the engine's queue is full; carries `retry_after` in seconds
    │ └ DeadlineExceeded    the call's deadline passed before it finished
    ├ SkillError
    │ ├ SkillNotFound       no skill has that name
    │ ├ ManifestInvalid     a skill folder or model manifest breaks its contract
    │ ├ AdapterMismatch     an adapter was trained for another base, or its file is not what it says
    │ └ SamplesInvalid      a file of evaluation samples breaks its contract
    ├ ModelError
    │ ├ ModelNotFound       no manifest has that id, or its weights are not on this machine
    │ ├ DownloadFailed      no source delivered the file
    │ ├ ChecksumMismatch    a file's SHA-256 is not the pinned one
    │ ├ ModelLoadFailed     llama.cpp could not load the weights or make a context
    │ └ TuningFailed        weights could not be written in another format, or could not be measured
    ├ EngineError
    │ ├ DecodeFailed        llama.cpp refused a batch, or the constraint broke; this request failed, the engine lives
    │ ├ EngineDied          the engine's thread is gone, or its host crashed twice while it answered
    │ ├ HostUnavailable     no engine host can be started or reached, or its folder is open to others
    │ └ HostMismatch        the shared engine host is of a later release than this process
    └ SettingsError         an unknown or invalid setting, wherever it came from
"""

from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "AdapterMismatch",
    "CallError",
    "CapacityError",
    "ChecksumMismatch",
    "DeadlineExceeded",
    "DecodeFailed",
    "DownloadFailed",
    "EngineDied",
    "EngineError",
    "HostMismatch",
    "HostUnavailable",
    "InputNotAllowed",
    "InputTooLong",
    "InputUnreadable",
    "InvalidArguments",
    "ManifestInvalid",
    "ModelError",
    "ModelLoadFailed",
    "ModelNotFound",
    "OutputTruncated",
    "QueueFull",
    "SamplesInvalid",
    "SettingsError",
    "SkillError",
    "SkillNotFound",
    "Surface",
    "ToolsServerError",
    "TuningFailed",
    "surface_of",
]


class ToolsServerError(Exception):
    """The root: `message` says what failed and the offending value, `hint` the next move (may be empty)."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class CallError(ToolsServerError):
    """Something about this one call that a smarter caller could have avoided."""

    code = "call_error"


class InvalidArguments(CallError):
    """The arguments break the skill's input schema, or a schema among them cannot be honoured."""

    code = "invalid_arguments"


class InputTooLong(CallError):
    """The input does not fit into the skill's limit or the model's context."""

    code = "input_too_long"


class InputNotAllowed(CallError):
    """A path lies outside the allowed roots."""

    code = "input_not_allowed"


class InputUnreadable(CallError):
    """A file is missing, binary, or not UTF-8."""

    code = "input_unreadable"


class OutputTruncated(CallError):
    """The answer hit its token budget before it was complete."""

    code = "output_truncated"


class CapacityError(ToolsServerError):
    """The call was fine; there was no room or time for it."""

    code = "capacity_error"


class QueueFull(CapacityError):
    """The engine's queue is full; try again in `retry_after` seconds."""

    code = "queue_full"

    def __init__(self, message: str, hint: str = "", *, retry_after: float) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class DeadlineExceeded(CapacityError):
    """The call's deadline passed before it finished."""

    code = "deadline_exceeded"


class SkillError(ToolsServerError):
    """A skill folder, or the name of one, is at fault."""

    code = "skill_error"


class SkillNotFound(SkillError):
    """No skill has that name."""

    code = "skill_not_found"


class ManifestInvalid(SkillError):
    """A skill folder or a model manifest breaks its contract; the message names file, key and reason."""

    code = "manifest_invalid"


class AdapterMismatch(SkillError):
    """An adapter was trained for another base, or its file is not what its manifest says."""

    code = "adapter_mismatch"


class SamplesInvalid(SkillError):
    """A file of evaluation samples breaks its contract; the message names file, line and reason."""

    code = "samples_invalid"


class ModelError(ToolsServerError):
    """The model's weights are missing, wrong, or unusable."""

    code = "model_error"


class ModelNotFound(ModelError):
    """No manifest has that id, or its weights are not on this machine."""

    code = "model_not_found"


class DownloadFailed(ModelError):
    """No source delivered the file."""

    code = "download_failed"


class ChecksumMismatch(ModelError):
    """A file's SHA-256 is not the pinned one."""

    code = "checksum_mismatch"


class ModelLoadFailed(ModelError):
    """llama.cpp could not load the weights or make a context."""

    code = "model_load_failed"


class TuningFailed(ModelError):
    """Weights could not be written in another format, or a candidate could not be measured."""

    code = "tuning_failed"


class EngineError(ToolsServerError):
    """The machinery failed; the call itself was fine."""

    code = "engine_error"


class DecodeFailed(EngineError):
    """llama.cpp refused a batch, or the constraint broke; this request failed and the engine lives on."""

    code = "decode_failed"


class EngineDied(EngineError):
    """The engine's thread is gone or was closed, or the engine host crashed twice while it answered."""

    code = "engine_died"


class HostUnavailable(EngineError):
    """No engine host can be started or reached, or the folder of its socket is not the user's alone."""

    code = "host_unavailable"


class HostMismatch(EngineError):
    """The shared engine host is of a later release, which this process cannot talk to."""

    code = "host_mismatch"


class SettingsError(ToolsServerError):
    """An unknown or invalid setting, wherever it came from."""

    code = "settings_error"


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
    ModelError: Surface(mcp_result=True, exit_code=3, logged=True),
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
