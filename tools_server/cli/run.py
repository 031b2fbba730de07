"""`tools-server run`: one skill on files of your own or on standard input, without a server."""

import json
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import anyio
import typer
from rich.text import Text

from tools_server.app import build_app
from tools_server.calls.types import Progress, SkillResult
from tools_server.cli import output
from tools_server.errors import InputUnreadable, InvalidArguments, ToolsServerError
from tools_server.inputs.paths import Sandbox
from tools_server.settings import Settings, load_settings, setting_origins
from tools_server.skills.types import Skill
from tools_server.surfaces import surface_of

__all__ = ["app"]

EXAMPLES = """\
Examples:
  tools-server run summarise notes.md
  git log -20 | tools-server run summarise -
  tools-server run classify *.txt --arg 'labels=["billing","bug"]' --json
  tools-server run extract invoice.txt --arg fields=@invoice.schema.json
"""

INTERNAL_ERROR = 70

app = typer.Typer()


@app.command(epilog=EXAMPLES)
def run(
    skill: Annotated[str, typer.Argument(metavar="SKILL", help="Name of the skill: `tools-server skills list`.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE…|-]", help="Text files, or - for standard input (the default).")
    ] = None,
    arg: Annotated[
        list[str] | None,
        typer.Option("--arg", metavar="K=V", help="An argument of the skill: text, JSON, or @FILE with JSON in it."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as one JSON document.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell tokens and seconds as well.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="Model to run; default: that of your settings.")] = None,
    skills_dir: Annotated[
        list[Path] | None, typer.Option("--skills-dir", help="Further folder of skill folders; may be repeated.")
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Load the model here instead of sharing the engine host's.")
    ] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Seconds after which the call fails.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")] = None,
) -> None:
    """Run one skill on files or on standard input and print its typed answer.

    One file gives one answer, several give `results`. The files are yours: `allow_paths` does not apply.
    """
    given = files or ["-"]
    flags = {
        "model": model,
        "skills_dirs": skills_dir or None,
        "in_process": True if in_process else None,
        "call_timeout_s": timeout,
    }
    settings = load_settings(flags, config=config)
    output.log_to_stderr(settings.log_level, origin=setting_origins(flags, config=config)["log_level"])
    result = anyio.run(_run, settings, skill, given, arg or [])
    failed = _show(result, given, as_json=as_json, verbose=verbose)
    if failed is not None:
        raise typer.Exit(_exit_code_of(failed["code"]))


async def _run(settings: Settings, name: str, files: Sequence[str], args: Sequence[str]) -> SkillResult:
    application = build_app(_opened_up(settings, files))
    try:
        skill = application.catalog.get(name)
        arguments = {**parse_arguments(skill, args), **_inputs(skill, files)}
        with _reporting(name) as progress:
            return await application.runner.run(skill, arguments, progress=progress)
    finally:
        await application.gate.aclose()


def _opened_up(settings: Settings, files: Sequence[str]) -> Settings:
    """Allow the folders of these files: the person at the keyboard may read what they name."""
    folders = [Path(file).expanduser().resolve().parent for file in files if file != "-"]
    return settings.model_copy(update={"allow_paths": (*settings.allow_paths, *folders)})


def parse_arguments(skill: Skill, args: Sequence[str]) -> dict[str, Any]:
    """Read `K=V` pairs: JSON where the skill's schema wants something else than a string, `@FILE` for JSON in a file.

    Raises:
        InvalidArguments: a pair without `=`, or a file that does not hold JSON.
        InputUnreadable: the file cannot be read.
    """
    properties = cast("Mapping[str, Any]", skill.arguments_schema.get("properties", {}))
    parsed: dict[str, Any] = {}
    for pair in args:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InvalidArguments(f"--arg {pair!r} has no `=`.", "Write --arg NAME=VALUE.")
        if value.startswith("@"):
            parsed[key] = _json_file(value[1:])
        elif _wants_string(properties.get(key)):
            parsed[key] = value
        else:
            parsed[key] = _json_or_text(value)
    return parsed


def _wants_string(schema: Any) -> bool:
    kinds = cast("Mapping[str, Any]", schema).get("type") if isinstance(schema, Mapping) else None
    return kinds == "string" or (isinstance(kinds, list) and "string" in kinds)


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value  # the skill's schema decides, and its complaint names the argument


