"""The vocabulary of a GGUF model: text to tokens and back, and the chat template. Needs no weights."""

import ctypes
import os
from pathlib import Path
from typing import Any, cast

import llguidance.llamacpp

from tools_server.engine.llama_library import built_with_amx, llama, native_log
from tools_server.errors import DecodeFailed, ModelLoadFailed

__all__ = ["LlamaVocabulary"]


class LlamaVocabulary:
    """Tokenizer and chat template of a model file. Any thread may call it.

    Raises:
        ModelLoadFailed: the file is not a model that this llama.cpp can read.
    """

    def __init__(self, path: Path, *, model_id: str, vocabulary_only: bool = True) -> None:
        native_log.install()
        native_log.errors.clear()
        llama.llama_backend_init()
        params = llama.llama_model_default_params()
        params.vocab_only = vocabulary_only
        params.use_extra_bufts = not built_with_amx()
        self._model: Any = llama.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise ModelLoadFailed(
                f"llama.cpp could not load {path}: {native_log.explain()}.",
                f"Check the file with `tools-server models verify {model_id}`.",
            )
        self._vocab: Any = llama.llama_model_get_vocab(self._model)
        self._id = model_id
        self._n_vocab: int = llama.llama_vocab_n_tokens(self._vocab)
        self._pieces: dict[int, bytes] = {}
        self._eog = frozenset(t for t in range(self._n_vocab) if llama.llama_vocab_is_eog(self._vocab, t))
        self._spelt: dict[int, list[int]] = {}
        self._spelt = {t: self._spell(t) for t in range(self._n_vocab) if self._is_added(t)}

    @property
    def model_id(self) -> str:
        """The model's id, for messages."""
        return self._id

    @property
    def vocabulary_size(self) -> int:
        """How many tokens there are."""
        return self._n_vocab

    def _metadata(self, key: str) -> str | None:
        size = 1 << 16
        buffer = ctypes.create_string_buffer(size)
        length = llama.llama_model_meta_val_str(self._model, key.encode(), buffer, size)
        return buffer.value.decode("utf-8", errors="replace") if 0 <= length < size else None

    @property
    def chat_template(self) -> str | None:
        """Jinja source of the chat template in the GGUF."""
        template = llama.llama_model_chat_template(self._model, None)
        return template.decode("utf-8", errors="replace") if template else None

    @property
    def special_texts(self) -> dict[str, str]:
        """`bos_token` and `eos_token` as text."""
        ids = {
            "bos_token": llama.llama_vocab_bos(self._vocab),
            "eos_token": llama.llama_vocab_eos(self._vocab),
        }
        return {
            name: llama.llama_vocab_get_text(self._vocab, token).decode("utf-8", errors="replace") if token >= 0 else ""
            for name, token in ids.items()
        }

    @property
    def adds_bos(self) -> bool:
        """Whether the model's prompts begin with the BOS token."""
        return bool(llama.llama_vocab_get_add_bos(self._vocab))

    @property
    def eog_tokens(self) -> frozenset[int]:
        """Tokens that end a turn."""
        return self._eog

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Tokenise; only with `special` does text become control tokens, or words that the vocabulary adds to them.

        A lone surrogate becomes `?`.
        """
        data = text.encode("utf-8", errors="replace")
        room = len(data) + 8
        buffer = (llama.llama_token * room)()
        count = llama.llama_tokenize(self._vocab, data, len(data), buffer, room, False, special)
        if count < 0:
            raise DecodeFailed(f"llama.cpp could not tokenise {len(data):,} bytes.", "Send less text.")
        if special or not self._spelt:
            return list(buffer[:count])
        # llama.cpp finds added words such as Qwen's `<tool_call>` in any text, whatever it is told.
        return [part for token in buffer[:count] for part in self._spelt.get(token, (token,))]

    def _is_added(self, token: int) -> bool:
        """Whether it is a word beside the merges, other than a run of white space, that a model may take as a sign."""
        if not llama.llama_vocab_get_attr(self._vocab, token) & llama.LLAMA_TOKEN_ATTR_USER_DEFINED:
            return False
        return bool(self.piece(token).strip())

    def _spell(self, token: int) -> list[int]:
        """Tokens of an added word as any other text: cut after its first character, it is not found as a whole."""
        word = self.piece(token).decode("utf-8", errors="replace")
        return [part for text in (word[:1], word[1:]) if text for part in self.tokenize(text, special=False)]

    def piece(self, token: int) -> bytes:
        """Bytes of a token; empty for control tokens."""
        known = self._pieces.get(token)
        if known is None:
            buffer = ctypes.create_string_buffer(512)
            count = llama.llama_token_to_piece(self._vocab, token, buffer, 512, 0, False)
            known = self._pieces[token] = buffer.raw[: max(count, 0)]
        return known

    def llg_tokenizer(self) -> Any:
        """Build llguidance's tokenizer of this vocabulary; every end-of-turn token ends a constrained answer."""
        # The end-of-turn token that the model itself would use comes first: it is the one that masks offer.
        eos = llama.llama_vocab_eos(self._vocab)
        rest = sorted(self._eog - {eos})
        return cast(Any, llguidance.llamacpp).lltokenizer_from_vocab(self._vocab, eos_token=[eos, *rest])

    def close(self) -> None:
        """Free the model."""
        llama.llama_model_free(self._model)
