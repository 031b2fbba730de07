"""Busy neighbours: C++ compilers that compile one generated file again and again."""

import asyncio
import os
import shutil
import signal
import statistics
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.programs import BaselineError

COMPILERS = 2
COMPILATIONS = 6
"""By all of them together: as many as a mean is taken of, at least."""

FUNCTIONS = 10
"""Of the file: about two seconds' work."""


@dataclass
class Compiling:
    """What runs: `seconds` are those of each compilation that has ended."""

    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def enough(self) -> bool:
        """Whether there are enough to take the mean of.

        Raises:
            BaselineError: a compilation failed.
        """
        for task in self.tasks:
            if task.done():
                task.result()
        return len(self.seconds) >= COMPILATIONS

    async def until_enough(self) -> None:
        """Wait. Raises as `enough` does."""
        while not self.enough():
            self.changed.clear()
            await self.changed.wait()

    @property
    def mean_s(self) -> float:
        return statistics.mean(self.seconds)

    async def compile_on(self, source: Path) -> None:
        """Compile again and again, until cancelled."""
        try:
            while True:
                started = time.perf_counter()
                await _compile(source)
                self.seconds.append(time.perf_counter() - started)
                self.changed.set()
        finally:
            self.changed.set()


@asynccontextmanager
async def compilers(source: Path) -> AsyncIterator[Compiling]:
    """Compile until the block ends; what is under way then is killed and not counted."""
    compiling = Compiling()
    compiling.tasks += [asyncio.create_task(compiling.compile_on(source)) for _ in range(COMPILERS)]
    try:
        yield compiling
    finally:
        for task in compiling.tasks:
            task.cancel()
        await asyncio.gather(*compiling.tasks, return_exceptions=True)


def write_source(folder: Path, functions: int = FUNCTIONS) -> Path:
    """Write a C++ file that takes a compiler a while: so many functions over types of their own.

    Raises:
        BaselineError: there is no C++ compiler to read it.
    """
    if shutil.which("c++") is None:
        raise BaselineError("`c++` is missing: the neighbour is a compiler.", "Install g++ or clang.")
    parts = ["#include <algorithm>", "#include <map>", "#include <string>", "#include <vector>"]
    for number in range(functions):
        parts.append(
            f"struct T{number} {{ int key; std::string name; double weights[{number + 1}]; }};\n"
            f"double f{number}(std::vector<T{number}> all) {{\n"
            "  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });\n"
            "  std::map<std::string, double> sums;\n"
            f"  for (const auto& each : all) sums[each.name] += each.weights[each.key % {number + 1}];\n"
            "  double total = 0;\n"
            "  for (const auto& [name, sum] : sums) total += sum * name.size();\n"
            "  return total;\n}"
        )
    source = folder / "generated.cpp"
    source.write_text("\n".join(parts) + "\n", "utf-8")
    return source


async def _compile(source: Path) -> None:
    command = ("c++", "-std=c++17", "-O2", "-c", source, "-o", "/dev/null")
    # A session of its own: what `c++` starts in turn can only be killed with its group.
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*command, stderr=PIPE, start_new_session=True))
    try:
        # Shielded: cancelled in the middle of its start, a process would run on without an owner.
        process = await asyncio.shield(starting)
        _, complaint = await process.communicate()
    finally:
        process = await starting
        if process.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and only the event loop has not heard of it yet
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()  # to the end of its pipe, which is then closed
    if process.returncode != 0:
        raise BaselineError(f"compiling {source.name} failed: {complaint.decode(errors='replace')[:400]}")