def _json_file(name: str) -> Any:
    try:
        return json.loads(Path(name).expanduser().read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputUnreadable(f"Cannot read {name!r}: {error}.", "Check the path after `@`.") from error
    except json.JSONDecodeError as error:
        raise InvalidArguments(
            f"{name!r} does not hold JSON: {error}.", "Mend the file, or leave out the `@`."
        ) from error


def _inputs(skill: Skill, files: Sequence[str]) -> dict[str, Any]:
    """Give the files in the way that the skill takes them: by path where it can, else by their text."""
    accepts = skill.manifest.inputs.accepts
    if "-" in files:
        if len(files) > 1:
            raise InvalidArguments(
                "`-` stands for standard input and cannot stand beside files.", "Give one or the other."
            )
        texts = [_standard_input()]
    elif "paths" in accepts:
        return {"paths": [str(Path(file).expanduser().resolve()) for file in files]}
    else:
        resolved = [Path(file).expanduser().resolve() for file in files]
        texts = [Sandbox([file.parent]).read_now(str(file)) for file in resolved]
    return {"text": texts[0]} if len(texts) == 1 and "text" in accepts else {"items": texts}


def _standard_input() -> str:
    if sys.stdin.isatty():
        output.note("Reading standard input; end it with Ctrl-D.")
    content = sys.stdin.buffer.read()
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputUnreadable(
            f"Standard input is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}.",
            "Convert it first, for example with `iconv -f latin1 -t utf-8`.",
        ) from error


@contextmanager
def _reporting(name: str) -> Generator[Progress | None]:
    """Show progress on a terminal; say nothing into a log."""
    if not output.err.is_terminal:
        yield None
        return
    with output.err.status(Text(f"{name} …")) as status:

        async def progress(_done: float, _total: float | None, message: str) -> None:
            status.update(Text(f"{name}: {message}"))

        yield progress


def _show(result: SkillResult, files: Sequence[str], *, as_json: bool, verbose: bool) -> Mapping[str, Any] | None:
    """Print the answer; give the first error among its results, if there is one."""
    data = _answer(result.data, files)
    entries = cast("list[Mapping[str, Any]]", data.get("results", [])) if len(files) > 1 else [data]
    failed: Mapping[str, Any] | None = next((entry["error"] for entry in entries if _failed(entry)), None)
    if as_json:
        output.print_json({**asdict(result), "data": data} if verbose else data)
        return failed
    if len(files) == 1:
        output.print_data(data)
    else:
        _print_entries(data, entries)
    if verbose:
        usage, seconds = result.usage, result.timings.total
        output.note(
            f"{result.model}: {usage.prompt} tokens read ({usage.cached} from the cache), "
            f"{usage.completion} written ({usage.forced} forced), {seconds:.2f} s"
        )
    return failed


def _answer(data: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """Give the answer as the command line has it: flat for one file, else with the paths as they were typed."""
    if "results" not in data:
        return dict(data)
    entries = cast("list[dict[str, Any]]", data["results"])
    rest = {key: value for key, value in data.items() if key != "results"}
    if len(files) == 1:
        return {**{key: value for key, value in entries[0].items() if key not in ("index", "path")}, **rest}
    typed = [{**entry, "path": file} if "path" in entry else entry for entry, file in zip(entries, files, strict=True)]
    return {"results": typed, **rest}


def _failed(entry: Mapping[str, Any]) -> bool:
    """Tell a failure from an answer that has a property called `error`."""
    error = entry.get("error")
    return isinstance(error, Mapping) and set(cast("Mapping[str, Any]", error)) == {"code", "message"}


def _print_entries(data: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> None:
    for entry in entries:
        output.out.print(Text(str(entry.get("path", entry["index"])), style="bold underline"))
        if _failed(entry):
            output.print_error(entry["error"]["message"])
        else:
            output.print_data({key: value for key, value in entry.items() if key not in ("index", "path")}, indent=1)
    for warning in data.get("warnings", []):
        output.note(f"warning: {warning}")


def _exit_code_of(code: str) -> int:
    kinds: list[type[ToolsServerError]] = [ToolsServerError]
    for kind in kinds:  # grows while it is walked
        kinds += kind.__subclasses__()
    return next((surface_of(kind).exit_code for kind in kinds[1:] if kind.code == code), INTERNAL_ERROR)
