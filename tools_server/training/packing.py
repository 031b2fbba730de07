"""Rows of tokens that share one beginning: what many samples have in common is computed once.

A row is a shared prefix and, behind it, the rest of each sample. Positions go on from the prefix for each of them, and
a token sees the prefix and its own sample (`tree`), so the result is that of samples trained one by one: attention over
a tree, as the engine's batches have it. Instructions are often longer than texts, so this saves most of the work.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools_server.training.types import Example

__all__ = ["Batch", "Row", "batches", "collate", "pack", "padded"]

LEAST_SHARED = 8
"""Tokens that samples must have in common to be packed into one row."""

STEP = 64
"""Tokens in which a forward pass grows. torch compiles and keeps code for each length that it multiplies (oneDNN, most
of all for AMX): with any length at all a run took gigabytes for it."""

NEARLY = 0.8
"""Share of the group's common beginning that a sample must have to join it. All samples of a skill begin with its
instructions: without this, one of another schema would leave a group nothing but these, and all that follow, too."""


@dataclass(frozen=True, slots=True)
class Row:
    """Samples behind a shared prefix of `shared` tokens."""

    examples: tuple[Example, ...]
    shared: int

    @property
    def tokens(self) -> int:
        """Length of the row."""
        return self.shared + sum(len(example.tokens) - self.shared for example in self.examples)


@dataclass(frozen=True, slots=True)
class Batch:
    """Arrays of one forward pass over `rows`, each of shape (number of rows, length); targets are flat.

    `active[r, i]`: an activated adapter acts on token i of row r. Target k is decided by the hidden state at
    `(row[k], column[k])`; `among[k]` are its candidates, padded with -1, of which `choice[k]` is right; where
    `among[k]` begins with -1 the whole vocabulary is meant, and `choice[k]` is the token itself. `sample[k]` numbers
    the sample that the target belongs to.
    """

    rows: tuple[Row, ...]
    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    active: NDArray[np.bool_]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    among: NDArray[np.int64]
    choice: NDArray[np.int64]
    sample: NDArray[np.int64]
    samples: int
    useful_tokens: int


def pack(examples: Sequence[Example], row_tokens: int, seed: str) -> list[Row]:
    """Shuffle examples into rows of about `row_tokens`; those that begin alike come together.

    Examples that stand together and share a beginning (one label set, one schema) stay together; their groups are
    shuffled. Where all begin alike (a fixed task), all are shuffled. The same seed gives the same rows.
    """
    shuffled = random.Random(seed)
    groups = _groups(examples)
    for group in groups:
        shuffled.shuffle(group)
    rows = [row for group in groups for row in _rows(group, row_tokens)]
    shuffled.shuffle(rows)
    return rows


def _groups(examples: Sequence[Example]) -> list[list[Example]]:
    """Cut examples into groups that share their beginning, each with what it has most in common with."""
    groups: list[list[Example]] = []
    common = 0  # tokens that the last group begins with; of a single example, all of its prompt
    for at, example in enumerate(examples):
        with_last = _common(groups[-1][0], example, common) if groups else 0
        with_next = _common(example, examples[at + 1], example.prompt - 1) if at + 1 < len(examples) else 0
        given_up = max(with_next, common if groups and len(groups[-1]) > 1 else 0)
        if with_last >= max(LEAST_SHARED, NEARLY * given_up):
            groups[-1].append(example)
            common = with_last
        else:
            groups.append([example])
            common = example.prompt - 1
    return groups


def _rows(group: list[Example], row_tokens: int) -> Iterator[Row]:
    shared = _shared(group)
    members: list[Example] = []
    length = shared
    for example in group:
        own = len(example.tokens) - shared
        if members and length + own > row_tokens:
            yield Row(tuple(members), shared)
            members, length = [], shared
        members.append(example)
        length += own
    if members:
        yield Row(tuple(members), shared)


def _shared(group: Sequence[Example]) -> int:
    """Tokens that all of a group begin with; each sample keeps at least one of its prompt."""
    shared = min(example.prompt for example in group) - 1
    if any(example.invocation for example in group):
        shared = min(shared, *(example.invocation for example in group))
    for example in group[1:]:
        shared = _common(group[0], example, shared)
    return shared if len(group) > 1 else 0


def _common(first: Example, second: Example, most: int) -> int:
    most = min(most, first.prompt - 1, second.prompt - 1)
    if first.tokens[:most] == second.tokens[:most]:
        return most
    return next(at for at in range(most) if first.tokens[at] != second.tokens[at])


def batches(rows: Sequence[Row], per_batch: int, samples_a_step: int) -> Iterator[list[list[Row]]]:
    """Give the forward passes of each step: lists of at most `per_batch` rows of similar length.

    A step has at least `samples_a_step` samples, the last one perhaps fewer.
    """
    step: list[Row] = []
    for row in rows:
        step.append(row)
        if sum(len(one.examples) for one in step) >= samples_a_step:
            yield _by_length(step, per_batch)
            step = []
    if step:
        yield _by_length(step, per_batch)


def _by_length(rows: Sequence[Row], per_batch: int) -> list[list[Row]]:
    ordered = sorted(rows, key=lambda row: row.tokens)
    return [ordered[at : at + per_batch] for at in range(0, len(ordered), per_batch)]


def padded(length: int) -> int:
    """Give the length of a forward pass that has room for so many tokens a row."""
    return -(-length // STEP) * STEP


def collate(rows: Sequence[Row]) -> Batch:
    """Lay rows out as arrays, padded on the right to a multiple of `STEP`; padding sees nobody and decides nothing."""
    length = padded(max(row.tokens for row in rows))
    tokens = np.zeros((len(rows), length), dtype=np.int64)
    positions = np.zeros((len(rows), length), dtype=np.int64)
    active = np.ones((len(rows), length), dtype=np.bool_)
    found: list[tuple[int, int, tuple[int, ...] | None, int, int]] = []
    count = 0
    for index, row in enumerate(rows):
        shared = row.shared
        tokens[index, :shared] = row.examples[0].tokens[:shared]
        positions[index, :shared] = np.arange(shared)
        active[index, :shared] = not any(example.invocation for example in row.examples)
        start = shared
        for example in row.examples:
            own = example.tokens[shared:]
            end = start + len(own)
            tokens[index, start:end] = own
            positions[index, start:end] = np.arange(shared, shared + len(own))
            active[index, start : start + max(0, example.invocation - shared)] = False
            found += [
                (index, start + target.position - shared - 1, target.among, target.token, count)
                for target in example.targets
            ]
            count += 1
            start = end
    width = max([len(among) for _, _, among, _, _ in found if among is not None], default=1)
    among = np.full((len(found), width), -1, dtype=np.int64)
    choice = np.zeros(len(found), dtype=np.int64)
    for at, (_, _, candidates, token, _) in enumerate(found):
        if candidates is None:
            choice[at] = token
        else:
            among[at, : len(candidates)] = candidates
            choice[at] = candidates.index(token)
    return Batch(
        tuple(rows),
        tokens,
        positions,
        active,
        np.array([each[0] for each in found], dtype=np.int64),
        np.array([each[1] for each in found], dtype=np.int64),
        among,
        choice,
        np.array([each[4] for each in found], dtype=np.int64),
        count,
        sum(row.tokens for row in rows),
    )
