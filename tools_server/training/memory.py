"""How much memory training will take, estimated before anything is loaded, so that it can be refused in time."""

from tools_server.training.base import LINEARS, BaseFacts, Dtype
from tools_server.training.tree import SHORT

__all__ = ["memory_estimate", "proof_memory_estimate"]

_BYTES: dict[Dtype, int] = {"float32": 4, "bfloat16": 2}

_REST = 500_000_000
"""Python, torch, transformers and peft once loaded, as measured."""

_TRAINED = 16
"""Bytes of a trained number: it, its gradient, and AdamW's two moments, each in F32."""

_LOGIT = 16
"""Bytes of a logit: bfloat16 or not, F32, its log-probability and its gradient, rounded up."""

_SPARE = 1.5
"""What backward's own temporaries and the allocator take on top of the saved activations, as measured."""


def memory_estimate(
    facts: BaseFacts,
    *,
    tokens_per_batch: int,
    longest: int,
    rank: int,
    computed_in: Dtype,
    held_in: Dtype,
    scored_rows: int,
    lowest: int = 0,
    kept_tokens: int = 0,
) -> int:
    """Peak resident bytes of training a LoRA on all linear layers, on the CPU.

    `tokens_per_batch` are those of one forward pass, padding included, `scored_rows` how many of them the output
    layer is applied to. `longest` is how many tokens one of them sees at most. The frozen base is `held_in` one type,
    and what is kept for backward has the one that is `computed_in`. Activations are kept (no checkpointing), of the
    blocks from `lowest` on, which have adapters; where that is not the first one, so are the states of `kept_tokens`
    before it.

    Derived from what autograd keeps for each token and layer, in that type unless said otherwise: the input of each
    adapted layer, the hidden state before both norms (F32) and after them, queries, keys and values repeated to the
    number of heads, what attention gives, its scores where they are written out (`tree.SHORT`), and three vectors of
    the feed-forward's width. A frozen weight is kept once more where it must be cast. On a base of 135M parameters it
    is within 5 % of the measured peak, from 64 to 1536 tokens and in both types; for one of 1.5B, what loading takes is
    within 3 %.
    """
    inputs = sum(facts.linear(name)[0] for name in LINEARS)
    both = sum(sum(facts.linear(name)) for name in LINEARS)
    linears = facts.layers * sum(facts.linear(name)[0] * facts.linear(name)[1] for name in LINEARS)
    query = facts.heads * facts.head_width
    wide = _BYTES[computed_in]
    saved = wide * (inputs + 2 * facts.hidden + (3 + 1) * query + 3 * facts.intermediate) + 2 * 4 * facts.hidden
    scores = wide * facts.heads * min(longest, SHORT)
    weights = _BYTES[held_in] * facts.parameters
    blocks = facts.layers - lowest
    training = (
        weights
        + (wide * linears if held_in != computed_in else 0)
        + _TRAINED * rank * both * blocks
        + _LOGIT * scored_rows * facts.vocab
        + int(_SPARE * saved * blocks * tokens_per_batch)
        + scores * blocks * tokens_per_batch
        + (_BYTES[held_in] * facts.hidden * kept_tokens if lowest else 0)
    )
    return max(_loading(facts, held_in), _REST + training)


def proof_memory_estimate(facts: BaseFacts) -> int:
    """Peak bytes of `gate.prove`, which holds the base in F32: on a large base more than training takes.

    Within 3 % of what was measured on bases of 135M and 650M parameters, without the pages of the base's file that
    llama.cpp maps, which the system can take back. The file in F32 needs four bytes a parameter of disk.
    """
    return _loading(facts, "float32")


def _loading(facts: BaseFacts, dtype: Dtype) -> int:
    """What `load_base` takes at its peak: the embedding is dequantised in F32, through a copy."""
    return _REST + _BYTES[dtype] * facts.parameters + 2 * 4 * facts.vocab * facts.hidden
