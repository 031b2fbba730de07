"""Reports, cards and evidence: every number where it belongs, and where it comes from."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.unit.evals.evals_fakes import bundled, labelled
from tools_server.engine.types import Adapter, Usage
from tools_server.errors import AdapterMismatch, AdapterVersionNotFound, EvaluationImpossible
from tools_server.evals.card import write_card
from tools_server.evals.chart import Group, bar_chart
from tools_server.evals.evaluation import Plan, make_report
from tools_server.evals.provenance import Provenance, commit_of
from tools_server.evals.report import Report, shown_p
from tools_server.evals.runner import Evaluation, Variant, of_data
from tools_server.evals.samples import EvaluationData
from tools_server.evals.statistics import Estimate
from tools_server.evals.variants import Adapters, Choice, choose
from tools_server.training.evidence import Candidate, decide, read_evidence

BASE = "0" * 64
ADAPTER = Adapter("a" * 64, BASE, name="new.gguf")
SAMPLES = labelled(*((f"text {number}", "bug" if number % 2 else "praise") for number in range(40)))
SKILL = bundled("classify")
DATA = EvaluationData("tickets", "test", "CC0-1.0", SAMPLES, lambda: ())


def answered(name: str, right: int, adapter: Adapter | None = None) -> Evaluation:
    """The first `right` samples right, the others `billing`, the last one failed."""
    answers = [{"label": each.expected["label"] if place < right else "billing"} for place, each in enumerate(SAMPLES)]
    usage = Usage(prompt=4000, cached=3000)
    return Evaluation(name, adapter, [*answers[:-1], None], {"input_too_long": 1}, usage, (0.1, 0.2, 0.9), 12.5)


def report(tmp_path: Path, *, right: int = 35, compared: bool = True) -> Report:
    bare = Variant("bare", SKILL, "small", BASE, "small.gguf")
    choice = Choice([replace(bare, name="new", adapter=ADAPTER), bare], "new", "bare" if compared else None)
    plan = Plan(SKILL, "accuracy", DATA, choice, tmp_path)
    plan.check()
    baseline = of_data("majority", [{"label": "bug"}] * len(SAMPLES))
    return make_report(plan, [answered("new", right, ADAPTER), answered("bare", 20), baseline])


def test_all_numbers_are_in_the_json_with_their_origin(tmp_path: Path):
    found = json.loads(json.dumps(report(tmp_path).as_json(), allow_nan=False))
    assert found["data"] == {
        "name": "tickets",
        "split": "test",
        "licence": "CC0-1.0",
        "sha256": DATA.sha256,
        "samples": 40,
    }
    new, bare, majority = (found["variants"][name] for name in ("new", "bare", "majority"))
    assert new["metrics"]["accuracy"]["value"] == 35 / 40
    assert new["metrics"]["accuracy"]["low"] < 35 / 40 < new["metrics"]["accuracy"]["high"]
    assert new["metrics"]["validity"]["value"] == 39 / 40
    assert new["adapter_sha256"] == "a" * 64
    assert new["latency_s"] == {"p50": 0.2, "p95": 0.83, "calls": 3}
    assert (new["calls_per_second"], new["tokens_per_call"]["prompt"]) == (12.5, 100.0)
    assert new["errors"] == {"input_too_long": 1}
    assert bare["adapter_sha256"] is None
    assert {"latency_s", "errors"} & majority.keys() == set()
    assert found["compared"] == {"baseline": "bare", "candidate": "new"}
    assert found["provenance"]["machine"]["cores"] >= 1
    assert found["provenance"]["versions"]["numpy"]


def candidate(**other: object) -> Candidate:
    facts = {"skill": "classify", "skill_digest": SKILL.digest, "model": "small", "base_sha256": BASE}
    return Candidate(**{**facts, "adapter": ADAPTER, "served": None, **other})  # type: ignore[arg-type]


def test_the_evidence_is_what_a_promotion_asks_for(tmp_path: Path):
    report(tmp_path).write(tmp_path)
    evidence, _ = read_evidence(tmp_path / "evaluation.json")
    assert evidence.data.sha256 == DATA.sha256
    assert (evidence.data.name, evidence.data.split, evidence.data.samples) == ("tickets", "test", 40)
    assert [name for name, metric in evidence.metrics.items() if metric.primary] == ["accuracy"]
    accuracy = evidence.metrics["accuracy"]
    assert (accuracy.kind, accuracy.baseline, accuracy.candidate) == ("binary", 0.5, 0.875)
    assert accuracy.p == pytest.approx(2**-15)
    assert accuracy.difference[0] < 0.375 < accuracy.difference[1]
    assert decide(evidence, candidate()).favourable
    assert not decide(evidence, candidate(adapter=SERVED)).favourable
    assert not decide(evidence, candidate(adapter=replace(ADAPTER, scale=2.0))).favourable
    assert not decide(evidence, candidate(trained_on=frozenset({DATA.sha256}))).favourable


def test_evidence_of_no_gain_speaks_for_nothing(tmp_path: Path):
    report(tmp_path, right=21).write(tmp_path)
    evidence, _ = read_evidence(tmp_path / "evaluation.json")
    assert not decide(evidence, candidate()).favourable


def test_without_a_comparison_there_is_no_evidence(tmp_path: Path):
    found = report(tmp_path, compared=False)
    found.write(tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    assert {"report.json", "report.md", "report.svg"} <= written
    assert "evaluation.json" not in written
    assert "evaluation" not in found.as_json()


def test_the_tables_are_for_people(tmp_path: Path):
    text = report(tmp_path).as_markdown()
    assert "| variant | accuracy | macro F1 | valid answers |" in text
    assert "| new | 0.875 [0.739, 0.945] |" in text
    assert "| majority | 0.500 [" in text
    assert "| accuracy | 0.500 | 0.875 | +0.375 [" in text
    assert "| new | 0.20 s | 0.83 s | 12.50 | 100 (75 cached) | 0 | 1 × input_too_long |" in text
    assert f"tickets/test, SHA-256 `{DATA.sha256}`, licence: CC0-1.0" in text
    assert shown_p(0.0004) == "< 0.001"


def test_the_chart_is_svg_with_a_bar_for_each_variant(tmp_path: Path):
    root = ElementTree.fromstring(report(tmp_path).as_svg())
    bars = root.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 3 + 3 + 2  # validity is none of the baseline's
    assert {float(bar.get("width", "")) for bar in bars} >= {round(460 * 0.875, 1), 460 * 0.5}


def test_the_chart_shows_what_is_undefined_and_escapes_names():
    nan = float("nan")
    drawn = bar_chart("a & b", [Group("<m>", {"x": Estimate(nan, nan, nan), "y": Estimate(0.5, nan, nan)})])
    texts = [element.text for element in ElementTree.fromstring(drawn) if element.text]
    assert {"a & b", "<m>", "undefined", "0.500"} <= set(texts)


def test_a_card_keeps_the_entries_of_other_models_and_splits(tmp_path: Path):
    found = report(tmp_path)
    own = replace(found, skill=replace(SKILL, folder=tmp_path))
    path = write_card(own)
    write_card(replace(own, data=replace(DATA, split="dev")))
    write_card(replace(own, model="large"))
    write_card(own)
    models = json.loads(path.read_text("utf-8"))["models"]
    assert {model: [entry["split"] for entry in entries] for model, entries in models.items()} == {
        "large": ["test"],
        "small": ["dev", "test"],
    }
    entry = models["small"][1]
    assert entry["variants"]["new"]["metrics"]["accuracy"]["value"] == 0.875
    assert entry["variants"]["new"]["latency_s"]["p50"] == 0.2
    assert (entry["dataset"], entry["licence"], entry["samples"]) == ("tickets", "CC0-1.0", 40)
    assert entry["hardware"]["cores"] >= 1


@pytest.mark.parametrize("content", ["not JSON", '{"accuracy": 0.9}', '{"models": {"x": [{"dataset": 1}]}}', "[]"])
def test_a_card_that_somebody_wrote_by_hand_is_left_alone(tmp_path: Path, content: str):
    (tmp_path / "card.json").write_text(content, "utf-8")
    with pytest.raises(EvaluationImpossible, match=r"card\.json is no card that an evaluation wrote"):
        write_card(replace(report(tmp_path), skill=replace(SKILL, folder=tmp_path)))
    assert (tmp_path / "card.json").read_text("utf-8") == content


def test_the_commit_tells_changed_files_and_is_absent_outside_of_a_tree(tmp_path: Path):
    assert commit_of(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("x")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    clean = commit_of(tmp_path)
    assert clean is not None
    assert len(clean) == 40
    (tmp_path / "file").write_text("y")
    assert commit_of(tmp_path) == f"{clean}-dirty"
    assert Provenance.here().python


SERVED = Adapter("b" * 64, BASE, name="served")
OWN = Adapter("c" * 64, BASE, name="shipped")


def adapters(tmp_path: Path) -> Adapters:
    folder = replace(SKILL, adapters={"small": OWN})
    return Adapters(folder, replace(folder, adapters={"small": SERVED}), tmp_path, "small", "d" * 64)


def pick(found: Adapters, adapter: str, compare: str | None = None, *, bare: bool = False) -> Choice:
    return choose(found, adapter=adapter, compare=compare, bare=bare, base_sha256=BASE, weights="w")


def test_adapters_are_found_by_word_version_or_file(tmp_path: Path):
    found = adapters(tmp_path)
    assert (found.find("served"), found.find("none"), found.find("shipped")) == (SERVED, None, OWN)
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    adapter = found.find(str(tmp_path / "x.gguf"))
    assert adapter is not None
    assert (len(adapter.sha256), adapter.base_sha256, adapter.name) == (64, "d" * 64, "x.gguf")
    with pytest.raises(AdapterMismatch, match=r"gone\.gguf cannot be read"):
        found.find(str(tmp_path / "gone.gguf"))
    with pytest.raises(AdapterVersionNotFound, match="v7"):
        found.find("v7")


def test_each_variant_is_named_and_run_once(tmp_path: Path):
    found = pick(adapters(tmp_path), "served", "none", bare=True)
    assert [(each.name, each.adapter) for each in found.variants] == [("served", SERVED), ("bare", None)]
    assert (found.candidate, found.baseline) == ("served", "bare")
    alone = pick(adapters(tmp_path), "shipped")
    assert ([each.name for each in alone.variants], alone.baseline) == (["shipped"], None)


def test_nothing_is_compared_with_itself(tmp_path: Path):
    found = adapters(tmp_path)
    with pytest.raises(EvaluationImpossible, match="'served' and 'served' stand for the same adapter of `classify`"):
        pick(found, "served", "served")
    bare = replace(found, served=replace(found.served, adapters={}))
    with pytest.raises(EvaluationImpossible, match="the same adapter"):
        pick(bare, "served", "none")
