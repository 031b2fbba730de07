"""Where a number comes from: code, machine, packages and date."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tools_server.models.machine import Machine

__all__ = ["Provenance", "commit_of"]

_PACKAGES = ("tools-server", "llama-cpp-python", "llguidance", "numpy", "scikit-learn", "rouge-score")
_GIT_PATIENCE_S = 10.0


class Provenance(BaseModel):
    """`commit` is that of the source tree, with `-dirty` where files differ from it; None outside of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: datetime
    commit: str | None
    machine: Machine
    python: str
    versions: dict[str, str]

    @classmethod
    def here(cls) -> "Provenance":
        """Of this process, at this moment."""
        return cls(
            date=datetime.now(UTC).replace(microsecond=0),
            commit=commit_of(Path(__file__).parent),
            machine=Machine.here(),
            python=platform.python_version(),
            versions={name: found for name in _PACKAGES if (found := _version(name)) is not None},
        )


def commit_of(folder: Path) -> str | None:
    """The commit of the git tree that a folder belongs to; None when it belongs to none, or git is not there."""
    described = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(described, capture_output=True, text=True, timeout=_GIT_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
