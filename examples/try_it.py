"""What `make try` runs: an MCP client starts the server over stdio and calls three skills on the sample files.

It is an ordinary client; an agent does the same. Nothing but the server's own tools is used.
"""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.status import Status
from rich.text import Text

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "examples" / "samples"
TINY = "smollm2-135m-instruct"
INVOICE_FIELDS = {
    "type": "object",
    "properties": {
        "seller": {"type": "string"},
        "invoice_number": {"type": "string"},
        "total": {"type": "number"},
        "currency": {"type": "string"},
        "payable_by": {"type": "string"},
    },
    "required": ["seller", "invoice_number", "total", "currency", "payable_by"],
}
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "summarise",
        "two files, named by path",
        {"paths": ["meeting-notes.md", "support-thread.txt"]},  # below an allowed folder; absolute ones do as well
    ),
    (
        "classify",
        "six tickets, labels of our own",
        {
            "items": (SAMPLES / "tickets.txt").read_text("utf-8").splitlines(),
            "labels": ["billing", "bug", "feature request", "praise"],
        },
    ),
    (
        "extract",
        "an invoice, fields of our own",
        {"text": (SAMPLES / "invoice.txt").read_text("utf-8"), "fields": INVOICE_FIELDS},
    ),
]
JSON_COLOURS = JSONHighlighter()
console = Console(highlight=False, soft_wrap=True)


async def main() -> int:
    """Make the calls; 1 when one of them failed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", default="qwen2.5-coder-1.5b-instruct")
    model = arguments.parse_args().model
    command = ["serve", "--model", model, "--allow-path", "examples/samples"]
    start = [*("-m", "tools_server"), *command, "--log-level", "error"]
    # The SDK's client gives a server only HOME, PATH and the like; settings of this shell should count as well.
    env = {name: value for name, value in os.environ.items() if name.startswith(("TOOLS_SERVER_", "XDG_"))}
    failed = False

    console.print(Text(f"$ tools-server {shlex.join(command)}", style="dim"))
    begin = time.perf_counter()
    if model == TINY:
        console.print(Text("(this model is tiny: it shows the form of the answers, not how good they can be)", "dim"))
    async with Client(StdioServerParameters(command=sys.executable, args=start, env=env, cwd=ROOT)) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        console.print(f"connected in {time.perf_counter() - begin:.1f} s; tools: {', '.join(tools)}")
        for skill, what, call in CALLS:
            failed = await show(client, skill, what, call) or failed
    return int(failed)


async def show(client: Client, skill: str, what: str, call: dict[str, Any]) -> bool:
    """Make one call and print its typed answer with its timing; tell whether it failed."""
    begin = time.perf_counter()
    with console.status(f"{skill} …") as status, anyio.fail_after(600):
        result = await client.call_tool(skill, call, progress_callback=progress_of(status, skill))
    seconds = time.perf_counter() - begin
    console.print()
    console.print(Text.assemble((skill, "bold"), f": {what}, ", (f"{seconds:.2f} s", "bold")))
    if result.is_error:
        console.print(Text("".join(getattr(block, "text", "") for block in result.content), "red"))
        return True
    for line in lines_of(result.structured_content or {}):
        console.print(JSON_COLOURS(line))
    if cost := cost_of(result):
        console.print(Text(cost, style="dim"))
    return False


def lines_of(answer: Mapping[str, Any]) -> Iterator[str]:
    """Spell an answer as JSON: a line per result where there are several short ones, else a line per property."""
    for result in answer.get("results", [answer]):
        line = json.dumps(result, ensure_ascii=False)
        if "results" in answer and len(line) <= 200:
            yield line
        else:
            yield from json.dumps(result, indent=2, ensure_ascii=False).splitlines()


def progress_of(status: Status, skill: str) -> Any:
    """Make a callback that shows the server's progress messages (loading the model, the input that is done)."""

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        status.update(f"{skill}: {message or '…'}")

    return progress


def cost_of(result: CallToolResult) -> str:
    """Say what the local model did for this call, as the server counted it."""
    meta: Mapping[str, Any] = result.meta or {}
    usage = meta.get("tools-server/usage")
    if not usage:
        return ""
    cached = f" ({usage['cached']} of them from the prefix cache)" if usage["cached"] else ""
    written = f", wrote {usage['completion']}" if usage["completion"] else ""
    return f"the local model read {usage['prompt']} tokens{cached}{written}"


if __name__ == "__main__":
    sys.exit(anyio.run(main))
