"""The real application over a scripted engine. Usage: scripted_server.py CONFIG_DIR ANSWER [ALLOWED_FOLDER]

The engine says ANSWER to every prompt. `slow` in a prompt makes the engine hold that decode for a while, so that a
test can act in the middle of it; ANSWER `no model` serves without weights, as on a new machine.
"""

import sys
import threading
from pathlib import Path

import anyio

from tools_server.app import App, build_app
from tools_server.engine.types import Engine
from tools_server.server.descriptors import claim_stdio
from tools_server.server.stdio import Leaving, leave
from tools_server.settings import Settings

HEAVY = {"huggingface_hub", "llama_cpp", "llguidance", "numba", "numpy", "outlines", "outlines_core", "pip", "torch"}


def scripted_engine() -> Engine:
    # Nobody asks for the engine before the first answer has left, so this tells what was imported until then.
    sys.stderr.write(f"heavy modules at the first answer: {sorted(HEAVY & sys.modules.keys())}\n")
    sys.stderr.flush()
    from tools_server.engine.scripted import ScriptedBackend, ScriptedEngine, saying  # noqa: PLC0415

    answer = saying(sys.argv[2])

    def script(text: str, adapter: object) -> str:
        if "slow" in text:
            sys.stderr.write("decoding slowly\n")
            sys.stderr.flush()
            threading.Event().wait(0.2)  # in the engine's thread, where llama_decode would be
        return answer(text, None)

    return ScriptedEngine(backend=ScriptedBackend(script, context_tokens=8192))


def application() -> App:
    config_dir = Path(sys.argv[1])
    settings = Settings(
        config_dir=config_dir, cache_dir=config_dir / "cache", allow_paths=tuple(Path(path) for path in sys.argv[3:])
    )
    return build_app(settings, engine_factory=None if sys.argv[2] == "no model" else scripted_engine)


async def main() -> None:
    await app.serve_stdio(descriptors, on_end=leaving.begin)


if __name__ == "__main__":
    descriptors = claim_stdio()
    leaving = Leaving()
    app = application()
    anyio.run(main)
    leave()
