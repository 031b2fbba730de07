"""A skill folder that carries an adapter: it is applied, swapped when the folder changes, refused on another base."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.native.conftest import MODEL
from tests.native.lora import make_adapter
from tools_server.app import App, build_app
from tools_server.bundled import bundled_dir
from tools_server.engine.llama import LlamaBackend
from tools_server.errors import AdapterMismatch
from tools_server.settings import load_settings

ARGUMENTS = {"text": "The parcel never came and I was charged twice.", "labels": ["billing", "delivery", "praise"]}
CLOSE = 0.01
"""A cached prefix moves a probability by less than this (docs/experiments.md), an adapter by more."""


def write_skill(folder: Path, adapter: Path, *, sha256: str, base: str) -> None:
    shutil.copytree(bundled_dir("skills") / "classify", folder, dirs_exist_ok=True)
    target = folder / "adapters" / MODEL / "adapter.gguf"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(adapter, target)
    manifest = (bundled_dir("skills") / "classify" / "skill.toml").read_text("utf-8")
    (folder / "skill.toml").write_text(
        f'{manifest}\n[adapters.{MODEL}]\nfile = "adapters/{MODEL}/adapter.gguf"\n'
        f'sha256 = "{sha256}"\nbase_sha256 = "{base}"\n'
    )


@pytest.fixture
async def app(weights: Path, tmp_path: Path) -> AsyncIterator[App]:
    (tmp_path / "skills").mkdir()
    flags = {"model": MODEL, "skills_dirs": (tmp_path / "skills",), "context_tokens": 4096}
    app = build_app(load_settings({**flags, "in_process": True}))
    yield app
    await app.gate.aclose()


async def scores(app: App) -> dict[str, float]:
    return dict((await app.runner.run(app.catalog.get("classify"), ARGUMENTS)).data["scores"])


async def test_an_adapter_in_a_skill_folder_is_served_and_swapped_without_reloading_the_model(
    app: App, tmp_path: Path, sha256: str
):
    engine = await app.gate.get()
    base = await scores(app)
    seen = [base]
    for seed in (1, 2):
        adapter = make_adapter(tmp_path / f"{seed}.gguf", seed=seed, base_sha256=sha256)
        write_skill(tmp_path / "skills" / "classify", adapter.path, sha256=adapter.sha256, base=sha256)
        app.catalog.reload()
        seen.append(await scores(app))
        assert all(seen[-1] != pytest.approx(other, abs=CLOSE) for other in seen[:-1])
    shutil.rmtree(tmp_path / "skills" / "classify")
    app.catalog.reload()
    assert await scores(app) == pytest.approx(base, abs=CLOSE)
    assert await app.gate.get() is engine
    assert (await engine.stats()).adapters_loaded == 2


async def test_an_adapter_of_a_skill_for_other_weights_is_refused_by_name(app: App, tmp_path: Path, sha256: str):
    adapter = make_adapter(tmp_path / "a.gguf", seed=1, base_sha256=sha256)
    write_skill(tmp_path / "skills" / "classify", adapter.path, sha256=adapter.sha256, base="e" * 64)
    app.catalog.reload()
    with pytest.raises(AdapterMismatch, match=r"`classify` for smollm2-135m-instruct was trained on .*eeeeeeeeeeee"):
        await scores(app)


async def test_an_adapter_file_that_was_exchanged_is_refused(app: App, tmp_path: Path, sha256: str):
    adapter = make_adapter(tmp_path / "a.gguf", seed=1, base_sha256=sha256)
    write_skill(tmp_path / "skills" / "classify", adapter.path, sha256="f" * 64, base=sha256)
    app.catalog.reload()
    with pytest.raises(AdapterMismatch, match="its manifest says ffffffffffff"):
        await scores(app)


DOCUMENT = "The parcel was due on Monday. On Tuesday the depot wrote that it was lost, and on Friday it came. " * 8


def write_activated_skill(folder: Path, labels: list[str], *, seed: int, base: str, tokenizer: LlamaBackend) -> None:
    """A skill whose prompt has the document first and its adapter's invocation behind it."""
    name = folder.name
    invocation = f"\nTask {name}:"
    tokens = tokenizer.tokenize(invocation, special=False)
    (folder / "adapters" / MODEL).mkdir(parents=True)
    file = f"adapters/{MODEL}/adapter.gguf"
    adapter = make_adapter(folder / file, seed=seed, base_sha256=base, invocation_tokens=tokens)
    (folder / "prompt.jinja").write_text(
        f"{{% block user %}}{{{{ text }}}}{invocation} which label fits?{{% endblock %}}"
    )
    (folder / "output.schema.json").write_text(
        json.dumps({"type": "object", "required": ["label"], "properties": {"label": {"enum": labels}}})
    )
    (folder / "skill.toml").write_text(
        f'name = "{name}"\nversion = "1.0.0"\ntitle = "{name}"\ndescription = "Label a document, for a test."\n'
        f'kind = "choose"\n\n[adapters.{MODEL}]\nfile = "{file}"\nsha256 = "{adapter.sha256}"\nbase_sha256 = "{base}"\n'
    )


async def test_skills_with_activated_adapters_read_a_document_once_between_them(
    app: App, backend: LlamaBackend, tmp_path: Path, sha256: str
):
    for seed, (name, labels) in enumerate({"mood": ["calm", "angry"], "topic": ["parcel", "money"]}.items()):
        write_activated_skill(tmp_path / "skills" / name, labels, seed=seed, base=sha256, tokenizer=backend)
    app.catalog.reload()
    first = await app.runner.run(app.catalog.get("mood"), {"text": DOCUMENT})
    other = await app.runner.run(app.catalog.get("topic"), {"text": DOCUMENT})
    again = await app.runner.run(app.catalog.get("mood"), {"text": DOCUMENT})
    assert first.usage.cached == 0
    assert other.usage.cached == again.usage.cached > 0.8 * other.usage.prompt
    assert again.data["scores"] == pytest.approx(first.data["scores"], abs=CLOSE)
