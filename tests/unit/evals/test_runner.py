"""The runner over the real engine room with scripted logits: what is asked, kept, resumed, timed."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.unit.evals.evals_fakes import LABELS, bundled, labelled, sample, schema
from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.engine.scripted import Script, ScriptedBackend, ScriptedEngine, saying
from tools_server.engine.types import Adapter
from tools_server.errors import AdapterMismatch
from tools_server.evals.answers import AnswerLog
from tools_server.evals.runner import Evaluation, Variant, evaluate, tokens_per_call
from tools_server.settings import Settings

BASE = "0" * 64
ADAPTER = Adapter("a" * 64, BASE)
SAMPLES = labelled(*((f"text {number}", "bug") for number in range(12)))
BUG = saying("bug")
VARIANT = Variant("bare", bundled("classify"), "scripted", BASE)


class Asked:
    """The texts that reached the model."""

    def __init__(self, script: Script) -> None:
        self.texts: set[str] = set()
        self._script = script

    def script(self, text: str, adapter: Adapter | None) -> str:
        self.texts |= set(re.findall(r"text \d+", text))
        return self._script(text, adapter)


@asynccontextmanager
async def rooms(script: Script) -> AsyncIterator[SkillRunner]:
    gate = EngineGate(lambda: ScriptedEngine(backend=ScriptedBackend(script, context_tokens=16384)))
    try:
        with anyio.fail_after(60):
            yield SkillRunner(gate, Settings())
    finally:
        await gate.aclose()


async def run(path: Path, script: Script = BUG, variant: Variant = VARIANT, **more: object) -> Evaluation:
    async with rooms(script) as runner:
        with AnswerLog(path) as log:
            return await evaluate(runner, variant, SAMPLES, log, limit=4, **{"timed": 3, **more})  # type: ignore[arg-type]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


async def test_every_sample_is_answered_in_its_place_and_some_are_timed_alone(tmp_path: Path):
    told: list[tuple[int, int, str]] = []
    found = await run(tmp_path / "a.jsonl", told=lambda *step: told.append(step))
    assert [answer and answer["label"] for answer in found.answers] == ["bug"] * 12
    assert len(found.latencies) == 3
    assert 0 < found.latency(0.5) <= found.latency(0.95)
    assert found.calls_per_second
    assert found.usage.prompt > found.usage.cached > 0
    assert tokens_per_call(found)["prompt"] == pytest.approx(found.usage.prompt / 12, abs=0.1)
    assert told[0] == (0, 15, "bare")
    assert told[-1][:2] == (15, 15)


async def test_what_was_answered_is_not_asked_again(tmp_path: Path):
    first = await run(tmp_path / "a.jsonl")
    asked = Asked(saying("praise"))
    again = await run(tmp_path / "a.jsonl", asked.script)
    assert asked.texts == set()
    assert (again.answers, again.latencies) == (first.answers, first.latencies)
    assert again.calls_per_second == pytest.approx(first.calls_per_second, rel=0.1)


async def test_a_cut_file_goes_on_with_what_is_missing(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    whole = await run(path, timed=0)
    kept = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([*kept[:5], kept[5][:40]]), "utf-8")
    asked = Asked(saying("bug"))
    again = await run(path, asked.script, timed=0)
    assert len(asked.texts) == 7
    assert again.answers == whole.answers
    assert len([line for line in lines(path) if "data" in line]) == 12


async def test_the_answers_of_a_run_that_was_killed_do_not_count_as_fast(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    await run(path, timed=0)
    killed = [line for line in path.read_text("utf-8").splitlines() if "batched_seconds" not in line]
    path.write_text("\n".join(killed) + "\n", "utf-8")
    assert (await run(path, timed=0)).calls_per_second is None
    path.write_text("\n".join(killed[:-2]) + "\n", "utf-8")
    again = await run(path, timed=0)
    time = next(line for line in lines(path) if "batched_seconds" in line)
    assert time["batched_calls"] == 2
    assert again.calls_per_second == pytest.approx(2 / float(str(time["batched_seconds"])), rel=0.1)


async def test_a_line_that_is_no_answer_is_left_out(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    await run(path, timed=0)
    kept = path.read_text("utf-8").splitlines()
    path.write_text("\n".join(["not JSON", "[]", '{"variant": "x"}', *kept[1:]]) + "\n", "utf-8")
    asked = Asked(saying("bug"))
    await run(path, asked.script, timed=0)
    assert len(asked.texts) == 1


async def test_an_interruption_keeps_what_is_finished(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    scope = anyio.CancelScope()

    def stop(done: int, _all: int, _what: str) -> None:
        if done == 5:
            scope.cancel()

    with scope:
        await run(path, timed=0, told=stop)
    answered = {line["sample"] for line in lines(path) if "data" in line}
    assert 5 <= len(answered) < 12
    asked = Asked(saying("bug"))
    assert len((await run(path, asked.script, timed=0)).answers) == 12
    assert len(asked.texts) == 12 - len(answered)


@pytest.mark.parametrize(
    "other",
    [
        replace(VARIANT, adapter=ADAPTER),
        replace(VARIANT, weights="tuned.gguf"),
        replace(VARIANT, base_sha256="1" * 64),
        replace(VARIANT, skill=bundled("summarise")),
    ],
)
def test_whatever_shapes_answers_makes_another_variant(other: Variant):
    assert other.key != VARIANT.key


def test_a_name_makes_no_other_variant():
    assert replace(VARIANT, name="served").key == VARIANT.key


async def test_changed_arguments_are_asked_again(tmp_path: Path):
    await run(tmp_path / "a.jsonl", timed=0)
    changed = [replace(each, arguments={**each.arguments, "labels": LABELS[:2]}) for each in SAMPLES[:2]]
    with AnswerLog(tmp_path / "a.jsonl") as log:
        assert [log.get(VARIANT.key, "batched", each) for each in changed] == [None, None]


async def test_a_variant_answers_with_its_own_adapter_whatever_the_skill_has(tmp_path: Path):
    def script(text: str, adapter: Adapter | None) -> str:
        return saying("praise" if adapter == ADAPTER else "bug")(text, adapter)

    skill = replace(bundled("classify"), adapters={"scripted": Adapter("b" * 64, BASE)})
    with_it = Variant("new", skill, "scripted", BASE, adapter=ADAPTER)
    found = await run(tmp_path / "a.jsonl", script, with_it)
    bare = await run(tmp_path / "a.jsonl", script, replace(with_it, name="bare", adapter=None))
    assert {answer["label"] for answer in found.answers if answer} == {"praise"}
    assert {answer["label"] for answer in bare.answers if answer} == {"bug"}
    assert found.adapter == ADAPTER


async def test_an_adapter_for_another_base_ends_the_evaluation(tmp_path: Path):
    wrong = replace(VARIANT, adapter=Adapter("a" * 64, "c" * 64))
    with pytest.raises(AdapterMismatch, match="trained on weights with SHA-256 cccccccccccc"):
        await run(tmp_path / "a.jsonl", variant=wrong)


async def test_a_call_that_fails_is_counted_by_its_code_and_kept(tmp_path: Path):
    skill = bundled("extract")
    good = sample({"data": {"a": None}}, skill="extract", name="good", fields=schema(a={"type": "string"}))
    bad = sample({"data": {"a": None}}, skill="extract", name="bad", fields=schema(a={"not": {}}))
    async with rooms(saying('{"a":null}')) as runner:
        with AnswerLog(tmp_path / "a.jsonl") as log:
            variant = Variant("bare", skill, "scripted", BASE)
            found = await evaluate(runner, variant, [good, bad], log, limit=4, timed=2)
    assert list(found.answers) == [{"data": {"a": None}, "evidence": {}, "confidence": 1.0}, None]
    assert found.errors == {"invalid_arguments": 1}
    assert len(found.latencies) == 1
    assert {line["sample"]: line["error"] for line in lines(tmp_path / "a.jsonl") if "data" in line} == {
        "good": None,
        "bad": "invalid_arguments",
    }
