"""Long text cut at its natural borders into chunks that fit, without losing a character.

Borders are tried from the coarsest to the finest: paragraphs, lines, sentences, words; a word that is longer than a
chunk is halved until it fits. Knows nothing of models: the caller brings the function that counts tokens.
"""

import re
from collections.abc import Callable, Iterator

CountTokens = Callable[[str], int]

# Every pattern begins at one fixed kind of character and never re-scans a run, so a hostile text costs linear time.
_BORDERS = (
    re.compile(r"\n[^\S\n]*+\n\s*+"),  # an empty line
    re.compile(r"\n++"),
    re.compile(r"(?<=[.!?…])[\"'”’)\]]*+\s++|(?<=[。！？])"),
    re.compile(r"\s++"),
)


_WORDS = 3
"""The level from which on a cut is inside of a sentence: made only where something must be cut."""

ENOUGH = 0.6
"""A chunk filled to this share is closed rather than filled up with the beginning of a paragraph that does not fit."""


def split(text: str, max_tokens: int, count_tokens: CountTokens) -> list[str]:
    """Cut `text` into chunks of at most `max_tokens` tokens each; `"".join(chunks) == text`.

    A single character that alone counts more than `max_tokens` stays whole: there is nothing left to cut. An empty
    text has no chunks.

    Raises:
        ValueError: `max_tokens` is below 1.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; a chunk needs at least 1.")
    packs = _packed(text, max_tokens, count_tokens)
    return [chunk for pieces in packs for chunk in _joined(pieces, max_tokens, count_tokens)]


def _packed(text: str, limit: int, count: CountTokens) -> Iterator[list[str]]:
    """Take pieces in order for as long as they fit; cut finer what does not."""
    held: list[str] = []
    tokens = 0
    ahead = [(text, count(text), 0)] if text else []  # (piece, its tokens, the level that cuts it next), last one first
    while ahead:
        piece, size, level = ahead.pop()
        if tokens + size <= limit or (not held and len(piece) == 1):
            held.append(piece)
            tokens += size
        elif (size > limit or level < _WORDS) and tokens < ENOUGH * limit and len(piece) > 1:
            ahead += [(part, count(part), level + 1) for part in reversed(_cut(piece, level))]
        else:
            yield held
            held, tokens = [], 0
            ahead.append((piece, size, level))
    if held:
        yield held


def _joined(pieces: list[str], limit: int, count: CountTokens) -> Iterator[str]:
    """Join pieces; token counts do not quite add up, so a join that came out too long is taken apart again."""
    joined = "".join(pieces)
    if len(pieces) == 1 or count(joined) <= limit:
        yield joined
        return
    middle = len(pieces) // 2
    yield from _joined(pieces[:middle], limit, count)
    yield from _joined(pieces[middle:], limit, count)


def _cut(text: str, level: int) -> list[str]:
    """Cut behind every border of one level; behind the last level, in the middle."""
    if level >= len(_BORDERS):
        middle = len(text) // 2
        return [text[:middle], text[middle:]]
    ends = [match.end() for match in _BORDERS[level].finditer(text)]
    starts = [0, *ends]
    return [text[a:b] for a, b in zip(starts, [*ends, len(text)], strict=True) if a < b]
