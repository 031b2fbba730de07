"""Speed as one number: predicted seconds of a mix, ratios round by round, memory among equals."""

from pathlib import Path

import pytest

from tests.unit.tuning.tuning_fakes import rates
from tools_server.models import EngineChoice
from tools_server.tuning.ranking import gain, ranked, ratio, relative, seconds, spreads, written_rate
from tools_server.tuning.types import Candidate, Rates


def candidate(name: str, memory: int = 100) -> Candidate:
    return Candidate(name, Path(name), EngineChoice(), memory)


def test_three_quarters_of_the_tokens_are_read_and_the_rest_is_written_in_equal_parts():
    some = Rates(1000.0, {1: 50.0, 4: 100.0, 16: 200.0})
    assert seconds(some) == pytest.approx(0.8 + 200 / 3 * (1 / 50 + 1 / 100 + 1 / 200))
    assert written_rate(some) == pytest.approx(3 / (1 / 50 + 1 / 100 + 1 / 200))


def test_ratios_are_taken_round_by_round_so_that_a_slow_hour_cancels_out():
    base, ours = [rates(100, 10), rates(10, 1)], [rates(200, 20), rates(20, 2)]
    assert ratio(ours, base).low == ratio(ours, base).high == pytest.approx(2.0)
    assert gain([4.0, 9.0, 8.0], [2.0, 3.0, 4.0]) == 2.0


def test_faster_ones_come_first_and_those_that_gain_nothing_are_left_out():
    base, fast, faster, same = (candidate(name) for name in ("base", "fast", "faster", "same"))
    measured = {base: [rates(100)], fast: [rates(200)], faster: [rates(400)], same: [rates(101)]}
    assert ranked(relative(measured, base)) == [faster, fast]


def test_of_two_that_are_equally_fast_the_smaller_one_wins():
    big, small, slow = candidate("big", 900), candidate("small", 300), candidate("slow", 10)
    assert ranked({big: 0.50, small: 0.51, slow: 0.60}) == [small, big, slow]


def test_every_figure_has_its_spread():
    found = spreads([rates(100), rates(300), rates(200)])
    assert list(found) == ["prefill", "decode_1", "decode_4", "decode_16"]
    assert (found["prefill"].low, found["prefill"].median, found["prefill"].high) == (100, 200, 300)
