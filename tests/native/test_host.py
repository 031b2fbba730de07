"""Two sessions of `tools-server serve` share one host with the real model, and answer as one that has its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil
from mcp import Client, StdioServerParameters

from tests.host.conftest import folder  # noqa: F401 - a fixture
from tests.native.conftest import MODEL
from tools_server.app import host_link
from tools_server.host.lifecycle import find
from tools_server.models import ModelStore
from tools_server.settings import Settings

LIMIT_S = 180
TEXTS = ["The invoice was charged twice.", "My parcel never arrived.", "I cannot log in any more.", "Thank you all!"]
CALLS: list[tuple[str, dict[str, Any]]] = [
    *(("classify", {"text": text, "labels": ["billing", "delivery", "account", "praise"]}) for text in TEXTS),
    (
        "extract",
        {
            "text": "Order A-1042, 54.90 EUR.",
            "fields": {"type": "object", "properties": {"order": {"type": "string", "maxLength": 8}}},
        },
    ),
]
HEAVY = ("llama_cpp", "llguidance", "numpy", "ggml", "libllama")


@asynccontextmanager
async def session(folder: Path, *more: str) -> AsyncIterator[Client]:  # noqa: F811
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "tools_server", "serve", "--model", MODEL, *more],
        env={**os.environ, "TOOLS_SERVER_RUNTIME_DIR": str(folder)},
    )
    async with Client(server) as client:
        yield client


async def answers(client: Client) -> list[Any]:
    """One after the other: what shares a batch, or has a cached prefix, may differ in the last digits."""
    results = [await client.call_tool(name, arguments) for name, arguments in CALLS]
    assert not any(result.is_error for result in results), results
    return [result.structured_content for result in results]


async def test_two_sessions_share_one_host_and_answer_as_one_with_its_own_model(
    weights: Path,
    folder: Path,  # noqa: F811
):
    settings = Settings(model=MODEL, runtime_dir=folder)
    link = host_link(settings, ModelStore.from_settings(settings))
    with anyio.fail_after(LIMIT_S):
        async with session(folder, "--in-process") as alone:
            cold, warm = await answers(alone), await answers(alone)
        assert find(link.paths) is None, "no host is started for it"
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(session(folder))
            second = await stack.enter_async_context(session(folder))
            assert await answers(first) == cold
            assert await answers(second) == warm, "it finds the prefixes that the first has left"
            info = find(link.paths)
            assert info is not None
            libraries = {
                Path(mapped.path).name for child in psutil.Process().children() for mapped in child.memory_maps()
            }
            assert not [name for name in libraries if any(heavy in name for heavy in HEAVY)], "front ends stay light"

            os.kill(info.pid, signal.SIGKILL)
            assert await answers(first) == cold
            assert await answers(second) == warm
            successor = find(link.paths)
            assert successor is not None
            assert successor.pid != info.pid
        still = find(link.paths)
        assert still is not None, "it outlives its sessions"
        assert still.pid == successor.pid


def test_the_command_line_uses_the_host_and_reports_it(weights: Path, folder: Path):  # noqa: F811
    def run(*words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "tools_server", *words],
            env={**os.environ, "TOOLS_SERVER_RUNTIME_DIR": str(folder)},
            input="The invoice was charged twice.",
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "--json" in words else done.stderr

    answer = run("run", "classify", "-", "--model", MODEL, "--arg", 'labels=["billing","delivery"]', "--json")
    assert answer["label"] in ("billing", "delivery")
    (host,) = run("host", "status", "--json")["hosts"]
    assert host["model"] == MODEL
    checks = {check["name"]: check for check in run("doctor", "--model", MODEL, "--json")["checks"]}
    assert f"pid {host['pid']}" in checks["host"]["found"]
    assert checks["generation"]["state"] == "ok"
    assert "ended" in run("host", "stop", MODEL)
