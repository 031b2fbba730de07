"""Drawing one token from one row of logits."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools_server.engine.types import Sampling, Token

Mask = NDArray[np.bool_]
"""Shape (vocabulary,): True where a token is allowed."""


def sample(logits: NDArray[np.float32], mask: Mask | None, sampling: Sampling, rng: np.random.Generator) -> Token:
    """Draw a token from `logits`, shape (vocabulary,), among those that `mask` allows.

    Temperature 0 takes the likeliest, the lowest id on a tie. Otherwise nucleus sampling: the smallest set of
    tokens whose probability at this temperature reaches `top_p` (Holtzman et al., 2020, arXiv:1904.09751), drawn from
    by the Gumbel-max trick. Noise belongs to a token's id, so a small change of the logits seldom changes the draw;
    walking along the cumulated probabilities instead, any change of their order would.

    Raises:
        ValueError: a logit is NaN, or the mask allows nothing.
    """
    log_total = log_sum_exp(logits)
    if mask is None:
        ids, kept, allowed = None, logits, 1.0
    else:
        ids = np.flatnonzero(mask)
        if ids.size == 0:
            raise ValueError("the constraint allows no token")
        kept = logits[ids]
        allowed = float(np.exp(kept - log_total).sum(dtype=np.float64))
    if sampling.temperature <= 0:
        index = int(kept.argmax())
    else:
        noise = rng.gumbel(size=logits.shape)
        index = _draw(kept, noise if ids is None else noise[ids], sampling)
    token = index if ids is None else int(ids[index])
    return Token(id=token, logprob=float(logits[token]) - log_total, allowed=min(allowed, 1.0))


def _draw(logits: NDArray[np.float32], noise: NDArray[np.float64], sampling: Sampling) -> int:
    scaled = logits.astype(np.float64) / sampling.temperature
    chances = scaled + noise
    if sampling.top_p < 1:
        probabilities = np.exp(scaled - scaled.max())
        probabilities /= probabilities.sum()
        order = np.argsort(-probabilities, kind="stable")
        size = int(np.searchsorted(np.cumsum(probabilities[order]), sampling.top_p)) + 1
        chances[order[size:]] = -np.inf
    return int(chances.argmax())


def log_sum_exp(logits: NDArray[np.floating[Any]]) -> float:
    """Log of the sum of the exponentials, in float64.

    Raises:
        ValueError: a logit is NaN.
    """
    top = float(logits.max())
    if math.isnan(top):
        raise ValueError("the model produced NaN logits")
    return top + math.log(float(np.exp(logits - top).sum(dtype=np.float64)))


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural log-probabilities within `logits`: as probabilities they sum to one."""
    return logits - log_sum_exp(logits)
