"""The blocks below an adapter that sits in the upper ones: what they make of a sample never changes, so it is kept.

Adapters of the upper blocks alone need no gradient below, and no second forward pass either: a run of several epochs
pays for the lower blocks once. That freezing them costs little quality is known from encoders (Lee et al. 2019,
arXiv:1911.03090).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tools_server.training.base import library
from tools_server.training.packing import Batch, Row, collate

__all__ = ["Trunk"]


@dataclass(frozen=True, slots=True)
class _Kept:
    """Hidden states of one sample: of the beginning that its row shares, (shared, width), and of the rest."""

    shared: Any
    own: Any


class Trunk:
    """Runs the body of a `transformers` decoder whose blocks before `first` never change, and keeps what these give.

    `passes` are forward passes that hold all samples there will be. A sample's states always come from the same one of
    them, however it is packed later: so a run that was resumed sees the same numbers to the bit.
    """

    def __init__(self, body: Any, first: int, passes: Iterable[Sequence[Row]]) -> None:
        self._torch = library("torch")
        self._body = body
        self._device = next(body.parameters()).device
        self._first = first
        self._passes = list(passes)
        self._pass_of = {
            example.tokens: index for index, rows in enumerate(self._passes) for row in rows for example in row.examples
        }
        self._kept: dict[tuple[int, ...], _Kept] = {}

    def __call__(self, batch: Batch) -> Any:
        """Give the last hidden states of a batch, (rows, length, width), as `body` itself would."""
        hidden = self._run(self._before(batch), batch, range(self._first, len(self._body.layers)))
        return self._body.norm(hidden)

    def fill(self, batch: Batch) -> None:
        """Compute what the batch needs of the lower blocks, unless it is there."""
        for row in batch.rows:
            for example in row.examples:
                if example.tokens not in self._kept:
                    self._compute(self._passes[self._pass_of[example.tokens]])

    def _before(self, batch: Batch) -> Any:
        """Lay kept states out as the rows of `batch`; zeros where there is padding."""
        self.fill(batch)
        first = self._kept[batch.rows[0].examples[0].tokens].own
        hidden = first.new_zeros((*batch.tokens.shape, first.shape[-1]))
        for index, row in enumerate(batch.rows):
            hidden[index, : row.shared] = self._kept[row.examples[0].tokens].shared
            start = row.shared
            for example in row.examples:
                own = self._kept[example.tokens].own
                hidden[index, start : start + len(own)] = own
                start += len(own)
        return hidden

    def _compute(self, rows: Sequence[Row]) -> None:
        batch = collate(rows)
        with self._torch.no_grad():
            tokens = self._torch.from_numpy(batch.tokens).to(self._device)
            hidden = self._run(self._body.embed_tokens(tokens), batch, range(self._first))
        for index, row in enumerate(rows):
            shared = hidden[index, : row.shared].clone()
            start = row.shared
            for example in row.examples:
                end = start + len(example.tokens) - row.shared
                self._kept[example.tokens] = _Kept(shared, hidden[index, start:end].clone())
                start = end

    def _run(self, hidden: Any, batch: Batch, blocks: range) -> Any:
        positions = self._torch.from_numpy(batch.positions).to(self._device)
        mask = self._torch.from_numpy(batch.mask).to(self._device).unsqueeze(1)
        rotation = self._body.rotary_emb(hidden, position_ids=positions)
        for index in blocks:
            hidden = self._body.layers[index](
                hidden, attention_mask=mask, position_ids=positions, position_embeddings=rotation, use_cache=False
            )
        return hidden
