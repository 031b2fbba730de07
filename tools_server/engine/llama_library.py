"""The llama.cpp library: the only module that imports llama_cpp."""

import os
from typing import Any

# Threads of llama.cpp wait for each other at barriers, many times a token. Spinning there without end costs up to 200
# times a token's time on a busy machine; sleeping at once costs two thirds of the speed on a quiet one. GNU's OpenMP
# can spin for a moment and then sleep, which costs neither (docs/experiments.md); other runtimes know only the first
# name. Both are read once, when the library loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import llama_cpp as _llama_cpp

from tools_server.engine.native_log import NativeLog

__all__ = ["llama", "native_log"]

# The bindings are ctypes: untyped, and checked by the tests against the real library.
llama: Any = _llama_cpp

native_log = NativeLog(llama)
