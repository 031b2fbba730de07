"""A promotion while a client's calls run: none is lost, and those in flight keep the version they began with."""

import json
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, types

from tests.server.conversation import conversation
from tests.unit.training.adapter_fakes import make_version
from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.calls.types import Progress, SkillResult
from tools_server.engine.scripted import ScriptedBackend, ScriptedEngine, saying
from tools_server.engine.types import Adapter
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog
from tools_server.skills.scaffold import new_skill
from tools_server.skills.types import Skill
from tools_server.skills.watch import watch
from tools_server.training.promote import promote, rollback

MODEL, BASE = "scripted", "0" * 64
LIMIT_S = 30.0
OUTPUT = {"type": "object", "required": ["answer"], "properties": {"answer": {"type": "string", "maxLength": 40}}}


class CountingRunner(SkillRunner):
    """Knows how many calls have begun."""

    begun = 0
    _changed = anyio.Event()

    async def run(
        self,
        skill: Skill,
        arguments: Mapping[str, Any],
        *,
        progress: Progress | None = None,
        timeout_s: float | None = None,
    ) -> SkillResult:
        self.begun += 1
        self._changed.set()
        return await super().run(skill, arguments, progress=progress, timeout_s=timeout_s)

    async def has_begun(self, calls: int) -> None:
        while self.begun < calls:
            self._changed = anyio.Event()
            await self._changed.wait()


class Scene:
    """A server with one skill, its adapters folder, and an engine that a test can hold.

    The engine answers with the name of the adapter that it applies.
    """

    def __init__(self, folder: Path) -> None:
        skill = new_skill("demo", folder / "skills", "generate")
        (skill / "output.schema.json").write_text(json.dumps(OUTPUT))
        self.root = folder / "adapters"
        self.root.mkdir()
        self.catalog = Catalog([folder / "skills"], adapters_dir=self.root)
        self.own = self.catalog.get("demo")  # as its folder gives it: nothing was promoted yet
        self.go = threading.Event()
        self.go.set()
        backend = ScriptedBackend(self._say, context_tokens=8192, on_decode=lambda _: self._hold(), sha256=BASE)
        gate = EngineGate(lambda: ScriptedEngine(backend=backend))
        self.gate, self.runner = gate, CountingRunner(gate, Settings())
        for seed, name in enumerate(("one", "two")):
            make_version(self.root, "demo", name, model=MODEL, seed=seed, base_sha256=BASE)

    def _hold(self) -> None:
        assert self.go.wait(LIMIT_S)

    @staticmethod
    def _say(text: str, adapter: Adapter | None) -> str:
        return saying(json.dumps({"answer": adapter.name if adapter else "bare"}, separators=(",", ":")))(text, None)

    def promote(self, version: str) -> None:
        promote(self.root, self.own, MODEL, version, base_sha256=BASE, force=True, reason="for a test")

    def rollback(self) -> None:
        rollback(self.root, self.own, MODEL, base_sha256=BASE)

    async def serves(self, version: str) -> None:
        """Wait until the watch has published this version."""
        changed = anyio.Event()
        unsubscribe = self.catalog.subscribe(lambda _: changed.set())
        while _version(self.catalog.get("demo").adapters.get(MODEL)) != version:
            await changed.wait()
            changed = anyio.Event()
        unsubscribe()

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Client, None]:
        async with anyio.create_task_group() as tasks, conversation(self.catalog, self.runner) as (client, _):
            tasks.start_soon(watch, self.catalog)
            yield client
            tasks.cancel_scope.cancel()
        await self.gate.aclose()


def _version(adapter: Adapter | None) -> str:
    return adapter.name.rpartition(":")[2] if adapter else "bare"


def _answered(result: types.CallToolResult) -> str:
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content["answer"].rpartition(":")[2]


async def test_a_promotion_under_load_loses_no_call_and_changes_none_in_flight(tmp_path: Path):
    scene = Scene(tmp_path)
    scene.promote("one")
    scene.catalog.reload()
    answers: dict[int, str] = {}

    with anyio.fail_after(LIMIT_S):
        async with scene.client() as client, anyio.create_task_group() as calls:

            async def call(number: int) -> None:
                assert number not in answers
                answers[number] = _answered(await client.call_tool("demo", {"text": f"text {number}"}))

            scene.go.clear()  # from here on the engine holds every decode
            for number in range(24):
                calls.start_soon(call, number)
            await scene.runner.has_begun(24)
            scene.promote("two")
            await scene.serves("two")
            for number in range(24, 48):
                calls.start_soon(call, number)
            await scene.runner.has_begun(48)
            assert answers == {}
            scene.go.set()
    assert answers == {number: "one" if number < 24 else "two" for number in range(48)}


async def test_a_rollback_reaches_a_running_server(tmp_path: Path):
    scene = Scene(tmp_path)
    with anyio.fail_after(LIMIT_S):
        async with scene.client() as client:
            seen = [_answered(await client.call_tool("demo", {"text": "t"}))]
            for version in ("one", "two"):
                scene.promote(version)
                await scene.serves(version)
                seen.append(_answered(await client.call_tool("demo", {"text": "t"})))
            for version in ("one", "bare"):
                scene.rollback()
                await scene.serves(version)
                seen.append(_answered(await client.call_tool("demo", {"text": "t"})))
    assert seen == ["bare", "one", "two", "one", "bare"]


async def test_an_adapter_for_another_base_is_a_clear_error_of_the_call(tmp_path: Path):
    scene = Scene(tmp_path)
    make_version(scene.root, "demo", "foreign", model=MODEL, base_sha256="e" * 64)
    promote(scene.root, scene.own, MODEL, "foreign", base_sha256="e" * 64, force=True, reason="for a test")
    scene.catalog.reload()
    with anyio.fail_after(LIMIT_S):
        async with scene.client() as client:
            result = await client.call_tool("demo", {"text": "t"})
    (block,) = result.content
    assert result.is_error
    assert isinstance(block, types.TextContent)
    assert "was trained on weights with SHA-256 eeeeeeeeeeee…, but 000000000000… is loaded" in block.text
    assert "`tools-server skills adapters rollback demo`" in block.text
