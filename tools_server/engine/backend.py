"""What the scheduler asks of a model: tokens in, logits out, and a few moves on the KV cache.

`LlamaBackend` is the real one; `ScriptedBackend` stands in for it in tests. One thread calls a backend, except for
the tokenizer methods, which any thread may call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tools_server.engine.types import Adapter, ModelInfo

Logits = NDArray[np.float32]
"""Shape (rows, vocabulary): one row for each token of the batch that asked for an output, in batch order."""


@dataclass(slots=True)
class Batch:
    """One `llama_decode`: parallel lists, all under the same adapter.

    A token may belong to several sequences at once (`sequences[i]`), which then share its KV cell.
    """

    tokens: list[int] = field(default_factory=list[int])
    positions: list[int] = field(default_factory=list[int])
    sequences: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])
    outputs: list[bool] = field(default_factory=list[bool])
    n_outputs: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, token: int, position: int, sequences: tuple[int, ...], *, output: bool) -> None:
        """Append one token; with `output` its logits are computed."""
        self.tokens.append(token)
        self.positions.append(position)
        self.sequences.append(sequences)
        self.outputs.append(output)
        self.n_outputs += output


class Tokenizer(Protocol):
    """Text to tokens and back, for one vocabulary."""

    @property
    def eog_tokens(self) -> frozenset[int]:
        """Tokens that end a turn."""
        ...

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Tokenise; only with `special` does text such as `<|im_end|>` become a control token."""
        ...

    def piece(self, token: int) -> bytes:
        """Bytes of a token; empty for control tokens."""
        ...


class Vocabulary(Tokenizer, Protocol):
    """A model's tokenizer and chat template: what prompts are made with."""

    @property
    def model_id(self) -> str:
        """The model's id, for messages."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """How many tokens there are."""
        ...

    @property
    def chat_template(self) -> str | None:
        """Jinja source of the model's chat template."""
        ...

    @property
    def special_texts(self) -> dict[str, str]:
        """`bos_token` and `eos_token` as text, for chat templates."""
        ...

    @property
    def adds_bos(self) -> bool:
        """Whether a prompt must begin with the BOS token."""
        ...

    def llg_tokenizer(self) -> Any:
        """Build the `llguidance.LLTokenizer` of this vocabulary (slow: call once)."""
        ...


class Backend(Vocabulary, Protocol):
    """A loaded model with one context."""

    @property
    def info(self) -> ModelInfo:
        """Identity and limits."""
        ...

    @property
    def kv_cells(self) -> int:
        """Cells of the KV cache, shared by all sequences."""
        ...

    @property
    def n_batch(self) -> int:
        """Most tokens in one decode."""
        ...

    @property
    def n_outputs(self) -> int:
        """Most logits rows in one decode."""
        ...

    @property
    def n_sequences(self) -> int:
        """How many sequence ids there are: 0 to n - 1."""
        ...

    def decode(self, batch: Batch) -> Logits:
        """Decode; the result is valid until the next call.

        Raises:
            DecodeFailed: the batch was refused; the KV cache is as it was before.
        """
        ...

    def load_adapter(self, adapter: Adapter) -> None:
        """Load a LoRA; loading one twice does nothing.

        Raises:
            AdapterMismatch: it does not fit this model, or is not what it says.
        """
        ...

    def unload_adapter(self, adapter: Adapter) -> None:
        """Free a loaded LoRA."""
        ...

    def use_adapter(self, adapter: Adapter | None) -> None:
        """Apply a loaded LoRA, or none, to every decode from now on."""
        ...

    def invocation(self, adapter: Adapter) -> tuple[int, ...]:
        """Tokens from which on a loaded adapter acts (an activated LoRA); empty for one that acts on everything."""
        ...

    def copy_sequence(self, source: int, target: int, length: int) -> None:
        """Let `target` share the first `length` cells of `source`. Nothing is copied."""
        ...

    def clear_sequence(self, sequence: int, start: int = 0) -> None:
        """Drop a sequence's cells from position `start` on; cells that others share stay."""
        ...

    def close(self) -> None:
        """Free the context and the model."""
        ...


def join_pieces(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """Turn tokens back into text; bytes that are no UTF-8 become U+FFFD."""
    return b"".join(tokenizer.piece(token) for token in tokens).decode("utf-8", errors="replace")
