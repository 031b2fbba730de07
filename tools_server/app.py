"""The composition root: the only file that wires the rooms together.

Building an `App` reads settings and skill folders and nothing heavy: the engine's libraries are imported, and the
model is loaded, by the first call that needs them, in a thread of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.calls.verify import Verifier
from tools_server.engine.types import Engine
from tools_server.host.info import Wanted, wanted
from tools_server.host.paths import HostPaths, host_paths
from tools_server.host.system import lower_priority
from tools_server.models import ModelStore
from tools_server.models.footprint import check_memory_limit
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog, standard_dirs

if TYPE_CHECKING:
    from tools_server.host.lifecycle import HostLink
    from tools_server.server.descriptors import Descriptors

__all__ = [
    "App",
    "EngineFactory",
    "build_app",
    "connect_engine",
    "host_link",
    "load_engine",
    "serve_host",
    "shares_engine",
]

EngineFactory = Callable[[], Engine]
"""Makes the engine; blocks until the model is loaded. Called in a thread of its own; again only after an EngineError.

Raises:
    ModelError: the weights are missing, wrong, or unusable.
    EngineError: the shared engine host cannot be reached.
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
            verifier=Verifier(self.settings),
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
    catalog = Catalog(standard_dirs(settings), adapters_dir=settings.adapters_dir, model=settings.model)
    models = ModelStore.from_settings(settings)
    if engine_factory is None:
        engine_factory = partial(connect_engine if shares_engine(settings) else load_engine, settings, models)
    gate = EngineGate(engine_factory)
    return App(settings, catalog, models, gate, SkillRunner(gate, settings))


def shares_engine(settings: Settings) -> bool:
    """Tell whether the engine is the shared host's."""
    return not settings.in_process


def connect_engine(settings: Settings, models: ModelStore) -> Engine:
    """Find or start the engine host, and wait until its model is loaded. Blocks for seconds.

    Raises:
        ModelError: the weights are missing, wrong, or unusable.
        EngineError: no host can be started or reached.
    """
    link = host_link(settings, models)
    from tools_server.host.client import HostedEngine  # noqa: PLC0415 - an HTTP client; only calls need it

    return HostedEngine.connect(link)


def host_link(settings: Settings, models: ModelStore) -> "HostLink":
    """Make the way to the engine host of these settings. Starts nothing; may hash weights that are new.

    Raises:
        ModelError: the weights are missing or wrong. Said here, before a host is started in vain.
        HostUnavailable: there is no place for its socket.
    """
    from tools_server.host.lifecycle import HostLink  # noqa: PLC0415 - an HTTP client, as above

    paths, about = _host_of(settings, models)
    return HostLink(paths, settings, about)


def serve_host(settings: Settings, *, listening: Callable[[], None]) -> None:
    """Be the engine host of these settings, until nobody needs it any more.

    Raises:
        ModelError: the weights are missing or wrong.
        HostUnavailable: another host is in the way, or the folder is not the user's alone.
    """
    from tools_server.host.process import run_host  # noqa: PLC0415 - an HTTP server, which no other command needs

    models = ModelStore.from_settings(settings)
    paths, about = _host_of(settings, models)
    load = partial(load_engine, settings, models)
    run_host(paths, about, load, idle_s=settings.host_idle_s, listening=listening)


def _host_of(settings: Settings, models: ModelStore) -> tuple[HostPaths, Wanted]:
    effective, weights = _effective(settings, models)
    sha256 = models.manifest(settings.model).sha256
    paths = host_paths(settings, model_id=settings.model, model_sha256=sha256)
    return paths, wanted(effective, sha256=sha256, weights=weights)


def _effective(settings: Settings, models: ModelStore) -> tuple[Settings, Path]:
    """Give the settings with what was tuned for this machine, and the weights to load."""
    serving = models.serving(settings.model, tuned=settings.tuned)
    return (serving.engine.applied_to(settings) if serving.engine is not None else settings), serving.path


def load_engine(settings: Settings, models: ModelStore) -> Engine:
    """Load the model of the settings with llama.cpp. Blocks for seconds.

    Raises:
        ModelError: the weights are missing, wrong, or unusable.
    """
    # First: without weights there is no need to import anything.
    settings, weights = _effective(settings, models)
    manifest = models.manifest(settings.model)
    check_memory_limit(settings, weights)
    if settings.low_priority:
        lower_priority()
    from tools_server.engine.llama import LlamaEngine  # noqa: PLC0415 - takes seconds, and calls wait for it anyway

    return LlamaEngine.load(
        model_path=weights,
        model_id=manifest.id,
        model_sha256=manifest.sha256,
        context_tokens=settings.context_tokens,
        max_sequences=settings.max_sequences,
        batch_tokens=settings.batch_tokens,
        threads=settings.threads,
        flash_attention=settings.flash_attention,
        kv_type=settings.kv_type,
        queue_limit=settings.queue_limit,
    )
