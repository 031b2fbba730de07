"""The trie of a closed set of continuations: what must be decoded to tell how likely each of them is.

The probability of a continuation is the one that constrained decoding gives it: wherever members of the set part, the
model's probabilities of the tokens that they go on with are divided by their sum; where they do not part there is
nothing to decide. So logits are needed only where members part (an inner node), a member's common beginnings with
others are decoded once, and the end of a member, from where it is alone, is never decoded. Labels whose first tokens
differ, which is the usual case, need no decode but the prompt's.

What leaves a node is known before anything below it is decoded, so a branch that the model gives next to nothing can be
left alone: its members share its probability evenly, and none of them is off by more than that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tools_server.engine.sampling import log_softmax, log_sum_exp

NEGLIGIBLE = math.log(1e-4)
"""Log-probability below which a branch is not looked into."""


@dataclass(slots=True)
class Node:
    """Where members part, or where one is alone (then `children` is empty).

    `edge` are the tokens that lead here from the parent, `depth` how many tokens lead here from the prompt;
    `members` are the indices of the continuations that pass through, `logprob` is ln P(here | prompt).
    """

    edge: tuple[int, ...]
    depth: int
    members: list[int]
    children: list["Node"] = field(default_factory=list["Node"])
    logprob: float = 0.0
    observed: bool = False


class Trie:
    """Tells log-probabilities of `continuations`; `root.edge` is what they all begin with, decoded with the prompt.

    Raises:
        ValueError: there are none, one is empty, or one is the beginning of another.
    """

    def __init__(self, continuations: Sequence[Sequence[int]]) -> None:
        if not continuations or not all(continuations):
            raise ValueError("it needs members of at least one token each")
        self._continuations = continuations
        self.mass = 0.0
        everybody = list(range(len(continuations)))
        if len(continuations) == 1:
            self.root = Node((), 0, everybody, [Node(tuple(continuations[0]), len(continuations[0]), everybody)])
        else:
            self.root = self._grow(everybody, 0)

    def _grow(self, members: list[int], depth: int) -> Node:
        first = self._continuations[members[0]]
        if len(members) == 1:
            return Node(tuple(first[depth:]), len(first), members)
        end = depth
        while True:
            groups: dict[int, list[int]] = {}
            for member in members:
                if len(self._continuations[member]) == end:
                    raise ValueError(f"member {member + 1} is the beginning of another one, or the same")
                groups.setdefault(self._continuations[member][end], []).append(member)
            if len(groups) > 1:
                break
            end += 1
        node = Node(tuple(first[depth:end]), end, members)
        node.children = [self._grow(group, end) for group in groups.values()]
        return node

    def observe(self, node: Node, logits: NDArray[np.float32]) -> None:
        """Take the logits after an inner node, shape (vocabulary,), into what its children are worth.

        Raises:
            ValueError: a logit is NaN.
        """
        chosen = logits[[child.edge[0] for child in node.children]].astype(np.float64)
        for child, logprob in zip(node.children, log_softmax(chosen).tolist(), strict=True):
            child.logprob = node.logprob + logprob
        node.observed = True
        if node is self.root:
            self.mass = math.exp(min(0.0, log_sum_exp(chosen) - log_sum_exp(logits)))

    def paths(self) -> list[list[Node]]:
        """Paths of inner nodes worth a look, from below the root to each deepest one, in depth-first order."""
        found: list[list[Node]] = []

        def walk(node: Node, path: list[Node]) -> None:
            below = [child for child in node.children if child.children and child.logprob >= NEGLIGIBLE]
            if not below and path:
                found.append(path)
            for child in below:
                walk(child, [*path, child])

        walk(self.root, [])
        return found

    @property
    def inner_tokens(self) -> int:
        """Tokens that may have to be decoded beside the prompt, at most."""

        def count(node: Node) -> int:
            return len(node.edge) + sum(map(count, node.children)) if node.children else 0

        return count(self.root)

    def logprobs(self) -> list[float]:
        """ln P of each continuation within the set; the probabilities sum to one."""
        result = [0.0] * len(self._continuations)

        def walk(node: Node) -> None:
            if node.observed:
                for child in node.children:
                    walk(child)
                return
            for member in node.members:
                result[member] = node.logprob - math.log(len(node.members))

        walk(self.root)
        return result
