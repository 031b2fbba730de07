"""Takes the protocol's pipes away from everybody else, at the level of file descriptors.

Whatever prints to descriptor 1 afterwards (Python, native libraries, child processes) prints to stderr, and whatever
reads descriptor 0 reads end-of-file. Imports nothing heavy, so that it can happen before anything else does.
"""

import os
import sys
from dataclasses import dataclass

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The private duplicates that carry the protocol."""

    stdin: int
    stdout: int


def claim_stdio() -> Descriptors:
    """Move the process's stdin and stdout to private descriptors and put the null device and stderr in their place.

    Raises:
        OSError: a standard descriptor is closed.
    """
    claimed = Descriptors(stdin=_private(0), stdout=_private(1))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return claimed


def _private(descriptor: int) -> int:
    if sys.platform == "win32":
        private = os.dup(descriptor)  # not inherited by children, as everywhere else
        msvcrt.setmode(private, os.O_BINARY)  # lines end as the client ends them
        return private
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
