"""Write a model's weights in another format, with llama.cpp's own quantiser.

llama.cpp aborts the process on some damaged files, so it reads and writes them in a child process here; a new file
appears under its name only when it is whole.
"""

import ctypes
import logging
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from tools_server.engine.cores import physical_cores
from tools_server.engine.llama_library import llama
from tools_server.engine.native_log import NativeLog
from tools_server.errors import TuningFailed

__all__ = ["FORMATS", "Format", "WeightFacts", "examine", "quantise"]

P = ParamSpec("P")
T = TypeVar("T")

Format = Literal["Q4_0", "Q8_0", "BF16", "F16", "F32"]
FORMATS: tuple[Format, ...] = ("Q4_0", "Q8_0", "BF16", "F16")
"""Those worth serving. F32 is for proofs: exact, and slower than any of them."""

_FILE_TYPES: dict[Format, int] = {
    "Q4_0": llama.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q8_0": llama.LLAMA_FTYPE_MOSTLY_Q8_0,
    "BF16": llama.LLAMA_FTYPE_MOSTLY_BF16,
    "F16": llama.LLAMA_FTYPE_MOSTLY_F16,
    "F32": llama.LLAMA_FTYPE_ALL_F32,
}

_BITS: dict[Format, float] = {"Q4_0": 6.0, "Q8_0": 8.5, "BF16": 16.0, "F16": 16.0, "F32": 32.0}
"""Bits a weight, at most. Q4_0 itself has 4.5; the finer output layer and embedding are a fifth of a small model."""

_SPARE_DISK = 64 << 20
"""Bytes that stay free beside the new file: vocabulary, and what others write meanwhile."""


@dataclass(frozen=True, slots=True)
class WeightFacts:
    """What a GGUF file holds. `format` is named as llama.cpp does (`Q4_K_M`), `kv_values` are per token of context."""

    parameters: int
    format: str
    kv_values: int

    def bytes_as(self, to: Format) -> int:
        """The size of the weights in another format, at most."""
        return int(self.parameters * _BITS[to] / 8)


def examine(source: Path) -> WeightFacts:
    """Read the facts of a GGUF file without loading its weights.

    Raises:
        TuningFailed: llama.cpp cannot read it.
    """
    found = _in_child(f"reading {source.name}", _examine, source)
    if isinstance(found, str):
        raise TuningFailed(f"llama.cpp cannot read {source}: {found}.", "Check it: `tools-server models verify`.")
    return found


def quantise(source: Path, target: Path, to: Format) -> Path:
    """Write the weights of `source` to `target` in another format. Blocks for seconds to minutes; gives `target`.

    Weights that are quantised already are taken as they are: a format of more bits changes them by no more than its
    own rounding, one of fewer bits loses what it cannot hold. Q4_0 keeps the output layer, and the embedding that
    stands in for it, in a finer format, as llama.cpp does by itself.

    Raises:
        TuningFailed: disk space is short, or llama.cpp could not read the file or write this format.
    """
    needed = examine(source).bytes_as(to) + _SPARE_DISK
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise TuningFailed(
            f"{to} weights of {source.name} need {needed / 1e6:,.0f} MB of disk, and {target.parent} has "
            f"{free / 1e6:,.0f} MB left.",
            "Free some, or set `cache_dir` to a larger disk.",
        )
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        failure = _in_child(f"writing {source.name} as {to}", _write, source, aside, to)
        if failure is not None:
            raise TuningFailed(
                f"llama.cpp could not write {source.name} as {to}: {failure}.",
                "Leave the format out: `tools-server models tune --format` names those to try.",
            )
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return target


def _in_child(what: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    # Not forked: a child that inherits llama.cpp's threads and locks may hang.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise TuningFailed(
                f"llama.cpp crashed while {what}.",
                "The file may be damaged: `tools-server models verify` tells.",
            ) from error


def _examine(source: Path) -> WeightFacts | str:
    """Run in the child."""
    log = _listen()
    params = llama.llama_model_default_params()
    params.vocab_only = True
    model = llama.llama_model_load_from_file(os.fsencode(source), params)
    if not model:
        return log.explain()
    architecture = _metadata(model, "general.architecture")

    def number(key: str, default: int) -> int:
        return int(_metadata(model, f"{architecture}.{key}") or default)

    heads = number("attention.head_count", 1)
    width = number("attention.key_length", number("embedding_length", 0) // heads)
    values = 2 * number("block_count", 0) * number("attention.head_count_kv", heads) * width
    return WeightFacts(llama.llama_model_n_params(model), _format_name(_metadata(model, "general.file_type")), values)


def _metadata(model: Any, key: str) -> str:
    buffer = ctypes.create_string_buffer(256)
    length = llama.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8") if length >= 0 else ""


def _write(source: Path, target: Path, to: Format) -> str | None:
    """Run in the child; gives what llama.cpp said when it failed."""
    log = _listen()
    params = llama.llama_model_quantize_default_params()
    params.ftype = _FILE_TYPES[to]
    params.allow_requantize = True
    params.nthread = physical_cores()
    status = llama.llama_model_quantize(os.fsencode(source), os.fsencode(target), params)
    return None if status == 0 else log.explain()


def _listen() -> NativeLog:
    os.environ["GGML_NO_BACKTRACE"] = "1"  # a crash is told in one line by the parent, not in pages by a debugger
    logging.getLogger("tools_server.llama_cpp").setLevel(logging.CRITICAL)  # and so is everything else it says
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once; the parent cleans up
    log = NativeLog(llama)
    log.install()
    return log


def _format_name(file_type: str) -> str:
    names: dict[str, str] = {
        str(getattr(llama, name)): name.removeprefix("LLAMA_FTYPE_MOSTLY_").removeprefix("LLAMA_FTYPE_ALL_")
        for name in dir(llama)
        if name.startswith(("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_"))
    }
    return names.get(file_type, "unknown")
