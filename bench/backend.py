"""The model of the token benchmarks: the engine drives it, and in turn a bare loop, on one and the same context."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.terms import Terms
from tools_server.engine.llama import LlamaBackend
from tools_server.engine.llama_library import llama
from tools_server.errors import DecodeFailed

Tokens = Sequence[int]


class BenchBackend(LlamaBackend):
    """The engine's own backend, which the bare loop borrows while the engine is idle.

    Sharing it matters: a second copy of the same weights in the same process is read some percent slower or faster,
    as it happens to lie in memory. With `ends_turns` off no token ends a turn, so that an answer has a known length.
    """

    ends_turns = True

    @classmethod
    def of(cls, terms: Terms) -> Self:
        """Load the model with the context that the server would make. Blocks for seconds.

        Raises:
            ModelError: the weights are unusable.
        """
        settings = terms.settings
        return cls(
            terms.weights,
            model_id=settings.model,
            sha256=terms.sha256,
            context_tokens=settings.context_tokens,
            max_sequences=settings.max_sequences,
            batch_tokens=settings.batch_tokens,
            threads=settings.threads,
        )

    @property
    def eog_tokens(self) -> frozenset[int]:
        return super().eog_tokens if self.ends_turns else frozenset()

    def bare_loop(self, prompts: Sequence[Tokens], tokens_each: int) -> NDArray[np.intp]:
        """Prefill all prompts together, then decode them in step; ids of shape (prompts, tokens_each).

        Nothing but `llama_decode`, arrays that exist already, and an argmax over each row: the least that any
        program in Python can do. No turn ends. The KV cache must be empty, and is so afterwards.
        """
        rows, arrays = len(prompts), self._arrays
        generated = np.zeros((rows, tokens_each), dtype=np.intp)
        generated[:, 0] = self._prefill(prompts)
        arrays["pos"][:rows] = [len(prompt) for prompt in prompts]
        arrays["seq_id"][:rows, 0] = np.arange(rows)
        arrays["logits"][:rows] = 1
        for step in range(1, tokens_each):
            arrays["token"][:rows] = generated[:, step - 1]
            generated[:, step] = self._likeliest(rows, outputs=rows)
            arrays["pos"][:rows] += 1
        for sequence in range(rows):
            self.clear_sequence(sequence)
        return generated

    def _prefill(self, prompts: Sequence[Tokens]) -> NDArray[np.intp]:
        """Decode the prompts in as few batches as they fit into; the likeliest token after each."""
        lengths = [len(prompt) for prompt in prompts]
        token = np.concatenate([np.asarray(prompt, dtype=np.int32) for prompt in prompts])
        position = np.concatenate([np.arange(length) for length in lengths])
        sequence = np.repeat(np.arange(len(prompts)), lengths)
        last = np.append(sequence[1:] != sequence[:-1], True)
        found: list[NDArray[np.intp]] = []
        arrays = self._arrays
        arrays["n_seq_id"][:] = 1
        for start in range(0, len(token), self.n_batch):
            part = slice(start, start + self.n_batch)
            size = len(token[part])
            arrays["token"][:size] = token[part]
            arrays["pos"][:size] = position[part]
            arrays["seq_id"][:size, 0] = sequence[part]
            arrays["logits"][:size] = last[part]
            found.append(self._likeliest(size, outputs=int(last[part].sum())))
        return np.concatenate(found)

    def _likeliest(self, size: int, *, outputs: int) -> NDArray[np.intp]:
        self._batch.n_tokens = size
        if (status := llama.llama_decode(self._context, self._batch)) != 0:
            raise DecodeFailed(f"llama_decode returned {status} for {size} tokens.", "Raise `context_tokens`.")
        if not outputs:
            return np.zeros(0, dtype=np.intp)
        llama.llama_synchronize(self._context)
        logits = np.ctypeslib.as_array(llama.llama_get_logits(self._context), (outputs, self._n_vocab))
        return logits.argmax(axis=1)
