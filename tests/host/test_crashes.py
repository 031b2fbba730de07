"""Hosts that die: no front end dies with them, every call ends once, and the next one works."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.host.conftest import Connect, gone, posix
from tests.host.places import FRONT_END, KILL, LIMIT_S, ROOT, generation, link_to, paths_of, settings_in
from tests.host.scripted_host import engine as scripted_engine
from tools_server.errors import DeadlineExceeded, EngineDied, HostUnavailable
from tools_server.host import client, lifecycle
from tools_server.host.client import HostedEngine

KILLS = 20


class FrontEnd:
    """A front end's process, and what it has said so far."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []

    async def listen(self, changed: anyio.Condition) -> None:
        assert self.process.stdout is not None
        lines = BufferedByteReceiveStream(self.process.stdout)
        while True:
            try:
                line = json.loads(await lines.receive_until(b"\n", 1 << 20))
            except (anyio.EndOfStream, anyio.IncompleteRead):
                return
            async with changed:
                self.said.append(line)
                changed.notify_all()

    def answers(self) -> int:
        return sum("answer" in line for line in self.said)


async def front_end(settings_json: str) -> FrontEnd:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return FrontEnd(await anyio.open_process([*FRONT_END, settings_json], cwd=ROOT, **pipes))  # type: ignore[arg-type]


async def until(changed: anyio.Condition, true: Any) -> None:
    with anyio.fail_after(LIMIT_S):
        async with changed:
            while not true():
                await changed.wait()


async def test_front_ends_that_start_together_share_one_host_and_live_through_twenty_crashes(folder: Path):
    settings = settings_in(folder)
    paths = paths_of(settings)
    fronts = [await front_end(settings.model_dump_json(exclude_unset=True)) for _ in range(4)]
    changed = anyio.Condition()
    try:
        async with anyio.create_task_group() as tasks:
            for front in fronts:
                tasks.start_soon(front.listen, changed)
            await until(changed, lambda: all(front.said for front in fronts))
            assert len({front.said[0]["host"] for front in fronts}) == 1
            assert paths.log.read_text().count("is loaded") == 1

            killed: set[int] = set()
            for _ in range(KILLS):
                before = [front.answers() for front in fronts]
                await until(changed, lambda: all(f.answers() > n for f, n in zip(fronts, before, strict=True)))  # noqa: B023
                pid = int(paths.pid.read_text())
                os.kill(pid, KILL)
                killed.add(pid)
            assert len(killed) == KILLS

            before = [front.answers() for front in fronts]
            await until(changed, lambda: all(f.answers() > n for f, n in zip(fronts, before, strict=True)))
            for front in fronts:
                assert front.process.stdin is not None
                await front.process.stdin.aclose()
            with anyio.fail_after(LIMIT_S):
                codes = [await front.process.wait() for front in fronts]
        assert codes == [0, 0, 0, 0]
    finally:
        for front in fronts:
            if front.process.returncode is None:
                front.process.kill()
            await front.process.aclose()

    local = scripted_engine(settings)
    right = {n: (await local.generate(generation(f"slow letter {n}"))).text for n in range(7)}
    await local.aclose()
    for front in fronts:
        calls = [line for line in front.said if "call" in line]
        assert len({line["call"] for line in calls}) == len(calls), "no call ends twice"
        # What was under way when stdin ended is cancelled; all other calls have ended.
        assert len(calls) >= max(line["call"] for line in calls) + 1 - 3
        assert {line.get("error", "engine_died") for line in calls} == {"engine_died"}
        assert all(line["answer"] == right[line["call"] % 7] for line in calls if "answer" in line)
        assert front.said[-1] == {"heavy": []}


async def test_a_request_that_kills_every_host_ends_in_an_error_and_the_next_call_works(connect: Connect):
    engine = await connect()
    with anyio.fail_after(LIMIT_S):
        with pytest.raises(EngineDied, match=r"crashed while it answered, and so did the next one") as caught:
            await engine.generate(generation("die"))
        assert "log is" in caught.value.hint
        assert (await engine.generate(generation("hello"))).text


async def test_an_engine_that_dies_of_a_bug_ends_its_host_and_the_next_call_has_a_new_one(
    connect: Connect, folder: Path
):
    engine = await connect()
    paths = paths_of(settings_in(folder))
    first = int(paths.pid.read_text())
    with anyio.fail_after(LIMIT_S):
        with pytest.raises(EngineDied, match="and so did the next one"):
            await engine.generate(generation("break"))
        assert (await engine.generate(generation("hello"))).text
        await gone(first)
    assert "a bug in the engine" in paths.log.read_text()


async def test_a_host_killed_while_nobody_asks_is_replaced_by_the_next_call(connect: Connect, folder: Path):
    engine = await connect()
    paths = paths_of(settings_in(folder))
    with anyio.fail_after(LIMIT_S):
        for _ in range(2):
            first = int(paths.pid.read_text())
            os.kill(first, KILL)
            assert (await engine.count_tokens(["four", ""])) == [4, 0]
            assert int(paths.pid.read_text()) != first


async def test_hosts_that_die_while_they_load_are_told_apart_from_a_model_that_cannot_be_loaded(folder: Path):
    link = link_to(settings_in(folder), "--load", "crashing")
    with anyio.fail_after(LIMIT_S), pytest.raises(EngineDied, match="ended 3 times while it was loading scripted"):
        await anyio.to_thread.run_sync(link.ensure)


@posix
async def test_a_host_that_stands_still_costs_a_call_its_deadline_and_can_be_ended(
    connect: Connect, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client, "GRACE_S", 0.1)
    monkeypatch.setattr(client, "TEXT_S", 0.2)
    monkeypatch.setattr(lifecycle, "ASK_S", 0.2)
    engine: HostedEngine = await connect()
    paths = paths_of(settings_in(folder))
    pid = int(paths.pid.read_text())
    os.kill(pid, signal.SIGSTOP)
    with anyio.fail_after(LIMIT_S):
        with pytest.raises(DeadlineExceeded, match="did not answer within") as caught:
            await engine.generate(generation("hello", time.monotonic() + 0.1))
        assert "host stop" in caught.value.hint
        with pytest.raises(EngineDied, match=r"did not answer within 0\.2 s"):
            await engine.count_tokens(["x"])
        with pytest.raises(HostUnavailable, match=rf"pid {pid}\) does not answer"):
            lifecycle.find(paths)
        monkeypatch.setattr(lifecycle, "ASK_S", 3.0)
        assert not await anyio.to_thread.run_sync(lambda: lifecycle.stop(paths, patience_s=0.1))
        await gone(pid)
