"""Letting go of a weights file's pages that llama.cpp mapped, read once, and does not need again.

Weights in formats that it computes faster in another layout are copied into that layout when the model is loaded, and
the mapped originals stay in the process's memory: 0.7 GB of a 1.5B model in Q4_K_M.
"""

import ctypes
import logging
import os
from pathlib import Path

__all__ = ["let_go"]

_log = logging.getLogger(__name__)

_MAPS = Path("/proc/self/maps")
_MADV_DONTNEED = 4


def let_go(path: Path) -> int:
    """Drop the resident pages of a file that is mapped for reading; give how many bytes of it are mapped.

    Whoever reads such a page again gets it from the page cache, or from disk. On systems that do not tell what is
    mapped where, nothing is done.
    """
    if not _MAPS.exists():
        return 0
    wanted = os.path.realpath(path)
    libc = ctypes.CDLL(None, use_errno=True)
    done = 0
    for line in _MAPS.read_text("utf-8", errors="surrogateescape").splitlines():
        fields = line.split(maxsplit=5)
        # Pages that could hold changes of ours would lose them.
        if len(fields) < 6 or fields[5] != wanted or "w" in fields[1]:
            continue
        start, end = (int(address, 16) for address in fields[0].split("-"))
        if libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED):
            _log.debug("madvise(%s): %s", fields[0], os.strerror(ctypes.get_errno()))
        else:
            done += end - start
    return done
