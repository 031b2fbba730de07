"""`tools-server doctor`: look at everything that a call needs, and say what to do about what is wrong."""

import importlib
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import anyio
import typer
from rich.text import Text

from tools_server import __version__
from tools_server.app import App, build_app, host_link, shares_engine
from tools_server.cli import output
from tools_server.cli.models import tuned_state
from tools_server.engine.cores import physical_cores
from tools_server.engine.types import Chat, GenerationRequest, Message, Span
from tools_server.errors import EngineError, ModelError, ToolsServerError
from tools_server.host.info import HostInfo
from tools_server.host.lifecycle import find
from tools_server.host.system import resident_bytes
from tools_server.models import available_memory
from tools_server.settings import Settings, load_settings, setting_origins

__all__ = ["app"]

EXAMPLES = """\
Examples:
  tools-server doctor
  tools-server doctor --deep --model smollm2-135m-instruct
  tools-server doctor --json
"""

app = typer.Typer()

SKILLS_OR_SETTINGS = 2
MODEL = 3
"""Exit codes, as the error tree has them."""

GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found and, unless it is fine, what to do."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    todo: str = ""


@app.command(epilog=EXAMPLES)
def doctor(
    *,
    model: Annotated[
        str | None, typer.Option("--model", help="Model to check; default: that of your settings.")
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Hash the weights again instead of trusting the seal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")] = None,
) -> None:
    """Check model, hash, skills, threads, memory, engine host and one real generation, and say what to do."""
    flags = {"model": model}
    settings = load_settings(flags, config=config)
    origins = setting_origins(flags, config=config)
    output.log_to_stderr(settings.log_level, origin=origins["log_level"])
    checks = anyio.run(_examine, settings, deep)
    if as_json:
        values = settings.model_dump(mode="json")
        listed = {key: {"value": values[key], "from": origin} for key, origin in origins.items()}
        output.print_json({"checks": [asdict(check) for check in checks], "settings": listed})
    else:
        _show(checks, settings, origins)
    raise typer.Exit(exit_code(checks))


def exit_code(checks: list[Check]) -> int:
    """Give 3 when the model or its engine fails, 2 when a skill does, else 0; warnings do not count."""
    failed = {check.name for check in checks if check.state == "failed"}
    if failed - {"skills"}:
        return MODEL
    return SKILLS_OR_SETTINGS if failed else 0


async def _examine(settings: Settings, deep: bool) -> list[Check]:
    application = build_app(settings)
    try:
        llama, cores = check_llama()
        checks = [_check_python(), llama, check_model(application, deep), check_skills(application)]
        host, info = check_host(application)
        checks += [check_threads(settings, cores), check_memory(application, loaded=info is not None), host]
        if any(check.state == "failed" for check in checks if check.name != "skills"):
            return [*checks, Check("generation", "failed", "not tried", "Mend the failed checks above first.")]
        return [*checks, await check_generation(application)]
    finally:
        await application.gate.aclose()


def _check_python() -> Check:
    return Check("python", "ok", f"{platform.python_version()}, tools-server {__version__}, {sys.platform}")


def check_llama() -> tuple[Check, int]:
    """Load llama.cpp; tell what it was built with, and how many physical cores there are."""
    try:
        llama = importlib.import_module("tools_server.engine.llama")
    except (ImportError, OSError, RuntimeError) as error:  # a build for another machine, or a missing shared library
        return Check("llama.cpp", "failed", f"cannot be loaded: {error}", "Install tools-server again."), 1
    info: str = llama.system_info()
    parts = re.findall(r"(\w+) = 1\b", info)
    found = " ".join(parts) or info.strip()
    if "AMX_INT8" in parts:
        found += " (AMX is left alone: compilers get it wrong)"
    return Check("llama.cpp", "ok", found), physical_cores()


def check_model(application: App, deep: bool) -> Check:
    """See that the weights are here and are the pinned ones; `deep` hashes them again."""
    wanted = application.settings.model
    try:
        path = application.models.verify(wanted) if deep else application.models.path(wanted)
        manifest = application.models.manifest(wanted)
    except ToolsServerError as error:
        return Check("model", "failed", error.message, error.hint)
    hashed = "hashed just now" if deep else "hash verified"
    status = next(status for status in application.models.list() if status.manifest.id == wanted)
    tuned = status.tuned is not None and status.objection is None
    found = f"{wanted}, {manifest.size_bytes / GIGABYTE:.2f} GB, {hashed}, {path}, tuned: {tuned_state(status)}"
    todo = f"It may read prompts several times faster: `tools-server models tune {wanted}` finds out."
    return Check("model", "ok", found, "" if tuned else todo)


def check_skills(application: App) -> Check:
    """List the skills, and name the folders that could not become one."""
    snapshot = application.catalog.snapshot
    names = ", ".join(snapshot.skills) or "none"
    if snapshot.unserved:
        names += f"; without an adapter for {application.settings.model}: {', '.join(snapshot.unserved)}"
    if snapshot.broken:
        found = f"{names}; broken: " + "; ".join(str(broken) for broken in snapshot.broken)
        return Check(
            "skills", "failed", found, "Mend or remove the broken folders; `tools-server skills check` explains."
        )
    if not snapshot.skills:
        return Check("skills", "failed", "none", "Install tools-server again, or add a folder with `skills_dirs`.")
    if snapshot.warnings:
        found = f"{names}; {' '.join(snapshot.warnings)}"
        return Check("skills", "warning", found, "`tools-server skills adapters list` shows every version.")
    return Check("skills", "ok", names)


def _load() -> float | None:
    """Processes that ran or waited for a core in the last minute; None on Windows, which does not count them."""
    return None if sys.platform == "win32" else os.getloadavg()[0]


def check_threads(settings: Settings, cores: int) -> Check:
    """Compare threads with physical cores, and look whether these are busy with something else."""
    threads = settings.threads or cores
    load = _load()
    found = f"{threads} threads on {cores} physical cores"
    if load is not None:
        found += f", load {load:.1f}"
    if threads > cores:
        return Check(
            "threads", "warning", found, f"More threads than cores are slower: set `threads` to {cores} or less."
        )
    if load is not None and load > cores:
        return Check(
            "threads", "warning", found, "Something else keeps the cores busy: answers will be slow meanwhile."
        )
    return Check("threads", "ok", found)


def check_host(application: App) -> tuple[Check, HostInfo | None]:
    """Look for the engine host that all sessions share."""
    settings = application.settings
    if not shares_engine(settings):
        return Check("host", "ok", "not used: this process loads the model itself"), None
    try:
        info = find(host_link(settings, application.models).paths)
    except ModelError:  # said by its own check
        return Check("host", "ok", "none runs"), None
    except EngineError as error:
        return Check("host", "failed", error.message, error.hint), None
    if info is None:
        return Check("host", "ok", "none runs; the first call starts one"), None
    found = f"pid {info.pid}, {info.state}, {info.memory_bytes / GIGABYTE:.2f} GB, {info.under_way} requests under way"
    return Check("host", "ok", found), info


def check_memory(application: App, available: Callable[[], int] | None = None, *, loaded: bool = False) -> Check:
    """Compare the weights, of which every byte is read for every token, with the memory that is free."""
    if loaded:
        return Check("memory", "ok", "the engine host has loaded the model")
    free = (available or available_memory)()
    try:
        needed = application.models.manifest(application.settings.model).size_bytes
    except ToolsServerError as error:
        return Check("memory", "failed", error.message, error.hint)
    found = f"weights {needed / GIGABYTE:.2f} GB, {free / GIGABYTE:.1f} GB available"
    if free < needed:
        return Check("memory", "failed", found, "Free memory, or serve a smaller model: `tools-server models list`.")
    if free < 2.5 * needed:  # KV cache and buffers at the default settings come to as much again and a little more
        return Check(
            "memory", "warning", found, "KV cache and buffers come on top; lower `context_tokens` if it fails."
        )
    return Check("memory", "ok", found)


async def check_generation(application: App) -> Check:
    """Load the model and let it answer; tells the time, and the memory that all of it took."""
    begin = time.perf_counter()
    try:
        engine = await application.gate.get()
        loaded = time.perf_counter() - begin
        prompt = await engine.encode(Chat((Message("user", (Span("Count from one to ten."),)),)))
        answer = await engine.generate(GenerationRequest(prompt=prompt, max_tokens=24))
    except ToolsServerError as error:
        return Check("generation", "failed", error.message, error.hint)
    seconds = answer.timings.total - answer.timings.first_token
    speed = f", {(answer.usage.completion - 1) / seconds:.0f} tokens/s" if seconds > 0 else ""
    found = (
        f"loaded in {loaded:.1f} s, first token after {answer.timings.first_token:.2f} s{speed}; "
        f"{_memory(application) / GIGABYTE:.2f} GB of memory in all"
    )
    if not answer.text.strip():
        return Check(
            "generation", "warning", f"an empty answer; {found}", "Verify the weights: `tools-server doctor --deep`."
        )
    return Check("generation", "ok", found)


def _memory(application: App) -> int:
    """Bytes that the engine takes: the host's, or at most ours."""
    _, info = check_host(application)
    if info is not None:
        return info.memory_bytes
    return resident_bytes(peak=True)


SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "bold red")}


def _show(checks: list[Check], settings: Settings, origins: dict[str, str]) -> None:
    rows: list[tuple[Text | str, ...]] = []
    for check in checks:
        sign, style = SIGNS[check.state]
        rows.append((Text(sign, style), Text(check.name, "bold"), check.found))
        if check.todo:
            rows.append(("", "", Text(f"→ {check.todo}", style)))
    output.print_table(("", "check", "found"), rows)
    output.out.print()
    values: dict[str, Any] = settings.model_dump(mode="json")
    output.print_table(
        ("setting", "value", "from"), [(key, _shown(values[key]), origin) for key, origin in origins.items()]
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in cast("list[Any]", value)) or "none"
    if value is None:
        return "automatic"
    return str(value).lower() if isinstance(value, bool) else str(value)
