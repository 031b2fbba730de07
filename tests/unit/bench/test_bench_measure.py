import itertools

import pytest

from bench.measure import Comparison, Spread, alternate


def comparison(ours: tuple[float, ...], baseline: tuple[float, ...]) -> Comparison:
    return Comparison("decode", "loop", "tokens/s", ours, baseline)


def test_the_ratio_is_the_median_of_what_ran_side_by_side_not_a_ratio_of_medians():
    found = comparison((10.0, 100.0, 30.0), (10.0, 50.0, 60.0))
    assert found.ratios == (1.0, 2.0, 0.5)
    assert found.ratio == Spread(0.5, 1.0, 2.0)
    assert Spread.of(found.ours).median / Spread.of(found.baseline).median == 0.6


@pytest.mark.parametrize(("ours", "baseline"), [((), ()), ((1.0, 2.0), (1.0,))])
def test_rounds_without_a_partner_are_refused(ours: tuple[float, ...], baseline: tuple[float, ...]):
    with pytest.raises(ValueError, match="rounds of ours"):
        comparison(ours, baseline)


async def test_sides_take_turns_and_the_warm_up_is_not_counted():
    seconds = itertools.count()  # every look at the clock is a second later
    order: list[str] = []

    def job(name: str, units: int):
        async def run(round_number: int) -> int:
            order.append(f"{name}{round_number}")
            return 1_000_000 if round_number < 0 else units

        return run

    rates = await alternate({"a": job("a", 3), "b": job("b", 5)}, 2, clock=lambda: float(next(seconds)))
    assert order == ["a-1", "b-1", "a0", "b0", "a1", "b1"]
    assert rates == {"a": (3.0, 3.0), "b": (5.0, 5.0)}


async def test_progress_is_told_of_every_job_that_ended():
    ended: list[int] = []

    async def job(round_number: int) -> int:
        return len(ended) + round_number + 2

    await alternate({"a": job, "b": job}, 3, done=lambda: ended.append(1))
    assert len(ended) == 2 * (3 + 1)
