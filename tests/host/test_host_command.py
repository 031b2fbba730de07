"""`tools-server host` and `doctor` over real hosts."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.host.conftest import posix
from tests.host.places import link_to, paths_of, settings_in
from tests.unit.cli.conftest import RunCli, home, run_cli  # noqa: F401 - fixtures
from tools_server import cli
from tools_server.cli import host as command
from tools_server.errors import HostUnavailable
from tools_server.host import lifecycle


@pytest.fixture
def running(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A host in the folder that the command looks into; its process id."""
    monkeypatch.setenv("TOOLS_SERVER_RUNTIME_DIR", str(folder))
    return link_to(settings_in(folder)).ensure().info.pid


def test_status_shows_every_host_that_runs(run_cli: RunCli, running: int, folder: Path):  # noqa: F811
    outcome = run_cli("host", "status", "--json")
    assert outcome.code == 0
    (host,) = json.loads(outcome.out)["hosts"]
    assert (host["model"], host["pid"], host["state"], host["under_way"]) == ("scripted", running, "ready", 0)
    assert host["socket"] == str(paths_of(settings_in(folder)).socket)
    assert host["memory_mb"] > 0
    assert f"pid: {running}" in run_cli("host", "status").out


def test_stop_ends_the_host_of_a_model_and_names_those_that_run(run_cli: RunCli, running: int):  # noqa: F811
    outcome = run_cli("host", "stop", "other")
    assert outcome.code == 3
    assert "No engine host runs 'other'" in outcome.err
    assert "Running: scripted." in outcome.err
    assert "ended" in run_cli("host", "stop", "scripted").err
    assert json.loads(run_cli("host", "status", "--json").out) == {"hosts": []}
    assert "No engine host runs" in run_cli("host", "status").err
    assert "No engine host runs" in run_cli("host", "stop").err


@posix
def test_a_host_that_stands_still_is_shown_as_silent_and_is_killed_by_stop(
    run_cli: RunCli,  # noqa: F811
    running: int,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(lifecycle, "ASK_S", 0.2)
    os.kill(running, signal.SIGSTOP)
    (host,) = json.loads(run_cli("host", "status", "--json").out)["hosts"]
    assert host["state"] == "silent"
    assert f"pid {running}" in host["error"]
    monkeypatch.setattr(lifecycle, "ASK_S", 3.0)
    assert "it was killed" in run_cli("host", "stop").err


def test_settings_that_are_none_are_refused_in_one_line(run_cli: RunCli):  # noqa: F811
    outcome = run_cli("host", "serve", "--settings", '{"modle": "x"}')
    assert outcome.code == 2
    assert "--settings is invalid" in outcome.err


@posix
def test_serving_says_that_it_listens(monkeypatch: pytest.MonkeyPatch, run_cli: RunCli):  # noqa: F811
    reading, writing = os.pipe()

    def serve(settings: object, *, listening: object) -> None:
        listening()  # type: ignore[operator]

    monkeypatch.setattr(command, "serve_host", serve)
    monkeypatch.setattr(command.faulthandler, "enable", lambda file: None)
    monkeypatch.setattr(command.threading.Timer, "start", lambda _: None)
    assert "Listening" in run_cli("host", "serve").err
    run_cli("host", "serve", "--settings", "{}", "--ready-fd", str(writing))
    assert os.read(reading, 10) == b"\n"
    assert os.read(reading, 10) == b"", "and closes it"
    os.close(reading)


def test_a_failure_to_serve_is_one_line_that_the_starter_can_read(
    monkeypatch: pytest.MonkeyPatch,
    run_cli: RunCli,  # noqa: F811
):
    def serve(settings: object, *, listening: object) -> None:
        raise HostUnavailable("Another engine host still runs.", "End it.")

    monkeypatch.setattr(command, "serve_host", serve)
    monkeypatch.setattr(command.faulthandler, "enable", lambda file: None)
    outcome = run_cli("host", "serve")
    assert outcome.code == 4
    assert outcome.err.splitlines()[0] == "error: Another engine host still runs."


def test_the_command_is_known():
    assert "host" in cli.COMMANDS
