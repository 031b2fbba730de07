"""What the operating system is asked for: how much memory this process holds, to let others go first, many clients."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

if sys.platform == "win32":
    import win32api
    import win32process
else:
    import resource

NICENESS = 10

OPEN_FILES = 4096


def resident_bytes(*, peak: bool = False) -> int:
    """Bytes of this process that are in memory now, or the most that ever were; that too where no system tells more."""
    if sys.platform == "win32":
        process: Any = win32process  # whose stubs leave the types out
        counted = process.GetProcessMemoryInfo(win32api.GetCurrentProcess())
        return counted["PeakWorkingSetSize" if peak else "WorkingSetSize"]
    statm = Path("/proc/self/statm")
    if not peak and statm.exists():
        return int(statm.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # kilobytes elsewhere


def lower_priority() -> None:
    """Let other processes go first. On Linux this is so for the calling thread and those that it starts."""
    if sys.platform == "win32":
        win32process.SetPriorityClass(win32api.GetCurrentProcess(), win32process.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        os.nice(NICENESS)


def allow_many_clients() -> None:
    """Each request has a connection; some systems allow a process 256 files."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
