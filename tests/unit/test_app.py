"""Where the engine comes from: the shared host, or this process where that is asked for or where there is no host."""

import os
from pathlib import Path

import pytest

from tools_server import app
from tools_server.app import build_app, shares_engine
from tools_server.engine.types import Engine
from tools_server.errors import ModelNotFound
from tools_server.host.lifecycle import HostLink
from tools_server.settings import Settings


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way an engine was asked for."""
    asked: list[str] = []

    def source(name: str) -> object:
        def make(settings: Settings, models: object) -> Engine:
            asked.append(name)
            raise ModelNotFound(name)

        return make

    monkeypatch.setattr(app, "connect_engine", source("host"))
    monkeypatch.setattr(app, "load_engine", source("here"))
    return asked


async def ask(settings: Settings) -> None:
    with pytest.raises(ModelNotFound):
        await build_app(settings).gate.get()


async def test_the_engine_is_the_hosts_unless_it_is_wanted_in_process(sources: list[str], tmp_path: Path):
    await ask(Settings(config_dir=tmp_path))
    await ask(Settings(config_dir=tmp_path, in_process=True))
    assert sources == ["host", "here"]


def test_the_engine_is_shared_unless_it_is_to_be_in_process():
    assert shares_engine(Settings())
    assert not shares_engine(Settings(in_process=True))


def test_without_weights_no_host_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(HostLink, "ensure", lambda _: pytest.fail("a host is started"))
    settings = Settings(cache_dir=tmp_path, config_dir=tmp_path)
    with pytest.raises(ModelNotFound, match=r"(?i)not on this machine|not here|no weights|missing"):
        app.connect_engine(settings, build_app(settings).models)
    assert os.name == "posix"
