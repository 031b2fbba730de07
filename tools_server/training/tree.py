"""Attention over packed rows: a token sees the beginning that its row shares, and its own sample.

A mask over the whole row would say the same, and cost the square of its length; here each sample attends to its own
few tokens. Results are those of such a mask (tested). It is registered with `transformers`, whose layers hand over what
they are given as `attention_mask`: a `Tree`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tools_server.training.base import library
from tools_server.training.packing import Row

__all__ = ["Tree", "attend_to"]

NAME = "tools_server_tree"

SHORT = 384
"""Tokens up to which a piece's scores are written out: for so few the fused kernel is slower on a CPU, or no faster."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Tokens that see each other in order, and the first `shared` of their row."""

    row: int
    shared: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class _Group:
    """Pieces of one kind as indices into rows × length, laid end to end: shorter pieces repeat their last token.

    `queries` has the shape (pieces, longest), `keys` (pieces, shared + longest), `mask` (longest, shared + longest).
    `real` are the places among the queries that are no repetition, and `places` where in the rows their results go.
    """

    queries: Any
    keys: Any
    mask: Any
    real: Any
    places: Any


class Tree:
    """Who sees whom in a batch of rows of one `length`, padding included; padding sees nobody and gives zeros."""

    def __init__(self, rows: Sequence[Row], length: int, device: Any) -> None:
        kinds: dict[tuple[int, int], list[_Piece]] = defaultdict(list)
        for piece in _pieces(rows):
            # Pieces of like length, so that little is computed for repetitions.
            kinds[piece.shared, piece.length.bit_length()].append(piece)
        self._groups = [_group(pieces, length, device) for pieces in kinds.values()]

    def attend(self, query: Any, key: Any, value: Any, scale: float) -> Any:
        """Attention of `query`, (rows, heads, length, width), over keys and values, which may have fewer heads.

        Gives (rows, length, heads, width).
        """
        rows, heads, length, width = query.shape
        flat_query, flat_key, flat_value = (each.transpose(1, 2).flatten(0, 1) for each in (query, key, value))
        out = None
        for group in self._groups:
            pieces, longest = group.queries.shape
            asked = _taken(flat_query, group.queries)  # (pieces, heads, longest, width)
            keys, values = _taken(flat_key, group.keys), _taken(flat_value, group.keys)
            per = heads // keys.shape[1]  # heads that share a key stand together, as further queries of it
            found = _attended(
                asked.reshape(pieces, -1, per * longest, width), keys, values, group.mask.repeat(per, 1), scale
            )
            found = found.reshape(pieces, heads, longest, width).transpose(1, 2).flatten(0, 1)
            if out is None:
                out = found.new_zeros(rows * length, heads, width)
            out = out.index_copy(0, group.places, found.index_select(0, group.real))
        return out.unflatten(0, (rows, length)) if out is not None else query.transpose(1, 2)


def attend_to(model: Any) -> None:
    """Let a model's layers take a `Tree` where others take a mask."""
    library("transformers").AttentionInterface.register(NAME, _attention)
    model.config._attn_implementation = NAME


def _attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Tree, *, scaling: float, **rest: Any
) -> tuple[Any, None]:
    """Attention as `transformers` calls it."""
    del module, rest
    return attention_mask.attend(query, key, value, scaling), None


def _attended(query: Any, key: Any, value: Any, seen: Any, scale: float) -> Any:
    """Attention of each piece's queries over its keys, where `seen` says so."""
    torch = library("torch")
    if key.shape[2] > SHORT:
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale)
    scores = torch.matmul(query * scale, key.transpose(-1, -2)).masked_fill(~seen, float("-inf"))
    return torch.matmul(scores.softmax(-1), value)


def _pieces(rows: Sequence[Row]) -> Sequence[_Piece]:
    pieces: list[_Piece] = []
    for index, row in enumerate(rows):
        start = row.shared
        if start:
            pieces.append(_Piece(index, 0, 0, start))
        for example in row.examples:
            own = len(example.tokens) - row.shared
            pieces.append(_Piece(index, row.shared, start, own))
            start += own
    return pieces


def _group(pieces: Sequence[_Piece], length: int, device: Any) -> _Group:
    torch = library("torch")
    lengths = torch.tensor([each.length for each in pieces], device=device).unsqueeze(1)
    begins = torch.tensor([each.row * length for each in pieces], device=device).unsqueeze(1)
    starts = begins + torch.tensor([each.start for each in pieces], device=device).unsqueeze(1)
    shared, longest = pieces[0].shared, int(lengths.max())
    steps = torch.arange(longest, device=device).unsqueeze(0)
    queries = starts + torch.minimum(steps, lengths - 1)
    keys = torch.cat([begins + torch.arange(shared, device=device), queries], dim=1)
    mask = torch.ones(longest, shared + longest, dtype=torch.bool, device=device).tril(shared)
    real = (steps < lengths).flatten().nonzero().squeeze(1)
    return _Group(queries, keys, mask, real, queries.flatten()[real])


def _taken(flat: Any, places: Any) -> Any:
    """Rows of (tokens, heads, width) at places of shape (pieces, n), as (pieces, heads, n, width)."""
    return flat.index_select(0, places.flatten()).unflatten(0, places.shape).transpose(1, 2)
