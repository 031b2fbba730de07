"""What the model's own probabilities say of a written answer, value by value; it is never asked how sure it is."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tools_server.engine.types import Generation, Token

__all__ = ["ValueSignal", "answer_confidence", "shown_signals", "value_signals"]

_WHITE = " \t\r\n"
_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class ValueSignal:
    """Natural log-probabilities of the tokens that make one value, among what the schema allowed: sum and least one.

    `tokens` counts those that the model chose; where it is 0 the schema left no choice, and the value is certain.
    `filled` is False of null, and of an empty list or object.
    """

    total: float
    least: float
    tokens: int
    filled: bool = True

    def __add__(self, other: "ValueSignal") -> "ValueSignal":
        return ValueSignal(
            self.total + other.total,
            min(self.least, other.least),
            self.tokens + other.tokens,
            self.filled or other.filled,
        )

    @property
    def probability(self) -> float:
        """Of the value as a whole, given what was written before it."""
        return math.exp(self.total)


def value_signals(generation: Generation) -> dict[str, ValueSignal]:
    """Give the signal of every value of a JSON answer by its path (`who`, `items[0].price`); nulls are values too.

    A value's tokens are those that make any byte of it, quotes included, for there its beginning and its end are
    decided; a name, and a comma or a brace by itself, is none of them.

    Raises:
        ValueError: the text is no JSON.
    """
    ends: list[int] = []
    for token in generation.tokens:
        ends.append((ends[-1] if ends else 0) + token.size)
    found: dict[str, ValueSignal] = {}
    for path, start, end in _values(generation.text):
        low, high = len(generation.text[:start].encode()), len(generation.text[:end].encode())
        chosen = [
            _logprob(token)
            for token, token_end in zip(generation.tokens, ends, strict=True)
            if token_end > low and token_end - token.size < high
        ]
        known = [each for each in chosen if each is not None]
        filled = generation.text[start:end] != "null" and generation.text[start] not in "[{"
        signal = ValueSignal(math.fsum(known), min(known, default=0.0), len(known), filled)
        found[path] = found[path] + signal if path in found else signal  # names with dots can make two paths alike
    return found


def answer_confidence(signals: Mapping[str, ValueSignal]) -> float:
    """The probability of all values that were filled, each given what was written before it; 1 when there is none.

    Nulls are left out: how sure a model is of one says nothing about whether it is right (docs/experiments.md).
    """
    return math.exp(math.fsum(each.total for each in signals.values() if each.filled))


def shown_signals(signals: Mapping[str, ValueSignal] | None) -> dict[str, dict[str, float]] | None:
    """As an answer has them: by path, sum and least of the log-probabilities, and how many tokens were chosen."""
    if signals is None:
        return None
    return {
        path: {"logprob": round(each.total, 6), "least": round(each.least, 6), "tokens": each.tokens}
        for path, each in signals.items()
    }


def _logprob(token: Token) -> float | None:
    """Among what was allowed: what the schema rules out says nothing of what the model makes of the text."""
    if token.logprob is None or token.allowed is None:
        return None
    return min(0.0, token.logprob - math.log(max(token.allowed, 1e-300)))


def _values(text: str) -> Iterator[tuple[str, int, int]]:
    """Path, start and end (in characters) of every scalar, and of every empty object or list."""
    yield from _walk(text, _after_white(text, 0), "")[1]


def _walk(text: str, at: int, path: str) -> tuple[int, Sequence[tuple[str, int, int]]]:
    """Read the value that begins at `at`: where it ends, and what it holds."""
    if text[at] not in "{[":
        end = _decoder.raw_decode(text, at)[1]
        return end, [(path, at, end)]
    close, found, index = ("}" if text[at] == "{" else "]"), list[tuple[str, int, int]](), 0
    start, at = at, _after_white(text, at + 1)
    if text[at] == close:
        return at + 1, [(path, start, at + 1)]
    while True:
        inner = f"{path}[{index}]"
        if close == "}":
            name, at = _decoder.raw_decode(text, at)
            inner = f"{path}.{name}" if path else str(name)
            at = _after_white(text, _after_white(text, at) + 1)  # past the colon
        at, values = _walk(text, at, inner)
        found += values
        index += 1
        at = _after_white(text, at)
        if text[at] == close:
            return at + 1, found
        at = _after_white(text, at + 1)  # past the comma


def _after_white(text: str, at: int) -> int:
    while at < len(text) and text[at] in _WHITE:
        at += 1
    return at
