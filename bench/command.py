"""What every command of `bench` ends with."""

import sys

import typer

from tools_server.cli import output
from tools_server.errors import ToolsServerError

__all__ = ["run"]


def run(app: typer.Typer, name: str) -> None:
    """Run; a foreseen failure is one line and an exit code, as everywhere."""
    try:
        app(prog_name=name)
    except ToolsServerError as error:
        sys.exit(output.fail(error))
