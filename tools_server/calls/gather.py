"""Many jobs at once, a bounded number at a time."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

import anyio

T = TypeVar("T")


async def gather(jobs: Sequence[Callable[[], Awaitable[T]]], limit: int) -> list[T]:
    """Run all jobs, at most `limit` at a time, and give their results in order.

    The first exception cancels the other jobs and is raised as it is, not in a group.
    """
    results: list[T | None] = [None] * len(jobs)
    waiting = iter(enumerate(jobs))
    failures: list[Exception] = []

    async def work() -> None:
        for index, job in waiting:
            try:
                results[index] = await job()
            except Exception as error:  # handed on below
                failures.append(error)
                group.cancel_scope.cancel()
                return

    async with anyio.create_task_group() as group:
        for _ in range(min(limit, len(jobs))):
            group.start_soon(work)
    if failures:
        raise failures[0]
    return cast("list[T]", results)
