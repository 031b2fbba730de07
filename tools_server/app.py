"""The composition root: the only file that wires the rooms together.

Building an `App` reads settings and skill folders and nothing heavy: the engine's libraries are imported, and the
model is loaded, by the first call that needs them, in a thread of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tools_server.bundled import bundled_dir
from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.engine.types import Engine
from tools_server.models import ModelStore
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog

if TYPE_CHECKING:
    from tools_server.server.descriptors import Descriptors

__all__ = ["App", "EngineFactory", "build_app"]

EngineFactory = Callable[[], Engine]
"""Makes the engine; blocks until the model is loaded. Called at most once, in a thread of its own.

Raises:
    ModelError: the weights are missing, wrong, or unusable.
"""


@dataclass(frozen=True, slots=True)
class App:
    """Every room, wired for one process."""

    settings: Settings
    catalog: Catalog
    models: ModelStore
    gate: EngineGate
    runner: SkillRunner

    async def serve_stdio(self, descriptors: "Descriptors", *, on_end: Callable[[], None] = lambda: None) -> None:
        """Serve one MCP client over `descriptors` until it leaves or a signal arrives; then close the engine.

        `on_end` is called as soon as the end is certain, from any thread and perhaps more than once.
        """
        # The MCP library takes half a second to import, which the other commands need not pay.
        from tools_server.server.build import build_server  # noqa: PLC0415
        from tools_server.server.stdio import serve  # noqa: PLC0415
        from tools_server.skills.watch import watch  # noqa: PLC0415

        server = build_server(
            self.catalog,
            self.runner,
            model=self.settings.model,
            allow_paths=[path.expanduser().absolute() for path in self.settings.allow_paths],
        )
        await serve(
            server,
            descriptors,
            start_engine=self.gate.start,
            watch=partial(watch, self.catalog) if self.settings.watch else None,
            aclose=self.gate.aclose,
            on_end=on_end,
        )


def build_app(settings: Settings, *, engine_factory: EngineFactory | None = None) -> App:
    """Wire the rooms. Skills come from the bundled folder, the user's, then `skills_dirs`; later ones win.

    Raises:
        SettingsError: this installation is incomplete.
    """
    catalog = Catalog([bundled_dir("skills"), settings.config_dir / "skills", *settings.skills_dirs])
    models = ModelStore.from_settings(settings)
    gate = EngineGate(engine_factory or partial(load_engine, settings, models))
    return App(settings, catalog, models, gate, SkillRunner(gate, settings))


def load_engine(settings: Settings, models: ModelStore) -> Engine:
    """Load the model of the settings with llama.cpp. Blocks for seconds.

    Raises:
        ModelError: the weights are missing, wrong, or unusable.
    """
    path = models.path(settings.model)  # first: without weights there is no need to import anything
    manifest = models.manifest(settings.model)
    from tools_server.engine.llama import LlamaEngine  # noqa: PLC0415 - takes seconds, and calls wait for it anyway

    return LlamaEngine.load(
        model_path=path,
        model_id=manifest.id,
        model_sha256=manifest.sha256,
        context_tokens=settings.context_tokens,
        max_sequences=settings.max_sequences,
        batch_tokens=settings.batch_tokens,
        threads=settings.threads,
        queue_limit=settings.queue_limit,
    )
