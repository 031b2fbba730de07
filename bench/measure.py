"""Rounds, rates and ratios: the arithmetic of the benchmarks, and nothing else."""

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

Job = Callable[[int], Awaitable[T]]
"""Does the work of one round (its number is given; -1 is the warm-up) and tells what that gave."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What several rounds gave."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(min(values), statistics.median(values), max(values))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Values of two sides, in `unit`, round by round. `remarks` say what a reader must know of them."""

    name: str
    baseline_name: str
    unit: str
    ours: tuple[float, ...]
    baseline: tuple[float, ...]
    remarks: tuple[str, ...] = ()
    lower_is_better: bool = False  # true of seconds and megabytes, not of rates

    def __post_init__(self) -> None:
        if not self.ours or len(self.ours) != len(self.baseline):
            raise ValueError(f"{self.name}: {len(self.ours)} rounds of ours, {len(self.baseline)} of the baseline")

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times better ours is, round by round: what ran side by side is compared, not two averages."""
        pairs = zip(self.ours, self.baseline, strict=True)
        return tuple(theirs / ours if self.lower_is_better else ours / theirs for ours, theirs in pairs)

    @property
    def ratio(self) -> Spread:
        """Lowest, median and highest ratio; above 1 ours is better, whatever the unit."""
        return Spread.of(self.ratios)


async def alternate(
    jobs: Mapping[str, Job[T]],
    rounds: int,
    *,
    warm_up: bool = True,
    tick: Callable[[str], None] = lambda _: None,
    done: Callable[[], None] = lambda: None,
) -> dict[str, tuple[T, ...]]:
    """Run every job once to warm up, then `rounds` times in turn (A B A B …); what each gave, round by round.

    Taking turns lets what else happens on the machine fall on all sides alike. `tick` is told what begins, `done` is
    called when it has ended.
    """
    found: dict[str, list[T]] = {name: [] for name in jobs}
    for name, job in jobs.items() if warm_up else ():
        tick(f"{name}, warming up")
        await job(-1)
        done()
    for number in range(rounds):
        for name, job in jobs.items():
            tick(f"{name}, round {number + 1} of {rounds}")
            found[name].append(await job(number))
            done()
    return {name: tuple(values) for name, values in found.items()}


def rated(job: Job[int], clock: Callable[[], float] = time.perf_counter) -> Job[float]:
    """Make a job that tells its rate of one that tells how many units it has done; in units per second."""

    async def run(round_number: int) -> float:
        started = clock()
        units = await job(round_number)
        return units / (clock() - started)

    return run
