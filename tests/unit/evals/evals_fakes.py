"""Skills and samples for the tests of evaluation."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools_server.bundled import bundled_dir
from tools_server.cli import asking
from tools_server.data.types import Sample
from tools_server.engine.scripted import ScriptedEngine
from tools_server.models import ModelStore
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog
from tools_server.skills.types import Skill

LABELS = ["billing", "bug", "praise"]
BASE = "0" * 64
MODEL = "smollm2-135m-instruct"


def bundled(name: str) -> Skill:
    return Catalog([bundled_dir("skills")]).get(name)


def sample(
    expected: Mapping[str, Any],
    text: str = "a text",
    *,
    name: str = "s",
    skill: str = "classify",
    alternatives: Mapping[str, list[Any]] | None = None,
    **arguments: Any,
) -> Sample:
    return Sample(name, skill, {"text": text, **arguments}, expected, f"here:{name}", alternatives or {})


def labelled(*pairs: tuple[str, str], labels: list[str] = LABELS) -> list[Sample]:
    """Samples out of (text, label)."""
    return [
        sample({"label": label}, text, name=f"s{number}", labels=labels) for number, (text, label) in enumerate(pairs)
    ]


def schema(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def on_a_scripted_model(
    monkeypatch: pytest.MonkeyPatch, folder: Path, load: Callable[[Settings, ModelStore], ScriptedEngine]
) -> None:
    """Give the commands that ask a skill settings below `folder`, and what `load` makes instead of MODEL."""
    for name in ("config", "cache", "adapters"):
        monkeypatch.setenv(f"TOOLS_SERVER_{name.upper()}_DIR", str(folder / name))
    store = SimpleNamespace(
        serving=lambda _model, *, tuned: SimpleNamespace(path=Path("small.gguf")),
        manifest=lambda _model: SimpleNamespace(sha256=BASE),
    )
    monkeypatch.setattr(asking, "load_engine", load)
    monkeypatch.setattr(asking.ModelStore, "from_settings", lambda _settings: store)
    monkeypatch.setenv("COLUMNS", "300")  # tables are not to wrap
