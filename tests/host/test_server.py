"""The host's HTTP side in this process, without a socket."""

import anyio
import httpx2
import pytest

from tests.host.places import ROOT, chat, settings_in, wanted_by
from tests.unit.calls.calls_fakes import FakeEngine
from tools_server.engine.types import Chat, Engine, Prompt
from tools_server.errors import EngineDied, EngineError, ModelLoadFailed
from tools_server.host import wire
from tools_server.host.info import INFO, RETIRE
from tools_server.host.server import HostServer


class Served:
    """A host over an engine, and why it wanted to leave."""

    def __init__(self, load: "Engine | Exception") -> None:
        self.left: list[str] = []
        self.host = HostServer(wanted_by(settings_in(ROOT)), lambda: _give(load), retire=self.left.append)
        transport = httpx2.ASGITransport(app=self.host.app)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://host")

    async def encode(self, text: str = "hello") -> Prompt:
        answer = await self.client.post(wire.ENCODE.path, content=wire.pack_request(wire.ENCODE, chat(text)))
        assert answer.headers["content-type"] == "application/json"
        return wire.unpack_answer(wire.ENCODE, answer.content)


def _give(load: "Engine | Exception") -> Engine:
    if isinstance(load, Exception):
        raise load
    return load


class Broken(FakeEngine):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def encode(self, chat: Chat) -> Prompt:
        raise self.error


async def test_a_bug_is_an_error_that_says_so_and_the_host_stays(caplog: pytest.LogCaptureFixture):
    served = Served(Broken(RuntimeError("a bug")))
    await served.host.load()
    with pytest.raises(EngineError, match="unforeseen way: RuntimeError: a bug"):
        await served.encode()
    assert "Traceback" in caplog.text
    assert served.left == []


async def test_a_dead_engine_makes_the_host_leave():
    served = Served(Broken(EngineDied("The thread is gone.")))
    await served.host.load()
    with pytest.raises(EngineDied, match="thread is gone"):
        await served.encode()
    assert served.left == ["its engine died: The thread is gone."]


async def test_a_failed_load_answers_everything_and_says_that_somebody_knows():
    served = Served(ModelLoadFailed("The weights are bent."))
    await served.host.load()
    assert served.host.failed
    assert not served.host.told_failure.is_set()
    with pytest.raises(ModelLoadFailed, match="bent"):
        await served.encode()
    assert served.host.told_failure.is_set()
    assert (await served.client.get(INFO)).json()["state"] == "failed"


async def test_an_unforeseen_failure_of_the_load_is_a_model_error():
    served = Served(OSError("libllama.so is missing"))
    await served.host.load()
    with pytest.raises(ModelLoadFailed, match=r"libllama\.so is missing"):
        await served.encode()


async def test_requests_wait_for_the_model_and_count_as_use():
    engine = FakeEngine()
    served = Served(engine)
    answers: list[Prompt] = []

    async def one() -> None:
        answers.append(await served.encode())

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            while not served.host.under_way:
                await anyio.lowlevel.checkpoint()
            info = (await served.client.get(INFO)).json()
            assert (info["state"], info["under_way"], info["idle_s"]) == ("loading", 1, 0)
            await served.host.load()
    assert answers == [await engine.encode(chat("hello"))]
    assert (await served.client.get(INFO)).json()["state"] == "ready"
    await served.host.aclose()
    assert engine.closed == 1


async def test_a_host_that_leaves_cuts_off_what_would_take_too_long():
    served = Served(FakeEngine())  # nobody loads it

    async def one() -> None:
        with pytest.raises(EngineDied, match="left before it had answered"):
            await served.encode()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            while not served.host.under_way:
                await anyio.lowlevel.checkpoint()
            served.host.cut_off()


async def test_to_retire_is_asked_by_post():
    served = Served(FakeEngine())
    assert (await served.client.get(RETIRE)).status_code == 405
    assert (await served.client.post(RETIRE)).is_success
    assert served.left == ["asked to"]
