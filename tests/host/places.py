"""Where the hosts of tests lie, and how they are reached. Imports nothing that a front end would not."""

import signal
import sys
from pathlib import Path
from typing import Any

from tools_server.engine.types import Chat, GenerationRequest, Message, Prompt, Span
from tools_server.host.info import Wanted, wanted
from tools_server.host.lifecycle import HostLink
from tools_server.host.paths import HostPaths, host_paths
from tools_server.settings import Settings

ROOT = Path(__file__).parents[2]
HOST = [sys.executable, "-W", "error", str(ROOT / "tests" / "host" / "scripted_host.py")]
FRONT_END = [sys.executable, "-W", "error", str(ROOT / "tests" / "host" / "front_end.py")]
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows, all signals but two end a process at once
SHA256 = "0" * 64
LIMIT_S = 60.0


def settings_in(folder: Path, **more: Any) -> Settings:
    """Settings whose host lies in `folder`."""
    values = {"model": "scripted", "runtime_dir": folder, "context_tokens": 4096, "max_sequences": 4, **more}
    return Settings(**values)


def paths_of(settings: Settings) -> HostPaths:
    return host_paths(settings, model_id=settings.model, model_sha256=SHA256)


def wanted_by(settings: Settings) -> Wanted:
    return wanted(settings, sha256=SHA256, weights=Path("scripted"))


def link_to(settings: Settings, *options: str) -> HostLink:
    """A front end's way to the scripted host, started with `options`."""
    return HostLink(paths_of(settings), settings, wanted_by(settings), command=[*HOST, *options])


def chat(text: str) -> Chat:
    return Chat((Message("user", (Span(text, payload=True),)),))


def generation(text: str, deadline: float | None = None) -> GenerationRequest:
    """A request that the scripted engine answers with eight letters. One token a byte, as it tokenises."""
    return GenerationRequest(Prompt(tuple(f"{text}\nassistant\n".encode())), 16, deadline=deadline)
