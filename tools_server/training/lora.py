"""Low-rank adapters on a base model: attached with peft, made to act from an answer's turn on where they are activated.

LoRA: Hu et al. 2021 (arXiv:2106.09685). Activated LoRA: Greenewald et al. 2025 (arXiv:2504.12397): the weights act
from the invocation tokens on, so what stands before them keeps the base's KV and can be shared. peft finds the
invocation in each row by itself, but a packed row has one for each sample: so an ordinary LoRA is attached, and its
contribution is multiplied by a mask.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from tools_server.errors import TrainingFailed
from tools_server.training.base import LINEARS, library, wrap
from tools_server.training.export import LoraWeights
from tools_server.training.types import Hyperparameters

__all__ = [
    "ADAPTED",
    "Activation",
    "adapter_state",
    "attach",
    "load_adapter_state",
    "load_weights",
    "lowest_block",
    "trainable",
]

ADAPTED = tuple(path.rpartition(".")[2] for path in LINEARS.values())
"""The linear layers that get an adapter; on all seven it learns as well as full training (arXiv:2106.09685, QLoRA's
section 4) and costs little more than on attention alone."""


class Activation:
    """Where the adapter acts in the current batch: a mask of shape (rows, length, 1), or everywhere."""

    def __init__(self) -> None:
        self._mask: Any = None

    @contextmanager
    def on(self, mask: Any) -> Generator[None]:
        """Let the adapter act where `mask` is 1 only, within this context."""
        self._mask = mask
        try:
            yield
        finally:
            self._mask = None

    def hook(self, module: Any, inputs: Any, output: Any) -> Any:
        """Forward hook of every `lora_B`."""
        del module, inputs
        return output if self._mask is None else output * self._mask.to(output.dtype)


class _RankDropout:
    """Dropout on the low-rank activations instead of a layer's inputs.

    peft drops inputs, seven times a block in full width, which on a CPU costs a third of the training speed (measured);
    there are only `rank` low-rank activations.
    """

    def __init__(self, share: float) -> None:
        self._dropout = library("torch").nn.functional.dropout
        self._share = share

    def hook(self, module: Any, inputs: Any, output: Any) -> Any:
        """Forward hook of every `lora_A`."""
        del inputs
        return self._dropout(output, self._share, module.training)


def attach(model: Any, hyper: Hyperparameters) -> tuple[Any, Activation]:
    """Attach a fresh adapter to all linear layers of the upper blocks of `model`, or of all of them.

    Gives the wrapped model and its activation.

    Raises:
        TrainingFailed: the model has fewer blocks.
    """
    peft = library("peft")
    blocks = int(model.config.num_hidden_layers)

    config: Any = peft.LoraConfig(
        r=hyper.rank,
        lora_alpha=hyper.alpha or 2.0 * hyper.rank,
        lora_dropout=0.0,  # see _RankDropout
        target_modules=list(ADAPTED),
        layers_to_transform=None if hyper.layers is None else list(range(lowest_block(hyper, blocks), blocks)),
        bias="none",
        task_type="CAUSAL_LM",
    )
    wrapped = wrap(model, config)
    activation, dropout = Activation(), _RankDropout(hyper.dropout)
    for name, module in wrapped.named_modules():
        if name.endswith("lora_B.default"):
            module.register_forward_hook(activation.hook)
        elif name.endswith("lora_A.default") and hyper.dropout:
            module.register_forward_hook(dropout.hook)
    return wrapped, activation


def lowest_block(hyper: Hyperparameters, blocks: int) -> int:
    """Give the index of the lowest block that gets an adapter, of so many.

    Raises:
        TrainingFailed: there are fewer than `hyper.layers` says, or it says none.
    """
    if hyper.layers is None:
        return 0
    if not 1 <= hyper.layers <= blocks:
        raise TrainingFailed(
            f"layers is {hyper.layers}; the model has {blocks}.", f"Give 1 to {blocks}, or leave it out for all."
        )
    return blocks - hyper.layers


def trainable(model: Any) -> list[Any]:
    """Give the adapter's parameters."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def adapter_state(model: Any) -> dict[str, Any]:
    """Copy the adapter's parameters by name."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def load_adapter_state(model: Any, state: Mapping[str, Any]) -> None:
    """Put copied parameters back."""
    named = dict(model.named_parameters())
    for name, value in state.items():
        named[name].data.copy_(value)


def load_weights(model: Any, weights: LoraWeights) -> None:
    """Put the matrices of a LoRA into the adapter that peft has attached, which has its shape."""
    torch = library("torch")
    with torch.no_grad():
        for path, (first, second) in weights.modules.items():
            module = model.base_model.model.get_submodule(path)
            module.lora_A["default"].weight.copy_(torch.from_numpy(first))
            module.lora_B["default"].weight.copy_(torch.from_numpy(second))
