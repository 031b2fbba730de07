"""`tools-server doctor`: every check says what it found; what is wrong says what to do and shows in the exit code."""

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.cli.conftest import RunCli, UseScript
from tools_server.cli import doctor
from tools_server.cli.doctor import Check, check_llama, check_memory, check_threads, exit_code
from tools_server.engine.scripted import saying
from tools_server.models import ModelStore
from tools_server.settings import Settings
from tools_server.skills.adapters import Active
from tools_server.training.versions import write_active

NAMES = ["python", "llama.cpp", "model", "skills", "threads", "memory", "host", "generation"]
SMALL = "smollm2-135m-instruct"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, scripted: UseScript, tmp_path: Path) -> None:
    """A model that is here, over a scripted engine."""
    scripted(saying("one two three"))
    for name in ("path", "verify"):
        monkeypatch.setattr(ModelStore, name, lambda _store, _id: tmp_path / "model.gguf")


@pytest.mark.usefixtures("installed")
def test_when_all_is_well_every_check_passes_and_the_generation_is_timed(run_cli: RunCli):
    outcome = run_cli("doctor", "--json", "--model", SMALL)
    assert outcome.code == 0, outcome.out
    checks = {check["name"]: check for check in json.loads(outcome.out)["checks"]}
    assert list(checks) == NAMES
    assert {checks[name]["state"] for name in NAMES if name != "threads"} == {"ok"}  # a busy machine is a warning
    assert "loaded in" in checks["generation"]["found"]
    served, _, without = checks["skills"]["found"].partition("; without an adapter")
    assert served.startswith("banking_intent, classify, commit_message, extract, find_pii")
    assert without == ""


@pytest.mark.usefixtures("installed")
def test_a_promoted_adapter_that_is_damaged_is_a_warning(run_cli: RunCli, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLS_SERVER_ADAPTERS_DIR", str(home / "adapters"))
    active = Active(version="gone", since=datetime.now(UTC), how="promoted", reason="for a test")
    write_active(home / "adapters", "classify", SMALL, active)
    outcome = run_cli("doctor", "--json", "--model", SMALL)
    assert outcome.code == 0, outcome.out
    skills = next(check for check in json.loads(outcome.out)["checks"] if check["name"] == "skills")
    assert skills["state"] == "warning"
    assert f"`classify` has no adapter version 'gone' for {SMALL}" in skills["found"]
    assert "skills adapters list" in skills["todo"]


@pytest.mark.usefixtures("installed")
def test_a_model_that_is_not_tuned_is_told_with_the_command(run_cli: RunCli):
    outcome = run_cli("doctor", "--json", "--model", SMALL)
    model = next(check for check in json.loads(outcome.out)["checks"] if check["name"] == "model")
    assert model["state"] == "ok"
    assert model["found"].endswith("tuned: no")
    assert f"tools-server models tune {SMALL}" in model["todo"]


@pytest.mark.usefixtures("installed")
def test_the_table_shows_each_check_and_each_setting_with_its_origin(run_cli: RunCli):
    outcome = run_cli("doctor", "--model", SMALL)
    lines = [line.split() for line in outcome.out.splitlines()]
    assert [line[1] for line in lines if line and line[0] in "✓!✗"] == NAMES
    assert ["model", SMALL, "flags"] in lines
    assert ["threads", "automatic", "defaults"] in lines


def test_a_missing_model_fails_names_the_command_and_skips_the_generation(run_cli: RunCli):
    outcome = run_cli("doctor", "--json", "--model", SMALL)
    checks = {check["name"]: check for check in json.loads(outcome.out)["checks"]}
    assert outcome.code == 3
    assert checks["model"]["state"] == "failed"
    assert f"tools-server models pull {SMALL}" in checks["model"]["todo"]
    assert checks["generation"]["found"] == "not tried"


@pytest.mark.usefixtures("installed")
def test_a_broken_skill_is_named_and_harms_no_other(run_cli: RunCli, home: Path, monkeypatch: pytest.MonkeyPatch):
    (home / "skills" / "bent").mkdir(parents=True)
    (home / "skills" / "bent" / "skill.toml").write_text("nmae = 'bent'\n")
    monkeypatch.setenv("TOOLS_SERVER_SKILLS_DIRS", str(home / "skills"))
    outcome = run_cli("doctor", "--json", "--model", SMALL)
    checks = {check["name"]: check for check in json.loads(outcome.out)["checks"]}
    assert outcome.code == 2
    assert checks["skills"]["state"] == "failed"
    assert "bent" in checks["skills"]["found"]
    assert "classify" in checks["skills"]["found"]
    assert checks["generation"]["state"] == "ok"


def test_llama_cpp_that_cannot_be_loaded_is_a_finding_and_no_crash(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise OSError("libllama.so: cannot open shared object file")

    monkeypatch.setattr(doctor, "importlib", SimpleNamespace(import_module=missing))
    check, _ = check_llama()
    assert check.state == "failed"
    assert "libllama.so" in check.found
    assert check.todo


@pytest.mark.parametrize("amx", [0, 1])
def test_that_amx_is_not_used_is_said_where_it_is_there(monkeypatch: pytest.MonkeyPatch, amx: int):
    library = SimpleNamespace(system_info=lambda: f"CPU : AVX512 = 1 | AMX_INT8 = {amx} | REPACK = 1 | ")
    monkeypatch.setattr(doctor, "importlib", SimpleNamespace(import_module=lambda _: library))
    check, _ = check_llama()
    assert check.state == "ok"
    assert ("AMX is left alone" in check.found) == bool(amx)


def test_more_threads_than_cores_is_a_warning():
    check = check_threads(Settings(threads=8), cores=2)
    assert check.state == "warning"
    assert "set `threads` to 2" in check.todo


@pytest.mark.parametrize(("free", "state"), [(10**7, "failed"), (12 * 10**7, "warning"), (10**9, "ok")])
def test_memory_is_compared_with_the_weights(home: Path, free: int, state: str):
    check = check_memory(doctor.build_app(Settings(model=SMALL)), available=lambda: free)
    assert check.state == state
    assert bool(check.todo) == (state != "ok")


def test_there_is_some_memory_on_this_machine():
    assert doctor.available_memory() > 0


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ({"model": "ok", "skills": "ok"}, 0),
        ({"model": "warning", "skills": "ok"}, 0),
        ({"model": "ok", "skills": "failed"}, 2),
        ({"model": "failed", "skills": "failed"}, 3),
    ],
)
def test_the_exit_code_says_what_failed(states: dict[str, str], code: int):
    assert exit_code([Check(name, state, "") for name, state in states.items()]) == code  # type: ignore[arg-type]
