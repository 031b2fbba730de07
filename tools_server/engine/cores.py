"""How many threads the engine may use."""

import math
import os
import platform
from pathlib import Path


def physical_cores() -> int:
    """CPU threads to use: the cores this process may run on, two hardware threads of one core counted once."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings: set[str] = set()
    for cpu in allowed:
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            siblings.add(topology.read_text("ascii").strip())
        except OSError:
            # No topology to read (macOS, Windows): two hardware threads to a core is the common case on x86.
            return max(1, math.ceil(len(allowed) / 2)) if platform.machine() in ("x86_64", "AMD64") else len(allowed)
    return max(1, len(siblings))
