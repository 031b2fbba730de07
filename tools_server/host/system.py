"""What the operating system is asked for: how much memory this process holds, and to let others go first."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

NICENESS = 10

_BELOW_NORMAL_PRIORITY_CLASS = 0x4000


def resident_bytes() -> int:
    """Bytes of this process that are in memory now; where the system does not say, the most that ever were."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # noqa: PLC0415 - not there on Windows, where nobody asks

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes elsewhere


def lower_priority() -> None:
    """Let other processes go first. On Linux this is so for the calling thread and those that it starts."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    else:
        kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009 - only there on Windows
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), _BELOW_NORMAL_PRIORITY_CLASS)
