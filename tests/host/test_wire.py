"""What crosses the wire arrives as it left: numbers to the last bit, deadlines, every error in its own class."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_errors import classes
from tools_server.engine.types import (
    Adapter,
    Chat,
    Constraint,
    ConstraintKind,
    EngineStats,
    FinishReason,
    Generation,
    GenerationRequest,
    Message,
    ModelInfo,
    Prompt,
    Sampling,
    ScoreRequest,
    Scores,
    Span,
    Timings,
    Token,
    Usage,
)
from tools_server.errors import EngineError, QueueFull, ToolsServerError
from tools_server.host import wire

ADAPTER = Adapter("a" * 64, "b" * 64, 0.1, Path("/adapters/a.gguf"), "a")
CONSTRAINT = Constraint(ConstraintKind.JSON_SCHEMA, '{"type": "object"}')
CHAT = Chat((Message("system", (Span("s"),)), Message("user", (Span("u"), Span("half a pair: \ud800", True)))), "{")
SAMPLING = Sampling(0.7, 0.95, 1 << 62)


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        (wire.MODEL, None),
        (wire.ENCODE, CHAT),
        (wire.COUNT_TOKENS, ("a", "", "ü")),
        (wire.CONTINUATIONS, ("a", "b")),
        (wire.CHECK, CONSTRAINT),
        (wire.CHECK, Constraint(ConstraintKind.SPANS, '{"type": "object"}', 'line one\nhalf a pair: \ud800 "é\\"')),
        (wire.GENERATE, GenerationRequest(Prompt((1, 2), (1,)), 7, CONSTRAINT, ADAPTER, SAMPLING)),
        (wire.SCORE, ScoreRequest(Prompt((1,)), ((1, 2), (3,)), ADAPTER)),
        (wire.LOAD_ADAPTER, ADAPTER),
        (wire.UNLOAD_ADAPTER, ADAPTER),
        (wire.STATS, None),
    ],
    ids=lambda value: value.path if isinstance(value, wire.Operation) else "",
)
def test_a_request_arrives_as_it_left(operation: wire.Operation, request_: object):
    arrived = wire.unpack_request(operation, wire.pack_request(operation, request_))
    assert arrived == request_
    if isinstance(request_, Adapter):
        assert (arrived.path, arrived.name) == (request_.path, request_.name)  # not part of what makes them equal


ANSWERS = [
    (wire.MODEL, ModelInfo("m", "c" * 64, "llama", 4096, 49152)),
    (wire.ENCODE, Prompt((1, 2, 3), (1, 2))),
    (wire.COUNT_TOKENS, [0, 3]),
    (wire.CONTINUATIONS, ((1, 2), (3,))),
    (wire.CHECK, None),
    (wire.STATS, EngineStats(requests=3, kv_cells=9)),
    (
        wire.GENERATE,
        Generation(
            "text\n\u2028",
            (Token(1, -0.1, 0.30000000000000004), Token(2, None, None)),
            FinishReason.LENGTH,
            Usage(1, 2, 3, 4),
            Timings(0.1, 0.2, 1e-9),
        ),
    ),
]


@pytest.mark.parametrize(("operation", "answer"), ANSWERS, ids=[operation.path for operation, _ in ANSWERS])
def test_an_answer_arrives_as_it_left(operation: wire.Operation, answer: object):
    assert wire.unpack_answer(operation, wire.pack_answer(operation, answer)) == answer


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5), st.floats(allow_nan=False))
def test_numbers_keep_every_bit_and_infinity(logprobs: list[float], mass: float):
    scores = Scores(tuple(logprobs), mass, Usage(), Timings())
    arrived = wire.unpack_answer(wire.SCORE, wire.pack_answer(wire.SCORE, scores))
    assert [value.hex() for value in arrived.logprobs] == [value.hex() for value in logprobs]
    assert arrived.mass.hex() == mass.hex()


def test_a_number_that_is_none_stays_none():
    scores = Scores((math.nan,), 1.0, Usage(), Timings())
    assert math.isnan(wire.unpack_answer(wire.SCORE, wire.pack_answer(wire.SCORE, scores)).logprobs[0])


@pytest.mark.parametrize("left_s", [5.0, -5.0])
def test_a_deadline_travels_as_the_seconds_that_are_left(left_s: float):
    request = GenerationRequest(Prompt((1,)), 1, deadline=time.monotonic() + left_s)
    body = wire.pack_request(wire.GENERATE, request)
    assert 0 <= json.loads(body)["timeout_s"] <= max(0, left_s)
    arrived = wire.unpack_request(wire.GENERATE, body)
    assert arrived.deadline is not None
    assert arrived.deadline - time.monotonic() == pytest.approx(max(0.0, left_s), abs=1)
    assert replace(arrived, deadline=None) == replace(request, deadline=None)


@pytest.mark.parametrize("kind", [ToolsServerError, *classes()], ids=lambda kind: kind.__name__)
def test_every_error_arrives_in_its_own_class(kind: type[ToolsServerError]):
    more = {"retry_after": 2.5} if kind is QueueFull else {}
    error = kind("What failed.", "What to do.", **more)
    with pytest.raises(ToolsServerError) as caught:
        wire.unpack_answer(wire.SCORE, wire.pack_error(error))
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.hint) == (error.message, error.hint)
    assert vars(caught.value) == vars(error)


def test_an_error_of_a_class_that_is_unknown_here_is_an_engine_error():
    body = b'{"error": {"code": "of_tomorrow", "message": "m", "hint": ""}}'
    with pytest.raises(EngineError, match=r"^m$"):
        wire.unpack_answer(wire.SCORE, body)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"answer": {"raw": 1}}', b"{}", b'{"error": {}}'])
def test_an_answer_that_is_none_is_an_error_and_says_so(body: bytes):
    with pytest.raises(EngineError, match="answered /v1/score with something else"):
        wire.unpack_answer(wire.SCORE, body)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"request": 1, "timeout_s": null}', b'{"request": {}}'])
def test_a_request_that_is_none_is_an_error_and_says_so(body: bytes):
    with pytest.raises(EngineError, match="cannot read what it was asked at /v1/score"):
        wire.unpack_request(wire.SCORE, body)
