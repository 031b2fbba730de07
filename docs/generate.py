"""Write the pages that are made of code: errors.md, settings.md and cli.md.

`make docs` writes them; with `--check` nothing is written, and a page that differs is an error. A test does the same.
"""

import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from typer.testing import CliRunner

from tools_server import cli, errors
from tools_server.errors import ToolsServerError
from tools_server.settings import ENV_PREFIX, PATH_LISTS, Settings
from tools_server.surfaces import surface_of

DOCS = Path(__file__).parent
NOTICE = "<!-- Written by docs/generate.py (`make docs`). Change the code, not this page. -->"


ERRORS = """\
{notice}

# Errors

Everything that goes wrong on purpose is a `ToolsServerError` (`tools_server/errors.py`). It carries a `message`, which
says what failed and names the offending value, and a `hint`, which says the next move.

Over MCP almost all of them are a tool result with `isError: true` and a text, so that the agent can read what to do
differently. A tool that does not exist is a protocol error. A call over several inputs does not fail because one of
them does: that input has `{{"error": {{"code", "message"}}}}` in its place.

On the command line the message goes to stderr, and the exit code says which kind it was. Two more exit codes belong to
no class: 70 for a bug in tools-server, 130 for Ctrl-C.

| code | class | when | over MCP | exit |
|---|---|---|---|---|
{rows}
"""

SETTINGS = """\
{notice}

# Settings

Flags beat the environment, which beats `tools-server.toml`, which beats the defaults. An unknown key is an error that
names the nearest known one. `tools-server doctor` shows each value and where it came from.

The file lies in the user's config folder (`~/.config/tools-server/tools-server.toml` on Linux), or where
`TOOLS_SERVER_CONFIG` points. Relative paths in it are relative to it. A file in the current directory is not read. In
the environment, several paths are separated as in `PATH`.

| key | environment | default | meaning |
|---|---|---|---|
{rows}

```toml
# ~/.config/tools-server/tools-server.toml
model = "smollm2-135m-instruct"
allow_paths = ["~/projects"]
threads = 4
```
"""


def main() -> None:
    """Write the pages, or with `--check` complain about those that are out of date."""
    stale = {name: text for name, text in pages().items() if not _is_current(DOCS / name, text)}
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"Out of date: {', '.join(f'docs/{name}' for name in stale)}. Run `make docs`.")
        return
    for name, text in stale.items():
        (DOCS / name).write_text(text, "utf-8")
        print(f"docs/{name} written")


def pages() -> dict[str, str]:
    """Each generated page by file name, as it must be."""
    return {"errors.md": errors_page(), "settings.md": settings_page(), "cli.md": cli_page()}


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text("utf-8") == text


def errors_page() -> str:
    """Give docs/errors.md: the error tree, parents before children."""
    rows = [
        f"| `{kind.code}` | `{kind.__name__}` | {inspect.getdoc(kind)} | {_over_mcp(kind)} "
        f"| {surface_of(kind).exit_code} |"
        for kind in _below(ToolsServerError)
    ]
    return ERRORS.format(notice=NOTICE, rows="\n".join(rows))


def _below(kind: type[ToolsServerError]) -> Iterator[type[ToolsServerError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from _below(child)


def _over_mcp(kind: type[ToolsServerError]) -> str:
    return "tool result, `isError`" if surface_of(kind).mcp_result else "protocol error"


def settings_page() -> str:
    """Give docs/settings.md: one row per field of `Settings`."""
    return SETTINGS.format(notice=NOTICE, rows="\n".join(_setting_rows()))


def _setting_rows() -> Iterator[str]:
    for key, field in Settings.model_fields.items():
        if field.default_factory is not None:
            default = "the user's cache folder" if key == "cache_dir" else "the user's config folder"
        elif key in PATH_LISTS:
            default = "none"
        else:
            default = "automatic" if field.default is None else f"`{str(field.default).lower()}`"
        yield f"| `{key}` | `{ENV_PREFIX}{key.upper()}` | {default} | {field.description} |"


def cli_page() -> str:
    """Give docs/cli.md: what `--help` prints, command by command."""
    parts = [NOTICE, "", "# Command line", "", "What `--help` prints, for every command.", ""]
    for words in _commands():
        parts += [f"## `{' '.join(['tools-server', *words])}`", "", "```text", _help(words), "```", ""]
    return "\n".join(parts)


def _commands() -> Iterator[tuple[str, ...]]:
    """Each command path: the root, its commands, and the commands of those that are groups."""
    yield ()
    root = typer.main.get_group(cli.app)
    context = typer.Context(root, info_name="tools-server")
    for name in root.list_commands(context):
        yield (name,)
        _, command, _ = root.resolve_command(context, [name])
        for child in getattr(command, "commands", {}):
            yield (name, child)


def _help(words: tuple[str, ...]) -> str:
    environment = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner(env=environment).invoke(cli.app, [*words, "--help"], prog_name="tools-server")
    if result.exit_code != 0:
        raise RuntimeError(f"tools-server {' '.join(words)} --help failed: {result.output}")
    return "\n".join(line.rstrip() for line in result.output.strip("\n").splitlines()).strip("\n")


if __name__ == "__main__":
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS"):  # either would make rich write colours into the pages
        os.environ.pop(name, None)
    main()
