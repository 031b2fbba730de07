"""Rounds with a progress bar."""

import statistics
import time
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.measure import Job, alternate
from tools_server.cli import output

T = TypeVar("T")


class TakeTurns(Protocol):
    """Runs what is named by its jobs, in turn, and shows how far it is; gives what each gave, round by round."""

    def __call__(
        self, what: str, jobs: Mapping[str, Job[T]], *, warm_up: bool = True
    ) -> Awaitable[dict[str, tuple[T, ...]]]: ...


@contextmanager
def turns(rounds: int) -> Iterator[TakeTurns]:
    """Take so many rounds of turns, and a warm-up before them."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.err, transient=True) as progress:

        async def take_turns(
            what: str, jobs: Mapping[str, Job[T]], *, warm_up: bool = True
        ) -> dict[str, tuple[T, ...]]:
            started = time.monotonic()
            task = progress.add_task(what, total=len(jobs) * (rounds + warm_up))

            def tick(side: str) -> None:
                progress.update(task, description=f"{what}: {side}")

            found = await alternate(jobs, rounds, warm_up=warm_up, tick=tick, done=lambda: progress.advance(task))
            progress.remove_task(task)
            output.note(f"{what}: done in {time.monotonic() - started:.0f} s{_medians(found)}")
            return found

        yield take_turns


def _medians(found: Mapping[str, tuple[object, ...]]) -> str:
    """What each side gave, in words: a long run that is interrupted later has then shown something."""
    shown: list[str] = []
    for side, values in found.items():
        numbers = [value for value in values if isinstance(value, float)]
        if len(numbers) == len(values):
            shown.append(f"{side} {statistics.median(numbers):.4g}")
    return "".join(f"; {each}" for each in shown)
