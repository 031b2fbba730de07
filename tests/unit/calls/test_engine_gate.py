import logging
import threading
import time

import anyio
import pytest

from tests.unit.calls.calls_fakes import FakeEngine
from tools_server.calls.engine_gate import EngineGate
from tools_server.engine.types import Engine
from tools_server.errors import ChecksumMismatch, EngineDied, HostUnavailable, ModelLoadFailed


class SlowLoad:
    """A factory that waits until the test lets it go on."""

    def __init__(self, outcome: Engine | Exception) -> None:
        self.outcome = outcome
        self.go = threading.Event()
        self.calls = 0
        self.daemon = False

    def __call__(self) -> Engine:
        self.calls += 1
        self.daemon = threading.current_thread().daemon
        assert self.go.wait(10)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def test_many_waiters_get_the_one_engine_and_hear_that_it_loads() -> None:
    engine = FakeEngine()
    load = SlowLoad(engine)
    gate = EngineGate(load, tick_s=0.01)
    assert gate.state == "loading"
    gate.start()
    gate.start()
    heard: list[tuple[float, float | None, str]] = []
    got: list[Engine] = []

    async def progress(done: float, total: float | None, message: str) -> None:
        heard.append((done, total, message))
        if len(heard) == 3:
            load.go.set()

    async def wait() -> None:
        got.append(await gate.get(progress if len(got) == 0 and not heard else None))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(wait)
    assert got == [engine] * 5
    assert load.calls == 1
    assert gate.state == "ready"
    values = [done for done, _, _ in heard]
    assert values == sorted(values)
    assert all(0 <= value < 1 for value in values)
    assert all(total is None and "loading the model" in message for _, total, message in heard)


async def test_a_ready_engine_is_given_without_any_report() -> None:
    gate = EngineGate(FakeEngine)
    with anyio.fail_after(5):
        await gate.get()

        async def progress(*_: object) -> None:
            pytest.fail("nothing is loading")

        assert isinstance(await gate.get(progress), FakeEngine)


async def test_loading_runs_in_a_daemon_thread_so_exit_never_waits_for_it() -> None:
    load = SlowLoad(FakeEngine())
    load.go.set()
    with anyio.fail_after(5):
        await EngineGate(load).get()
    assert load.daemon


async def test_a_failed_load_fails_every_call_with_its_own_error() -> None:
    load = SlowLoad(ChecksumMismatch("the file is another one", "Pull it again."))
    load.go.set()
    gate = EngineGate(load)
    with anyio.fail_after(5):
        for _ in range(2):
            with pytest.raises(ChecksumMismatch, match="another one"):
                await gate.get()
    assert gate.state == "failed"
    assert load.calls == 1
    await gate.aclose()


async def test_a_host_that_could_not_be_reached_is_tried_again_by_the_next_call() -> None:
    engine = FakeEngine()
    outcomes = [HostUnavailable("nobody listens", ""), HostUnavailable("nobody listens", ""), engine]

    def connect() -> FakeEngine:
        outcome = outcomes.pop(0)
        if isinstance(outcome, HostUnavailable):
            raise outcome
        return outcome

    gate = EngineGate(connect)
    with anyio.fail_after(5):
        for _ in range(2):
            with pytest.raises(HostUnavailable, match="nobody listens"):
                await gate.get()
            assert gate.state == "failed"
        assert await gate.get() is engine
    assert gate.state == "ready"
    await gate.aclose()


async def test_an_unforeseen_failure_becomes_an_error_of_the_tree_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    load = SlowLoad(RuntimeError("libllama is broken"))
    load.go.set()
    with (
        caplog.at_level(logging.ERROR),
        anyio.fail_after(5),
        pytest.raises(ModelLoadFailed, match="libllama is broken"),
    ):
        await EngineGate(load).get()
    assert "Traceback" in caplog.text


async def test_one_cancelled_waiter_leaves_the_others_waiting() -> None:
    engine = FakeEngine()
    load = SlowLoad(engine)
    gate = EngineGate(load, tick_s=0.01)
    with anyio.fail_after(5):
        with anyio.move_on_after(0.03) as scope:
            await gate.get()
        assert scope.cancelled_caught
        load.go.set()
        assert await gate.get() is engine


async def test_closing_closes_the_engine_once_and_refuses_later_calls() -> None:
    engine = FakeEngine()
    gate = EngineGate(lambda: engine)
    with anyio.fail_after(5):
        await gate.get()
        await gate.aclose()
        await gate.aclose()
        with pytest.raises(EngineDied):
            await gate.get()
    assert (engine.closed, gate.state) == (1, "closed")


async def test_closing_during_the_load_ends_the_waiters_and_closes_the_late_engine() -> None:
    engine = FakeEngine()
    load = SlowLoad(engine)
    gate = EngineGate(load, tick_s=0.01)
    ended: list[bool] = []

    async def wait() -> None:
        with pytest.raises(EngineDied):
            await gate.get()
        ended.append(True)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await gate.aclose()
        assert ended == [True, True]
        load.go.set()
        assert gate._thread is not None
        await anyio.to_thread.run_sync(gate._thread.join)
    assert engine.closed == 1
    assert gate.state == "closed"


async def test_closing_before_the_start_loads_nothing() -> None:
    load = SlowLoad(FakeEngine())
    gate = EngineGate(load)
    await gate.aclose()
    with pytest.raises(EngineDied):
        await gate.get()
    assert load.calls == 0


async def test_progress_is_reported_about_once_a_tick() -> None:
    load = SlowLoad(FakeEngine())
    gate = EngineGate(load, tick_s=0.05)
    times: list[float] = []

    async def progress(*_: object) -> None:
        times.append(time.monotonic())
        if len(times) == 4:
            load.go.set()

    with anyio.fail_after(5):
        await gate.get(progress)
    assert times[-1] - times[0] >= 0.12
