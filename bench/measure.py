"""Rounds, rates and ratios: the arithmetic of the benchmarks, and nothing else."""

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

Job = Callable[[int], Awaitable[int]]
"""Does the work of one round (its number is given; -1 is the warm-up) and tells how many units that was."""


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
    """Rates of two sides, in units per second, round by round. `remarks` say what a reader must know of them."""

    name: str
    baseline_name: str
    unit: str
    ours: tuple[float, ...]
    baseline: tuple[float, ...]
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.ours or len(self.ours) != len(self.baseline):
            raise ValueError(f"{self.name}: {len(self.ours)} rounds of ours, {len(self.baseline)} of the baseline")

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours over the baseline's, round by round: what ran side by side is compared, not two averages."""
        return tuple(ours / theirs for ours, theirs in zip(self.ours, self.baseline, strict=True))

    @property
    def ratio(self) -> Spread:
        """Lowest, median and highest ratio; above 1 the engine is faster."""
        return Spread.of(self.ratios)


async def alternate(
    jobs: Mapping[str, Job],
    rounds: int,
    *,
    tick: Callable[[str], None] = lambda _: None,
    done: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, tuple[float, ...]]:
    """Run every job once untimed, then `rounds` times in turn (A B A B …); rates per job, in units per second.

    Taking turns lets what else happens on the machine fall on all sides alike. `tick` is told what begins, `done` is
    called when it has ended.
    """
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for name, job in jobs.items():
        tick(f"{name}, warming up")
        await job(-1)
        done()
    for number in range(rounds):
        for name, job in jobs.items():
            tick(f"{name}, round {number + 1} of {rounds}")
            started = clock()
            units = await job(number)
            rates[name].append(units / (clock() - started))
            done()
    return {name: tuple(values) for name, values in rates.items()}
