"""Numbers that end: JSON bounds no number, and a small model may write zeros until its token budget is spent.

To a grammar `54.9` is no more complete than `54.90000`. Bounds put into the schema would not do: llguidance takes
integers of 64 bits, so that a longer one would be cut without a word, and beside bounds it knows no exponent.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_DIGITS", "Digits"]

MOST_DIGITS = 40
"""Digits that a number may have in a row. A double has 17 that count; 128 bits are 39 digits."""

_QUOTE, _BACKSLASH = b'"\\'
_DIGITS = b"0123456789"


class Digits:
    """Follows a JSON text token by token, and tells which tokens may come next when a number has become too long."""

    def __init__(self, piece: Callable[[int], bytes]) -> None:
        """`piece` gives the bytes of a token."""
        self._piece = piece
        self._in_string = False
        self._escaped = False
        self._run = 0

    def advance(self, token: int) -> None:
        """Take a token over."""
        for byte in self._piece(token):
            if self._escaped:
                self._escaped = False
            elif byte == _QUOTE:
                self._in_string = not self._in_string
            elif byte == _BACKSLASH:
                self._escaped = True
            self._run = self._run + 1 if byte in _DIGITS and not self._in_string else 0

    def bound(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Leave out of the allowed tokens, shape (vocabulary,), those that make a number of `MOST_DIGITS` longer.

        Where the grammar has nothing else, such as under a `multipleOf` that is not met yet, all are left.
        """
        if self._run < MOST_DIGITS:
            return mask
        bounded = mask.copy()
        for token in mask.nonzero()[0]:
            bounded[token] = not self._piece(int(token))[:1].isdigit()
        return bounded if bounded.any() else mask
