import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.unit.training.adapter_fakes import CREATED, make_version
from tools_server.cli.skills import app
from tools_server.errors import ManifestInvalid, SkillNotFound
from tools_server.skills.adapters import Active
from tools_server.training.versions import write_active

MakeFolder = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOOLS_SERVER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("TOOLS_SERVER_CONFIG", raising=False)
    monkeypatch.delenv("TOOLS_SERVER_SKILLS_DIRS", raising=False)
    return tmp_path / "config"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer(*arguments: str | Path) -> Any:
    result = invoke(*arguments, "--json")
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def test_list_shows_bundled_own_and_further_skills(make_folder: MakeFolder, own_config: Path, tmp_path: Path):
    make_folder("mine", directory=own_config / "skills")
    make_folder("further", directory=tmp_path / "x")
    listed = answer("list", "--skills-dir", tmp_path / "x")
    assert {"summarise", "classify", "extract", "mine", "further"} <= {skill["name"] for skill in listed["skills"]}
    table = invoke("list", "--skills-dir", tmp_path / "x").stdout
    assert "yours" in table
    assert "bundled" in table


def test_list_and_show_know_promoted_adapters(
    make_folder: MakeFolder, own_config: Path, monkeypatch: pytest.MonkeyPatch
):
    root = own_config / "adapters"
    monkeypatch.setenv("TOOLS_SERVER_ADAPTERS_DIR", str(root))
    make_folder("mine", directory=own_config / "skills")
    version = make_version(root, "mine", "one")
    write_active(root, "mine", "tiny", Active(version="one", since=CREATED, how="promoted", reason="for a test"))
    assert answer("show", "mine")["adapters"] == {"tiny": str(version.folder / "adapter.gguf")}
    assert answer("list")["warnings"] == []
    shutil.rmtree(version.folder)
    assert "no adapter version 'one'" in answer("list")["warnings"][0]


def test_list_tells_what_the_served_model_has_no_adapter_for(make_folder: MakeFolder, tmp_path: Path):
    make_folder(
        "needy",
        **{
            "skill.toml": 'name = "@"\nversion = "1.0.0"\ndescription = "Say something."\nkind = "generate"\n'
            "needs_adapter = true\n"
        },
    )
    listed = {skill["name"]: skill["served"] for skill in answer("list", "--skills-dir", tmp_path / "skills")["skills"]}
    assert (listed["needy"], listed["classify"]) == (False, True)
    assert "(needy)" in invoke("list", "--skills-dir", tmp_path / "skills").stdout


def test_list_tells_which_folder_wins(make_folder: MakeFolder, tmp_path: Path):
    first = make_folder("twice", directory=tmp_path / "a")
    second = make_folder("twice", directory=tmp_path / "b")
    dirs = ("--skills-dir", tmp_path / "a", "--skills-dir", tmp_path / "b")
    entry = next(skill for skill in answer("list", *dirs)["skills"] if skill["name"] == "twice")
    assert entry["folder"] == str(second)
    assert entry["shadows"] == [str(first)]
    assert "instead" in invoke("list", *dirs).stdout


def test_list_shows_broken_folders_and_still_succeeds(make_folder: MakeFolder, tmp_path: Path):
    make_folder("bad", **{"output.schema.json": None})
    listed = answer("list", "--skills-dir", tmp_path / "skills")
    assert [(broken["name"], broken["file"]) for broken in listed["broken"]] == [("bad", "output.schema.json")]
    assert "broken" in invoke("list", "--skills-dir", tmp_path / "skills").stdout


def test_show_gives_manifest_schemas_and_prompt(make_folder: MakeFolder, tmp_path: Path):
    make_folder("demo")
    shown = answer("show", "demo", "--skills-dir", tmp_path / "skills")
    assert shown["manifest"]["limits"]["max_output_tokens"] == 512
    assert "text" in shown["input_schema"]["properties"]
    assert "{{ text }}" in shown["prompt"]
    text = invoke("show", "demo", "--skills-dir", tmp_path / "skills").stdout
    for part in ("Say something short.", "answer of the tool", "{{ text }}"):
        assert part in text


def test_show_of_an_unknown_or_broken_skill_is_an_error_of_the_tree(make_folder: MakeFolder, tmp_path: Path):
    make_folder("bad", **{"prompt.jinja": None})
    assert isinstance(invoke("show", "sumarise").exception, SkillNotFound)
    assert isinstance(invoke("show", "bad", "--skills-dir", tmp_path / "skills").exception, ManifestInvalid)


def test_check_of_everything_that_ships_succeeds():
    result = invoke("check")
    assert result.exit_code == 0
    assert result.stdout.count("ok: ") >= 3


def test_check_names_file_key_and_reason_and_exits_with_2(make_folder: MakeFolder):
    folder = make_folder("bad", **{"skill.toml": 'nam = "bad"\n'})
    result = invoke("check", folder)
    assert result.exit_code == 2
    assert result.stdout.startswith(f"{folder}/skill.toml:nam: unknown key; did you mean `name`?")


def test_check_takes_paths_of_many_and_names(make_folder: MakeFolder, tmp_path: Path):
    make_folder("good")
    make_folder("bad", **{"prompt.jinja": None})
    result = invoke("check", tmp_path / "skills", "classify", "--json")
    assert result.exit_code == 2
    checked = json.loads(result.stdout)
    assert [entry["name"] for entry in checked["ok"]] == ["good", "classify"]
    assert checked["broken"][0]["reason"].startswith("is missing")


def test_check_of_a_name_looks_at_every_folder_so_called(make_folder: MakeFolder, tmp_path: Path):
    make_folder("classify")
    assert len(answer("check", "classify", "--skills-dir", tmp_path / "skills")["ok"]) == 2


def test_check_of_a_folder_that_is_not_there_is_told(tmp_path: Path):
    assert invoke("check", tmp_path / "gone").exit_code == 2
    assert isinstance(invoke("check", "gone").exception, SkillNotFound)


def test_a_new_skill_lands_in_ones_own_folder_and_is_listed(own_config: Path):
    result = invoke("new", "triage", "--kind", "choose")
    assert result.exit_code == 0
    assert "tools-server run triage" in result.stdout
    assert "--skills-dir" not in result.stdout
    assert (own_config / "skills" / "triage" / "skill.toml").is_file()
    assert "triage" in {skill["name"] for skill in answer("list")["skills"]}
    assert answer("check", "triage")["ok"][0]["name"] == "triage"


def test_a_new_skill_elsewhere_says_how_to_serve_it(tmp_path: Path):
    result = invoke("new", "triage", "--dir", tmp_path / "x")
    assert f"--skills-dir {tmp_path / 'x'}" in result.stdout


def test_a_new_skill_of_a_known_name_says_that_it_hides_it():
    assert "is also a skill in" in invoke("new", "classify").stderr


def test_a_skills_dir_that_is_not_there_is_told(tmp_path: Path):
    assert "is no folder" in invoke("list", "--skills-dir", tmp_path / "typo").stderr
