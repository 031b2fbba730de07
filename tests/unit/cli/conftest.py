"""A command line whose home is the test's own folder and whose model is a script."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools_server import app as composition
from tools_server import cli
from tools_server.app import App
from tools_server.engine.scripted import Script, ScriptedBackend, ScriptedEngine, hashed
from tools_server.settings import ENV_PREFIX, Settings


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


RunCli = Callable[..., Outcome]
UseScript = Callable[..., None]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home with nothing in it; the screen is wide, so that no line breaks."""
    # The runtime folder stays that of all tests: a socket's path would be too long in this home.
    for variable in [v for v in os.environ if v.startswith(ENV_PREFIX) and v != f"{ENV_PREFIX}RUNTIME_DIR"]:
        monkeypatch.delenv(variable)
    home = tmp_path / "home"
    home.mkdir()
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def run_cli(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunCli:
    """Run `tools-server WORD…` in this process to its end."""

    def run(*words: str) -> Outcome:
        monkeypatch.setattr("sys.argv", ["tools-server", *words])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        logging.getLogger("tools_server.llama_cpp").setLevel(logging.NOTSET)
        captured = capsys.readouterr()
        code = exit_.value.code
        assert code is None or isinstance(code, int)
        return Outcome(code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> UseScript:
    """Put a scripted engine in the place of llama.cpp, in `run` and in `doctor`."""

    def use(script: Script = hashed) -> None:
        def engine() -> ScriptedEngine:
            return ScriptedEngine(backend=ScriptedBackend(script, context_tokens=16384))

        def build(settings: Settings) -> App:
            return composition.build_app(settings, engine_factory=engine)

        for command in ("run", "doctor"):
            monkeypatch.setattr(f"tools_server.cli.{command}.build_app", build)

    return use
