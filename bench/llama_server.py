"""llama.cpp's own `llama-server`: built from the source that the engine's llama.cpp was compiled from, and run."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx2

from bench.machine import ROOT
from tools_server.cli import output
from tools_server.engine.llama import physical_cores
from tools_server.settings import Settings

CACHE = ROOT / ".cache" / "llama-server"
PACKAGE = "llama-cpp-python"
TARGET = "llama-server"
HOST = "127.0.0.1"
SLOTS = 8
"""Requests that the server runs at once; the others wait in its queue."""

START_S = 180.0
STOP_S = 5.0
POLL_S = 0.1
TAIL_LINES = 15

SWITCHED_OFF = (
    "LLAMA_BUILD_UI",  # would fetch a web page
    "LLAMA_CURL",
    "LLAMA_OPENSSL",
    "LLAMA_BUILD_TESTS",
    "LLAMA_BUILD_EXAMPLES",
    "BUILD_SHARED_LIBS",
)


class BaselineError(Exception):
    """The baseline could not be built, started or asked: `message` says what failed, `hint` the next move."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def build() -> Path:
    """Build the server unless that has been done for this version of llama-cpp-python; some minutes, once.

    Raises:
        BaselineError: a tool is missing, or a step failed.
    """
    release = version(PACKAGE)
    home = CACHE / release
    binary, stamp = home / "build" / "bin" / TARGET, home / "built"
    if stamp.is_file() and binary.is_file():
        return binary
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            raise BaselineError(
                f"`{tool}` is missing: {TARGET} is compiled from source.",
                "Debian, Ubuntu: apt install build-essential cmake · Fedora: dnf install gcc-c++ cmake.",
            )
    source = _source(home, release)
    output.note(f"building {TARGET} of {PACKAGE} {release} (some minutes, once; log: {home / 'build.log'})")
    for command in build_commands(source, home / "build"):
        _run(command, home / "build.log")
    stamp.touch()
    return binary


def download_command(home: Path, release: str) -> list[str]:
    """Fetch the sdist alone; only this package from source, for building its build tools would take hours."""
    options = ["--no-deps", "--no-binary", PACKAGE, "--dest", str(home)]
    return [sys.executable, "-m", "pip", "download", *options, f"{PACKAGE}=={release}"]


def build_commands(source: Path, target: Path) -> tuple[list[str], list[str]]:
    """Configure, then compile. Instruction sets are those of this machine, as in the engine's own build."""
    switches = [f"-D{name}=OFF" for name in SWITCHED_OFF]
    configure = ["cmake", "-S", str(source), "-B", str(target), "-DCMAKE_BUILD_TYPE=Release", *switches]
    jobs = str(os.cpu_count() or 1)
    return configure, ["cmake", "--build", str(target), "--target", TARGET, "--parallel", jobs]


def serve_command(binary: Path, weights: Path, settings: Settings, port: int) -> list[str]:
    """Give the server what the engine has: context, batch size, threads, one KV cache for all, flash attention.

    `--cache-ram 0` is to its advantage: else a new task throws the other slots' prompts out of a shared KV cache.
    """
    threads = str(settings.threads or physical_cores())
    options = {
        "--model": str(weights),
        "--host": HOST,
        "--port": str(port),
        "--ctx-size": str(settings.context_tokens),
        "--batch-size": str(settings.batch_tokens),
        "--ubatch-size": str(settings.batch_tokens),
        "--threads": threads,
        "--threads-batch": threads,
        "--parallel": str(SLOTS),
        "--flash-attn": "on",
        "--cache-ram": "0",
    }
    flags = ["--kv-unified", "--jinja", "--offline"]
    return [str(binary), *(word for option in options.items() for word in option), *flags]


def described(wait_policy: str | None) -> str:
    """What a reader must know of this baseline."""
    return (
        f"of the source of {PACKAGE} {version(PACKAGE)}, {SLOTS} slots, one KV cache, flash attention, same threads, "
        f"OMP_WAIT_POLICY {wait_policy or 'unset'}"
    )


def environment(wait_policy: str | None) -> dict[str, str]:
    """This process's environment but for the OpenMP settings that the engine has made for itself."""
    own = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    rest = {name: value for name, value in os.environ.items() if name not in own}
    return rest if wait_policy is None else {**rest, "OMP_WAIT_POLICY": wait_policy}


@contextmanager
def serving(binary: Path, weights: Path, settings: Settings, wait_policy: str | None = None) -> Iterator[str]:
    """Run the server on a free port of this machine's loopback; gives its URL. It is gone afterwards, come what may.

    Without a `wait_policy` its threads wait as OpenMP has them by default, which is how people run it.

    Raises:
        BaselineError: it ended, or was not ready in time.
    """
    port = _free_port()
    log = CACHE / "server.log"
    with _terminable(), log.open("wb") as sink:
        process = subprocess.Popen(
            serve_command(binary, weights, settings, port),
            env=environment(wait_policy),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )
        try:
            url = f"http://{HOST}:{port}"
            _wait_until_ready(url, process, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _source(home: Path, release: str) -> Path:
    """Download and unpack the sdist; the folder of llama.cpp in it."""
    folder = home / "source"
    if not folder.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        _run(download_command(home, release), home / "build.log")
        archive = next(home.glob("*.tar.gz"))
        half = home / "unpacking"
        shutil.rmtree(half, ignore_errors=True)
        with tarfile.open(archive) as packed:
            packed.extractall(half, filter="data")
        # Renamed when whole: an interrupted run leaves nothing that looks finished.
        next(half.iterdir()).rename(folder)
        half.rmdir()
        archive.unlink()
    return folder / "vendor" / "llama.cpp"


def _run(command: Sequence[str], log: Path) -> None:
    with log.open("ab") as sink:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, check=False)
    if done.returncode != 0:
        raise BaselineError(
            f"`{' '.join(command[:4])} …` ended with exit code {done.returncode}:\n{_tail(log)}",
            f"The whole log: {log}. To start over: rm -r {log.parent}",
        )


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    with httpx2.Client(trust_env=False, timeout=START_S) as client:
        while time.monotonic() < deadline:
            if (code := process.poll()) is not None:
                raise BaselineError(f"{TARGET} ended with exit code {code}:\n{_tail(log)}", f"The whole log: {log}.")
            try:
                if client.get(f"{url}/health").status_code == httpx2.codes.OK:
                    return
            except httpx2.ConnectError:
                pass  # not listening yet
            time.sleep(POLL_S)
    raise BaselineError(f"{TARGET} was not ready after {START_S:.0f} s:\n{_tail(log)}", f"The whole log: {log}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-TAIL_LINES:])


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end this process as an exception does: by default it would leave the server running."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
