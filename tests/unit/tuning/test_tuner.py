"""One run: candidates take turns, the fastest that is as good is chosen, then settings; what cannot run is left out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.tuning.tuning_fakes import SAMPLES, FakeLab, rates
from tools_server.errors import ModelLoadFailed
from tools_server.models import EngineChoice
from tools_server.tuning.tuner import Outcome, Plan, Tuner
from tools_server.tuning.types import Candidate, Rates, Workload

SPEED = {"Q4_1": 500.0, "Q4_0": 1600.0, "Q8_0": 1100.0, "BF16": 1700.0, "F16": 400.0}
QUICK = 100_000.0
"""Decode so fast that prefill decides."""


def by_format(candidate: Candidate) -> Rates:
    return rates(SPEED[candidate.format], QUICK)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"x" * 700)
    return path


@pytest.fixture
def run(source: Path) -> Callable[..., Outcome]:
    def run(lab: FakeLab, **changes: Any) -> Outcome:
        plan: dict[str, Any] = {
            "source": source,
            "work": source.parent / "work",
            "formats": ("Q4_0", "Q8_0", "BF16", "F16"),
            "base": EngineChoice(),
            "free": frozenset(EngineChoice.model_fields),
            "context_tokens": 100,
            "memory": 10**9,
            "samples": SAMPLES,
            "workload": Workload(),
            "rounds": 2,
            "settings_too": False,
        }
        return Tuner(lab, Plan(**(plan | changes)), lambda _done, _all, _what: None).run()

    return run


def test_candidates_take_turns(run: Callable[..., Outcome]):
    lab = FakeLab(by_format)
    run(lab)
    assert lab.visits == ["Q4_1", "Q4_0", "Q8_0", "BF16", "F16"] * 2


def test_the_fastest_that_answers_as_well_is_chosen(run: Callable[..., Outcome]):
    lab = FakeLab(by_format, wrong={"BF16": 1})
    outcome = run(lab)
    assert outcome.chosen.format == "BF16"
    assert lab.answered == ["Q4_1", "BF16"]


def test_a_faster_one_that_answers_otherwise_is_passed_over(run: Callable[..., Outcome]):
    lab = FakeLab(by_format, wrong={"BF16": 20, "Q4_0": 3})
    outcome = run(lab)
    assert outcome.chosen.format == "Q8_0"
    assert lab.answered == ["Q4_1", "BF16", "Q4_0", "Q8_0"]
    objections = {candidate.format: quality.objection for candidate, quality in outcome.quality.items()}
    assert "accuracy fell" in (objections["BF16"] or "")
    assert "92.5%" in (objections["Q4_0"] or "")
    assert objections["Q8_0"] is None


def test_the_published_weights_stay_when_nothing_as_good_is_faster(run: Callable[..., Outcome]):
    outcome = run(FakeLab(by_format, wrong=dict.fromkeys(SPEED, 20) | {"Q4_1": 0}))
    assert outcome.chosen == outcome.published


def test_the_published_format_is_not_written_again(run: Callable[..., Outcome], source: Path):
    run(FakeLab(by_format), formats=("BF16",))
    assert [path.name for path in (source.parent / "work").iterdir()] == ["BF16.gguf"]


def test_what_memory_does_not_allow_is_left_out_with_the_numbers(run: Callable[..., Outcome]):
    outcome = run(FakeLab(by_format), memory=300_003_500)
    assert set(outcome.left_out) == {"BF16", "F16"}
    assert "may be used" in outcome.left_out["BF16"]


def test_what_cannot_be_written_or_run_is_left_out_with_the_reason(run: Callable[..., Outcome]):
    outcome = run(FakeLab(by_format, unwritable=frozenset({"BF16"}), crashing=frozenset({"Q4_0"})))
    assert outcome.left_out == {"BF16": "cannot write BF16.", "Q4_0": "cannot load Q4_0."}
    assert outcome.chosen.format == "Q8_0"


def test_published_weights_that_cannot_run_are_an_error(run: Callable[..., Outcome]):
    with pytest.raises(ModelLoadFailed, match="cannot load Q4_1"):
        run(FakeLab(by_format, crashing=frozenset({"Q4_1"})))


def test_settings_that_help_are_combined_and_checked(run: Callable[..., Outcome]):
    def speed(candidate: Candidate) -> Rates:
        engine = candidate.engine
        faster = (1.2 if engine.batch_tokens == 1024 else 1.0) * (1.1 if engine.kv_type == "q8_0" else 1.0)
        return rates(SPEED[candidate.format] * faster, QUICK)

    lab = FakeLab(speed)
    outcome = run(lab, settings_too=True)
    assert outcome.chosen.name == "BF16, batch_tokens 1024, kv_type q8_0"
    assert lab.answered == ["Q4_1", "BF16", "BF16, batch_tokens 1024, kv_type q8_0"]
    ours, base = outcome.last
    assert len(ours) == len(base) == 2


def test_settings_that_spoil_answers_are_taken_back(run: Callable[..., Outcome]):
    def speed(candidate: Candidate) -> Rates:
        faster = {"q8_0": 1.5, "bf16": 1.2}.get(candidate.engine.kv_type, 1.0)
        return rates(SPEED[candidate.format] * faster, QUICK)

    outcome = run(FakeLab(speed, wrong={"BF16, kv_type q8_0": 10}), settings_too=True)
    assert outcome.chosen.name == "BF16, kv_type bf16"


def test_settings_that_the_user_fixed_are_not_varied(run: Callable[..., Outcome]):
    lab = FakeLab(by_format)
    run(lab, settings_too=True, free=frozenset({"flash_attention"}))
    assert set(lab.visits) == {"Q4_1", "Q4_0", "Q8_0", "BF16", "F16", "BF16, no flash attention"}


def test_settings_of_the_published_weights_are_tuned_as_well(run: Callable[..., Outcome]):
    def speed(candidate: Candidate) -> Rates:
        return rates(900 if candidate.engine.batch_tokens == 128 else 500, QUICK)

    outcome = run(FakeLab(speed), formats=(), settings_too=True)
    assert outcome.chosen.name == "Q4_1, batch_tokens 128"
    assert outcome.chosen.path == outcome.published.path
