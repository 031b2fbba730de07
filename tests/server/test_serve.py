"""The run loop in this process: what happens in which order."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from tests.server.doubles import Runs, Skills, make_skill
from tests.server.process import INITIALIZE, LIMIT_S
from tools_server.server.build import build_server
from tools_server.server.descriptors import Descriptors
from tools_server.server.stdio import serve


class Ends:
    """The pipes of one client, and what the loop did, in order."""

    def __init__(self) -> None:
        server_in, self.to_server = os.pipe()
        self.from_server, server_out = os.pipe()
        os.set_blocking(self.from_server, False)
        self.descriptors = Descriptors(server_in, server_out)
        self.order: list[str] = []
        self.wire = b""

    def start_engine(self) -> None:
        self.wire += os.read(self.from_server, 100_000)
        self.order.append("engine started")
        os.close(self.to_server)

    async def aclose(self) -> None:
        self.order.append("engine closed")


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    for descriptor in (made.descriptors.stdin, made.descriptors.stdout, made.from_server):
        os.close(descriptor)


async def test_the_first_answer_is_on_the_wire_before_the_engine_is_asked_for(ends: Ends):
    os.write(ends.to_server, json.dumps(INITIALIZE).encode() + b"\n")
    with anyio.fail_after(LIMIT_S):
        await serve(
            build_server(Skills(make_skill("classify")), Runs(), model="tiny"),
            ends.descriptors,
            start_engine=ends.start_engine,
            watch=None,
            aclose=ends.aclose,
            on_end=lambda: ends.order.append("end"),
        )
    assert json.loads(ends.wire)["result"]["serverInfo"]["name"] == "tools-server"
    assert ends.order[0] == "engine started"
    assert ends.order[-1] == "engine closed"
    assert "end" in ends.order[1:-1]


async def test_a_watch_that_fails_costs_hot_reload_and_nothing_else(ends: Ends, caplog: pytest.LogCaptureFixture):

    async def broken_watch() -> None:
        raise OSError(28, "inotify watch limit reached", str(Path.home()))

    os.write(ends.to_server, json.dumps(INITIALIZE).encode() + b"\n")
    with anyio.fail_after(LIMIT_S):
        await serve(
            build_server(Skills(), Runs(), model="tiny"),
            ends.descriptors,
            start_engine=ends.start_engine,
            watch=broken_watch,
            aclose=ends.aclose,
        )
    assert json.loads(ends.wire)["id"] == 0
    assert "no longer watched" in caplog.text
    assert "inotify watch limit reached" in caplog.text


async def test_an_engine_that_does_not_close_is_left_behind(
    ends: Ends, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tools_server.server.stdio.CLOSE_S", 0.05)
    os.close(ends.to_server)
    with anyio.fail_after(LIMIT_S):
        await serve(
            build_server(Skills(), Runs(), model="tiny"),
            ends.descriptors,
            start_engine=lambda: None,
            watch=None,
            aclose=anyio.sleep_forever,
        )
    assert "did not close within 0.05 s" in caplog.text
