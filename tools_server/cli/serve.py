"""`tools-server serve`: the skills as MCP tools over stdin and stdout."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import anyio
import typer

from tools_server.app import build_app
from tools_server.cli import INTERNAL_ERROR, output
from tools_server.server.descriptors import claim_stdio
from tools_server.server.stdio import Leaving, leave
from tools_server.settings import load_settings

__all__ = ["app"]

EXAMPLES = """\
Examples:
  tools-server serve --allow-path ~/project
  tools-server serve --model smollm2-135m-instruct --skills-dir ./skills --log-level debug
  claude mcp add tools-server -- tools-server serve --allow-path ~/project
"""

app = typer.Typer(add_completion=False)


@app.command(epilog=EXAMPLES)
def serve(
    *,
    model: Annotated[
        str | None, typer.Option("--model", help="Model to serve; default: that of your settings.")
    ] = None,
    skills_dir: Annotated[
        list[Path] | None, typer.Option("--skills-dir", help="Further folder of skill folders; may be repeated.")
    ] = None,
    allow_path: Annotated[
        list[Path] | None,
        typer.Option("--allow-path", help="Folder whose files agents may name in `paths`; may be repeated."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")] = None,
    log_level: Annotated[
        str | None, typer.Option("--log-level", help="What goes to stderr: debug, info, warning or error.")
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Load the model here instead of sharing the engine host's.")
    ] = False,
    no_watch: Annotated[bool, typer.Option("--no-watch", help="Do not reload skill folders when they change.")] = False,
) -> None:
    """Serve the skills as MCP tools over stdin and stdout. An MCP client starts this; logs go to stderr."""
    by_hand = sys.stdin.isatty()
    descriptors = claim_stdio()
    settings = load_settings(
        {
            "model": model,
            "skills_dirs": skills_dir or None,
            "allow_paths": allow_path or None,
            "log_level": log_level,
            "in_process": True if in_process else None,
            "watch": False if no_watch else None,
        },
        config=config,
    )
    logging.basicConfig(
        stream=sys.stderr, level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if settings.log_level != "debug":  # it tells of every request
        logging.getLogger("httpx2").setLevel(logging.WARNING)
    if by_hand:
        output.note("Waiting for an MCP client on standard input; Ctrl-C ends. An agent starts this command itself.")
    leaving = Leaving()
    application = build_app(settings)

    async def run() -> None:
        await application.serve_stdio(descriptors, on_end=leaving.begin)

    try:
        anyio.run(run)
    except Exception:  # not left to the interpreter, which would wait for the thread that reads stdin
        logging.getLogger(__name__).critical("serving was ended by a bug", exc_info=True)
        leave(INTERNAL_ERROR)
    leave()
