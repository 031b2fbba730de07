"""`tools-server verify`: hold an answer against its source, without any model."""

import json
import sys
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.text import Text

from tools_server.calls.verify import as_data, check_length
from tools_server.cli import output
from tools_server.errors import InputUnreadable, InvalidArguments
from tools_server.evidence.verify import Verification, verify

__all__ = ["app"]

EXAMPLES = """\
Examples:

  tools-server run extract mail.txt --arg fields=@order.json --json | tools-server verify - mail.txt

  tools-server verify summary.json report.txt --json
"""

UNSUPPORTED = 1

app = typer.Typer(add_completion=False)


@app.command("verify", epilog=EXAMPLES)
def verify_answer(
    answer: Annotated[str, typer.Argument(metavar="ANSWER", help="File with the answer as JSON, or - for stdin.")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The text that it is about.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
) -> None:
    """Tell what of an answer stands in its source, where, and what does not. Exit code 1 when something is missing.

    Values are looked up word for word, then but for case and white space, then as numbers and dates. Of prose, numbers,
    dates and names are looked up. No model takes part.
    """
    text = _read(source)
    check_length(text)
    given = _answer(answer)
    done = verify(given, text)
    if as_json:
        output.print_json(as_data(done, text))
    else:
        _show(done, text)
    if not done.supported:
        raise typer.Exit(UNSUPPORTED)


def _answer(name: str) -> object:
    written = sys.stdin.read() if name == "-" else _read(Path(name))
    try:
        value: object = json.loads(written)
    except json.JSONDecodeError as error:
        raise InvalidArguments(
            f"{name!r} does not hold JSON: {error}.", "Give the answer as `tools-server run --json` prints it."
        ) from error
    if isinstance(value, dict) and "results" in value:
        raise InvalidArguments(
            f"{name!r} has `results`, which are about several texts.", "Verify one entry at a time, with its text."
        )
    return cast("object", value)


def _read(path: Path) -> str:
    try:
        return path.expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputUnreadable(f"Cannot read {str(path)!r}: {error}.", "Give the path of a UTF-8 text file.") from error


def _show(done: Verification, text: str) -> None:
    rows: list[tuple[str | Text, ...]] = [
        (each.path, each.value, Text("missing", style="red"), each.kind, "") for each in done.missing
    ]
    for finding in done.found:
        place = finding.place
        where = f"{place.start}-{place.end}" + ("" if place.how == "exact" else f": {text[place.start : place.end]}")
        rows.append((finding.path, finding.value, Text("found", style="green"), place.how, where))
    output.print_table(("path", "value", "", "how", "where"), rows)
    missing = len(done.missing)
    output.note(f"{done.checked} looked up, {missing} missing" if missing else f"{done.checked} looked up, all found")
