"""llama.cpp through its C API: a model with a context.

Batches are written through numpy views of arrays that this module owns; logits are read in place. Native log lines go
to `logging`, never to a file descriptor.
"""

import ctypes
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from tools_server.engine.backend import Batch, Logits
from tools_server.engine.cache import LEAVES
from tools_server.engine.cores import physical_cores
from tools_server.engine.llama_library import llama, native_log
from tools_server.engine.llama_vocabulary import LlamaVocabulary
from tools_server.engine.local import LocalEngine
from tools_server.engine.mapped import let_go
from tools_server.engine.types import Adapter, ModelInfo
from tools_server.errors import AdapterMismatch, DecodeFailed, ModelLoadFailed
from tools_server.settings import KvType

PREFIX_SLOTS = 24
"""Sequence ids for cached prefixes."""

OUTPUT_ROWS = 128
"""Logits rows of one decode at most: llama.cpp sizes its compute buffer by it (302 MB → 81 MB for 152k tokens)."""

_FLASH_ATTENTION: dict[bool, int] = {
    True: llama.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    False: llama.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
_KV_TYPES: dict[KvType, int] = {
    "f16": llama.GGML_TYPE_F16,
    "bf16": 30,  # GGML_TYPE_BF16 in ggml.h, which the bindings leave out
    "q8_0": llama.GGML_TYPE_Q8_0,
}


class LlamaBackend(LlamaVocabulary):
    """A GGUF model with one context of `context_tokens` KV cells. Blocking; see `Backend` for the threads.

    `flash_attention` None leaves the choice to llama.cpp; `kv_type` is the format of the KV cache.

    `exact` keeps the KV cache in F32 and attention in its plain form. With F32 weights a result then depends on the
    batch around it by no more than float rounding, which is how scheduling is told from arithmetic in tests. It is
    slower and takes twice the memory.

    Raises:
        ModelLoadFailed: the file is not a model that this llama.cpp can run, or memory is short.
    """

    def __init__(
        self,
        path: Path,
        *,
        model_id: str,
        sha256: str,
        context_tokens: int,
        max_sequences: int,
        batch_tokens: int,
        threads: int | None = None,
        flash_attention: bool | None = None,
        kv_type: KvType = "f16",
        exact: bool = False,
    ) -> None:
        super().__init__(path, model_id=model_id, vocabulary_only=False)
        self._context = self._new_context(
            context_tokens,
            max_sequences,
            batch_tokens,
            threads,
            flash_attention=flash_attention,
            kv_type=kv_type,
            exact=exact,
        )
        let_go(path)  # what the model needs of it comes back with the first call
        self._memory: Any = llama.llama_get_memory(self._context)
        self._adapters: dict[Adapter, Any] = {}
        self._invocations: dict[Adapter, tuple[int, ...]] = {}
        self._batch, self._arrays = self._new_batch()
        self._info = ModelInfo(
            id=model_id,
            sha256=sha256,
            architecture=self._metadata("general.architecture") or "",
            context_tokens=min(self.kv_cells, llama.llama_model_n_ctx_train(self._model)),
            vocabulary=self._n_vocab,
        )

    def _new_context(
        self,
        cells: int,
        max_sequences: int,
        batch_tokens: int,
        threads: int | None,
        *,
        flash_attention: bool | None,
        kv_type: KvType,
        exact: bool,
    ) -> Any:
        params = llama.llama_context_default_params()
        params.n_ctx = cells
        params.n_batch = params.n_ubatch = batch_tokens
        params.n_seq_max = max_sequences + LEAVES + PREFIX_SLOTS
        # llama.cpp aborts the process when there are fewer rows than sequence ids.
        params.n_outputs_max = max(OUTPUT_ROWS, params.n_seq_max)
        params.kv_unified = True  # sequences share cells: a cached prefix is held once
        params.n_threads = params.n_threads_batch = threads or physical_cores()
        params.no_perf = True
        if flash_attention is not None:
            params.flash_attn_type = _FLASH_ATTENTION[flash_attention]
        params.type_k = params.type_v = _KV_TYPES[kv_type]
        if exact:
            params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
            params.type_k = params.type_v = llama.GGML_TYPE_F32
        context = llama.llama_init_from_model(self._model, params)
        if not context:
            llama.llama_model_free(self._model)
            raise ModelLoadFailed(
                f"llama.cpp could not make a context of {cells:,} tokens: {native_log.explain()}.",
                "Lower `context_tokens`, or free memory. A `kv_type` of q8_0 needs flash attention.",
            )
        return context

    def _new_batch(self) -> tuple[Any, dict[str, Any]]:
        size, width = self.n_batch, self.n_sequences
        arrays: dict[str, Any] = {
            "token": np.zeros(size, dtype=np.int32),
            "pos": np.zeros(size, dtype=np.int32),
            "n_seq_id": np.zeros(size, dtype=np.int32),
            "seq_id": np.zeros((size, width), dtype=np.int32),
            "logits": np.zeros(size, dtype=np.int8),
        }
        base = arrays["seq_id"].ctypes.data
        # llama_batch.seq_id is an array of pointers, one for each token's list of sequences.
        arrays["pointers"] = base + np.arange(size, dtype=np.uintp) * (width * 4)
        batch = llama.llama_batch()
        for name in ("token", "pos", "n_seq_id", "logits"):
            kind = ctypes.c_int8 if name == "logits" else ctypes.c_int32
            setattr(batch, name, arrays[name].ctypes.data_as(ctypes.POINTER(kind)))
        batch.seq_id = arrays["pointers"].ctypes.data_as(ctypes.POINTER(ctypes.POINTER(ctypes.c_int32)))
        return batch, arrays

    # Identity and limits.

    @property
    def info(self) -> ModelInfo:
        """Identity and limits of the loaded model."""
        return self._info

    @property
    def kv_cells(self) -> int:
        """Cells of the KV cache."""
        return llama.llama_n_ctx(self._context)

    @property
    def n_batch(self) -> int:
        """Most tokens in one decode."""
        return llama.llama_n_batch(self._context)

    @property
    def n_outputs(self) -> int:
        """Most logits rows in one decode."""
        return min(OUTPUT_ROWS, self.n_batch)

    @property
    def n_sequences(self) -> int:
        """How many sequence ids there are."""
        return llama.llama_n_seq_max(self._context)

    # Decoding.

    def decode(self, batch: Batch) -> Logits:
        """Decode one batch; the rows are llama.cpp's own memory, valid until the next call."""
        size, arrays = len(batch), self._arrays
        if not 0 < size <= self.n_batch or batch.n_outputs > self.n_outputs:
            raise DecodeFailed(f"A batch of {size} tokens with {batch.n_outputs} outputs does not fit.")
        arrays["token"][:size] = batch.tokens
        arrays["pos"][:size] = batch.positions
        arrays["logits"][:size] = batch.outputs
        arrays["n_seq_id"][:size] = [len(members) for members in batch.sequences]
        arrays["seq_id"][:size, 0] = [members[0] for members in batch.sequences]
        for row, members in enumerate(batch.sequences):
            if len(members) > 1:
                arrays["seq_id"][row, : len(members)] = members
        self._batch.n_tokens = size
        status = llama.llama_decode(self._context, self._batch)
        if status != 0:
            raise DecodeFailed(
                f"llama_decode returned {status} for {size} tokens: {native_log.explain()}.",
                "Try again; if it repeats, lower `max_sequences` or raise `context_tokens`.",
            )
        if not batch.n_outputs:
            return np.zeros((0, self._n_vocab), dtype=np.float32)
        llama.llama_synchronize(self._context)
        return np.ctypeslib.as_array(llama.llama_get_logits(self._context), (batch.n_outputs, self._n_vocab))

    def copy_sequence(self, source: int, target: int, length: int) -> None:
        """Share the first `length` cells of `source` with `target`."""
        llama.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def clear_sequence(self, sequence: int, start: int = 0) -> None:
        """Drop a sequence's cells from `start` on."""
        llama.llama_memory_seq_rm(self._memory, sequence, start, -1)

    # Adapters.

    def load_adapter(self, adapter: Adapter) -> None:
        """Load a LoRA from its GGUF, having checked bytes, base and kind."""
        if adapter in self._adapters:
            return
        name = adapter.name or str(adapter.path)
        try:
            digest = hashlib.sha256(adapter.path.read_bytes()).hexdigest()
        except OSError as error:
            raise AdapterMismatch(f"Adapter {name} cannot be read: {error}.", "Restore the file.") from error
        if digest != adapter.sha256:
            raise AdapterMismatch(
                f"Adapter {name} has SHA-256 {digest[:12]}…, its manifest says {adapter.sha256[:12]}….",
                "Restore the file, or correct the manifest if the change was meant.",
            )
        handle = llama.llama_adapter_lora_init(self._model, os.fsencode(adapter.path))
        if not handle:
            raise AdapterMismatch(
                f"Adapter {name} does not fit {self._id}: {native_log.explain()}.",
                "Use an adapter that was trained for this model.",
            )
        self._adapters[adapter] = handle
        # llama.cpp keeps the invocation tokens and no more: that the weights act only from there on is up to us.
        count = llama.llama_adapter_get_alora_n_invocation_tokens(handle)
        tokens = llama.llama_adapter_get_alora_invocation_tokens(handle)
        self._invocations[adapter] = tuple(tokens[at] for at in range(count))

    def invocation(self, adapter: Adapter) -> tuple[int, ...]:
        """Invocation tokens of a loaded adapter."""
        return self._invocations[adapter]

    def unload_adapter(self, adapter: Adapter) -> None:
        """Free a loaded LoRA, which must not be in use."""
        llama.llama_adapter_lora_free(self._adapters.pop(adapter))
        del self._invocations[adapter]

    def use_adapter(self, adapter: Adapter | None) -> None:
        """Apply a loaded LoRA, or none, from the next decode on."""
        if adapter is None:
            status = llama.llama_set_adapters_lora(self._context, None, 0, None)
        else:
            handles = (llama.llama_adapter_lora_p_ctypes * 1)(self._adapters[adapter])
            scales = (ctypes.c_float * 1)(adapter.scale)
            status = llama.llama_set_adapters_lora(self._context, handles, 1, scales)
        if status != 0:
            raise DecodeFailed(f"llama.cpp could not apply the adapter: {native_log.explain()}.")

    def close(self) -> None:
        """Free context and model; adapters go with the model."""
        llama.llama_free(self._context)
        super().close()


class LlamaEngine(LocalEngine):
    """The engine over llama.cpp."""

    @classmethod
    def load(
        cls,
        *,
        model_path: Path,
        model_id: str,
        model_sha256: str,
        context_tokens: int = 16384,
        max_sequences: int = 16,
        batch_tokens: int = 512,
        threads: int | None = None,
        flash_attention: bool | None = None,
        kv_type: KvType = "f16",
        queue_limit: int = 256,
    ) -> "LlamaEngine":
        """Load a model and start the engine. Blocks for seconds; raises ModelLoadFailed."""
        backend = LlamaBackend(
            model_path,
            model_id=model_id,
            sha256=model_sha256,
            context_tokens=context_tokens,
            max_sequences=max_sequences,
            batch_tokens=batch_tokens,
            threads=threads,
            flash_attention=flash_attention,
            kv_type=kv_type,
        )
        return cls(backend, max_sequences=max_sequences, queue_limit=queue_limit)


def system_info() -> str:
    """What instruction sets and backends this llama.cpp was built with."""
    return llama.llama_print_system_info().decode()
