"""The llama.cpp library: the only module that imports llama_cpp."""

import os
from functools import cache
from typing import Any

# Threads of llama.cpp wait for each other at barriers, many times a token. Spinning there without end costs up to 200
# times a token's time on a busy machine; sleeping at once costs two thirds of the speed on a quiet one. GNU's OpenMP
# can spin for a moment and then sleep, which costs neither (docs/experiments.md); other runtimes know only the first
# name. Both are read once, when the library loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import llama_cpp as _llama_cpp

from tools_server.engine.native_log import NativeLog

__all__ = ["built_with_amx", "llama", "native_log"]

# The bindings are ctypes: untyped, and checked by the tests against the real library.
llama: Any = _llama_cpp

native_log = NativeLog(llama)


@cache
def built_with_amx() -> bool:
    """Whether the library holds kernels for Intel's matrix tiles (AMX), as one compiled on such a CPU does by itself.

    They cannot be relied on: GCC drops most of the tiles' configuration as stores that nothing reads, and the first
    prompt ends the process with an illegal instruction (GCC 12, llama.cpp of llama-cpp-python 0.3.36; see llama.cpp's
    pull request 26954). They act on nothing but weights that were rearranged for them, so where they are, weights stay
    as they lie in the file: a quarter slower for the shortest prompts, faster for all others (docs/experiments.md).
    """
    return b"AMX_INT8 = 1" in llama.llama_print_system_info()
