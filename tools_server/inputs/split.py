"""Long text cut at its natural borders into chunks that fit, without losing a character.

Borders are tried from the coarsest to the finest: paragraphs, lines, sentences, words; a word that is longer than a
chunk is halved until it fits. Knows nothing of models: the caller brings the function that counts tokens.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import anyio.to_thread

CountTokens = Callable[[Sequence[str]], Awaitable[Sequence[int]]]
"""Counts several texts at once: the counter may be in another process, where each question is a round trip."""

# Every pattern begins at one fixed kind of character and never re-scans a run, so a hostile text costs linear time.
_BORDERS = (
    re.compile(r"\n[^\S\n]*+\n\s*+"),  # an empty line
    re.compile(r"\n++"),
    re.compile(r"(?<=[.!?…])[\"'”’)\]]*+\s++|(?<=[。！？])"),
    re.compile(r"\s++"),
)


LONG = 100_000
"""Characters from which on a piece is cut in a worker thread."""

_WORDS = 3
"""The level from which on a cut is inside of a sentence: made only where something must be cut."""

ENOUGH = 0.6
"""A chunk filled to this share is closed rather than filled up with the beginning of a paragraph that does not fit."""


async def split(text: str, max_tokens: int, count_tokens: CountTokens) -> list[str]:
    """Cut `text` into chunks of at most `max_tokens` tokens each; `"".join(chunks) == text`.

    A single character that alone counts more than `max_tokens` stays whole: there is nothing left to cut. An empty
    text has no chunks.

    Raises:
        ValueError: `max_tokens` is below 1.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; a chunk needs at least 1.")
    packs = [pieces async for pieces in _packed(text, max_tokens, count_tokens)]
    return await _joined(packs, max_tokens, count_tokens)


async def _packed(text: str, limit: int, count: CountTokens) -> AsyncIterator[list[str]]:
    """Take pieces in order for as long as they fit; cut finer what does not."""
    held: list[str] = []
    tokens = 0
    # (piece, its tokens, the level that cuts it next), last one first
    ahead = [(text, (await count([text]))[0], 0)] if text else []
    while ahead:
        piece, size, level = ahead.pop()
        if tokens + size <= limit or (not held and len(piece) == 1):
            held.append(piece)
            tokens += size
        elif (size > limit or level < _WORDS) and tokens < ENOUGH * limit and len(piece) > 1:
            # Cutting megabytes takes a while, in which other calls must not stand still.
            parts = await anyio.to_thread.run_sync(_cut, piece, level) if len(piece) > LONG else _cut(piece, level)
            sizes = await count(parts)
            ahead += [(part, own, level + 1) for part, own in zip(reversed(parts), reversed(sizes), strict=True)]
        else:
            yield held
            held, tokens = [], 0
            ahead.append((piece, size, level))
    if held:
        yield held


async def _joined(packs: list[list[str]], limit: int, count: CountTokens) -> list[str]:
    """Join pieces; token counts do not quite add up, so a join that came out too long is taken apart again."""
    while True:
        doubtful = [index for index, pieces in enumerate(packs) if len(pieces) > 1]
        if not doubtful:
            return ["".join(pieces) for pieces in packs]
        sizes = await count(["".join(packs[index]) for index in doubtful])
        too_long = {index for index, size in zip(doubtful, sizes, strict=True) if size > limit}
        # What fits is one piece from now on, and not counted again.
        packs = [
            part
            for index, pieces in enumerate(packs)
            for part in (_halves(pieces) if index in too_long else (["".join(pieces)],))
        ]


def _halves(pieces: list[str]) -> tuple[list[str], list[str]]:
    middle = len(pieces) // 2
    return pieces[:middle], pieces[middle:]


def _cut(text: str, level: int) -> list[str]:
    """Cut behind every border of one level; behind the last level, in the middle."""
    if level >= len(_BORDERS):
        middle = len(text) // 2
        return [text[:middle], text[middle:]]
    ends = [match.end() for match in _BORDERS[level].finditer(text)]
    starts = [0, *ends]
    return [text[a:b] for a, b in zip(starts, [*ends, len(text)], strict=True) if a < b]
