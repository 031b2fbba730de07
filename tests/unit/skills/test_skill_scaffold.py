from pathlib import Path
from typing import get_args

import pytest

from tools_server.errors import SkillError
from tools_server.skills.interface import Common
from tools_server.skills.loader import load_skill
from tools_server.skills.render import render
from tools_server.skills.scaffold import Kind, new_skill
from tools_server.skills.types import Skill


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_new_folder_works_at_once(tmp_path: Path, kind: Kind):
    folder = new_skill("my-skill_2", tmp_path / "not" / "there", kind)
    skill = load_skill(folder, Common())
    assert isinstance(skill, Skill), skill
    assert skill.manifest.kind == kind
    assert skill.manifest.title == "My skill 2"
    chat = render(skill, {}, "hello")
    assert [message.role for message in chat.messages] == ["system", "user"]
    assert chat.messages[1].content[0].payload


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_file_of_a_new_folder_teaches(tmp_path: Path, kind: Kind):
    for file in new_skill("demo", tmp_path, kind).iterdir():
        text = file.read_text("utf-8")
        mark = {".toml": "# ", ".json": '"$comment"', ".jinja": "{#"}[file.suffix]
        assert mark in text, file.name
        assert "@NAME@" not in text
        assert "@TITLE@" not in text


def test_a_new_folder_never_overwrites(tmp_path: Path):
    folder = new_skill("demo", tmp_path)
    (folder / "prompt.jinja").write_text("mine")
    with pytest.raises(SkillError, match="exists already"):
        new_skill("demo", tmp_path)
    assert (folder / "prompt.jinja").read_text() == "mine"


@pytest.mark.parametrize("name", ["Demo", "verify", "../x", ""])
def test_a_name_that_no_skill_can_have_is_refused(tmp_path: Path, name: str):
    with pytest.raises(SkillError):
        new_skill(name, tmp_path / "skills")
    assert not (tmp_path / "skills").exists()


def test_a_folder_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(SkillError, match="No space left on device"):
        new_skill("demo", tmp_path)
    assert list(tmp_path.iterdir()) == []
