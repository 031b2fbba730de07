"""Evaluating with the real small model: shipped samples, an adapter beside the bare base, a resumption."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.native.conftest import MODEL
from tests.native.lora import make_adapter
from tools_server.bundled import bundled_dir
from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.engine.llama import LlamaBackend
from tools_server.engine.local import LocalEngine
from tools_server.evals.answers import AnswerLog
from tools_server.evals.evaluation import Plan, answer, make_report
from tools_server.evals.runner import Variant, evaluate
from tools_server.evals.samples import metric_of, own_samples
from tools_server.evals.variants import Choice
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog
from tools_server.training.evidence import read_evidence

SETTINGS = Settings(model=MODEL, max_sequences=8)


@pytest.fixture
def plan(tmp_path: Path, sha256: str) -> Plan:
    skill = Catalog([bundled_dir("skills")]).get("classify")
    adapter = make_adapter(tmp_path / "random.gguf", seed=1, base_sha256=sha256)
    bare = Variant("bare", skill, MODEL, sha256, "small.gguf")
    choice = Choice([replace(bare, name="random", adapter=adapter), bare], "random", "bare")
    return Plan(skill, metric_of(skill), own_samples(skill).limited(16), choice, tmp_path / "out")


def test_an_adapter_is_compared_with_the_bare_base_and_a_rerun_asks_nothing(plan: Plan, backend: LlamaBackend):
    plan.check()
    found = answer(plan, SETTINGS, lambda _: LocalEngine(backend), timed=3)
    report = make_report(plan, found)
    report.write(plan.folder)
    random, bare = report.results
    assert random.estimates["validity"].value == bare.estimates["validity"].value == 1
    assert random.evaluation.answers != bare.evaluation.answers
    assert all(len(each.evaluation.latencies) == 3 for each in report.results)
    assert bare.evaluation.usage.prompt > bare.evaluation.usage.cached > 0
    evidence, _ = read_evidence(plan.folder / "evaluation.json")
    assert evidence.variants["candidate"].adapter_sha256 == random.evaluation.adapter.sha256  # type: ignore[union-attr]
    assert evidence.metrics["accuracy"].baseline == bare.estimates["accuracy"].value

    def never(_: Settings) -> LocalEngine:
        raise AssertionError("everything is answered")

    again = make_report(plan, answer(plan, SETTINGS, never, timed=3))
    assert json.dumps(again.evidence) == json.dumps(report.evidence)


async def test_what_is_evaluated_is_what_a_client_gets(plan: Plan, engine: LocalEngine):
    gate = EngineGate(lambda: engine)
    runner = SkillRunner(gate, SETTINGS)
    own = [await runner.run(plan.skill, sample.arguments) for sample in plan.data.samples[:2]]
    with AnswerLog(plan.folder / "answers.jsonl") as log:
        found = await evaluate(runner, plan.choice.variants[1], plan.data.samples[:2], log, limit=1, timed=0)
    for result, given in zip(own, found.answers, strict=True):
        assert given is not None
        assert given["label"] == result.data["label"]
        # Which prefixes are cached, and what else is in the batch, moves a quantised model a little.
        assert given["scores"] == pytest.approx(result.data["scores"], abs=0.05)
