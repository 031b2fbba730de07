"""What `skills eval` and `skills calibrate` have in common: a skill, the model that is to answer, and how far it is."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tools_server.app import load_engine
from tools_server.cli import output
from tools_server.engine.types import Engine
from tools_server.models import ModelStore
from tools_server.settings import Settings, load_settings, setting_origins
from tools_server.skills.catalog import Catalog, standard_dirs
from tools_server.skills.types import Skill

if TYPE_CHECKING:
    from tools_server.evals.runner import Told

__all__ = ["SPLIT", "Asked", "asking", "named"]

SPLIT = "dev"
"""Of a data set that is named without one."""

STEPS = 20
"""Lines that progress makes in a log, where there is no terminal for a bar."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A skill as it is served and as its folder gives it; the model: its hash, and the file it is loaded from."""

    settings: Settings
    store: ModelStore
    served: Skill
    folder: Skill
    base_sha256: str
    weights: str

    @classmethod
    def open(cls, name: str, *, model: str | None, skills_dir: list[Path] | None, config: Path | None) -> Self:
        """Read settings, model and skill.

        Raises:
            SettingsError, ModelError, SkillError: one of them is not usable.
        """
        flags = {"model": model, "skills_dirs": skills_dir or None}
        settings = load_settings(flags, config=config)
        output.log_to_stderr(settings.log_level, origin=setting_origins(flags, config=config)["log_level"])
        store = ModelStore.from_settings(settings)
        weights = store.serving(
            settings.model, tuned=settings.tuned
        ).path  # first: without weights nothing can be asked
        dirs = standard_dirs(settings)
        served = Catalog(dirs, adapters_dir=settings.adapters_dir).get(name)
        base = store.manifest(settings.model).sha256
        return cls(settings, store, served, Catalog(dirs).get(name), base, weights.name)

    def load(self, settings: Settings) -> Engine:
        """Load the model; raises as `load_engine` does."""
        return load_engine(settings, self.store)


def named(data: str, split: str = SPLIT) -> tuple[str, str]:
    """Give name and split of a data set (`NAME` or `NAME:SPLIT`), or the path of a file."""
    path = Path(data).expanduser()
    if path.suffix or path.is_file():
        return data, split
    name, _, own = data.partition(":")
    return name, own or split


@contextmanager
def asking(folder: Path) -> Generator["Told"]:
    """Show how far it is; after an interruption tell where the answers are."""
    try:
        with _progress() as told:
            yield told
    except KeyboardInterrupt:
        output.note(f"the answers so far are in {folder}; the same command goes on from there")
        raise


@contextmanager
def _progress() -> Generator["Told"]:
    """A bar on a terminal, else a line now and then; on stderr, so that stdout holds only the answer."""
    if not sys.stderr.isatty():
        last = ""

        def note(done: int, total: int, what: str) -> None:
            nonlocal last
            step = f"{what} {done * STEPS // max(1, total)}"
            if step != last:
                output.note(f"[{done}/{total}] {what}")
            last = step

        yield note
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)
