"""`tools-server host`: the engine hosts of this user: which run, and ending them."""

import faulthandler
import logging
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from tools_server.app import serve_host
from tools_server.cli import output
from tools_server.errors import HostUnavailable, ModelNotFound, SettingsError
from tools_server.host.launch import tell_listening
from tools_server.host.lifecycle import find, stop
from tools_server.host.paths import HostPaths, listed_paths
from tools_server.settings import Settings, load_settings

__all__ = ["app"]

EXAMPLES = """\
Examples:

  tools-server host status

  tools-server host stop

  tools-server host stop smollm2-135m-instruct
"""

CLOSE_S = 10.0
"""Seconds for a host that has left to end in; native code may hold a thread back."""

MEGABYTE = 1e6

app = typer.Typer(
    help="Look at the engine hosts, which all sessions share, and end them. They start and end by themselves.",
    epilog=EXAMPLES,
    no_args_is_help=True,
)

Config = Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")]


@app.command(epilog="Examples:\n\n  tools-server host status\n\n  tools-server host status --json")
def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
    config: Config = None,
) -> None:
    """Show every engine host that runs: model, process, memory, requests."""
    found = [entry for paths in listed_paths(load_settings(config=config)) if (entry := _entry(paths)) is not None]
    if as_json:
        output.print_json({"hosts": found})
        return
    if not found:
        output.note("No engine host runs. The first call starts one.")
        return
    for entry in found:
        output.print_data(entry)


@app.command("stop", epilog="Examples:\n\n  tools-server host stop\n\n  tools-server host stop smollm2-135m-instruct")
def stop_hosts(
    model: Annotated[str | None, typer.Argument(help="Id of the model whose host is ended; default: all.")] = None,
    *,
    config: Config = None,
) -> None:
    """End engine hosts once they have finished what is under way. The next call starts a new one."""
    hosts = listed_paths(load_settings(config=config))
    if model is not None:
        known = {paths: _model(paths) for paths in hosts}
        hosts = [paths for paths, served in known.items() if served == model]
        if not hosts:
            running = ", ".join(sorted(served for served in known.values() if served)) or "none"
            raise ModelNotFound(f"No engine host runs {model!r}.", f"Running: {running}.")
    for paths in hosts:
        ended = stop(paths)
        output.note(f"{paths.name}: ended" if ended else f"{paths.name}: did not answer, so it was killed")
    if not hosts:
        output.note("No engine host runs.")


@app.command(epilog="Examples:\n\n  tools-server host serve\n\n  tools-server host serve --model smollm2-135m-instruct")
def serve(
    *,
    model: Annotated[
        str | None, typer.Option("--model", help="Model to serve; default: that of your settings.")
    ] = None,
    config: Config = None,
    settings_json: Annotated[
        str | None, typer.Option("--settings", help="All settings as JSON, in the place of every other source.")
    ] = None,
    ready_fd: Annotated[
        int | None,
        typer.Option(
            "--ready-fd", help="Descriptor, on Windows a handle, that is written to and closed when clients can come."
        ),
    ] = None,
) -> None:
    """Be an engine host in this terminal. Front ends start theirs themselves; this is for looking at one."""
    settings = load_settings({"model": model}, config=config) if settings_json is None else _read(settings_json)
    logging.basicConfig(
        stream=sys.stderr, level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # what it says of starting and ending, the host says better
    faulthandler.enable(file=2)  # a crash in native code leaves its Python stack in the log
    if ready_fd is not None and sys.platform == "win32":
        os.set_handle_inheritable(ready_fd, False)
    elif ready_fd is not None:
        os.set_inheritable(ready_fd, False)

    def listening() -> None:
        if ready_fd is None:
            output.note("Listening; Ctrl-C ends.")
            return
        tell_listening(ready_fd)

    serve_host(settings, listening=listening)
    # A thread in native code must not keep a host alive that nobody can reach any more.
    last = threading.Timer(CLOSE_S, os._exit, [0])
    last.daemon = True
    last.start()


def _read(settings: str) -> Settings:
    try:
        return Settings.model_validate_json(settings)
    except ValidationError as error:
        raise SettingsError(f"--settings is invalid: {error}.", "Leave it out: front ends write it.") from error


def _entry(paths: HostPaths) -> dict[str, Any] | None:
    """Describe a host; None for the socket of a dead one, which the next start removes."""
    try:
        info = find(paths)
    except HostUnavailable as error:
        return {"name": paths.name, "state": "silent", "error": str(error), "socket": str(paths.socket)}
    if info is None:
        return None
    values = asdict(info)
    return {
        **{key: values[key] for key in ("model", "state", "pid", "version", "under_way")},
        "memory_mb": round(info.memory_bytes / MEGABYTE),
        "uptime_s": round(info.uptime_s),
        "idle_s": round(info.idle_s),
        "settings": dict(info.settings),
        "socket": str(paths.socket),
        "log": str(paths.log),
    }


def _model(paths: HostPaths) -> str | None:
    info = find(paths)
    return info.model if info is not None else None
