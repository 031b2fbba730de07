import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.unit.training.adapter_fakes import BASE, evidence, make_version, origin, write_adapter, write_evidence
from tools_server.cli.adapters import app
from tools_server.errors import AdapterMismatch, AdapterVersionNotFound, PromotionRefused, SkillNotFound
from tools_server.skills.adapters import version_names
from tools_server.skills.catalog import Catalog
from tools_server.skills.scaffold import new_skill
from tools_server.training.versions import add_version

Make = Callable[..., str]


@pytest.fixture(autouse=True)
def root(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with one skill of the user's, and a model `tiny` that nobody has to download."""
    config = home / "config"
    (config / "models").mkdir(parents=True)
    (config / "models/tiny.toml").write_text(
        f'id = "tiny"\nlicence = "MIT"\nopenness = "all"\nsha256 = "{BASE}"\nsize_bytes = 1\ncontext_tokens = 512\n'
        'source = [{kind = "file", path = "/nowhere.gguf"}]\n'
    )
    new_skill("demo", config / "skills", "choose")
    variables = {"CONFIG_DIR": config, "CACHE_DIR": home / "cache", "ADAPTERS_DIR": home / "adapters", "MODEL": "tiny"}
    for name, value in variables.items():
        monkeypatch.setenv(f"TOOLS_SERVER_{name}", str(value))
    return home / "adapters"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer(*arguments: str | Path) -> Any:
    result = invoke(*arguments, "--json")
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def fails(*arguments: str | Path) -> BaseException:
    result = invoke(*arguments)
    assert result.exception is not None
    return result.exception


def proof(root: Path, version: str, home: Path) -> Path:
    skill = Catalog([home / "config/skills"]).get("demo")
    return write_evidence(home / "evidence.json", evidence(skill, version))


def test_without_adapters_the_list_says_so():
    assert answer("list", "demo") == {"versions": []}
    assert "There are no adapters yet" in invoke("list", "demo").stderr


def test_the_list_shows_data_scores_and_which_version_is_served_since_when(root: Path):
    make_version(root, "demo", "one", seed=1)
    make_version(root, "demo", "two", seed=2)
    answer("promote", "demo", "two", "--force", "--reason", "a trial")
    listed = {entry["version"]: entry for entry in answer("list", "demo")["versions"]}
    assert list(listed) == ["shipped", "one", "two"]
    assert [entry["served"] for entry in listed.values()] == [False, False, True]
    assert listed["one"]["data"][0]["licence"] == "CC-BY-4.0"
    assert listed["two"]["change"]["forced"]
    assert listed["two"]["change"]["reason"] == "a trial"
    table = invoke("list", "demo").stdout
    for part in ("tickets/train (400)", "dev_accuracy 0.81", "by force", "bare base"):
        assert part in table
    assert answer("list", "--model", "another")["versions"] == []


def test_the_list_tells_of_damage_and_of_a_prompt_that_changed(root: Path, home: Path):
    make_version(root, "demo", "old", prompt_digest="9" * 64)
    (make_version(root, "demo", "torn", seed=1).folder / "adapter.gguf").write_bytes(b"GGUF")
    answer("promote", "demo", "old", "--force", "--reason", "r")
    listed = {entry["version"]: entry["warnings"] for entry in answer("list", "demo")["versions"]}
    assert "changed since adapter demo@tiny:old was trained" in listed["old"][0]
    assert "has 4 bytes" in listed["torn"][0]
    (root / "demo/tiny/active.toml").write_text("version")
    assert "active.toml: cannot be read" in answer("list", "demo")["versions"][0]["warnings"][0]
    assert "cannot be read" in invoke("list", "demo").stdout


def test_a_version_that_is_served_and_gone_is_listed(root: Path):
    folder = make_version(root, "demo", "one").folder
    answer("promote", "demo", "one", "--force", "--reason", "r")
    folder.rename(root / "elsewhere")
    gone = next(entry for entry in answer("list", "demo")["versions"] if entry["version"] == "one")
    assert gone["served"]
    assert "no adapter version 'one'" in gone["warnings"][0]
    answer("rollback", "demo")
    answer("promote", "demo", "none", "--force", "--reason", "r")
    assert [entry["version"] for entry in answer("list", "demo")["versions"]] == ["shipped", "none"]


def test_show_tells_where_a_version_comes_from_and_what_it_was_promoted_on(root: Path, home: Path):
    version = make_version(root, "demo", "one")
    assert "evaluation" not in answer("show", "demo", "one")
    answer("promote", "demo", "one", "--evidence", proof(root, version.provenance.sha256, home))
    shown = answer("show", "demo", "one")
    assert (shown["seed"], shown["recipe"]["learning_rate"], shown["rank"]) == (7, 0.001, 2)
    assert shown["evaluation"].startswith("accuracy 0.7 → 0.8")
    assert "sha256: 1111" in invoke("show", "demo", "one").stdout
    assert "no adapter version 'two'" in str(fails("show", "demo", "two"))


def test_a_file_from_elsewhere_is_adopted_and_not_served(root: Path, home: Path):
    file = write_adapter(home / "a.gguf", invocation=[1])
    added = answer("add", "demo", file, "--as", "found", "--scale", "0.5")
    assert (added["version"], added["kind"], added["base_sha256"], added["scale"]) == ("found", "alora", BASE, 0.5)
    assert added["source"] == "adopted from a.gguf"
    assert [entry["served"] for entry in answer("list", "demo")["versions"]] == [True, False]
    result = invoke("add", "demo", file)
    assert result.stdout.startswith("Added 20")
    assert "adapters promote demo 20" in result.stderr
    assert len(version_names(root, "demo", "tiny")) == 2


def test_what_cannot_be_adopted_is_refused(root: Path, home: Path):
    file = write_adapter(home / "a.gguf")
    assert isinstance(fails("add", "nobody", file), SkillNotFound)
    answer("add", "demo", file, "--base-sha256", "e" * 64, "--as", "foreign")
    refused = fails("promote", "demo", "foreign", "--force", "--reason", "r")
    assert isinstance(refused, AdapterMismatch)
    assert "was trained for the base with SHA-256 eeeeeeeeeeee…" in refused.message
    file.write_bytes(file.read_bytes()[:-40])
    assert "it is truncated" in str(fails("add", "demo", file))


def test_a_hash_that_is_none_is_a_usage_error(home: Path):
    result = invoke("add", "demo", write_adapter(home / "a.gguf"), "--base-sha256", "abc")
    assert result.exit_code == 2
    assert "64 hexadecimal digits" in result.stderr


def test_promote_takes_the_latest_version_and_the_evidence_that_is_given(root: Path, home: Path):
    refused = fails("promote", "demo")
    assert isinstance(refused, AdapterVersionNotFound)
    assert "skills adapters add" in refused.hint
    make_version(root, "demo", "z-older")
    latest = add_version(
        root,
        "demo",
        "tiny",
        write_adapter(home / "b.gguf", seed=1),
        origin(created="2026-08-03T00:00:00Z"),
        version="a",
    )
    assert isinstance(fails("promote", "demo"), PromotionRefused)
    active = answer("promote", "demo", "--evidence", proof(root, latest.provenance.sha256, home))
    assert (active["version"], active["forced"]) == ("a", False)


def test_promotion_and_rollback_say_what_is_served_now(root: Path):
    make_version(root, "demo", "one")
    result = invoke("promote", "demo", "one", "--force", "--reason", "a trial")
    assert result.stdout == "`demo` on tiny is served by one, promoted: a trial\n"
    assert "by force, although there is no evidence" in result.stderr
    assert "Running servers take it up by themselves" in result.stderr
    result = invoke("rollback", "demo", "--reason", "no good")
    assert result.stdout == "`demo` on tiny is served by shipped, rolled back: no good\n"


def test_a_version_is_removed_unless_it_is_served(root: Path):
    make_version(root, "demo", "one")
    answer("promote", "demo", "one", "--force", "--reason", "r")
    assert "is the version that is served" in str(fails("remove", "demo", "one"))
    answer("rollback", "demo")
    assert invoke("remove", "demo", "one").stdout.startswith("Removed ")
    make_version(root, "demo", "two")
    assert answer("remove", "demo", "two") == {"removed": {"skill": "demo", "model": "tiny", "version": "two"}}
    assert version_names(root, "demo", "tiny") == []
