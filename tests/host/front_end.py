"""A front end without MCP: asks the shared host the same few things until stdin ends. Usage: front_end.py SETTINGS

Prints one JSON line for each call that ended, then one with the heavy modules that it has imported.
"""

import json
import sys
from itertools import count
from pathlib import Path

import anyio
import anyio.to_thread

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.host.places import generation, link_to
from tools_server.errors import ToolsServerError
from tools_server.host.client import HostedEngine
from tools_server.settings import Settings

HEAVY = {"llama_cpp", "llguidance", "numpy", "outlines", "outlines_core", "tools_server.engine.local"}
AT_ONCE = 3


def say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


async def main() -> None:
    link = link_to(Settings.model_validate_json(sys.argv[1]))
    engine = await anyio.to_thread.run_sync(HostedEngine.connect, link)
    say(host=(await anyio.to_thread.run_sync(link.ensure)).info.pid)
    numbers = count()

    async def keep_calling() -> None:
        for number in numbers:
            text = f"slow letter {number % 7}"
            try:
                answer = await engine.generate(generation(text))
                say(call=number, text=text, answer=answer.text)
            except ToolsServerError as error:
                say(call=number, text=text, error=error.code)

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(keep_calling)
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        tasks.cancel_scope.cancel()
    await engine.aclose()
    say(heavy=sorted(HEAVY & sys.modules.keys()))


if __name__ == "__main__":
    anyio.run(main)
