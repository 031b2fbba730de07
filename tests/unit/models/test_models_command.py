import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tools_server.cli.models import app
from tools_server.errors import ModelNotFound

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TOOLS_SERVER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TOOLS_SERVER_CONFIG_DIR", str(tmp_path / "config"))
    config = tmp_path / "tools-server.toml"
    config.write_text('model = "mine"\n', "utf-8")
    monkeypatch.setenv("TOOLS_SERVER_CONFIG", str(config))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return invoke


@pytest.fixture
def model(tmp_path: Path, gguf: Callable[..., bytes]) -> Path:
    path = tmp_path / "My-Model.gguf"
    path.write_bytes(gguf())
    return path


def test_the_list_as_json_is_one_document_with_sizes_and_states(run: Run):
    listed = json.loads(run("list", "--json").stdout)
    sizes = {each["id"]: each["size_bytes"] for each in listed["models"]}
    assert sizes["qwen2.5-coder-1.5b-instruct"] == 1_117_320_768
    assert not any(each["installed"] for each in listed["models"])
    assert listed["broken"] == []


def test_the_list_for_people_names_every_model_its_size_and_its_licence(run: Run):
    shown = run("list").stdout
    assert "smollm2-135m-instruct" in shown
    assert "98 MB" in shown
    assert "Apache-2.0" in shown


def test_a_broken_manifest_is_told_beside_the_list(run: Run, tmp_path: Path):
    (tmp_path / "config" / "models").mkdir(parents=True)
    (tmp_path / "config" / "models" / "bad.toml").write_text("id = 1", "utf-8")
    done = run("list", "--json")
    assert done.exit_code == 0
    assert "bad.toml" in json.loads(done.stdout)["broken"][0]
    assert "bad.toml" in done.stderr


def test_an_added_model_is_listed_verified_and_found(run: Run, model: Path, tmp_path: Path):
    added = json.loads(run("add", str(model), "--id", "mine", "--json").stdout)
    assert added["installed"]
    assert added["verified"]
    assert Path(added["manifest"]) == tmp_path / "config" / "models" / "mine.toml"
    place = run("path", "mine").stdout.strip()
    assert Path(place).read_bytes() == model.read_bytes()
    assert json.loads(run("verify", "--json").stdout)["verified"] == [
        {"id": "mine", "path": place, "sha256": added["sha256"]}
    ]


def test_the_model_of_the_settings_is_meant_when_none_is_named(run: Run, model: Path):
    run("add", str(model), "--id", "mine")
    assert run("path").stdout == run("path", "mine").stdout
    assert json.loads(run("pull", "--json").stdout)["id"] == "mine"


def test_a_pull_prints_only_the_path_on_stdout_and_its_progress_on_stderr(run: Run, model: Path, tmp_path: Path):
    run("add", str(model), "--id", "mine")
    (tmp_path / "cache" / "models" / "mine" / "My-Model.gguf").unlink()
    done = run("pull", "mine")
    assert Path(done.stdout.strip()).read_bytes() == model.read_bytes()
    assert "copying My-Model.gguf" in done.stderr
    assert "checking the download" in done.stderr


def test_errors_pass_through_to_the_one_place_that_prints_them(run: Run):
    assert isinstance(run("path", "smollm2-135m-instruct").exception, ModelNotFound)


@pytest.mark.parametrize("command", ["list", "pull", "verify", "path", "add"])
def test_every_help_shows_an_example(run: Run, command: str):
    assert f"Example: tools-server models {command}" in run(command, "--help").stdout


def test_help_does_not_wait_for_huggingface_hub(run: Run):
    code = "import sys, tools_server.cli.models; sys.exit('huggingface_hub' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
