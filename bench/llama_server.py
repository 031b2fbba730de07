"""llama.cpp's own `llama-server`, run with what the engine has."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx2

from bench.programs import PACKAGE, SERVER, BaselineError, native_environment, tail
from bench.terms import HOME, Terms

HOST = "127.0.0.1"
START_S = 180.0
STOP_S = 5.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers at `url`."""

    url: str
    pid: int


def common_options(terms: Terms) -> dict[str, str]:
    """The engine's context, batch size, threads and flash attention, for any of llama.cpp's programs."""
    return {
        "--model": str(terms.weights),
        "--ctx-size": str(terms.settings.context_tokens),
        "--batch-size": str(terms.settings.batch_tokens),
        "--ubatch-size": str(terms.settings.batch_tokens),
        "--threads": str(terms.threads),
        "--threads-batch": str(terms.threads),
        "--flash-attn": "on",
    }


def serve_command(binary: Path, terms: Terms, port: int, adapters: Sequence[Path] = ()) -> list[str]:
    """Serve on one KV cache for all slots, as the engine does.

    `--cache-ram 0` is to its advantage: else a new task throws the other slots' prompts out of a shared KV cache.
    """
    options = {
        **common_options(terms),
        "--host": HOST,
        "--port": str(port),
        "--parallel": str(terms.slots),
        "--cache-ram": "0",
    }
    words = [word for option in options.items() for word in option]
    words += [word for adapter in adapters for word in ("--lora", str(adapter))]
    flags = ["--kv-unified", "--jinja", "--offline", *(["--lora-init-without-apply"] if adapters else [])]
    return [str(binary), *words, *flags]


def described(terms: Terms) -> str:
    """What a reader must know of this baseline."""
    return (
        f"of the source of {PACKAGE} {version(PACKAGE)}, {terms.slots} slots, one KV cache, flash attention, "
        f"same threads, OMP_WAIT_POLICY {terms.wait_policy or 'unset'}"
    )


@contextmanager
def serving(folder: Path, terms: Terms, adapters: Sequence[Path] = ()) -> Iterator[Running]:
    """Run the server on a free port of this machine's loopback. It is gone afterwards, come what may.

    Raises:
        BaselineError: it ended, or was not ready in time.
    """
    port = _free_port()
    HOME.mkdir(parents=True, exist_ok=True)
    log = HOME / "llama-server.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            serve_command(folder / SERVER, terms, port, adapters),
            env=native_environment(terms.wait_policy),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )
        try:
            url = f"http://{HOST}:{port}"
            _wait_until_ready(url, process, log)
            yield Running(url, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    with httpx2.Client(trust_env=False, timeout=START_S) as client:
        while time.monotonic() < deadline:
            if (code := process.poll()) is not None:
                raise BaselineError(f"{SERVER} ended with exit code {code}:\n{tail(log)}", f"The whole log: {log}.")
            try:
                if client.get(f"{url}/health").status_code == httpx2.codes.OK:
                    return
            except httpx2.ConnectError:
                pass  # not listening yet
            time.sleep(POLL_S)
    raise BaselineError(f"{SERVER} was not ready after {START_S:.0f} s:\n{tail(log)}", f"The whole log: {log}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
