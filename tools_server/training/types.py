"""What training is told, what it learns from, and how it tells where it is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["ChooseBy", "Example", "Hyperparameters", "Kind", "Progress", "Target", "Told"]

Kind = Literal["lora", "alora"]
"""A plain LoRA acts on every token; an activated one from the answer's turn on, so that a document's KV is shared."""

ChooseBy = Literal["loss", "right", "last"]
"""What makes a step the best one on dev: the lowest loss, or most samples with every decision right (of equals, the
lower loss); with `last` it is the last one that was measured, whatever dev says. Where answers are written, the share
right may go on rising after the loss: a few decisions that are wrong and very sure weigh on the mean, and count once in
what is right."""


@dataclass(frozen=True, slots=True)
class Target:
    """One decision to learn: after `position` tokens of the example (its answer included) comes `token`.

    `among` are the tokens that the decision is between, as serving normalises them; None: the whole vocabulary.
    """

    position: int
    token: int
    among: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """One sample as tokens: prompt and answer, as the engine sees them. `prompt` is how many of them are prompt.

    `invocation` is where an activated adapter begins to act; 0 under a plain one.
    """

    tokens: tuple[int, ...]
    prompt: int
    targets: tuple[Target, ...]
    invocation: int = 0


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Hyper-parameters of one run. What is None is chosen by the size of the model (see `resolved`)."""

    kind: Kind = "lora"
    rank: int = 16
    layers: int | None = None  # blocks that get an adapter, from the output down; None: all of them
    alpha: float | None = None  # scale is alpha / rank; None: twice the rank
    dropout: float = 0.1  # of the low-rank activations
    learning_rate: float | None = None  # peak of a linear warm-up and cosine decay
    weight_decay: float = 0.01
    epochs: float = 3.0
    batch_samples: int = 32  # samples a step of the optimiser
    row_tokens: int = 256  # tokens of one packed row: a shared beginning and as many samples as fit
    rows: int = 8  # rows in one forward pass
    warmup: float = 0.05  # share of the steps
    patience: int = 3  # evaluations on dev without a better step before it ends early
    evaluations: int = 8  # on dev, over the whole run
    choose_by: ChooseBy = "loss"
    seed: int = 0

    def resolved(self, parameters: int) -> "Hyperparameters":
        """Fill in what depends on the size of the model."""
        rate = self.learning_rate or (1e-3 if parameters < 500_000_000 else 3e-4)
        return replace(self, learning_rate=rate, alpha=self.alpha or 2.0 * self.rank)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is. Losses are nats per decision; `dev_*` are of the last evaluation, None before the first."""

    step: int
    steps: int
    epoch: float
    loss: float
    tokens_per_s: float
    seconds_left: float
    dev_loss: float | None = None
    dev_accuracy: float | None = None


Told = Callable[[Progress], None]
