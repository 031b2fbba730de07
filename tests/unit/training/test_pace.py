"""What a run says of its speed and of the time that it will take."""

import pytest

from tools_server.training.pace import LATEST, Pace


def test_the_time_left_follows_the_latest_steps():
    pace = Pace(steps=100, every=100)
    for _ in range(LATEST):
        pace.add_step(30.0, 1000)
    assert pace.seconds_left(20) == 80 * 30
    for _ in range(LATEST):
        pace.add_step(10.0, 1000)
    assert (pace.seconds_left(40), pace.tokens_per_s) == (60 * 10, 100)


@pytest.mark.parametrize(
    ("steps", "step", "evaluations"),
    [(100, 1, 4), (100, 24, 4), (100, 25, 3), (100, 99, 1), (90, 1, 4), (90, 75, 1), (90, 89, 1)],
)
def test_each_evaluation_that_is_to_come_is_counted_once(steps: int, step: int, evaluations: int):
    pace = Pace(steps, every=25)
    pace.add_step(1.0, 10)
    pace.add_evaluation(500.0)
    assert pace.seconds_left(step) == (steps - step) + 500 * evaluations


def test_nothing_is_left_after_the_last_step():
    pace = Pace(steps=90, every=25)
    pace.add_step(1.0, 10)
    pace.add_evaluation(500.0)
    assert pace.seconds_left(90) == 0


def test_before_the_first_step_nothing_is_claimed():
    assert (Pace(10, 5).seconds_left(0), Pace(10, 5).tokens_per_s) == (0, 0)
