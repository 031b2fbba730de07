"""What a reader must know of the machine and the software to place the numbers."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tools_server.engine.cores import physical_cores
from tools_server.engine.llama import system_info
from tools_server.settings import Settings

ROOT = Path(__file__).parents[1]
LIBRARIES = ("llama-cpp-python", "llguidance", "outlines", "outlines-core", "numba", "numpy")


def facts(settings: Settings) -> dict[str, str]:
    """Hardware, software and load, in the order in which they are shown."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "CPU": f"{_cpu()}, {os.cpu_count()} logical, {settings.threads or physical_cores()} threads used",
        "instruction sets": _instruction_sets(system_info()),
        "memory": _memory(),
        "OMP_WAIT_POLICY, GOMP_SPINCOUNT": f"{os.environ.get('OMP_WAIT_POLICY', 'unset')}, "
        f"{os.environ.get('GOMP_SPINCOUNT', 'unset')}",
        "Python": f"{platform.python_version()}, {platform.system()} {platform.release().split('-')[0]}",
        "libraries": ", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
        "context": (
            f"{settings.context_tokens:,} cells, batches of {settings.batch_tokens}, "
            f"up to {settings.max_sequences} requests at once"
        ),
    }


def load_average() -> str:
    """Processes that wanted to run: over 1, 5 and 15 minutes."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def with_load(found: Mapping[str, str], before: str) -> dict[str, str]:
    """Add the load before and after; the benchmark's own threads are in the second."""
    return {**found, "load average": f"{before} before, {load_average()} after (this run included)"}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # numba, which only the comparison with Outlines needs
        return "not installed"


def _commit() -> str:
    def git(*words: str) -> str | None:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return "none: not run from a committed tree"
    return f"{commit}, with changes of the working tree" if git("status", "--porcelain", "tools_server") else commit


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def _instruction_sets(info: str) -> str:
    return ", ".join(re.findall(r"(\w+) = 1\b", info)) or "unknown"
