import dataclasses
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tools_server.errors import ManifestInvalid, SkillNotFound
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog, standard_dirs
from tools_server.skills.render import render
from tools_server.skills.types import Snapshot

MakeFolder = Callable[..., Path]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "skills"


def test_a_broken_folder_harms_no_other(make_folder: MakeFolder, directory: Path):
    make_folder("first")
    make_folder("second", **{"prompt.jinja": "{{"})
    make_folder("third", kind="choose")
    snapshot = Catalog([directory]).snapshot
    assert list(snapshot.skills) == ["first", "third"]
    assert [(broken.name, broken.file, broken.key) for broken in snapshot.broken] == [
        ("second", "prompt.jinja", "line 1")
    ]
    assert str(snapshot.broken[0]).startswith(f"second ({directory / 'second'}): prompt.jinja: line 1: ")


def test_files_and_hidden_folders_are_no_skills(make_folder: MakeFolder, directory: Path):
    make_folder("first")
    (directory / "README.md").write_text("hello")
    for name in (".git", "__pycache__"):
        (directory / name).mkdir()
    snapshot = Catalog([directory]).snapshot
    assert list(snapshot.skills) == ["first"]
    assert snapshot.broken == ()


def test_the_later_directory_wins_and_the_earlier_folder_is_named(make_folder: MakeFolder, tmp_path: Path):
    dirs = [tmp_path / name for name in ("a", "b", "c")]
    folders = [make_folder("demo", directory=path) for path in dirs]
    snapshot = Catalog(dirs).snapshot
    assert snapshot.skills["demo"].folder == folders[2]
    assert snapshot.shadowed == {"demo": (folders[0], folders[1])}


def test_a_broken_folder_does_not_hide_a_working_skill_of_its_name(make_folder: MakeFolder, tmp_path: Path):
    works = make_folder("demo", directory=tmp_path / "a")
    make_folder("demo", directory=tmp_path / "b", **{"output.schema.json": "{"})
    catalog = Catalog([tmp_path / "a", tmp_path / "b"])
    assert catalog.get("demo").folder == works
    assert [broken.folder for broken in catalog.snapshot.broken] == [tmp_path / "b" / "demo"]


def test_a_skill_that_needs_an_adapter_is_served_by_models_that_it_has_one_for(
    make_folder: MakeFolder, directory: Path
):
    sha = "a" * 64
    make_folder(
        **{
            "skill.toml": 'name = "@"\nversion = "1.0.0"\ndescription = "Say something."\nkind = "generate"\n'
            'needs_adapter = true\n[adapters.tiny]\nfile = "adapters/tiny/adapter.gguf"\n'
            f'sha256 = "{sha}"\nbase_sha256 = "{sha}"\n',
            "adapters/tiny/adapter.gguf": b"GGUF",
        }
    )
    make_folder("plain")
    assert list(Catalog([directory], model="tiny").snapshot.skills) == ["demo", "plain"]
    assert list(Catalog([directory]).snapshot.skills) == ["demo", "plain"]
    catalog = Catalog([directory], model="large")
    assert list(catalog.snapshot.skills) == ["plain"]
    assert list(catalog.snapshot.unserved) == ["demo"]
    with pytest.raises(SkillNotFound, match=r"has none for large \(it has for: tiny\)") as caught:
        catalog.get("demo")
    assert "tools-server train demo" in caught.value.hint


def test_a_directory_that_is_not_there_holds_nothing_and_is_named(make_folder: MakeFolder, directory: Path):
    make_folder("first")
    catalog = Catalog([directory, directory / "nowhere"])
    assert list(catalog.snapshot.skills) == ["first"]
    assert catalog.missing == (directory / "nowhere",)


def test_an_unknown_skill_names_near_ones(make_folder: MakeFolder, directory: Path):
    make_folder("classify")
    make_folder("extract")
    catalog = Catalog([directory])
    with pytest.raises(SkillNotFound) as caught:
        catalog.get("clasify")
    assert caught.value.hint == "Did you mean `classify`?"
    with pytest.raises(SkillNotFound) as caught:
        catalog.get("zzz")
    assert caught.value.hint == "There are: classify, extract."


