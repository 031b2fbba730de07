"""Speed of one candidate: tokens per second of prefill and decode, straight through the engine's backend."""

import random
import time
from collections.abc import Sequence

from tools_server.engine.backend import Backend, Batch
from tools_server.tuning.types import DECODE_SIZES, Rates, Workload

__all__ = ["CONTEXT_TOKENS", "measure"]

CONTEXT_TOKENS = 8192
"""KV cells that a measurement needs at most; only used cells cost time, so the server's own number does not matter."""

_WARM_UP = Workload(prompts=1, prompt_tokens=64, steps=2, depth=32)


def measure(backend: Backend, workload: Workload) -> Rates:
    """Run the workload once, after a short warm-up that touches every kind of batch. Blocks for seconds.

    Tokens are random, for speed does not depend on them; logits are computed wherever an answer would need them.
    """
    _once(backend, _WARM_UP)
    return _once(backend, workload)


def _once(backend: Backend, workload: Workload) -> Rates:
    vocabulary = backend.info.vocabulary
    source = random.Random(workload.prompt_tokens)
    tokens = [source.randrange(vocabulary // 8, vocabulary // 2) for _ in range(workload.prompt_tokens)]
    prefill = _prefill(backend, workload, tokens)
    decode = {size: _decode(backend, workload, tokens, size) for size in DECODE_SIZES}
    for sequence in range(max(*DECODE_SIZES, workload.prompts)):
        backend.clear_sequence(sequence)
    return Rates(prefill, decode)


def _prefill(backend: Backend, workload: Workload, tokens: Sequence[int]) -> float:
    """Decode all prompts in batches as large as they may be; leaves them in the cache."""
    started = time.perf_counter()
    batch = Batch()
    for sequence in range(workload.prompts):
        for position, token in enumerate(tokens):
            batch.add(token, position, (sequence,), output=position == len(tokens) - 1)
            if len(batch) == backend.n_batch:
                backend.decode(batch)
                batch = Batch()
    if len(batch):
        backend.decode(batch)
    return workload.prompts * len(tokens) / (time.perf_counter() - started)


def _decode(backend: Backend, workload: Workload, tokens: Sequence[int], size: int) -> float:
    """Let `size` sequences, which share their beginning, go on for `steps` tokens each."""
    backend.clear_sequence(0, workload.depth)
    for sequence in range(1, max(*DECODE_SIZES, workload.prompts)):
        backend.clear_sequence(sequence)
        if sequence < size:
            backend.copy_sequence(0, sequence, workload.depth)
    started = time.perf_counter()
    for step in range(workload.steps):
        batch = Batch()
        for sequence in range(size):
            token = tokens[(step * size + sequence) % len(tokens)]
            batch.add(token, workload.depth + step, (sequence,), output=True)
        backend.decode(batch)
    return size * workload.steps / (time.perf_counter() - started)
