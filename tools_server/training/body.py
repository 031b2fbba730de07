"""A model's blocks over packed rows; what blocks below every adapter make of a sample never changes, so it is kept.

An adapter of the upper blocks alone needs no gradient below, and no second forward pass either: a run of several
epochs pays for the lower blocks once. That freezing them costs little quality is known from encoders (Lee et al. 2019,
arXiv:1911.03090).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tools_server.training.base import library
from tools_server.training.packing import Batch, Row, collate
from tools_server.training.tree import Tree, attend_to

__all__ = ["Body"]


@dataclass(frozen=True, slots=True)
class _Kept:
    """Hidden states of one sample: of the beginning that its row shares, (shared, width), and of the rest."""

    shared: Any
    own: Any


class Body:
    """Runs the body of a model of `transformers`, wrapped by peft, whose lowest block with an adapter is `lowest`.

    `passes` are forward passes that hold all samples there will be; they are needed where `lowest` is not 0. The states
    of a sample always come from the same one of them, however it is packed later: so a run that was resumed sees the
    same numbers to the bit.
    """

    def __init__(self, model: Any, lowest: int = 0, passes: Iterable[Sequence[Row]] = ()) -> None:
        self._torch = library("torch")
        causal = model.get_base_model()
        attend_to(causal)
        self._decoder = causal.model
        self._device = next(causal.parameters()).device
        self._lowest = lowest
        self._passes = list(passes) if lowest else []
        self._pass_of = {
            example.tokens: index for index, rows in enumerate(self._passes) for row in rows for example in row.examples
        }
        self._kept: dict[tuple[int, ...], _Kept] = {}

    def __call__(self, batch: Batch) -> Any:
        """Give the last hidden states of a batch, (rows, length, width)."""
        self.fill(batch)
        hidden = self._laid_out(batch) if self._lowest else self._embedded(batch)
        return self._decoder.norm(self._run(hidden, batch, range(self._lowest, len(self._decoder.layers))))

    def fill(self, batch: Batch) -> None:
        """Compute what the batch needs of the blocks before `lowest`, unless it is there."""
        if not self._lowest:
            return
        for row in batch.rows:
            for example in row.examples:
                if example.tokens not in self._kept:
                    self._compute(self._passes[self._pass_of[example.tokens]])

    def _compute(self, rows: Sequence[Row]) -> None:
        batch = collate(rows)
        with self._torch.no_grad():
            hidden = self._run(self._embedded(batch), batch, range(self._lowest))
        for index, row in enumerate(rows):
            shared = hidden[index, : row.shared].clone()
            start = row.shared
            for example in row.examples:
                end = start + len(example.tokens) - row.shared
                self._kept[example.tokens] = _Kept(shared, hidden[index, start:end].clone())
                start = end

    def _laid_out(self, batch: Batch) -> Any:
        """Kept states as the rows of `batch`; zeros where there is padding."""
        some = self._kept[batch.rows[0].examples[0].tokens].own
        hidden = some.new_zeros((*batch.tokens.shape, some.shape[-1]))
        for index, row in enumerate(batch.rows):
            hidden[index, : row.shared] = self._kept[row.examples[0].tokens].shared
            start = row.shared
            for example in row.examples:
                own = self._kept[example.tokens].own
                hidden[index, start : start + len(own)] = own
                start += len(own)
        return hidden

    def _embedded(self, batch: Batch) -> Any:
        return self._decoder.embed_tokens(self._torch.from_numpy(batch.tokens).to(self._device))

    def _run(self, hidden: Any, batch: Batch, blocks: range) -> Any:
        positions = self._torch.from_numpy(batch.positions).to(self._device)
        tree = Tree(batch.rows, batch.tokens.shape[1], self._device)
        rotation = self._decoder.rotary_emb(hidden, position_ids=positions)
        for index in blocks:
            hidden = self._decoder.layers[index](
                hidden, attention_mask=tree, position_ids=positions, position_embeddings=rotation, use_cache=False
            )
        return hidden
