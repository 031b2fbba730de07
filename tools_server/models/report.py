"""How a long piece of work on a model's file tells how far it is."""

from collections.abc import Callable

__all__ = ["Report", "silent"]

Report = Callable[[int, int | None, str], None]
"""Called with (bytes done, total bytes if known, what is being done). The first number counts bytes of the whole
file; it falls back when another source is tried or the finished file is checked. Called from the caller's thread."""


def silent(done: int, total: int | None, what: str) -> None:
    """Report nothing."""
