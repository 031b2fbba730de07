import itertools

import pytest

from bench.measure import Comparison, Spread, alternate, rated


def comparison(ours: tuple[float, ...], baseline: tuple[float, ...], *, lower: bool = False) -> Comparison:
    return Comparison("decode", "loop", "tokens/s", ours, baseline, lower_is_better=lower)


def test_the_ratio_is_the_median_of_what_ran_side_by_side_not_a_ratio_of_medians():
    found = comparison((10.0, 100.0, 30.0), (10.0, 50.0, 60.0))
    assert found.ratios == (1.0, 2.0, 0.5)
    assert found.ratio == Spread(0.5, 1.0, 2.0)
    assert Spread.of(found.ours).median / Spread.of(found.baseline).median == 0.6


def test_a_ratio_above_one_is_better_also_where_less_is_better():
    assert comparison((2.0,), (8.0,), lower=True).ratio.median == 4.0


@pytest.mark.parametrize(("ours", "baseline"), [((), ()), ((1.0, 2.0), (1.0,))])
def test_rounds_without_a_partner_are_refused(ours: tuple[float, ...], baseline: tuple[float, ...]):
    with pytest.raises(ValueError, match="rounds of ours"):
        comparison(ours, baseline)


async def test_sides_take_turns_and_the_warm_up_is_not_counted():
    order: list[str] = []

    def job(name: str):
        async def run(round_number: int) -> str:
            order.append(f"{name}{round_number}")
            return "warm" if round_number < 0 else f"{name} gave {round_number}"

        return run

    found = await alternate({"a": job("a"), "b": job("b")}, 2)
    assert order == ["a-1", "b-1", "a0", "b0", "a1", "b1"]
    assert found == {"a": ("a gave 0", "a gave 1"), "b": ("b gave 0", "b gave 1")}


async def test_jobs_that_warm_up_by_themselves_run_in_counted_rounds_only():
    seen: list[int] = []

    async def job(round_number: int) -> None:
        seen.append(round_number)

    await alternate({"a": job}, 2, warm_up=False)
    assert seen == [0, 1]


async def test_progress_is_told_of_every_job_that_ended():
    ended: list[int] = []

    async def job(round_number: int) -> int:
        return round_number

    await alternate({"a": job, "b": job}, 3, done=lambda: ended.append(1))
    assert len(ended) == 2 * (3 + 1)


async def test_a_rate_is_units_over_seconds():
    seconds = itertools.count(step=4)  # every look at the clock is four seconds later

    async def job(round_number: int) -> int:
        return 10 * round_number

    assert await rated(job, clock=lambda: float(next(seconds)))(2) == 5.0
