import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools_server.engine.trie import Node, Trie


def model(prefix: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([7, *prefix]).normal(size=6).astype(np.float32) * 3


def constrained(members: list[tuple[int, ...]]) -> list[float]:
    """Probability of each member when every token is drawn among those that lead to a member."""
    found = []
    for member in members:
        probability = 1.0
        for i, token in enumerate(member):
            allowed = {other[i] for other in members if other[:i] == member[:i]}
            logits = np.exp(model(member[:i]).astype(np.float64))
            probability *= logits[token] / sum(logits[t] for t in allowed)
        found.append(probability)
    return found


def observe_all(trie: Trie) -> int:
    """Score a whole trie; the number of nodes that were looked at beside the root."""
    trie.observe(trie.root, model(trie.root.edge))
    seen: set[int] = set()
    for path in trie.paths():
        prefix = trie.root.edge
        for node in path:
            prefix += node.edge
            if id(node) not in seen:
                seen.add(id(node))
                trie.observe(node, model(prefix))
    return len(seen)


def prefix_free(members: set[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return sorted(m for m in members if not any(o != m and o[: len(m)] == m for o in members))


sets = st.sets(st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple), min_size=1, max_size=12).map(prefix_free)


@given(sets)
def test_every_member_has_the_probability_that_constrained_decoding_gives_it(members: list[tuple[int, ...]]):
    trie = Trie(members)
    observe_all(trie)
    found = np.exp(trie.logprobs())
    assert found == pytest.approx(constrained(members), abs=1e-4)  # what is negligible is not looked into
    assert found.sum() == pytest.approx(1.0)


def test_labels_that_differ_at_once_need_nothing_but_the_prompt_however_long_they_are():
    trie = Trie([(1, 2, 3, 4), (2, 2, 3), (3,)])
    assert observe_all(trie) == 0
    assert trie.inner_tokens == 0


def test_only_the_places_where_members_part_are_looked_at():
    trie = Trie([(1, 2, 3, 4), (1, 2, 4), (5,), (6 - 3, 0)])
    trie.observe(trie.root, np.zeros(6, dtype=np.float32))
    assert [[node.edge for node in path] for path in trie.paths()] == [[(1, 2)]]
    assert trie.inner_tokens == 2


def test_what_all_members_begin_with_belongs_to_the_prompt():
    trie = Trie([(4, 4, 1), (4, 4, 2)])
    assert trie.root.edge == (4, 4)
    assert observe_all(trie) == 0


def test_a_branch_that_the_model_gives_next_to_nothing_is_left_alone_and_its_members_share_it():
    trie = Trie([(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)])
    logits = np.zeros(6, dtype=np.float32)
    logits[1] = 12
    trie.observe(trie.root, logits)
    assert [[node.edge for node in path] for path in trie.paths()] == [[(1,)]]
    trie.observe(trie.paths()[0][0], np.zeros(6, dtype=np.float32))
    share = math.exp(-12) / (1 + math.exp(-12)) / 3
    assert np.exp(trie.logprobs()) == pytest.approx([share] * 3 + [(1 - 3 * share) / 2] * 2)


def test_the_mass_is_what_the_whole_vocabulary_leaves_for_the_first_tokens():
    trie = Trie([(0, 1), (1,)])
    trie.observe(trie.root, np.zeros(8, dtype=np.float32))
    assert trie.mass == pytest.approx(0.25)


def test_one_member_alone_is_certain_and_still_has_a_mass():
    trie = Trie([(2, 3)])
    trie.observe(trie.root, np.zeros(4, dtype=np.float32))
    assert trie.logprobs() == [0.0]
    assert trie.mass == pytest.approx(0.25)


@pytest.mark.parametrize("members", [[], [()], [(1,), (1,)], [(1,), (1, 2)], [(1, 2), (3,), (1,)]])
def test_a_set_in_which_members_cannot_be_told_apart_is_refused(members: list[tuple[int, ...]]):
    with pytest.raises(ValueError, match=r"beginning of another|at least one token"):
        Trie(members)


def test_the_whole_set_of_a_complete_code_is_scored_from_one_node_per_first_token():
    trie = Trie(list(product(range(6), repeat=2)))
    nodes: list[Node] = trie.root.children
    assert len(nodes) == 6
    assert observe_all(trie) <= 6
