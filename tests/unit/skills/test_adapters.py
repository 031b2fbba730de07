"""Which adapter a skill is served with: the folder's own, a promoted version, or none; and what damage does to that."""

import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.training.adapter_fakes import BASE, CREATED, make_version, write_adapter
from tools_server.errors import AdapterMismatch, AdapterVersionNotFound, ManifestInvalid
from tools_server.skills.adapters import Active, Change, active_of, adapter_of, find_version, models_of, version_names
from tools_server.skills.catalog import Catalog
from tools_server.skills.types import Skill, Snapshot
from tools_server.training.versions import write_active

MakeFolder = Callable[..., Path]
OWN = "0" * 64


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "adapters"


@pytest.fixture
def catalog(make_folder: MakeFolder, tmp_path: Path, root: Path) -> Catalog:
    """One skill whose folder has an adapter of its own."""
    write_adapter(make_folder("demo") / "own.gguf")
    manifest = (tmp_path / "skills/demo/skill.toml").read_text()
    (tmp_path / "skills/demo/adapters/tiny").mkdir(parents=True)
    (tmp_path / "skills/demo/own.gguf").rename(tmp_path / "skills/demo/adapters/tiny/adapter.gguf")
    entry = f'[adapters.tiny]\nfile = "adapters/tiny/adapter.gguf"\nsha256 = "{OWN}"\nbase_sha256 = "{BASE}"\n'
    (tmp_path / "skills/demo/skill.toml").write_text(f"{manifest}{entry}")
    make_folder("other")
    return Catalog([tmp_path / "skills"], adapters_dir=root)


def serve(root: Path, version: str, skill: str = "demo") -> None:
    write_active(root, skill, "tiny", Active(version=version, since=CREATED, how="promoted", reason="for a test"))


def served(catalog: Catalog, skill: str = "demo") -> str | None:
    adapter = catalog.get(skill).adapters.get("tiny")
    return adapter.sha256 if adapter else None


def test_without_a_promotion_the_folders_own_adapter_is_served(catalog: Catalog, root: Path):
    make_version(root, "demo")
    assert served(Catalog(catalog.dirs, adapters_dir=root)) == OWN


def test_a_promoted_version_takes_its_place_and_goes_with_its_provenance(catalog: Catalog, root: Path):
    version = make_version(root, "demo", scale=0.5)
    serve(root, version.name)
    before = catalog.snapshot
    assert catalog.is_stale()
    assert catalog.reload() is not before
    adapter = catalog.get("demo").adapters["tiny"]
    assert (adapter.sha256, adapter.base_sha256, adapter.scale) == (version.provenance.sha256, BASE, 0.5)
    assert adapter.path == version.folder / "adapter.gguf"
    assert adapter.name == f"demo@tiny:{version.name}"
    assert catalog.get("demo").digest == before.skills["demo"].digest
    assert not catalog.get("other").adapters
    assert not catalog.is_stale()


def test_a_skill_without_an_adapter_of_its_own_gets_one(catalog: Catalog, root: Path):
    serve(root, make_version(root, "other").name, "other")
    assert catalog.reload().skills["other"].adapters["tiny"].name.startswith("other@tiny:2026")


def test_the_bare_base_and_the_folders_own_adapter_can_be_served_by_name(catalog: Catalog, root: Path):
    serve(root, "none")
    assert catalog.reload().skills["demo"].adapters == {}
    serve(root, "shipped")
    catalog.reload()
    assert served(catalog) == OWN


def test_the_same_bytes_under_another_version_are_a_change(catalog: Catalog, root: Path):
    for name in ("one", "two"):
        make_version(root, "demo", name)
    serve(root, "one")
    catalog.reload()
    serve(root, "two")
    assert catalog.reload().skills["demo"].adapters["tiny"].name == "demo@tiny:two"
    shutil.rmtree(root / "demo/tiny/one")
    assert catalog.reload().skills["demo"].adapters["tiny"].path.is_file()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (shutil.rmtree, r"`demo` has no adapter version 'v' for tiny\. There are: none yet"),
        (lambda folder: (folder / "adapter.gguf").unlink(), r"Adapter demo@tiny:v: .*adapter\.gguf is not there"),
        (lambda folder: (folder / "adapter.gguf").write_bytes(b"GGUF"), r"adapter\.gguf has 4 bytes, \d+ were written"),
        (lambda folder: (folder / "adapter.toml").write_text("rank ="), r"adapter\.toml: cannot be read"),
        (lambda folder: (folder / "adapter.toml").write_text("rank = 0"), r"adapter\.toml: source: Field required"),
        (lambda folder: (folder.parent / "active.toml").write_text("version = 1"), r"active\.toml: version: "),
    ],
)
def test_a_damaged_version_leaves_the_skill_with_its_own_adapter_and_is_reported(
    catalog: Catalog,
    root: Path,
    damage: Callable[[Path], object],
    reason: str,
    caplog: pytest.LogCaptureFixture,
):
    version = make_version(root, "demo", "v")
    serve(root, "v")
    catalog.reload()
    assert served(catalog) == version.provenance.sha256
    damage(version.folder)
    snapshot = catalog.reload()
    assert served(catalog) == OWN
    (warning,) = snapshot.warnings
    assert re.search(reason, warning), warning
    assert warning.endswith("The skill folder's own adapter serves `demo` on tiny meanwhile.")
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [warning]
    assert snapshot.broken == ()


def test_a_damaged_version_of_a_skill_without_an_adapter_leaves_it_with_the_bare_base(catalog: Catalog, root: Path):
    version = make_version(root, "other", "v")
    serve(root, "v", "other")
    shutil.rmtree(version.folder)
    (warning,) = catalog.reload().warnings
    assert warning.endswith("The bare base serves `other` on tiny meanwhile.")


