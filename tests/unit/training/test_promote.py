"""Only a held-out win of this very version over what is served now promotes it; force is possible and recorded."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.training.adapter_fakes import (
    BASE,
    TEST_DATA,
    TRAIN_DATA,
    evidence,
    make_version,
    metric,
    write_evidence,
)
from tools_server.data.types import Sample
from tools_server.engine.types import Adapter, Usage
from tools_server.errors import AdapterMismatch, AdapterVersionNotFound, PromotionRefused
from tools_server.evals.results import Result, paired
from tools_server.evals.results import evidence as made
from tools_server.evals.runner import Evaluation
from tools_server.evals.samples import EvaluationData
from tools_server.evals.scoring.base import Scored
from tools_server.evals.statistics import Measure
from tools_server.skills.adapters import Active, AdapterVersion, active_of
from tools_server.skills.catalog import Catalog
from tools_server.skills.scaffold import new_skill
from tools_server.skills.types import Skill
from tools_server.training.evidence import Candidate, Evidence, decide, read_evidence
from tools_server.training.promote import promote, rollback


@pytest.fixture
def skill(tmp_path: Path) -> Skill:
    new_skill("demo", tmp_path / "skills", "choose")
    return Catalog([tmp_path / "skills"]).get("demo")


class Room:
    """One skill, its versions, and the commands on them."""

    def __init__(self, root: Path, skill: Skill) -> None:
        self.root = root
        self.skill = skill

    def version(self, name: str, *, seed: int = 0, **changes: Any) -> AdapterVersion:
        return make_version(self.root, "demo", name, seed=seed, **changes)

    def promote(self, name: str, **how: Any) -> Active:
        return promote(self.root, self.skill, "tiny", name, **{"base_sha256": BASE, **how})

    def force(self, name: str) -> Active:
        return self.promote(name, force=True, reason=f"{name} it shall be")

    def rollback(self, reason: str = "") -> Active:
        return rollback(self.root, self.skill, "tiny", base_sha256=BASE, reason=reason)

    def evidence(self, content: dict[str, Any]) -> Path:
        return write_evidence(self.root / "evidence.json", content)

    @property
    def served(self) -> str | None:
        active = active_of(self.root, "demo", "tiny")
        return active.version if active else None


@pytest.fixture
def room(tmp_path: Path, skill: Skill) -> Room:
    return Room(tmp_path / "adapters", skill)


# The rule.

CANDIDATE = "c" * 64


@pytest.fixture
def judge(skill: Skill) -> Callable[..., tuple[str, ...]]:
    """Objections to evidence with single facts replaced."""

    def objections(**changes: Any) -> tuple[str, ...]:
        adapter = Adapter(CANDIDATE, BASE)
        candidate = Candidate("demo", skill.digest, "tiny", BASE, adapter, None, frozenset({TRAIN_DATA}))
        found = decide(Evidence.model_validate(evidence(skill, CANDIDATE, **changes)), candidate)
        assert found.favourable == (not found.objections)
        return found.objections

    return objections


Judge = Callable[..., tuple[str, ...]]


@pytest.mark.parametrize(
    ("change", "wins"),
    [
        ({"p": 0.049}, True),
        ({"p": 0.051, "difference": [0.001, 0.2]}, False),  # of a binary metric the exact test counts
        ({"kind": "mean", "p": 0.5, "difference": [0.001, 0.2]}, True),
        ({"kind": "mean", "p": 0.01, "difference": [0.0, 0.2]}, False),
        ({"kind": "ratio", "difference": [-0.2, -0.001], "better": "lower"}, True),
        ({"kind": "ratio", "difference": [0.001, 0.2], "better": "lower"}, False),
        ({"kind": "mean", "difference": [math.nan, math.nan]}, False),
    ],
)
def test_the_primary_metric_must_win(judge: Judge, change: dict[str, Any], wins: bool):
    objections = judge(metrics={"accuracy": metric(**change)})
    assert [objection.split(":")[0] for objection in objections] == ([] if wins else ["no win is shown"])


@pytest.mark.parametrize(
    ("change", "loses"),
    [
        ({"difference": [-0.2, 0.001]}, False),
        ({"difference": [-0.2, -0.001]}, True),
        ({"difference": [0.1, 0.2], "better": "lower", "kind": "mean"}, True),
        ({"difference": [-0.2, -0.1], "better": "lower", "kind": "mean"}, False),
    ],
)
def test_no_other_metric_may_be_worse(judge: Judge, change: dict[str, Any], loses: bool):
    objections = judge(metrics={"accuracy": metric(), "unsupported": metric(primary=False, p=1.0, **change)})
    assert [objection.split(" ")[:4] for objection in objections] == (
        [["it", "is", "worse:", "unsupported"]] if loses else []
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"skill": "other"}, "it is about the skill 'other', not 'demo'"),
        ({"skill_digest": "d" * 64}, "it is about the skill's digest dddddddddddd…, not "),
        ({"model": "large"}, "it is about the model 'large', not 'tiny'"),
        ({"base_sha256": "e" * 64}, "it is about the base eeeeeeeeeeee…, not bbbbbbbbbbbb…"),
        (
            {"variants": {"baseline": {"adapter_sha256": None}, "candidate": {"adapter_sha256": "f" * 64}}},
            "it is about the candidate's adapter ffffffffffff…, not cccccccccccc…",
        ),
        (
            {"variants": {"baseline": {"adapter_sha256": "f" * 64}, "candidate": {"adapter_sha256": CANDIDATE}}},
            "a baseline, which must be what is served now, ffffffffffff…, not the bare base",
        ),
        (
            {
                "variants": {
                    "baseline": {"adapter_sha256": None},
                    "candidate": {"adapter_sha256": CANDIDATE, "scale": 2},
                }
            },
            "it is about the candidate's adapter 2 × cccccccccccc…, not cccccccccccc…",
        ),
        ({"variants": {"candidate": {"adapter_sha256": CANDIDATE}}}, "it has no variant `baseline`"),
        (
            {"data": {"name": "tickets", "split": "train", "sha256": TEST_DATA, "samples": 9}},
            "its samples are the split 'train', which is for training",
        ),
        (
            {"data": {"name": "tickets", "split": "test", "sha256": TRAIN_DATA, "samples": 9}},
            "its samples (111111111111…) are among those that the version was trained on",
        ),
        ({"metrics": {"accuracy": metric(primary=False)}}, "it has 0 primary metrics, not one"),
    ],
)
def test_evidence_of_something_else_or_of_training_data_does_not_count(
    judge: Judge, changes: dict[str, Any], reason: str
):
    (objection,) = judge(**changes)
    assert reason in objection


def test_every_objection_is_given(judge: Judge):
    assert len(judge(skill="other", model="large", metrics={"accuracy": metric(p=0.5)})) == 3


def test_what_is_no_evidence_is_refused_by_name(tmp_path: Path):
    (tmp_path / "bad.json").write_text('{"skill": "demo"}')
    with pytest.raises(PromotionRefused, match=r"bad\.json is no comparison of two variants: skill_digest: Field req"):
        read_evidence(tmp_path / "bad.json")
    with pytest.raises(PromotionRefused, match=r"gone\.json cannot be read") as caught:
        read_evidence(tmp_path / "gone.json")
    assert "skills eval" in caught.value.hint


def test_what_an_evaluation_writes_is_evidence(skill: Skill, tmp_path: Path):
    def result(adapter: Adapter | None, right: int) -> Result:
        rows = np.array([[float(number < right), 1.0] for number in range(40)])
        accuracy = Measure("accuracy", "binary", "higher", rows, lambda sums: sums[..., 0] / sums[..., 1], primary=True)
        return Result(Evaluation("v", adapter, (), {}, Usage()), Scored((accuracy,)), {})

    adapter = Adapter(CANDIDATE, BASE, 0.5)
    found = paired(result(None, 20), result(adapter, 30), resamples=200)
    samples = [Sample(f"{number}", "demo", {"text": "t"}, {"label": "a"}, "p") for number in range(40)]
    data = EvaluationData("tickets", "test", "MIT", samples, list)
    written = write_evidence(
        tmp_path / "e.json", dict(made(found, skill=skill, model="tiny", base_sha256=BASE, data=data))
    )
    candidate = Candidate("demo", skill.digest, "tiny", BASE, adapter, None)
    decision = decide(read_evidence(written)[0], candidate)
    assert decision.favourable, decision.objections
    assert decision.summary.startswith("accuracy 0.5 → 0.75 (difference ")
    assert decide(read_evidence(written)[0], replace(candidate, served=adapter)).objections


# Promotion and the way back.


def test_a_win_promotes_and_is_kept_with_the_version(room: Room, skill: Skill):
    version = room.version("one")
    active = room.promote("one", evidence=room.evidence(evidence(skill, version.provenance.sha256)))
    assert (active.version, active.how, active.forced, active.objections) == ("one", "promoted", False, ())
    assert active.reason == (
        "accuracy 0.7 → 0.8 (difference +0.02 to +0.18, p = 0.004), on 200 samples of tickets/test (222222222222…)"
    )
    assert active_of(room.root, "demo", "tiny") == active
    assert read_evidence(version.folder / "evaluation.json")[0].data.samples == 200


def test_the_evaluation_beside_a_version_counts_when_none_is_given(room: Room, skill: Skill):
    version = room.version("one")
    write_evidence(version.folder / "evaluation.json", evidence(skill, version.provenance.sha256))
    assert room.promote("one").version == "one"


def test_without_evidence_nothing_is_promoted(room: Room):
    room.version("one")
    with pytest.raises(
        PromotionRefused, match="'one' is not promoted for `demo` on tiny: there is no evidence"
    ) as caught:
        room.promote("one")
    assert "--force --reason" in caught.value.hint
    assert room.served is None


def test_the_next_version_has_to_win_against_the_one_that_is_served(room: Room, skill: Skill):
    one, two = room.version("one", seed=1), room.version("two", seed=2)
    room.force("one")
    stale = room.evidence(evidence(skill, two.provenance.sha256, None))
    with pytest.raises(PromotionRefused, match=rf"what is served now, the bare base, not {one.provenance.sha256[:12]}"):
        room.promote("two", evidence=stale)
    assert room.served == "one"
    room.promote("two", evidence=room.evidence(evidence(skill, two.provenance.sha256, one.provenance.sha256)))
    assert room.served == "two"


def test_a_damaged_version_that_is_served_by_name_is_no_baseline(room: Room, skill: Skill):
    one, two = room.version("one", seed=1), room.version("two", seed=2)
    room.force("one")
    (one.folder / "adapter.gguf").unlink()
    room.promote("two", evidence=room.evidence(evidence(skill, two.provenance.sha256, None)))
    assert room.served == "two"


def test_force_needs_a_reason_which_is_recorded_with_the_objections(room: Room, skill: Skill):
    version = room.version("one")
    lost = room.evidence(evidence(skill, version.provenance.sha256, metrics={"accuracy": metric(p=0.4)}))
    for reason in ("", "  "):
        with pytest.raises(PromotionRefused, match="by force without a reason"):
            room.promote("one", force=True, reason=reason, evidence=lost)
    active = room.promote("one", force=True, reason="the customer asked", evidence=lost)
    assert active.forced
    assert active.reason.startswith("the customer asked: accuracy 0.7 → 0.8")
    assert active.objections[0].startswith("no win is shown: accuracy")
    assert active_of(room.root, "demo", "tiny") == active


def test_force_where_it_was_not_needed_is_none(room: Room, skill: Skill):
    version = room.version("one")
    proof = room.evidence(evidence(skill, version.provenance.sha256))
    assert not room.promote("one", force=True, reason="sure", evidence=proof).forced


def test_a_wrong_base_is_refused_even_by_force(room: Room):
    room.version("one", base_sha256="e" * 64)
    with pytest.raises(
        AdapterMismatch, match=r"demo@tiny:one was trained for .*eeeeeeeeeeee…, but .* are bbbbbbbbbbbb"
    ):
        room.force("one")
    assert room.served is None


def test_a_truncated_or_exchanged_file_is_refused_even_by_force(room: Room):
    file = room.version("one").folder / "adapter.gguf"
    whole = file.read_bytes()
    file.write_bytes(whole[:-8])
    with pytest.raises(AdapterMismatch, match=r"adapter\.gguf has [\d,]+ bytes, [\d,]+ were written"):
        room.force("one")
    file.write_bytes(whole[:-1] + b"x")
    with pytest.raises(AdapterMismatch, match="has SHA-256"):
        room.force("one")
    assert room.served is None


def test_an_unknown_version_and_one_that_is_served_already_are_refused(room: Room):
    with pytest.raises(AdapterVersionNotFound, match="no adapter version 'one'"):
        room.force("one")
    room.version("one")
    room.force("one")
    with pytest.raises(PromotionRefused, match="is served by 'one' already"):
        room.force("one")
    assert room.force("none").version == "none"


def test_a_rollback_serves_what_was_served_before_and_is_recorded(room: Room):
    for seed, name in enumerate(("one", "two")):
        room.version(name, seed=seed)
        room.force(name)
    active = room.rollback("too many wrong refunds")
    assert (active.version, active.how, active.reason) == ("one", "rolled back", "too many wrong refunds")
    assert [(change.version, change.how) for change in active.previous] == [("two", "promoted"), ("one", "promoted")]
    assert room.rollback().reason == "back from one"
    assert room.served == "shipped"
    with pytest.raises(PromotionRefused, match="nothing to go back to for `demo` on tiny"):
        room.rollback()


def test_a_rollback_never_leads_to_what_was_rolled_back(room: Room):
    for seed, name in enumerate(("one", "two", "three")):
        room.version(name, seed=seed)
    room.force("one")
    room.force("two")
    assert room.rollback().version == "one"
    room.force("three")
    assert room.rollback().version == "one"
    assert room.rollback().version == "shipped"
    assert len((active_of(room.root, "demo", "tiny") or pytest.fail("gone")).previous) == 5


def test_without_a_promotion_there_is_nothing_to_go_back_to(room: Room):
    with pytest.raises(PromotionRefused, match="nothing to go back to") as caught:
        room.rollback()
    assert "skills adapters list demo" in caught.value.hint


def test_a_version_that_is_gone_is_not_gone_back_to(room: Room):
    for seed, name in enumerate(("one", "two")):
        room.version(name, seed=seed)
        room.force(name)
    (room.root / "demo/tiny/one/adapter.gguf").unlink()
    with pytest.raises(AdapterMismatch, match=r"demo@tiny:one: .* is not there"):
        room.rollback()
    assert room.served == "two"
