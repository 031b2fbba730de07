"""`tools-server models tune`: what it prints, what it keeps, and how `list` and `show` tell of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.tuning.tuning_fakes import FakeLab, rates
from tools_server.cli.models import app
from tools_server.errors import ModelNotFound, SamplesInvalid

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gguf: Callable[..., bytes]) -> Run:
    """A command line whose model is installed and whose lab finds BF16 three times faster."""
    monkeypatch.setenv("TOOLS_SERVER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TOOLS_SERVER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "tools-server.toml").write_text('model = "mine"\n', "utf-8")
    monkeypatch.setenv("TOOLS_SERVER_CONFIG", str(tmp_path / "tools-server.toml"))
    lab = FakeLab(lambda it: rates(1500, 10_000) if it.format == "BF16" else rates(500, 10_000))
    monkeypatch.setattr("tools_server.tuning.lab.Laboratory", lambda _manifest, _settings: lab)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    (tmp_path / "my.gguf").write_bytes(gguf())
    invoke("add", str(tmp_path / "my.gguf"), "--id", "mine")
    return invoke


def test_it_prints_measurements_checks_and_choice_and_keeps_the_winner(run: Run):
    done = run("tune", "--quick")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["BF16", "1,500"] in [line[:2] for line in lines]
    assert "as good" in done.stdout
    assert "tuned: BF16, 3.0 × prefill, 1.0 × decode" in done.stdout
    assert "measuring BF16, round 1 of 2" in done.stderr
    assert "tuned.json" in done.stderr
    assert run("path").stdout.strip().endswith("my.gguf"), "the published weights stay where they are"
    assert "BF16, 3.0 × prefill" in run("list").stdout


def test_show_tells_what_was_found_and_why(run: Run):
    assert "tuned: no" in run("show").stdout
    run("tune", "--quick")
    shown = run("show", "mine").stdout
    assert "tuned: BF16, 3.0 × prefill" in shown
    assert "why: BF16 takes 0." in shown
    found = json.loads(run("show", "--json").stdout)
    assert found["tuned"].startswith("BF16")
    assert found["objection"] is None
    assert found["tuning"]["report"]["runs"][0][0]["candidate"] == "Q4_1"


def test_json_is_one_document(run: Run):
    found = json.loads(run("tune", "--quick", "--json").stdout)
    assert (found["format"], found["kept"]) == ("BF16", True)


def test_a_dry_run_says_that_nothing_was_kept(run: Run, tmp_path: Path):
    done = run("tune", "--quick", "--dry-run")
    assert "nothing was kept" in done.stderr
    assert not list((tmp_path / "cache" / "models" / "mine").glob("*tuned*"))


def test_revert_goes_back(run: Run, tmp_path: Path):
    run("tune", "--quick")
    assert run("tune", "--revert").stdout == "mine is served as published again\n"
    assert run("tune", "--revert").stdout == "mine was not tuned\n"
    assert json.loads(run("tune", "--revert", "--json").stdout) == {"model": "mine", "reverted": False}
    assert not list((tmp_path / "cache" / "models" / "mine").glob("*tuned*"))


def test_only_the_formats_that_are_named_are_tried(run: Run):
    found = json.loads(run("tune", "--quick", "--dry-run", "--json", "--format", "Q8_0", "--format", "F16").stdout)
    assert [row["candidate"] for row in found["report"]["runs"][0]] == ["Q4_1", "Q8_0", "F16"]


def test_samples_of_ones_own_are_used_and_checked(run: Run, tmp_path: Path):
    row = {"skill": "classify", "arguments": {"text": "Hello", "labels": ["a", "b"]}, "expected": {"label": "a"}}
    mine = tmp_path / "mine.jsonl"
    mine.write_text(json.dumps(row) + "\n", "utf-8")
    found = json.loads(run("tune", "--quick", "--dry-run", "--json", "--data", str(mine)).stdout)
    assert found["report"]["quality"][0]["samples"] == 1
    mine.write_text("{}\n", "utf-8")
    assert isinstance(run("tune", "--data", str(mine)).exception, SamplesInvalid)


def test_a_model_that_is_not_here_is_told_first(run: Run):
    assert isinstance(run("tune", "smollm2-135m-instruct").exception, ModelNotFound)


def test_the_help_shows_an_example(run: Run):
    assert "Example: tools-server models tune" in run("tune", "--help").stdout
    assert "Example: tools-server models show" in run("show", "--help").stdout
