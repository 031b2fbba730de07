import math

import numpy as np
import pytest

from tools_server.engine.sampling import log_softmax, log_sum_exp, sample
from tools_server.engine.types import Sampling

GREEDY = Sampling()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def row(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_greedy_takes_the_likeliest_and_reports_its_probability_under_the_whole_vocabulary():
    token = sample(row(0.0, 2.0, 1.0), None, GREEDY, rng())
    assert token.id == 1
    assert token.logprob == pytest.approx(2 - math.log(1 + math.e**2 + math.e), abs=1e-6)
    assert token.allowed == pytest.approx(1.0)


def test_the_lowest_id_wins_a_tie():
    assert sample(row(1.0, 3.0, 3.0), None, GREEDY, rng()).id == 1


def test_a_masked_token_is_never_drawn_and_the_mass_that_was_left_is_reported():
    mask = np.array([True, False, True])
    token = sample(row(0.0, 9.0, 1.0), mask, GREEDY, rng())
    assert token.id == 2
    total = 1 + math.e**9 + math.e
    assert token.allowed == pytest.approx((1 + math.e) / total, rel=1e-4)
    assert token.logprob == pytest.approx(1 - math.log(total), abs=1e-5)


def test_a_seed_repeats_its_draws_and_another_seed_gives_others():
    logits = np.linspace(0, 1, 50, dtype=np.float32)
    hot = Sampling(temperature=1.0)
    first, second = ([sample(logits, None, hot, g).id for _ in range(20)] for g in (rng(7), rng(7)))
    assert first == second
    other = rng(8)
    assert first != [sample(logits, None, hot, other).id for _ in range(20)]


def test_draws_follow_the_probabilities_at_the_given_temperature():
    generator = rng(1)
    drawn = [sample(row(0.0, math.log(3)), None, Sampling(temperature=1.0), generator).id for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(0.75, abs=0.03)


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], dtype=np.float32))
    generator = rng(2)
    drawn = {sample(logits, None, Sampling(temperature=1.0, top_p=0.7), generator).id for _ in range(500)}
    assert drawn == {0, 1}


def test_nan_logits_and_an_empty_mask_are_errors():
    with pytest.raises(ValueError, match="NaN"):
        sample(row(0.0, float("nan")), None, GREEDY, rng())
    with pytest.raises(ValueError, match="allows no token"):
        sample(row(0.0, 1.0), np.array([False, False]), GREEDY, rng())


def test_log_softmax_is_a_distribution_even_far_from_zero():
    logits = np.random.default_rng(3).normal(size=300) * 8 + 1000
    assert np.exp(log_softmax(logits)).sum() == pytest.approx(1.0)
    assert log_sum_exp(logits) == pytest.approx(1000 + math.log(np.exp(logits - 1000).sum()))
