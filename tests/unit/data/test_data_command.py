"""`tools-server data`: recipes are shown, own files are checked, errors end in the right exit code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.data.data_fakes import DataSet, label_rows, lines
from tools_server.cli.data import app
from tools_server.errors import DataInvalid, DataNotFound, SamplesInvalid

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("cache", "config", "data"):
        monkeypatch.setenv(f"TOOLS_SERVER_{name.upper()}_DIR", str(tmp_path / name))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return invoke


@pytest.fixture
def tiny(tmp_path: Path, data: DataSet) -> DataSet:
    """A set of the user's own, whose recipe lies in the config folder."""
    recipe = data.split("train", label_rows(4)).recipe()
    pin = recipe.files["train"]
    folder = tmp_path / "config" / "datasets"
    folder.mkdir(parents=True)
    (folder / "tiny.toml").write_text(
        f"""
name = "tiny"
title = "A tiny set"
language = "en"
licence = "CC0-1.0"
attribution = "Nobody."
homepage = "https://data.example/tiny"

[files.train]
path = "{pin.path}"
sha256 = "{pin.sha256}"
records = 4

[[samples]]
kind = "label"
skill = "classify"
splits = ["train"]
labels = "fixed"
""",
        "utf-8",
    )
    return data


def test_the_list_tells_what_each_set_is_for_and_whether_it_is_here(run: Run, tiny: DataSet):
    listed = {each["name"]: each for each in json.loads(run("list", "--json").stdout)["data"]}
    assert listed["tiny"]["here"] is True
    assert listed["banking77"]["here"] is False
    assert listed["banking77"]["licence"] == "CC-BY-4.0"
    shown = run("list").stdout
    assert "banking77" in shown
    assert "classify" in shown


def test_a_broken_recipe_is_told_beside_the_list(run: Run, tmp_path: Path, tiny: DataSet):
    (tmp_path / "config/datasets/bad.toml").write_text("name = 1", "utf-8")
    done = run("list", "--json")
    assert done.exit_code == 0
    assert "bad.toml" in json.loads(done.stdout)["broken"][0]
    assert "bad.toml" in done.stderr


def test_a_recipe_is_shown_with_its_attribution_and_with_samples(run: Run, tiny: DataSet):
    assert "PolyAI" in run("show", "banking77").stdout
    shown = json.loads(run("show", "tiny", "--split", "train", "--limit", "1", "--json").stdout)
    assert shown["skill"] == "classify"
    assert [each["expected"] for each in shown["samples"]] == [{"label": "card arrival"}]
    assert "message 0" in run("show", "tiny", "--split", "train").stdout


def test_a_set_that_is_not_there_is_told_so(run: Run):
    assert isinstance(run("show", "nothing").exception, DataNotFound)
    assert isinstance(run("show", "banking77", "--split", "dev").exception, DataNotFound)


def test_show_counts_the_templates_of_a_recipe_and_gives_them_whole_as_json(run: Run):
    told = run("show", "presidio_pii").stdout
    assert "texts: 1" in told
    assert "{person}" not in told
    (learnt, _) = json.loads(run("show", "presidio_pii", "--json").stdout)["samples"]
    assert "{person} <{e-mail}>" in learnt["templates"]["texts"]


def test_a_file_of_ones_own_is_checked_and_counted(run: Run, tmp_path: Path):
    mine = tmp_path / "mine.jsonl"
    row = {"text": "Hello", "expected": {"label": "bug"}}
    mine.write_text(lines(row, {**row, "text": "Again"}), "utf-8")
    command = ("check", str(mine), "--skill", "classify", "--arg", 'labels=["bug","billing"]')
    facts = json.loads(run(*command, "--json").stdout)
    assert facts["samples"] == 2
    assert facts["labels"] == {"bug": 2, "billing": 0}
    assert facts["without_a_sample"] == ["billing"]
    assert "1 label(s) have no sample" in run(*command).stderr
    assert isinstance(run(*command, "--apart-from", str(mine)).exception, DataInvalid)
    mine.write_text("{\n", "utf-8")
    assert isinstance(run(*command).exception, SamplesInvalid)


def test_pulling_what_is_here_downloads_nothing(run: Run, tiny: DataSet):
    assert json.loads(run("pull", "tiny", "--json").stdout)["downloaded"] == []
    assert "is here already" in run("pull", "tiny").stderr
    assert isinstance(run("pull", "banking77").exception, DataNotFound)
