"""What every command prints through: answers to stdout, everything else to stderr.

Text that came from files, models or users is never read as rich markup, and never wrapped or cut when the output
is a pipe.
"""

import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools_server.errors import ToolsServerError
from tools_server.surfaces import surface_of

__all__ = ["err", "fail", "log_to_stderr", "note", "out", "print_data", "print_error", "print_json", "print_table"]

out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
err = Console(markup=False, emoji=False, highlight=False, soft_wrap=True, stderr=True)


def print_json(value: object) -> None:
    """Print one JSON document to stdout, indented, with non-ASCII text as it is."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_error(message: str, hint: str = "") -> None:
    """Print `error: message` and `→ hint` to stderr."""
    err.print(Text.assemble(("error: ", "bold red"), message))
    if hint:
        err.print(Text.assemble(("→ ", "bold"), hint))


def fail(error: ToolsServerError) -> int:
    """Print an error to stderr and give the exit code that belongs to it."""
    print_error(error.message, error.hint)
    return surface_of(error).exit_code


def note(message: str) -> None:
    """Print one line about what is going on to stderr."""
    err.print(Text(message, style="dim"))


def log_to_stderr(level: str, *, origin: str) -> None:
    """Log as the setting `log_level` says; a command that a person runs says only warnings unless asked for more."""
    if origin == "defaults":
        level = "warning"
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format="%(levelname)s %(name)s: %(message)s")
    if level == "warning":  # llama.cpp warns about the model file at every load, which says nothing about this call
        logging.getLogger("tools_server.llama_cpp").setLevel(logging.ERROR)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, title: str | None = None) -> None:
    """Print a table to stdout; cells fold instead of being cut."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    out.print(table, soft_wrap=False)


def print_data(value: Any, *, indent: int = 0) -> None:
    """Print one typed answer for people: `key: value` lines, lists as dashes, nested values indented."""
    for line in _lines(value, indent):
        out.print(line)


def _lines(value: Any, indent: int) -> Iterable[Text]:
    pad = "  " * indent
    if isinstance(value, Mapping):
        items = [(f"{key}:", item) for key, item in cast("Mapping[str, Any]", value).items()]
    elif isinstance(value, list):
        items = [("-", item) for item in cast("list[Any]", value)]
    else:
        yield Text(f"{pad}{_scalar(value)}")
        return
    for label, item in items:
        if isinstance(item, Mapping | list) and item:
            yield Text.assemble(pad, (label, "bold"))
            yield from _lines(item, indent + 1)
        else:
            yield Text.assemble(pad, (label, "bold"), " ", _scalar(item))


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
