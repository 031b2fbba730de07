"""What front ends and the host say to each other: the engine's own dataclasses as JSON.

A request is `{"request": …, "timeout_s": …}`: a deadline travels as the seconds that are left, for monotonic clocks of
two processes need not agree. An answer is `{"answer": …}` or `{"error": {"code", "message", "hint"}}`, which becomes
the same class of `errors.py` again. Numbers keep every bit: JSON has the shortest decimal that reads back the same.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from tools_server.engine.types import (
    Adapter,
    Chat,
    Constraint,
    EngineStats,
    Generation,
    GenerationRequest,
    ModelInfo,
    Prompt,
    ScoreRequest,
    Scores,
)
from tools_server.errors import EngineError, QueueFull, ToolsServerError

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Operation(Generic[Q, A]):
    """One thing that can be asked of a host: where, with what, and what comes back."""

    path: str
    request: TypeAdapter[Q]
    answer: TypeAdapter[A]


_Nothing: TypeAdapter[None] = TypeAdapter(type(None))
_Texts: TypeAdapter[tuple[str, ...]] = TypeAdapter(tuple[str, ...])
_Adapter = TypeAdapter(Adapter)

MODEL = Operation("/v1/model", _Nothing, TypeAdapter(ModelInfo))
"""Answered once the model is loaded."""

ENCODE = Operation("/v1/encode", TypeAdapter(Chat), TypeAdapter(Prompt))
COUNT_TOKENS = Operation("/v1/count_tokens", _Texts, TypeAdapter(list[int]))
CONTINUATIONS = Operation("/v1/continuations", _Texts, TypeAdapter(tuple[tuple[int, ...], ...]))
CHECK = Operation("/v1/check", TypeAdapter(Constraint), _Nothing)
GENERATE = Operation("/v1/generate", TypeAdapter(GenerationRequest), TypeAdapter(Generation))
SCORE = Operation("/v1/score", TypeAdapter(ScoreRequest), TypeAdapter(Scores))
LOAD_ADAPTER = Operation("/v1/adapters/load", _Adapter, _Nothing)
UNLOAD_ADAPTER = Operation("/v1/adapters/unload", _Adapter, _Nothing)
STATS = Operation("/v1/stats", _Nothing, TypeAdapter(EngineStats))


def pack_request(operation: Operation[Q, Any], request: Q) -> bytes:
    """Write a request."""
    deadline = deadline_of(request)
    timeout_s = None
    if deadline is not None:
        timeout_s = max(0.0, deadline - time.monotonic())
        request = replace(cast("Any", request), deadline=None)
    return _json({"request": operation.request.dump_python(request, mode="json"), "timeout_s": timeout_s})


def unpack_request(operation: Operation[Q, Any], body: bytes) -> Q:
    """Read a request.

    Raises:
        EngineError: the body is not what `operation` takes.
    """
    try:
        envelope = json.loads(body)
        request = operation.request.validate_python(envelope["request"])
        timeout_s = envelope["timeout_s"]
        if timeout_s is not None:
            request = cast("Q", replace(cast("Any", request), deadline=time.monotonic() + timeout_s))
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise EngineError(
            f"The engine host cannot read what it was asked at {operation.path}: {error}.",
            "Restart the client, so that both are of one release.",
        ) from error
    return request


def pack_answer(operation: Operation[Any, A], answer: A) -> bytes:
    """Write an answer."""
    return _json({"answer": operation.answer.dump_python(answer, mode="json")})


def pack_error(error: ToolsServerError) -> bytes:
    """Write an error."""
    fields: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, QueueFull):
        fields["retry_after"] = error.retry_after
    return _json({"error": fields})


def unpack_answer(operation: Operation[Any, A], body: bytes) -> A:
    """Read what came back.

    Raises:
        ToolsServerError: the error that came back, in its own class.
        EngineError: what came back is neither an answer nor an error.
    """
    try:
        envelope = cast("Mapping[str, Any]", json.loads(body))
        if "error" not in envelope:
            return operation.answer.validate_python(envelope["answer"])
        error = _error(envelope["error"])
    except (ValueError, KeyError, TypeError, ValidationError) as problem:
        raise EngineError(
            f"The engine host answered {operation.path} with something else: {body[:80]!r}.",
            "Restart the client, so that both are of one release.",
        ) from problem
    raise error


def deadline_of(request: object) -> float | None:
    """Give the deadline of a request that has one."""
    return request.deadline if isinstance(request, GenerationRequest | ScoreRequest) else None


def _error(fields: Mapping[str, Any]) -> ToolsServerError:
    code, message, hint = fields["code"], fields["message"], fields["hint"]
    if code == QueueFull.code:
        return QueueFull(message, hint, retry_after=fields["retry_after"])
    kinds: list[type[ToolsServerError]] = [ToolsServerError]
    for kind in kinds:  # grows while it is walked
        kinds += kind.__subclasses__()
    kind = next((kind for kind in kinds if kind.code == code), EngineError)
    return kind(message, hint)


def _json(value: Mapping[str, Any]) -> bytes:
    # ASCII, so that half a surrogate pair arrives as it left; and `Infinity`, which pydantic would write as null.
    return json.dumps(value, separators=(",", ":")).encode("ascii")
