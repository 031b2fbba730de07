"""Attention over packed rows beside the mask that says the same."""

from typing import Any

import pytest

from tools_server.training.packing import Row
from tools_server.training.tree import SHORT, Tree
from tools_server.training.types import Example

torch: Any = pytest.importorskip("torch")

HEADS, PAIRS, WIDTH = 6, 2, 8


def row(shared: int, *own: int) -> Row:
    """Samples with so many tokens of their own behind as many shared ones; what the tokens are does not matter."""
    return Row(tuple(Example((0,) * (shared + length), shared + length, ()) for length in own), shared)


def mask_of(rows: list[Row], length: int) -> Any:
    mask = torch.zeros(len(rows), length, length, dtype=torch.bool)
    for index, each in enumerate(rows):
        mask[index, : each.shared, : each.shared] = torch.ones(each.shared, each.shared).tril()
        start = each.shared
        for example in each.examples:
            own = len(example.tokens) - each.shared
            mask[index, start : start + own, : each.shared] = True
            mask[index, start : start + own, start : start + own] = torch.ones(own, own).tril()
            start += own
    return mask


@pytest.mark.parametrize(
    "rows",
    [
        [row(5, 3, 1, 9)],
        [row(5, 3, 1, 9), row(5, 2), row(0, 7), row(12, 4, 4)],
        [row(20, SHORT, SHORT // 2, 3), row(0, 2 * SHORT)],
    ],
    ids=["one row", "rows of several beginnings", "long ones, which the fused kernel takes"],
)
def test_results_and_gradients_are_those_of_a_mask(rows: list[Row]):
    torch.manual_seed(0)
    length = max(each.tokens for each in rows) + 2  # padding behind all of them
    shapes = ((HEADS, length, WIDTH), (PAIRS, length, WIDTH), (PAIRS, length, WIDTH))
    query, key, value = (torch.randn(len(rows), *shape, requires_grad=True) for shape in shapes)
    mask = mask_of(rows, length)
    real = mask.any(-1)

    found = Tree(rows, length, "cpu").attend(query, key, value, 0.3)
    assert not found[~real].any(), "padding gets nothing"
    weights = torch.randn_like(found)
    (found * weights).sum().backward()
    ours = [each.grad.clone() for each in (query, key, value)]
    for each in (query, key, value):
        each.grad = None

    wide = [each.repeat_interleave(HEADS // PAIRS, dim=1) for each in (key, value)]
    scores = (query @ wide[0].transpose(-1, -2) * 0.3).masked_fill(~mask.unsqueeze(1), -1e9)
    wanted = (scores.softmax(-1) @ wide[1]).transpose(1, 2)
    assert torch.allclose(found[real], wanted[real], atol=1e-5)
    (wanted[real] * weights[real]).sum().backward()
    for one, other in zip(ours, (query, key, value), strict=True):
        assert torch.allclose(one, other.grad, atol=1e-5)
