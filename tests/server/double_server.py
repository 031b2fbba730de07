"""A server process over the real catalog and a runner that does what `text` says. Usage: double_server.py SKILLS_DIR

Every call says on stderr when it starts and how it ends, so that a test can see what the wire does not show.
"""

import ctypes
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from tests.server.doubles import RESULT
from tools_server.calls.types import Progress, SkillResult
from tools_server.server.build import build_server
from tools_server.server.descriptors import claim_stdio
from tools_server.server.stdio import Leaving, leave, serve
from tools_server.skills.catalog import Catalog
from tools_server.skills.types import Skill
from tools_server.skills.watch import watch


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class ObedientRuns:
    async def run(self, skill: Skill, arguments: Mapping[str, Any], *, progress: Progress | None = None) -> SkillResult:
        text = arguments.get("text")
        say(f"call {str(text)[:40]}")
        try:
            match text:
                case "sleep":
                    await anyio.sleep_forever()
                case "block the loop":
                    time.sleep(3600)  # noqa: ASYNC251 - what a native library that keeps the GIL would do
                case "block a thread":
                    await anyio.to_thread.run_sync(time.sleep, 3600)
                case "print":
                    print("python print", flush=True)
                    os.write(1, b"native print\n")
                    ctypes.CDLL(None).puts(b"libc puts")
                    ctypes.CDLL(None).fflush(None)
                    os.system("echo child print")  # noqa: ASYNC221
                case "fill stderr":
                    say("x" * 10_000_000)
                case "read stdin":
                    return replace(RESULT, data={"label": repr(sys.stdin.read())})
                case "bug":
                    _ = {}["secret"]
                case "progress":
                    assert progress is not None
                    for done in range(3):
                        await progress(done, 3, f"step {done}")
        except BaseException as error:
            say(f"ended {type(error).__name__}")
            raise
        return RESULT


async def main() -> None:
    catalog = Catalog([Path(sys.argv[1])])

    async def closed() -> None:
        say("engine closed")

    await serve(
        build_server(catalog, ObedientRuns(), model="tiny"),
        descriptors,
        start_engine=lambda: say("engine started"),
        watch=lambda: watch(catalog),
        aclose=closed,
        on_end=leaving.begin,
    )


if __name__ == "__main__":
    descriptors = claim_stdio()
    leaving = Leaving()
    anyio.run(main)
    say("left in order")
    leave()
