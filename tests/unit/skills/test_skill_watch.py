import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.unit.training.adapter_fakes import CREATED, make_version
from tools_server.skills import watch as watch_module
from tools_server.skills.adapters import Active
from tools_server.skills.catalog import Catalog
from tools_server.skills.types import Snapshot
from tools_server.skills.watch import watch
from tools_server.training.versions import write_active

MakeFolder = Callable[..., Path]
Until = Callable[[Callable[[Snapshot], bool]], Awaitable[Snapshot]]


@asynccontextmanager
async def watching(catalog: Catalog) -> AsyncIterator[Until]:
    """Watch a catalog; what it gives waits until a published snapshot is as wished."""
    changed = anyio.Event()

    def note(_: Snapshot) -> None:
        nonlocal changed
        changed.set()
        changed = anyio.Event()

    async def until(wish: Callable[[Snapshot], bool]) -> Snapshot:
        with anyio.fail_after(15):
            while not wish(catalog.snapshot):
                await changed.wait()
        return catalog.snapshot

    unsubscribe = catalog.subscribe(note)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, catalog)
        yield until
        tasks.cancel_scope.cancel()
    unsubscribe()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "skills"
    path.mkdir()
    return path


async def test_folders_come_change_break_and_go_while_watched(make_folder: MakeFolder, directory: Path):
    make_folder("stays")
    catalog = Catalog([directory])
    async with watching(catalog) as until:
        make_folder("demo")
        first = (await until(lambda now: "demo" in now.skills)).skills["demo"]
        make_folder("demo", **{"prompt.jinja": "{% block user %}New: {{ text }}{% endblock %}"})
        await until(lambda now: "demo" in now.skills and now.skills["demo"].digest != first.digest)
        (directory / "demo" / "prompt.jinja").write_text("{% block user %}{{ txt }}{% endblock %}")
        snapshot = await until(lambda now: bool(now.broken))
        assert list(snapshot.skills) == ["stays"]
        assert "did you mean `text`" in snapshot.broken[0].reason
        shutil.rmtree(directory / "demo")
        await until(lambda now: not now.broken and list(now.skills) == ["stays"])


async def test_a_directory_that_appears_later_is_followed(make_folder: MakeFolder, directory: Path, tmp_path: Path):
    catalog = Catalog([directory, tmp_path / "later"])
    async with watching(catalog) as until:
        make_folder("one", directory=tmp_path / "later")
        await until(lambda now: "one" in now.skills)
        make_folder("two", directory=tmp_path / "later")
        await until(lambda now: "two" in now.skills)
        shutil.rmtree(tmp_path / "later")
        await until(lambda now: not now.skills)


async def test_no_directory_at_all_is_no_reason_to_stop(make_folder: MakeFolder, tmp_path: Path):
    catalog = Catalog([tmp_path / "later"])
    async with watching(catalog) as until:
        make_folder("one", directory=tmp_path / "later")
        await until(lambda now: "one" in now.skills)


async def test_a_folder_that_is_a_link_is_followed_to_where_it_leads(
    make_folder: MakeFolder, directory: Path, tmp_path: Path
):
    (directory / "demo").symlink_to(make_folder("demo", directory=tmp_path / "elsewhere"))
    catalog = Catalog([directory])
    first = catalog.get("demo").digest
    async with watching(catalog) as until:
        make_folder("demo", directory=tmp_path / "elsewhere", **{"input.schema.json": None, "prompt.jinja": "{{"})
        await until(lambda now: bool(now.broken))
        make_folder("demo", directory=tmp_path / "elsewhere")
        assert (await until(lambda now: "demo" in now.skills)).skills["demo"].digest == first


async def test_a_promotion_is_followed_though_there_were_no_adapters_before(
    make_folder: MakeFolder, directory: Path, tmp_path: Path
):
    make_folder("demo")
    root = tmp_path / "adapters"
    catalog = Catalog([directory], adapters_dir=root)
    async with watching(catalog) as until:
        for name in ("one", "two"):
            make_version(root, "demo", name)
            active = Active(version=name, since=CREATED, how="promoted", reason="for a test")
            write_active(root, "demo", "tiny", active)
            snapshot = await until(lambda now, name=name: _adapter(now).endswith(name))
        assert list(snapshot.skills) == ["demo"]


def _adapter(snapshot: Snapshot) -> str:
    return "".join(adapter.name for adapter in snapshot.skills["demo"].adapters.values())


async def test_without_file_events_changes_are_found_all_the_same(
    make_folder: MakeFolder, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(*_: object, **__: object) -> None:
        raise OSError("inotify watch limit reached")

    monkeypatch.setattr(watch_module, "awatch", refuse)
    monkeypatch.setattr(watch_module, "LOOK_MS", 10)
    catalog = Catalog([directory])
    async with watching(catalog) as until:
        make_folder("demo")
        await until(lambda now: "demo" in now.skills)
    assert caplog.text.count("inotify watch limit reached") == 1


async def test_subscribers_are_called_in_the_event_loop(make_folder: MakeFolder, directory: Path):
    catalog = Catalog([directory])
    tasks: list[object] = []
    catalog.subscribe(lambda _: tasks.append(anyio.get_current_task().name))
    async with watching(catalog) as until:
        make_folder("demo")
        await until(lambda now: "demo" in now.skills)
    assert tasks
