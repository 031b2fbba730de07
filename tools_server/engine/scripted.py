"""A model with fixed logits and a byte tokenizer, for tests that need no weights.

`ScriptedEngine` runs the real scheduler, prefix cache, constraints and thread: only the arithmetic is replaced. Its
logits are a pure function of the tokens before them and of the adapter, and its KV cache is a real table of tokens,
so a scheduling fault (a wrong position, KV shared across adapters) changes the answer here as it would for real.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import llguidance
import numpy as np
from numpy.typing import NDArray

from tools_server.engine.backend import Batch, Logits
from tools_server.engine.cache import LEAVES
from tools_server.engine.local import LocalEngine
from tools_server.engine.types import Adapter, ModelInfo
from tools_server.errors import DecodeFailed

EOS = 256
"""End of turn. Tokens 0 to 255 are bytes; 257 and 258 open and close a chat message."""

VOCABULARY = 259
_CONTROL = {"<|eos|>": EOS, "<|open|>": 257, "<|close|>": 258}
_TEMPLATE = (
    "{% for m in messages %}<|open|>{{ m.role }}\n{{ m.content }}<|close|>{% endfor %}"
    "{% if add_generation_prompt %}<|open|>assistant\n{% endif %}"
)

Script = Callable[[str, Adapter | None], str]
"""Given the text so far and the adapter, what the model wants to say next ("" for: end the turn)."""


def hashed(text: str, adapter: Adapter | None) -> str:
    """Say something that depends on every byte before it, and on the adapter: a tracer for mixed-up KV."""
    digest = hashlib.sha256(f"{adapter.sha256 if adapter else ''}|{text}".encode()).hexdigest()
    return chr(ord("a") + int(digest, 16) % 26)


@dataclass(slots=True)
class ScriptedBackend:
    """A `Backend` whose model is a `Script`: the wanted byte gets logit 10, all others small distinct ones.

    `on_decode` is called before each decode with its batch: tests hold or fail the engine there.
    """

    script: Script = hashed
    context_tokens: int = 4096
    kv_cells: int = 16384
    n_batch: int = 128
    n_outputs: int = 64
    n_sequences: int = 16 + LEAVES + 8
    model_id: str = "scripted"
    sha256: str = "0" * 64
    on_decode: Callable[[Batch], None] | None = None
    closed: threading.Event = field(default_factory=threading.Event)
    decodes: list[tuple[Adapter | None, int]] = field(default_factory=list[tuple[Adapter | None, int]])
    loaded: set[Adapter] = field(default_factory=set[Adapter])
    invocations: dict[Adapter, tuple[int, ...]] = field(default_factory=dict[Adapter, tuple[int, ...]])
    _adapter: Adapter | None = None
    _cache: dict[int, dict[int, tuple[int, Adapter | None]]] = field(
        default_factory=dict[int, dict[int, tuple[int, Adapter | None]]]
    )

    @property
    def info(self) -> ModelInfo:
        """A small context over a byte vocabulary."""
        return ModelInfo(self.model_id, self.sha256, "scripted", self.context_tokens, VOCABULARY)

    @property
    def vocabulary_size(self) -> int:
        """Bytes and control tokens."""
        return VOCABULARY

    @property
    def chat_template(self) -> str:
        """A minimal template with control tokens."""
        return _TEMPLATE

    @property
    def special_texts(self) -> dict[str, str]:
        """Only an end token."""
        return {"bos_token": "", "eos_token": "<|eos|>"}

    @property
    def adds_bos(self) -> bool:
        """Never."""
        return False

    @property
    def eog_tokens(self) -> frozenset[int]:
        """The end token."""
        return frozenset({EOS})

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """One token a byte; control tokens only with `special`."""
        tokens: list[int] = []
        while text:
            name = next((n for n in _CONTROL if special and text.startswith(n)), None)
            tokens += [_CONTROL[name]] if name else list(text[0].encode())
            text = text[len(name) :] if name else text[1:]
        return tokens

    def piece(self, token: int) -> bytes:
        """The byte; nothing for control tokens."""
        return bytes([token]) if token < EOS else b""

    def llg_tokenizer(self) -> Any:
        """A byte tokenizer for llguidance."""
        return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_ByteTokenizer()))

    def decode(self, batch: Batch) -> Logits:
        """Record the batch in the cache, then ask the script for each wanted row."""
        if self.on_decode is not None:
            self.on_decode(batch)
        self.decodes.append((self._adapter, len(batch)))
        if not 0 < len(batch) <= self.n_batch or batch.n_outputs > self.n_outputs:
            raise DecodeFailed(f"a batch of {len(batch)} tokens and {batch.n_outputs} outputs", "")
        rows: list[NDArray[np.float32]] = []
        for token, position, members, output in zip(
            batch.tokens, batch.positions, batch.sequences, batch.outputs, strict=True
        ):
            for member in members:
                cells = self._cache.setdefault(member, {})
                if len(cells) != position:
                    raise DecodeFailed(f"sequence {member} has {len(cells)} cells, position {position} came", "")
                cells[position] = (token, self._adapter)
            if output:
                rows.append(self._row(members[0]))
        return np.stack(rows) if rows else np.zeros((0, VOCABULARY), dtype=np.float32)

    def _row(self, sequence: int) -> NDArray[np.float32]:
        cells = [self._cache[sequence][i] for i in range(len(self._cache[sequence]))]
        foreign = self._foreign(cells)
        text = b"".join(self.piece(token) for token, _ in cells).decode("utf-8", errors="replace")
        # KV made under another adapter changes the answer, as it does in a real model.
        wanted = self.script(text, self._adapter) if not foreign else hashed(text + repr(foreign), self._adapter)
        row = np.linspace(0.0, 0.5, VOCABULARY, dtype=np.float32)
        row[wanted.encode()[0] if wanted else EOS] = 10.0
        return row

    def _foreign(self, cells: list[tuple[int, Adapter | None]]) -> set[Adapter | None]:
        """Whose KV there is that should not be there."""
        invocation = self.invocations.get(self._adapter) if self._adapter else None
        if not invocation:
            return {adapter for _, adapter in cells} - {self._adapter}
        tokens = tuple(token for token, _ in cells)
        start = max(at for at in range(len(tokens)) if tokens[at : at + len(invocation)] == invocation)
        before, after = cells[:start], cells[start:]
        return ({adapter for _, adapter in before} - {None}) | ({adapter for _, adapter in after} - {self._adapter})

    def load_adapter(self, adapter: Adapter) -> None:
        """Remember it."""
        self.loaded.add(adapter)

    def unload_adapter(self, adapter: Adapter) -> None:
        """Forget it."""
        self.loaded.remove(adapter)

    def use_adapter(self, adapter: Adapter | None) -> None:
        """Apply it from now on."""
        if adapter is not None and adapter not in self.loaded:
            raise DecodeFailed(f"adapter {adapter.sha256[:12]} is not loaded", "")
        self._adapter = adapter

    def invocation(self, adapter: Adapter) -> tuple[int, ...]:
        """What the test said."""
        return self.invocations.get(adapter, ())

    def copy_sequence(self, source: int, target: int, length: int) -> None:
        """Share the first cells."""
        if self._cache.get(target):
            raise DecodeFailed(f"sequence {target} is not empty", "")
        cells = self._cache.get(source, {})
        self._cache[target] = {i: cells[i] for i in range(length)}

    def clear_sequence(self, sequence: int, start: int = 0) -> None:
        """Drop cells from `start` on."""
        self._cache[sequence] = {i: cell for i, cell in self._cache.get(sequence, {}).items() if i < start}

    def close(self) -> None:
        """Note that it was closed."""
        self.closed.set()


class ScriptedEngine(LocalEngine):
    """The engine over a `ScriptedBackend`."""

    def __init__(
        self,
        script: Script = hashed,
        *,
        backend: ScriptedBackend | None = None,
        max_sequences: int = 16,
        queue_limit: int = 256,
    ) -> None:
        self.backend = backend or ScriptedBackend(script)
        super().__init__(self.backend, max_sequences=max_sequences, queue_limit=queue_limit)


def saying(answer: str) -> Script:
    """Make a script that gives one fixed answer, whatever the prompt: after the last assistant opening it follows."""

    def script(text: str, _adapter: Adapter | None) -> str:
        said = text.rpartition("assistant\n")[2]
        return answer[len(said) : len(said) + 1] if answer.startswith(said) else ""

    return script


class _ByteTokenizer:
    eos_token_id = EOS
    bos_token_id = None
    tokens: Sequence[bytes] = [bytes([i]) for i in range(256)] + [b"\xff" + name.encode() for name in _CONTROL]
    special_token_ids: Sequence[int] = [256, 257, 258]

    def __call__(self, text: bytes) -> list[int]:
        return list(text)
