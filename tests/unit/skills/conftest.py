"""Skill folders made for a test: a good one, with single files replaced or taken away."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools_server.skills.interface import Common
from tools_server.skills.loader import load_skill
from tools_server.skills.types import BrokenSkill, Skill

MakeFolder = Callable[..., Path]

GENERATE = {
    "skill.toml": 'name = "@"\nversion = "1.0.0"\ndescription = "Say something short."\nkind = "generate"\n',
    "input.schema.json": {
        "type": "object",
        "properties": {"focus": {"type": "string"}, "words": {"type": "integer", "default": 7}},
    },
    "output.schema.json": {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]},
    "prompt.jinja": (
        "{% block system %}\nIn {{ words }} words.\n{% endblock %}\n{% block user %}\n{{ text }}\n{% endblock %}\n"
    ),
}

CHOOSE = {
    "skill.toml": 'name = "@"\nversion = "1.0.0"\ndescription = "Pick one of them."\nkind = "choose"\n',
    "output.schema.json": {
        "type": "object",
        "properties": {"label": {"enum": ["cat", "dog"]}},
        "required": ["label"],
    },
    "prompt.jinja": "{% block user %}\n{{ text }}\n{% endblock %}\n",
}

OWN_LABELS = {
    **CHOOSE,
    "skill.toml": CHOOSE["skill.toml"] + '[choose]\nlabels = "labels"\nmulti_label = "several"\n',
    "input.schema.json": {
        "type": "object",
        "properties": {"labels": {"type": "array"}, "several": {"type": "boolean", "default": False}},
        "required": ["labels"],
    },
    "output.schema.json": {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]},
    "prompt.jinja": (
        "{% block system %}\n{% for choice in choices %}\n- {{ choice.name }}\n{% endfor %}\n{% endblock %}\n"
        "{% block user %}\n{{ text }}\n"
        "{% if label is not none %}\nIs it {{ label.name }}?\n{% endif %}\n{% endblock %}\n"
    ),
}

KINDS: dict[str, dict[str, Any]] = {"generate": GENERATE, "choose": CHOOSE, "own-labels": OWN_LABELS}


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """`make_folder(name, kind=…, directory=…, **{"file": text | object | None})`; None leaves a file out."""

    def make(name: str = "demo", kind: str = "generate", directory: Path | None = None, **files: Any) -> Path:
        folder = (directory or tmp_path / "skills") / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in {**KINDS[kind], **files}.items():
            if content is None:
                continue
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                text = content if isinstance(content, str) else json.dumps(content)
                path.write_text(text.replace("@", name) if file == "skill.toml" else text, "utf-8")
        return folder

    return make


@pytest.fixture
def good(make_folder: MakeFolder) -> Callable[..., Skill]:
    def load(*args: Any, **files: Any) -> Skill:
        outcome = load_skill(make_folder(*args, **files), Common())
        assert isinstance(outcome, Skill), outcome
        return outcome

    return load


@pytest.fixture
def broken(make_folder: MakeFolder) -> Callable[..., BrokenSkill]:
    def load(*args: Any, **files: Any) -> BrokenSkill:
        outcome = load_skill(make_folder(*args, **files), Common())
        assert isinstance(outcome, BrokenSkill)
        return outcome

    return load
