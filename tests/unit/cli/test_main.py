"""The command line as a whole: what it imports, how it fails, and with which exit code."""

import logging
from typing import Any

import pytest

from tests.unit.cli.conftest import RunCli
from tools_server import __version__, cli
from tools_server.errors import (
    EngineDied,
    InvalidArguments,
    ModelNotFound,
    SettingsError,
    SkillNotFound,
    ToolsServerError,
)


def test_version_prints_the_version_and_nothing_else(run_cli: RunCli):
    outcome = run_cli("--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"tools-server {__version__}\n", "")


def test_without_a_command_the_help_with_examples_is_shown(run_cli: RunCli):
    outcome = run_cli()
    assert outcome.code == 2
    assert "tools-server run summarise notes.md" in outcome.out + outcome.err


def test_an_unknown_command_names_the_nearest_one(run_cli: RunCli):
    outcome = run_cli("serv")
    assert outcome.code == 2
    assert "'serve'" in outcome.err


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_help_of_every_command_says_what_its_line_in_the_overview_promises(run_cli: RunCli, name: str):
    outcome = run_cli(name, "--help")
    assert outcome.code == 0
    assert f"tools-server {name}" in outcome.out


def failing_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(InvalidArguments, 1), (SkillNotFound, 2), (SettingsError, 2), (ModelNotFound, 3), (EngineDied, 4)],
)
def test_an_error_is_one_line_and_a_hint_and_decides_the_exit_code(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, kind: type[ToolsServerError], code: int
):
    failing_with(kind("It failed for [bold]x[/bold] :smile:.", "Do y."), monkeypatch)
    outcome = run_cli()
    assert outcome.code == code
    assert outcome.out == ""
    assert outcome.err == "error: It failed for [bold]x[/bold] :smile:.\n→ Do y.\n"  # no markup, no emoji


def test_an_error_without_a_hint_is_one_line(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch):
    failing_with(SettingsError("It failed."), monkeypatch)
    assert run_cli().err == "error: It failed.\n"


def test_a_bug_is_one_line_without_traceback_and_exit_code_70(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch):
    failing_with(ZeroDivisionError("division by zero"), monkeypatch)
    outcome = run_cli()
    assert outcome.code == 70
    assert "ZeroDivisionError: division by zero" in outcome.err
    assert "TOOLS_SERVER_LOG_LEVEL=debug" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_bug_has_its_traceback_in_the_debug_log(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch):
    failing_with(ZeroDivisionError("division by zero"), monkeypatch)
    logger = logging.getLogger("tools_server")
    logger.setLevel(logging.DEBUG)
    try:
        assert "Traceback" in run_cli().err
    finally:
        logger.setLevel(logging.NOTSET)


def test_control_c_exits_with_130(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch):
    failing_with(KeyboardInterrupt(), monkeypatch)
    outcome = run_cli()
    assert outcome.code == 130
    assert "Traceback" not in outcome.err
