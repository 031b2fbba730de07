"""The engine behind the socket is the engine: same answers, same errors, and what is cancelled is freed."""

import math
import os
import time
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx2
import pytest

from tests.host.conftest import Connect, posix
from tests.host.places import KILL, LIMIT_S, chat, generation, paths_of, settings_in
from tests.host.scripted_host import engine as scripted_engine
from tools_server.engine.types import (
    Adapter,
    Constraint,
    ConstraintKind,
    GenerationRequest,
    Prompt,
    ScoreRequest,
    as_json_schema,
)
from tools_server.errors import AdapterMismatch, DeadlineExceeded, EngineDied, InputTooLong, InvalidArguments, QueueFull
from tools_server.host.client import HostedEngine
from tools_server.host.info import OTHER_HOST, PID_HEADER

LABELS = ["billing", "bill", "praise"]


async def test_every_method_answers_as_the_engine_in_this_process_does(connect: Connect, folder: Path):
    hosted: HostedEngine = await connect()
    local = scripted_engine(settings_in(folder))
    adapter = Adapter("a" * 64, "0" * 64, path=Path("relative.gguf"))
    try:
        assert hosted.info == local.info
        prompt = await local.encode(chat("<|eos|> is text"))
        assert await hosted.encode(chat("<|eos|> is text")) == prompt
        assert await hosted.count_tokens(["a", "äö", ""]) == await local.count_tokens(["a", "äö", ""]) == [1, 4, 0]
        labels = await local.continuations(LABELS)
        assert await hosted.continuations(LABELS) == labels
        for used in (None, adapter):
            here = await local.score(ScoreRequest(prompt, labels, used))
            there = await hosted.score(ScoreRequest(prompt, labels, used))
            assert there.logprobs == here.logprobs, "to the last bit"
            assert math.isclose(sum(map(math.exp, there.logprobs)), 1.0)
        constraint = as_json_schema({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]})
        await hosted.check(constraint)
        request = GenerationRequest(prompt, 40, constraint)
        here, there = await local.generate(request), await hosted.generate(request)
        assert (there.text, there.tokens) == (here.text, here.tokens)
        await hosted.unload_adapter(adapter)
        await hosted.load_adapter(adapter)
        assert (await hosted.stats()).adapters_loaded == 1
    finally:
        await local.aclose()


async def test_errors_of_the_engine_arrive_as_what_they_are(connect: Connect):
    engine: HostedEngine = await connect()
    prompt = Prompt((65,))
    with pytest.raises(InputTooLong, match="exceeds the context of 4,096"):
        await engine.generate(GenerationRequest(prompt, 5000))
    with pytest.raises(InvalidArguments, match="closed set"):
        await engine.score(ScoreRequest(prompt, ()))
    with pytest.raises(InvalidArguments):
        await engine.check(Constraint(ConstraintKind.REGEX, "("))
    with pytest.raises(AdapterMismatch, match="was trained for the base"):
        await engine.load_adapter(Adapter("a" * 64, "f" * 64))
    with pytest.raises(DeadlineExceeded):
        await engine.generate(generation("hello", time.monotonic() - 1))


async def test_the_queue_is_one_for_all_front_ends(connect: Connect):
    engines = [await connect(max_sequences=1, queue_limit=1) for _ in range(2)]
    errors: list[QueueFull] = []
    answers: list[str] = []

    async def one(engine: HostedEngine, number: int) -> None:
        try:
            answers.append((await engine.generate(generation(f"slow {number}"))).text)
        except QueueFull as error:
            errors.append(error)

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(one, engines[number % 2], number)
    assert len(answers) + len(errors) == 8
    assert answers
    assert errors
    assert errors[0].retry_after >= 1


async def test_a_call_that_is_cancelled_frees_its_place_in_the_host(connect: Connect):
    engine: HostedEngine = await connect()
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.generate, generation("slow " * 100))
            while not (await engine.stats()).running:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        while (stats := await engine.stats()).running or not stats.cancelled:
            await anyio.lowlevel.checkpoint()
    assert (stats.cancelled, stats.finished, stats.waiting) == (1, 0, 0)


async def test_closing_ends_what_is_under_way_and_leaves_the_host_to_the_others(connect: Connect):
    mine, other = await connect(), await connect()
    ended: list[str] = []

    async def call() -> None:
        with pytest.raises(EngineDied, match="was closed"):
            await mine.generate(generation("slow " * 100))
        ended.append("mine")

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            while not (await other.stats()).running:
                await anyio.lowlevel.checkpoint()
            await mine.aclose()
        with pytest.raises(EngineDied, match="was closed"):
            await mine.count_tokens(["a"])
        assert await other.count_tokens(["a"]) == [1]
    assert ended == ["mine"]


@posix
async def test_a_host_refuses_what_was_meant_for_another_for_its_limits_may_differ(connect: Connect, folder: Path):
    await connect()
    transport = httpx2.AsyncHTTPTransport(uds=str(paths_of(settings_in(folder)).socket))
    async with httpx2.AsyncClient(transport=transport, base_url="http://host") as client:
        answer = await client.post("/v1/stats", headers={PID_HEADER: "1"}, content=b"{}")
    assert answer.status_code == OTHER_HOST


async def test_closing_while_a_new_host_is_awaited_ends_the_call(connect: Connect, folder: Path):
    engine: HostedEngine = await connect()
    os.kill(int(paths_of(settings_in(folder)).pid.read_text()), KILL)

    async def call() -> None:
        with pytest.raises(EngineDied, match="was closed"):
            await engine.count_tokens(["a"])

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            while not engine._lock.locked() or not engine._connection.lost:
                await anyio.lowlevel.checkpoint()
            await engine.aclose()
