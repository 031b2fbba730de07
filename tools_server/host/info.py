"""What a host says about itself, and what a front end makes of it: use it, replace it, or give up."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tools_server import __version__
from tools_server.errors import HostMismatch
from tools_server.settings import Settings

_log = logging.getLogger(__name__)

PROTOCOL = 1
"""Raised whenever a front end and a host of different releases would misunderstand each other.

`GET /v1/info` and `POST /v1/retire` never change: they are how two releases find out.
"""

INFO = "/v1/info"
RETIRE = "/v1/retire"

PID_HEADER = "engine-host"
"""The process that a request is meant for. Another one refuses it, for its limits may not be those the client knows."""

OTHER_HOST = 421
"""The status of that refusal."""

QUIET_S = 30.0
"""Seconds without a request after which a host with other settings is taken to be nobody's."""

SHARED = (
    "context_tokens",
    "max_sequences",
    "batch_tokens",
    "threads",
    "flash_attention",
    "kv_type",
    "queue_limit",
    "low_priority",
    "memory_limit_mb",
    "host_idle_s",
)
"""The settings that the host has for everybody. All others are each front end's own."""

TOLD = frozenset({*SHARED, "model", "tuned", "config_dir", "cache_dir", "runtime_dir", "log_level"})
"""The settings that a host is started with. Others are not its business, and a command line is seen by all users."""


class State(StrEnum):
    """How far a host is."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class HostInfo:
    """A host at one moment. `settings` are the shared ones, release and weights, by name; times are in seconds."""

    protocol: int
    version: str
    pid: int
    model: str
    sha256: str
    settings: Mapping[str, Any]
    state: State
    under_way: int
    idle_s: float
    uptime_s: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a front end would start a host with."""

    model: str
    sha256: str
    settings: Mapping[str, Any]


def wanted(settings: Settings, *, sha256: str, weights: Path) -> Wanted:
    """Give what these settings ask of a host that serves `weights` as the model with that SHA-256."""
    values = settings.model_dump(mode="json", include=set(SHARED))
    return Wanted(settings.model, sha256, {"release": __version__, "weights": str(weights), **values})


class Verdict(StrEnum):
    """What to do with the host that is there."""

    USE = "use"
    REPLACE = "replace"


def negotiate(host: HostInfo, ours: Wanted, *, first: bool) -> Verdict:
    """Decide about a host. `first`: this front end has used none yet, and may replace one that nobody uses.

    Later it takes the one that is there: two front ends of different settings would replace each other's for ever.

    Raises:
        HostMismatch: the host is of a later release that this one cannot talk to.
    """
    if host.protocol > PROTOCOL:
        raise HostMismatch(
            f"The shared engine host (pid {host.pid}) runs tools-server {host.version}; this process runs the older "
            f"{__version__}, which cannot talk to it.",
            "Restart the client, so that it starts the installed release, or use `--in-process`.",
        )
    if host.protocol < PROTOCOL:
        return Verdict.REPLACE
    if not (differing := differences(host, ours)):
        return Verdict.USE
    if first and host.under_way == 0 and host.idle_s >= QUIET_S:
        return Verdict.REPLACE
    listed = ", ".join(f"{name} is {there!r} there, {here!r} here" for name, (there, here) in differing.items())
    _log.warning("using the engine host that runs (pid %d), whose settings differ: %s", host.pid, listed)
    return Verdict.USE


def differences(host: HostInfo, ours: Wanted) -> dict[str, tuple[Any, Any]]:
    """Give the settings that differ: the host's value and ours."""
    return {
        name: (host.settings.get(name), value)
        for name, value in ours.settings.items()
        if host.settings.get(name) != value
    }
