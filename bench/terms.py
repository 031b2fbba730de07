"""What both sides of a comparison get alike: weights, adapters, context, batch size, threads, and a number of slots."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import ROOT
from tools_server.bundled import bundled_dir
from tools_server.engine.cores import physical_cores
from tools_server.models import ModelStore
from tools_server.settings import ENV_PREFIX, Settings
from tools_server.skills.adapters import BARE, Active
from tools_server.skills.catalog import Catalog
from tools_server.training.versions import write_active

HOME = ROOT / ".cache" / "bench"
"""Weights, settings and logs of benchmarks; nothing of the user's own."""

CALL_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Terms:
    """Equal terms. `settings.max_sequences` is how many requests run at once on our side, `slots` on the other."""

    settings: Settings
    weights: Path
    sha256: str
    slots: int
    wait_policy: str | None = None  # OMP_WAIT_POLICY of the baseline; None: unset

    @classmethod
    def of(cls, settings: Settings, *, slots: int, wait_policy: str | None = None) -> "Terms":
        """Take the weights that are published for the settings' model: what one side alone has is left out.

        That is what was tuned for this machine, and the adapters that bundled skills have or the user has promoted; the
        rows about adapters bring skills and adapters of their own, for both sides.

        Raises:
            ModelError: there is no such model on this machine.
        """
        store = ModelStore.from_settings(settings)
        manifest = store.manifest(settings.model)
        bare = settings.model_copy(update={"adapters_dir": _without_adapters(settings.model)})
        return cls(bare, store.path(settings.model), manifest.sha256, slots, wait_policy)

    def with_skills(self, folder: Path) -> "Terms":
        """The same, with further skills for our side."""
        return replace(self, settings=self.settings.model_copy(update={"skills_dirs": (folder,)}))

    @property
    def threads(self) -> int:
        return self.settings.threads or physical_cores()

    def environment(self, **changes: str) -> Mapping[str, str]:
        """The environment for a `tools-server` of these terms, whatever the user's own settings are."""
        ours = {
            "model": self.settings.model,
            "config_dir": str(self.settings.config_dir),
            "cache_dir": str(self.settings.cache_dir),
            "adapters_dir": str(self.settings.adapters_dir),
            "skills_dirs": os.pathsep.join(map(str, self.settings.skills_dirs)),
            "context_tokens": str(self.settings.context_tokens),
            "max_sequences": str(self.settings.max_sequences),
            "batch_tokens": str(self.settings.batch_tokens),
            "threads": str(self.threads),
            "call_timeout_s": str(CALL_TIMEOUT_S),
            "tuned": "false",
            "watch": "false",
            "log_level": "error",
        }
        rest = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        # The engine has set these for this process; a server of its own decides for itself.
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            rest.pop(name, None)
        return {**rest, **{f"{ENV_PREFIX}{name.upper()}": value for name, value in ours.items()}, **changes}


def _without_adapters(model: str) -> Path:
    """Give a folder of adapters in which every bundled skill is served without one."""
    folder = HOME / "adapters"
    none = Active(
        version=BARE, since=datetime.now(UTC), how="promoted", reason="the baseline has no adapter", forced=True
    )
    for name in Catalog([bundled_dir("skills")]).snapshot.skills:
        write_active(folder, name, model, none)
    return folder