def test_asking_for_a_broken_skill_tells_why_it_is_not_there(make_folder: MakeFolder, directory: Path):
    make_folder("demo", **{"skill.toml": 'nam = "demo"\n'})
    with pytest.raises(ManifestInvalid, match=r"skill\.toml: nam: unknown key; did you mean `name`"):
        Catalog([directory]).get("demo")


def test_a_reload_finds_what_was_added_changed_and_removed(make_folder: MakeFolder, directory: Path):
    make_folder("stays")
    make_folder("changes")
    make_folder("goes")
    catalog = Catalog([directory])
    seen: list[Snapshot] = []
    catalog.subscribe(seen.append)
    before = catalog.snapshot
    make_folder("comes")
    make_folder("changes", **{"prompt.jinja": "{% block user %}New: {{ text }}{% endblock %}"})
    shutil.rmtree(directory / "goes")
    after = catalog.reload()
    assert list(after.skills) == ["changes", "comes", "stays"]
    assert after.skills["changes"].digest != before.skills["changes"].digest
    assert after.skills["stays"].digest == before.skills["stays"].digest
    assert seen == [after]
    assert catalog.snapshot is after


def test_a_call_keeps_the_version_that_it_began_with(make_folder: MakeFolder, directory: Path):
    make_folder("demo")
    catalog = Catalog([directory])
    held, snapshot = catalog.get("demo"), catalog.snapshot
    make_folder("demo", **{"prompt.jinja": "{% block user %}New: {{ text }}{% endblock %}"})
    catalog.reload()
    shutil.rmtree(directory / "demo")
    catalog.reload()
    assert render(held, {}, "t").messages[0].content[0].text == "In 7 words."
    assert snapshot.skills["demo"] is held
    with pytest.raises(dataclasses.FrozenInstanceError):
        held.digest = "x"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_skill_that_breaks_is_reported_and_one_that_is_mended_comes_back(
    make_folder: MakeFolder, directory: Path, caplog: pytest.LogCaptureFixture
):
    make_folder("demo")
    make_folder("other")
    catalog = Catalog([directory])
    (directory / "demo" / "output.schema.json").write_text("{")
    assert list(catalog.reload().skills) == ["other"]
    assert [broken.file for broken in catalog.snapshot.broken] == ["output.schema.json"]
    assert "skill broken: demo" in caplog.text
    make_folder("demo")
    assert list(catalog.reload().skills) == ["demo", "other"]
    assert catalog.snapshot.broken == ()


def test_a_reload_without_a_change_tells_nobody(make_folder: MakeFolder, directory: Path):
    make_folder("demo")
    catalog = Catalog([directory])
    before, seen = catalog.snapshot, list[Snapshot]()
    catalog.subscribe(seen.append)
    make_folder("demo")  # same bytes, new times
    assert catalog.is_stale()
    assert catalog.reload() is before
    assert not catalog.is_stale()
    assert seen == []


def test_prose_that_changes_is_a_change(make_folder: MakeFolder, directory: Path):
    make_folder("demo")
    catalog = Catalog([directory])
    make_folder("demo", **{"SKILL.md": "---\nname: demo\ndescription: d\n---\nHello"})
    assert catalog.reload().skills["demo"].prose == "Hello"


def test_who_unsubscribes_hears_nothing_more(make_folder: MakeFolder, directory: Path):
    catalog = Catalog([directory])
    seen: list[Snapshot] = []
    unsubscribe = catalog.subscribe(seen.append)
    make_folder("one")
    catalog.reload()
    unsubscribe()
    unsubscribe()
    make_folder("two")
    catalog.reload()
    assert len(seen) == 1


def test_a_reload_logs_what_happened(make_folder: MakeFolder, directory: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    catalog = Catalog([directory])
    make_folder("demo")
    catalog.reload()
    shutil.rmtree(directory / "demo")
    catalog.reload()
    assert [record.message.split(" (")[0] for record in caplog.records] == ["skill added: demo", "skill removed: demo"]


def test_the_standard_directories_come_in_the_order_of_who_wins(tmp_path: Path):
    settings = Settings(config_dir=tmp_path, skills_dirs=(tmp_path / "x",))
    bundled, *rest = standard_dirs(settings)
    assert (bundled / "summarise" / "skill.toml").is_file()
    assert rest == [tmp_path / "skills", tmp_path / "x"]
