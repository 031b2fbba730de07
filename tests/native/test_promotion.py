"""Adapter versions on the real model: promoted and rolled back while it answers."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from tests.native.conftest import MODEL
from tests.native.lora import make_adapter
from tests.unit.training.adapter_fakes import origin
from tools_server.app import App, build_app
from tools_server.errors import AdapterMismatch
from tools_server.settings import load_settings
from tools_server.skills.adapters import AdapterVersion
from tools_server.skills.catalog import Catalog, standard_dirs
from tools_server.skills.watch import watch
from tools_server.training.promote import promote, rollback
from tools_server.training.versions import add_version

ARGUMENTS = {"text": "The parcel never came and I was charged twice.", "labels": ["billing", "delivery", "praise"]}
CALLS = 64
CLOSE = 0.1
"""What else is in a batch moves a probability by less than this, even under random weights; these adapters by more."""

Scores = dict[str, float]


class Room:
    """The application on the small model, and the commands on the versions of one skill."""

    def __init__(self, app: App, sha256: str, folder: Path) -> None:
        self.app = app
        self.sha256 = sha256
        self.folder = folder
        self.root = app.settings.adapters_dir
        self.own = Catalog(standard_dirs(app.settings)).get("classify")

    def add(self, name: str, seed: int) -> AdapterVersion:
        made = make_adapter(self.folder / f"{name}.gguf", seed=seed, base_sha256=self.sha256)
        return add_version(self.root, "classify", MODEL, made.path, origin(base_sha256=self.sha256), version=name)

    def promote(self, version: str) -> None:
        promote(self.root, self.own, MODEL, version, base_sha256=self.sha256, force=True, reason="for a test")

    def rollback(self) -> None:
        rollback(self.root, self.own, MODEL, base_sha256=self.sha256)

    async def scores(self) -> Scores:
        return dict((await self.app.runner.run(self.app.catalog.get("classify"), ARGUMENTS)).data["scores"])


@pytest.fixture
async def room(weights: Path, sha256: str, tmp_path: Path) -> AsyncIterator[Room]:
    del weights  # here, and verified
    flags = {"model": MODEL, "adapters_dir": tmp_path / "adapters", "config_dir": tmp_path, "context_tokens": 8192}
    app = build_app(load_settings({**flags, "in_process": True}))
    yield Room(app, sha256, tmp_path)
    await app.gate.aclose()


def differ(one: Scores, other: Scores) -> float:
    return max(abs(one[label] - other[label]) for label in one)


async def test_a_promotion_while_64_calls_run_loses_none_and_the_next_calls_have_the_new_version(room: Room):
    catalog = room.app.catalog
    references: dict[str, Scores] = {}
    for name, seed in (("old", 5), ("new", 7)):  # of those that move these labels far apart
        room.add(name, seed)
        room.promote(name)
        catalog.reload()
        references[name] = await room.scores()
    assert differ(references["old"], references["new"]) > 3 * CLOSE
    room.rollback()
    catalog.reload()
    assert await room.scores() == pytest.approx(references["old"], abs=CLOSE)

    def version_of(scores: Scores) -> str:
        name = min(references, key=lambda name: differ(scores, references[name]))
        assert differ(scores, references[name]) < CLOSE
        return name

    answers: dict[int, str] = {}
    first, swapped = anyio.Event(), anyio.Event()
    unsubscribe = catalog.subscribe(lambda _: swapped.set())

    async def call(number: int) -> None:
        scores = await room.scores()
        assert number not in answers
        answers[number] = version_of(scores)
        first.set()

    with anyio.fail_after(120):
        async with anyio.create_task_group() as watching:
            watching.start_soon(watch, catalog)
            async with anyio.create_task_group() as calls:
                for number in range(CALLS):
                    calls.start_soon(call, number)
                await first.wait()
                room.promote("new")
                await swapped.wait()
                for number in range(CALLS, CALLS + 8):
                    calls.start_soon(call, number)
            watching.cancel_scope.cancel()
    unsubscribe()
    assert sorted(answers) == list(range(CALLS + 8))
    assert {answers[number] for number in range(CALLS)} == {"old"}, "those in flight keep their version"
    assert {answers[number] for number in range(CALLS, CALLS + 8)} == {"new"}


async def test_a_version_that_is_damaged_while_it_serves_gives_way_to_the_bare_base(
    room: Room, caplog: pytest.LogCaptureFixture
):
    bare = await room.scores()
    version = room.add("one", seed=7)
    room.promote("one")
    room.app.catalog.reload()
    assert differ(await room.scores(), bare) > CLOSE
    file = version.folder / "adapter.gguf"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1000])
    room.app.catalog.reload()
    assert await room.scores() == pytest.approx(bare, abs=CLOSE)
    assert "The bare base serves `classify`" in caplog.text
    file.write_bytes(whole)
    room.app.catalog.reload()
    assert differ(await room.scores(), bare) > CLOSE


async def test_other_bytes_of_the_same_size_are_refused_when_they_are_loaded(room: Room):
    version = room.add("one", seed=7)
    room.promote("one")
    file = version.folder / "adapter.gguf"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    room.app.catalog.reload()
    with pytest.raises(AdapterMismatch, match=r"classify@smollm2-135m-instruct:one has SHA-256 .*, its manifest says"):
        await room.scores()


def test_a_real_lora_that_was_cut_becomes_no_version(tmp_path: Path, sha256: str):
    made = make_adapter(tmp_path / "a.gguf", seed=1, base_sha256=sha256)
    made.path.write_bytes(made.path.read_bytes()[:-1000])
    with pytest.raises(AdapterMismatch, match=r"it is truncated: [\d,]+ bytes of [\d,]+"):
        add_version(tmp_path, "classify", MODEL, made.path, origin(base_sha256=sha256))
