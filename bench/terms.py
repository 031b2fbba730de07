"""What both sides of a comparison get alike: weights, adapters, context, batch size, threads, and a number of slots."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.machine import ROOT
from tools_server.engine.cores import physical_cores
from tools_server.models import ModelStore
from tools_server.settings import ENV_PREFIX, Settings

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
        """Take the weights that are published for the settings' model: what is tuned for one side alone is left out.

        Raises:
            ModelError: there is no such model on this machine.
        """
        store = ModelStore.from_settings(settings)
        manifest = store.manifest(settings.model)
        return cls(settings, store.path(settings.model), manifest.sha256, slots, wait_policy)

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
