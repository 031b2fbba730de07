"""What trust costs: only what was watched is counted, and calls are made with a calibration that holds."""

import time

import pytest

from bench.trust import CALLS, Clock, calibrated
from tools_server.bundled import bundled_dir
from tools_server.calls import generate
from tools_server.engine.types import ModelInfo
from tools_server.skills.catalog import Catalog

MODEL = ModelInfo("some-model", "0" * 64, "llama", 4096, 1000)


def test_the_time_of_what_is_watched_is_counted_also_where_it_fails():
    clock = Clock()

    def work(fail: bool) -> str:
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            pass
        if fail:
            raise ValueError("failed")
        return "done"

    counted = clock.timed(work)
    assert counted(False) == "done"
    once = clock.seconds
    assert once >= 0.002
    with pytest.raises(ValueError, match="failed"):
        counted(True)
    assert clock.seconds >= once + 0.002


def test_what_was_watched_is_left_as_it_was():
    before = generate.evidence_of
    with Clock().watching():
        assert generate.evidence_of is not before
    assert generate.evidence_of is before


@pytest.mark.parametrize("name", CALLS)
def test_the_calibration_that_is_timed_is_one_that_calls_use(name: str):
    skill = calibrated(Catalog([bundled_dir("skills")]).get(name), MODEL)
    found = skill.calibration(MODEL.id, MODEL.sha256, skill.adapters.get(MODEL.id))
    assert found is not None
    assert found.probability(0.305) == pytest.approx(0.305)
