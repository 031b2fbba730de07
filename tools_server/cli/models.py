"""`tools-server models`: list, show, pull, verify, path, add and tune."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from tools_server.cli import output
from tools_server.cli.tune import tune
from tools_server.models import ModelStatus, ModelStore, Report
from tools_server.settings import Settings, load_settings

__all__ = ["app"]

EXAMPLES = """\
Examples:

  tools-server models pull

  tools-server models pull smollm2-135m-instruct

  tools-server models add hf:OWNER/NAME/FILE.gguf

  tools-server models add ~/Downloads/my-model.gguf --id my-model

  tools-server models tune smollm2-135m-instruct
"""

app = typer.Typer(
    help="List, download, verify, add and tune models. Only `pull` and `add` use the network.",
    no_args_is_help=True,
    add_completion=False,
    epilog=EXAMPLES,
)

_ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file to read instead of your own.")]
_CacheOption = Annotated[Path | None, typer.Option("--cache-dir", help="Where downloaded weights lie.")]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@app.command("list")
def list_models(as_json: _JsonOption = False, cache_dir: _CacheOption = None, config: _ConfigOption = None) -> None:
    """Show every known model: id, size, licence, whether it is here; with --json also what of it is open.

    Example: tools-server models list --json
    """
    settings, store = _open(cache_dir, config)
    broken = store.broken()
    for error in broken:
        output.print_error(error.message, error.hint)
    statuses = store.list()
    if as_json:
        output.print_json(
            {
                "models": [{**_facts(status), "default": status.manifest.id == settings.model} for status in statuses],
                "broken": [error.message for error in broken],
            }
        )
        return
    output.print_table(
        ("id", "size", "licence", "installed", "tuned"),
        [
            (
                status.manifest.id + (" (default)" if status.manifest.id == settings.model else ""),
                f"{status.manifest.size_bytes / 1e6:,.0f} MB",
                status.manifest.licence,
                _state(status),
                tuned_state(status),
            )
            for status in statuses
        ],
    )


@app.command()
def show(
    model_id: Annotated[str | None, typer.Argument(metavar="ID", help="Default: the model of your settings.")] = None,
    as_json: _JsonOption = False,
    cache_dir: _CacheOption = None,
    config: _ConfigOption = None,
) -> None:
    """Show what is known of one model, and what tuning found for it; with --json every measurement.

    Example: tools-server models show smollm2-135m-instruct
    """
    settings, store = _open(cache_dir, config)
    manifest = store.manifest(model_id or settings.model)
    status = next(status for status in store.list() if status.manifest.id == manifest.id)
    if as_json:
        record = status.tuned.model_dump(mode="json") if status.tuned else None
        output.print_json({**_facts(status), "tuning": record})
        return
    facts = {key: value for key, value in _facts(status).items() if key not in ("tuned", "objection")}
    output.print_data({**facts, "tuned": tuned_state(status)})
    if status.tuned is not None:
        output.print_data({"why": status.tuned.why})


@app.command()
def pull(
    model_id: Annotated[str | None, typer.Argument(metavar="ID", help="Default: the model of your settings.")] = None,
    as_json: _JsonOption = False,
    cache_dir: _CacheOption = None,
    config: _ConfigOption = None,
) -> None:
    """Download a model and verify it. An interrupted download goes on where it stopped.

    Example: tools-server models pull smollm2-135m-instruct
    """
    settings, store = _open(cache_dir, config)
    wanted = model_id or settings.model
    with _progress() as report:
        path = store.pull(wanted, report=report)
    _print_place(store, wanted, path, as_json)


@app.command()
def verify(
    model_id: Annotated[str | None, typer.Argument(metavar="ID", help="Default: every installed model.")] = None,
    as_json: _JsonOption = False,
    cache_dir: _CacheOption = None,
    config: _ConfigOption = None,
) -> None:
    """Hash the weights on this machine again and compare them with the pinned SHA-256.

    Example: tools-server models verify
    """
    _, store = _open(cache_dir, config)
    wanted = [model_id] if model_id else [status.manifest.id for status in store.list() if status.path.exists()]
    verified: list[dict[str, Any]] = []
    for each in wanted:
        with _progress() as report:
            path = store.verify(each, report=report)
        verified.append({"id": each, "path": str(path), "sha256": store.manifest(each).sha256})
        if not as_json:
            output.out.print(f"{each}: right, SHA-256 {store.manifest(each).sha256}")
    if as_json:
        output.print_json({"verified": verified})
    elif not wanted:
        output.note("No model is installed. `tools-server models pull` downloads the default one.")


@app.command()
def path(
    model_id: Annotated[str | None, typer.Argument(metavar="ID", help="Default: the model of your settings.")] = None,
    as_json: _JsonOption = False,
    cache_dir: _CacheOption = None,
    config: _ConfigOption = None,
) -> None:
    """Print where a model's weights lie on this machine.

    Example: tools-server models path smollm2-135m-instruct
    """
    settings, store = _open(cache_dir, config)
    wanted = model_id or settings.model
    _print_place(store, wanted, store.path(wanted), as_json)


@app.command()
def add(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="hf:OWNER/NAME/FILE.gguf[@REVISION], or a path.")],
    model_id: Annotated[str | None, typer.Option("--id", help="Default: made from the file's name.")] = None,
    as_json: _JsonOption = False,
    cache_dir: _CacheOption = None,
    config: _ConfigOption = None,
) -> None:
    """Make another GGUF model known: fetch or copy it, and pin its SHA-256 in a manifest of your own.

    Example: tools-server models add ~/Downloads/my-model.gguf --id my-model
    """
    _, store = _open(cache_dir, config)
    with _progress() as report:
        manifest = store.add(source, model_id=model_id, report=report)
    manifest_file = store.manifest_path(manifest.id)
    if as_json:
        status = next(status for status in store.list() if status.manifest.id == manifest.id)
        output.print_json({**_facts(status), "manifest": str(manifest_file)})
        return
    output.out.print(f"{manifest.id}: {manifest.size_bytes / 1e6:,.0f} MB, context {manifest.context_tokens} tokens")
    output.out.print(f"pinned in {manifest_file}")
    output.note(f"licence: {manifest.licence}; {manifest.openness}. Edit the manifest if you know better.")
    output.note(f"serve it with: tools-server serve --model {manifest.id}")


app.command()(tune)


def _open(cache_dir: Path | None, config: Path | None) -> tuple[Settings, ModelStore]:
    settings = load_settings({"cache_dir": cache_dir}, config=config)
    return settings, ModelStore.from_settings(settings)


def _facts(status: ModelStatus) -> dict[str, Any]:
    manifest = status.manifest
    return {
        "id": manifest.id,
        "size_bytes": manifest.size_bytes,
        "sha256": manifest.sha256,
        "licence": manifest.licence,
        "openness": manifest.openness,
        "context_tokens": manifest.context_tokens,
        "installed": status.installed,
        "verified": status.verified,
        "path": str(status.path),
        "tuned": status.tuned.summary if status.tuned else None,
        "objection": status.objection,
    }


def _state(status: ModelStatus) -> str:
    if not status.installed:
        return "no"
    return "yes" if status.verified else "yes, not verified yet"


def tuned_state(status: ModelStatus) -> str:
    """What tuning found for a model, and why it does not hold here if it does not."""
    if status.tuned is None:
        return "no"
    return status.tuned.summary if status.objection is None else f"no longer: {status.objection}"


def _print_place(store: ModelStore, model_id: str, path: Path, as_json: bool) -> None:
    manifest = store.manifest(model_id)
    if as_json:
        output.print_json(
            {"id": model_id, "path": str(path), "sha256": manifest.sha256, "size_bytes": manifest.size_bytes}
        )
    else:
        output.out.print(str(path))


@contextmanager
def _progress() -> Generator[Report]:
    """A bar on a terminal, else one plain line per step and tenth; on stderr, so that stdout holds only the answer."""
    if not sys.stderr.isatty():
        yield _plain()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=output.err, transient=True) as bar:
        task = bar.add_task("", total=None)
        last = 0

        def report(done: int, total: int | None, what: str) -> None:
            nonlocal last
            if done < last:  # another source, or the check of the finished file: speed and ETA begin anew
                bar.reset(task)
            last = done
            bar.update(task, completed=done, total=total, description=what)

        yield report


def _plain() -> Report:
    shown: tuple[str, int] | None = None

    def report(done: int, total: int | None, what: str) -> None:
        nonlocal shown
        tenths = done * 10 // total if total else 0
        if shown != (what, tenths):
            shown = (what, tenths)
            output.note(f"{what}: {done / 1e6:,.0f} MB" + (f" of {total / 1e6:,.0f} MB" if total else ""))

    return report
