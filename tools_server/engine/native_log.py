"""llama.cpp's own log lines, sent to `logging`: nothing native ever writes to a file descriptor."""

import ctypes
import logging
from collections import deque
from typing import Any

_log = logging.getLogger("tools_server.llama_cpp")

_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR}
# What llama.cpp calls "info" is a page per load: debug here. Its 5 means "continue the last line".


_HARMLESS = (
    "llama_context: n_ctx_seq (",
    "load: control-looking token",
    "llama_adapter_lora_init_impl: lora for '",
)
"""Warnings that mean nothing here: the KV cache is one pool for many sequences, so it may well be larger than what
the model was trained on, to which every single sequence is held; a token's type is overridden as it should be; and an
adapter's matrices are not copied into another layout as the base's are, which is told for each of hundreds."""


class NativeLog:
    """Sends native log lines to `logging` and keeps the latest errors, which explain a failed load."""

    def __init__(self, llama: Any) -> None:
        self._llama = llama
        self.errors: deque[str] = deque(maxlen=8)
        self._level = logging.DEBUG
        self._line = ""
        # The C side keeps the pointer: it must live as long as the library.
        self.callback = llama.llama_log_callback(self._receive)

    def install(self) -> None:
        """Become the place for all native log lines of the process."""
        self._llama.llama_log_set(self.callback, ctypes.c_void_p(0))

    def _receive(self, level: int, text: bytes, _data: Any) -> None:
        self._level = _LEVELS.get(level, self._level)
        self._line += text.decode("utf-8", errors="replace")
        while "\n" in self._line:
            line, self._line = self._line.split("\n", 1)
            if self._level >= logging.ERROR:
                self.errors.append(line)
            if line.strip():
                _log.log(logging.DEBUG if line.startswith(_HARMLESS) else self._level, "%s", line)

    def explain(self) -> str:
        """The latest errors, which are then forgotten."""
        text = "; ".join(self.errors)
        self.errors.clear()
        return text or "llama.cpp gave no reason"
