"""The command line. One file per command group; a group is imported only when it is the one that runs.

Exit codes: 0 done · 1 this call failed · 2 usage, settings or skill · 3 model · 4 engine · 70 a bug · 130 Ctrl-C.
"""

import importlib
import logging
import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from tools_server import __version__
from tools_server.cli import output
from tools_server.errors import ToolsServerError

__all__ = ["main"]

COMMANDS = {
    "serve": "Serve the skills as MCP tools over stdio.",
    "run": "Run one skill on files or on standard input.",
    "verify": "Tell what of an answer stands in its source, where, and what does not.",
    "skills": "List, show, check, create and evaluate skill folders, and manage their adapters.",
    "train": "Train an adapter for a skill on this machine.",
    "data": "List, show, check and download data for evaluation and training.",
    "models": "List, download, verify and add models.",
    "host": "Look at the engine host that all sessions share, and end it.",
    "doctor": "Check model, skills, threads and memory, and say what to do.",
}
"""Name of each command and its line in `--help`; the module `tools_server.cli.<name>` holds it as `app`."""

EXAMPLES = """\
Examples:
  tools-server doctor
  tools-server run summarise notes.md
  tools-server run classify mail.txt --arg 'labels=["billing","bug"]'
  claude mcp add tools-server -- tools-server serve --allow-path ~/project
"""

INTERNAL_ERROR = 70
INTERRUPTED = 130


class _LazyGroup(TyperGroup):
    """Knows each command's name and help line; imports its module only to run it, so that start-up stays light."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        module = importlib.import_module(f"tools_server.cli.{name}")
        return name, typer.main.get_command(module.app), rest


app = typer.Typer(
    name="tools-server",
    cls=_LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    epilog=EXAMPLES,
    pretty_exceptions_enable=False,
)


def _placeholder() -> NoReturn:
    raise NotImplementedError  # _LazyGroup puts the real command in its place


for _name, _help in COMMANDS.items():
    app.command(_name, help=_help)(_placeholder)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tools-server {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run one small open model on this machine and offer skill folders as typed tools to agents."""


def main() -> NoReturn:
    """Run the command line and exit: every failure ends in one readable line on stderr and in an exit code."""
    try:
        app(prog_name="tools-server")
    except ToolsServerError as error:
        sys.exit(output.fail(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:  # a bug: say so in one line, and keep the traceback for who asks for it
        if logging.getLogger("tools_server").isEnabledFor(logging.DEBUG):
            traceback.print_exc()
        output.print_error(
            f"tools-server failed in an unforeseen way: {type(error).__name__}: {error}",
            "This is a bug. Run it again with TOOLS_SERVER_LOG_LEVEL=debug for the traceback.",
        )
        sys.exit(INTERNAL_ERROR)
    sys.exit(0)
