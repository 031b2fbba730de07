"""What is minimised: the negative log-probability of each decision, as serving computes it.

Where a decision is between some tokens (labels part there), the probability is normalised over these; where the model
writes freely, over the vocabulary. The output layer is applied to the deciding positions only.
"""

from dataclasses import dataclass
from typing import Any

from tools_server.training.base import Dtype, library
from tools_server.training.body import Body
from tools_server.training.lora import Activation
from tools_server.training.packing import Batch

__all__ = ["Losses", "Objective"]


@dataclass(frozen=True, slots=True)
class Losses:
    """Of one batch: `total` is the sum over decisions, in nats, with its gradient.

    `right` samples had every decision right.
    """

    total: Any
    decisions: int
    samples: int
    right: int


class Objective:
    """Computes the loss of batches under one model with one adapter."""

    def __init__(self, model: Any, body: Body, activation: Activation, *, activated: bool, computed_in: Dtype) -> None:
        self._torch = library("torch")
        self._body = body
        self._activation = activation
        self._activated = activated
        self._narrow = computed_in == "bfloat16"
        self._head = model.get_base_model().lm_head
        self._device = next(model.parameters()).device

    def __call__(self, batch: Batch) -> Losses:
        """Run one batch forward."""
        torch = self._torch
        on = self._device
        acting = torch.from_numpy(batch.active).to(on).unsqueeze(-1) if self._activated else None
        with self._activation.on(acting), torch.autocast(on.type, torch.bfloat16, enabled=self._narrow):
            hidden = self._body(batch)
            deciding = hidden[torch.from_numpy(batch.row).to(on), torch.from_numpy(batch.column).to(on)]
            logits = self._head(deciding)
        logits = logits.float()
        choice = torch.from_numpy(batch.choice).to(on)
        among = torch.from_numpy(batch.among).to(on)
        closed = among[:, 0] >= 0
        losses = torch.zeros(len(choice), device=on)
        right = torch.zeros(len(choice), dtype=torch.bool, device=on)
        for rows, candidates in ((closed, among), (~closed, None)):
            if not bool(rows.any()):
                continue
            chosen = logits[rows]
            if candidates is not None:
                few = candidates[rows]
                chosen = chosen.gather(1, few.clamp(min=0)).masked_fill(few < 0, float("-inf"))
            losses[rows] = torch.nn.functional.cross_entropy(chosen, choice[rows], reduction="none")
            right[rows] = chosen.argmax(dim=1) == choice[rows]
        per_sample = torch.ones(batch.samples, dtype=torch.bool, device=on)
        per_sample[torch.from_numpy(batch.sample).to(on)[~right]] = False
        return Losses(losses.sum(), len(choice), batch.samples, int(per_sample.sum()))
