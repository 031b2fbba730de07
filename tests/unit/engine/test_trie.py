import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools_server.engine.trie import Trie


def model(prefix: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([7, *prefix]).normal(size=6).astype(np.float32) * 3


def logprob(continuation: tuple[int, ...]) -> float:
    total = 0.0
    for i, token in enumerate(continuation):
        logits = model(continuation[:i]).astype(np.float64)
        total += logits[token] - math.log(np.exp(logits).sum())
    return total


sets = st.sets(st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple), min_size=1, max_size=12)


@given(sets)
def test_a_trie_scores_every_member_as_if_it_were_alone(members: set[tuple[int, ...]]):
    continuations = sorted(members)
    trie = Trie(continuations)
    trie.observe(trie.root, model(()))
    seen = set()
    for path in trie.paths():
        for node in path:
            if id(node) not in seen:
                seen.add(id(node))
                trie.observe(node, model(tuple(n.token for n in path[: node.depth])))
    assert trie.scores == pytest.approx([logprob(c) for c in continuations], abs=1e-5)
    assert trie.inner_nodes() == len(seen)


def test_shared_beginnings_are_decoded_once_and_last_tokens_never():
    trie = Trie([(1, 2, 3), (1, 2, 4), (5,), (1, 6)])
    assert [[n.token for n in path] for path in trie.paths()] == [[1, 2]]
    assert trie.inner_nodes() == 2


def test_single_token_members_need_nothing_but_the_prompt():
    assert Trie([(1,), (2,), (3,)]).paths() == []


def test_the_whole_set_of_a_complete_code_has_probability_one():
    continuations = list(product(range(6), repeat=2))
    trie = Trie(continuations)
    trie.observe(trie.root, model(()))
    for path in trie.paths():
        trie.observe(path[-1], model((path[-1].token,)))
    assert np.exp(trie.scores).sum() == pytest.approx(1.0)