def test_a_version_of_an_earlier_prompt_is_served_and_warned_of(
    catalog: Catalog, root: Path, make_folder: MakeFolder, caplog: pytest.LogCaptureFixture
):
    make_version(root, "other", "v", prompt_digest=catalog.get("other").prompt_digest)
    serve(root, "v", "other")
    assert catalog.reload().warnings == ()
    make_folder("other", **{"prompt.jinja": "{% block user %}New: {{ text }}{% endblock %}"})
    (warning,) = catalog.reload().warnings
    assert "of `other` changed since adapter other@tiny:v was trained" in warning
    assert served(catalog, "other") is not None
    Catalog(catalog.dirs, adapters_dir=root)  # says so at its start as well
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [warning, warning]


def test_the_prompt_digest_follows_what_the_model_is_asked_and_nothing_else(
    good: Callable[..., Skill], make_folder: MakeFolder
):
    first = good(kind="own-labels").prompt_digest
    manifest = (make_folder(kind="own-labels") / "skill.toml").read_text()
    same = {"skill.toml": manifest.replace("1.0.0", "2.0.0").replace("Pick one", "Choose one"), "calibration.json": {}}
    assert good(kind="own-labels", **same).prompt_digest == first
    for file, content in (
        ("prompt.jinja", "{% block user %}{{ text }}{% endblock %}"),
        ("skill.toml", manifest.replace('multi_label = "several"\n', "")),
    ):
        assert good(kind="own-labels", **{file: content}).prompt_digest != first


def test_what_code_finds_besides_changes_no_prompt_digest(good: Callable[..., Skill]):
    entity = {
        "type": "object",
        "properties": {"type": {"type": "string"}, "value": {"type": "string"}},
        "required": ["type", "value"],
    }
    schema = {
        "type": "object",
        "properties": {"found": {"type": "array", "items": entity}},
        "required": ["found"],
        "additionalProperties": False,
    }
    manifest = 'name = "@"\nversion = "1.0.0"\ndescription = "Find things."\nkind = "generate"\n'
    located = manifest + '[generate]\nlocate = "found"\n'
    first, second = (
        good(**{"skill.toml": text, "output.schema.json": schema})
        for text in (located, located + 'everywhere = ["person"]\n[generate.recognise]\nmail = "email"\n')
    )
    assert first.prompt_digest == second.prompt_digest, "an adapter that was trained before still fits"
    assert first.digest != second.digest


def test_a_change_of_adapters_is_told_and_logged(catalog: Catalog, root: Path, caplog: pytest.LogCaptureFixture):
    seen: list[Snapshot] = []
    catalog.subscribe(seen.append)
    make_version(root, "demo", "v")
    caplog.set_level(logging.INFO)
    catalog.reload()
    assert seen == [], "a version that is not served changes nothing"
    serve(root, "v")
    catalog.reload()
    serve(root, "none")
    catalog.reload()
    said = ["adapters of demo changed: demo@tiny:v", "adapters of demo changed: none"]
    assert [record.message for record in caplog.records] == said
    assert len(seen) == 2


def test_versions_are_found_by_name_and_what_is_none_is_passed_over(root: Path):
    for name in ("b", "a"):
        make_version(root, "demo", name)
    (root / "demo/tiny/.1.tmp").mkdir()
    (root / "demo/tiny/notes").mkdir()
    assert version_names(root, "demo", "tiny") == ["a", "b"]
    assert models_of(root, "demo") == ["tiny"]
    assert models_of(root, "nowhere") == []
    with pytest.raises(AdapterVersionNotFound) as caught:
        find_version(root, "demo", "tiny", "c")
    assert str(caught.value) == "`demo` has no adapter version 'c' for tiny. There are: a, b; shipped and none."


@pytest.mark.parametrize("name", ["../demo", "a/b", ".hidden", ""])
def test_a_name_that_leads_elsewhere_is_refused(root: Path, name: str):
    with pytest.raises(AdapterVersionNotFound, match="cannot be part of an adapter version's path"):
        active_of(root, name, "tiny")


def test_an_adapter_is_found_for_every_name_that_a_version_can_have(catalog: Catalog, root: Path):
    skill = catalog.get("demo")
    version = make_version(root, "demo", "v")
    assert adapter_of(skill, root, "tiny", "none") is None
    assert adapter_of(skill, root, "tiny", "shipped") is skill.adapters["tiny"]
    assert adapter_of(skill, root, "tiny", "v") == version.adapter
    assert adapter_of(skill, root, "elsewhere", "shipped") is None


def test_a_truncated_adapter_is_refused_with_its_sizes(root: Path):
    version = make_version(root, "demo", "v")
    file = version.folder / "adapter.gguf"
    file.write_bytes(file.read_bytes()[:-32])
    with pytest.raises(AdapterMismatch, match=r"Adapter demo@tiny:v: .* were written") as caught:
        find_version(root, "demo", "tiny", "v")
    assert "skills adapters list demo" in caught.value.hint


def test_the_record_of_what_is_served_is_read_as_it_was_written(root: Path):
    change = Change(
        version="one", since=CREATED, how="promoted", reason='it said "yes"', forced=True, objections=("a",)
    )
    active = Active(version="shipped", since=CREATED, how="rolled back", reason="ü", previous=(change,))
    write_active(root, "demo", "tiny", active)
    assert active_of(root, "demo", "tiny") == active
    (root / "demo/tiny/active.toml").write_text('version = "../x"\n')
    with pytest.raises(ManifestInvalid, match=r"active\.toml: version: String should match"):
        active_of(root, "demo", "tiny")
