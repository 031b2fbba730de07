"""The trie of a closed set of continuations: what must be decoded to score each of them exactly.

ln P(t1 … tn | prompt) is the sum over i of ln P(ti | prompt, t1 … ti-1), so the logits of every proper prefix are
needed, and continuations with a common beginning share them. Only inner nodes are decoded: after the last token of
a continuation there is nothing left to score.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tools_server.engine.sampling import log_softmax_at


@dataclass(slots=True)
class Node:
    """An inner node: the token that leads to it, its depth (the root, the prompt itself, has 0), its children.

    `members` are the indices of the continuations that pass through it.
    """

    token: int
    depth: int
    members: list[int]
    children: dict[int, "Node | None"] = field(default_factory=dict[int, "Node | None"])


class Trie:
    """Scores `continuations`, a set without repeats and without empty members, as logits arrive."""

    def __init__(self, continuations: Sequence[Sequence[int]]) -> None:
        self.scores: NDArray[np.float64] = np.zeros(len(continuations))
        self._continuations = continuations
        self.root = Node(token=-1, depth=0, members=list(range(len(continuations))))
        self._expand(self.root)

    def _expand(self, node: Node) -> None:
        groups: dict[int, list[int]] = {}
        for member in node.members:
            if len(self._continuations[member]) > node.depth:
                groups.setdefault(self._continuations[member][node.depth], []).append(member)
        for token, members in groups.items():
            longer = [m for m in members if len(self._continuations[m]) > node.depth + 1]
            child = Node(token, node.depth + 1, members) if longer else None
            node.children[token] = child
            if child is not None:
                self._expand(child)

    def observe(self, node: Node, logits: NDArray[np.float32]) -> None:
        """Take the logits after `node`, shape (vocabulary,), into the scores of all that pass through it."""
        members = [m for m in node.members if len(self._continuations[m]) > node.depth]
        ids = np.array([self._continuations[m][node.depth] for m in members], dtype=np.intp)
        self.scores[members] += log_softmax_at(logits, ids)

    def paths(self) -> list[list[Node]]:
        """Paths from below the root to each deepest inner node, in depth-first order; empty when all end at once."""
        found: list[list[Node]] = []

        def walk(node: Node, path: list[Node]) -> None:
            below = [child for child in node.children.values() if child is not None]
            if not below and path:
                found.append(path)
            for child in below:
                walk(child, [*path, child])

        walk(self.root, [])
        return found

    def inner_nodes(self) -> int:
        """How many nodes are decoded beside the prompt."""
        return len({id(node) for path in self.paths() for node in path})
