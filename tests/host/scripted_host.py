"""An engine host over a scripted engine, started as the real one is, with a few ways to go wrong.

What a prompt says happens in the engine's thread, where llama.cpp would be: `slow` holds each decode for a while,
`die` ends the process as a crash does, `break` is a bug.
"""

import argparse
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # a host runs in `/`

from tests.host.places import KILL, paths_of, wanted_by
from tools_server.engine.scripted import ScriptedBackend, ScriptedEngine, hashed
from tools_server.engine.types import Adapter, Engine
from tools_server.errors import ModelLoadFailed
from tools_server.host import info, server
from tools_server.host.launch import tell_listening
from tools_server.host.process import run_host
from tools_server.settings import Settings


def die() -> None:
    """As in a crash: nothing is said and nothing tidied up."""
    os.kill(os.getpid(), KILL)


def script(text: str, adapter: Adapter | None) -> str:
    said = text.rpartition("assistant\n")[2]
    if "slow" in text:
        threading.Event().wait(0.02)
    if "die" in text:
        die()
    if "break" in text:
        raise ValueError("a bug in the engine")
    return hashed(text, adapter) if len(said) < 8 else ""


def engine(settings: Settings) -> ScriptedEngine:
    backend = ScriptedBackend(script, context_tokens=settings.context_tokens)
    return ScriptedEngine(backend=backend, max_sequences=settings.max_sequences, queue_limit=settings.queue_limit)


def main() -> None:
    logging.basicConfig(stream=sys.stderr, level="INFO", format="%(asctime)s %(name)s %(message)s")
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--settings", required=True)
    arguments.add_argument("--ready-fd", type=int, required=True)
    arguments.add_argument("--protocol", type=int, default=info.PROTOCOL)
    arguments.add_argument("--load", choices=["well", "failing", "crashing", "forever"], default="well")
    given = arguments.parse_args()
    server.PROTOCOL = given.protocol  # type: ignore[misc]
    settings = Settings.model_validate_json(given.settings)

    def load() -> Engine:
        match given.load:
            case "failing":
                raise ModelLoadFailed("The weights are bent.", "Straighten them.")
            case "crashing":
                die()
            case "forever":
                threading.Event().wait()
        return engine(settings)

    def listening() -> None:
        tell_listening(given.ready_fd)

    options: dict[str, Any] = {"idle_s": settings.host_idle_s, "listening": listening}
    run_host(paths_of(settings), wanted_by(settings), load, **options)
    sys.stderr.write(f"host {os.getpid()} ended\n")
    sys.stderr.flush()
    os._exit(0)  # a load that never ends is in a thread


if __name__ == "__main__":
    main()
