"""llama.cpp's own programs, built from the source that the engine's llama.cpp was compiled from."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bench.machine import ROOT
from tools_server.cli import output

CACHE = ROOT / ".cache" / "llama-server"
PACKAGE = "llama-cpp-python"
SERVER = "llama-server"
BATCHED_BENCH = "llama-batched-bench"
LLAMA_BENCH = "llama-bench"
PROGRAMS = (SERVER, BATCHED_BENCH, LLAMA_BENCH)

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
    """Build the programs unless that has been done for this version of llama-cpp-python; their folder.

    Some minutes, once.

    Raises:
        BaselineError: a tool is missing, or a step failed.
    """
    release = version(PACKAGE)
    home = CACHE / release
    folder, stamp = home / "build" / "bin", home / "built"
    if stamp.is_file() and all((folder / program).is_file() for program in PROGRAMS):
        return folder
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            raise BaselineError(
                f"`{tool}` is missing: {SERVER} is compiled from source.",
                "Debian, Ubuntu: apt install build-essential cmake · Fedora: dnf install gcc-c++ cmake.",
            )
    source = _source(home, release)
    output.note(f"building {', '.join(PROGRAMS)} of {PACKAGE} {release} (some minutes, once; {home / 'build.log'})")
    for command in build_commands(source, home / "build"):
        run_logged(command, home / "build.log")
    stamp.touch()
    return folder


def download_command(home: Path, release: str) -> list[str]:
    """Fetch the sdist alone; only this package from source, for building its build tools would take hours."""
    options = ["--no-deps", "--no-binary", PACKAGE, "--dest", str(home)]
    return [sys.executable, "-m", "pip", "download", *options, f"{PACKAGE}=={release}"]


def build_commands(source: Path, target: Path) -> tuple[list[str], list[str]]:
    """Configure, then compile. Instruction sets are those of this machine, as in the engine's own build."""
    switches = [f"-D{name}=OFF" for name in SWITCHED_OFF]
    configure = ["cmake", "-S", str(source), "-B", str(target), "-DCMAKE_BUILD_TYPE=Release", *switches]
    jobs = str(os.cpu_count() or 1)
    return configure, ["cmake", "--build", str(target), "--target", *PROGRAMS, "--parallel", jobs]


def run_logged(command: Sequence[str], log: Path) -> None:
    """Run a command whose output goes to the end of a file.

    Raises:
        BaselineError: it ended with another exit code than 0; the message has the last lines of the file.
    """
    with log.open("ab") as sink:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, check=False)
    if done.returncode != 0:
        raise BaselineError(
            f"`{' '.join(command[:4])} …` ended with exit code {done.returncode}:\n{tail(log)}",
            f"The whole log: {log}. To start over: rm -r {log.parent}",
        )


def native_environment(wait_policy: str | None = None) -> dict[str, str]:
    """This process's environment but for the OpenMP settings that the engine has made for itself.

    Without a `wait_policy` the threads of a program wait as OpenMP has them by default: so people run it.
    """
    own = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    rest = {name: value for name, value in os.environ.items() if name not in own}
    return rest if wait_policy is None else {**rest, "OMP_WAIT_POLICY": wait_policy}


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-TAIL_LINES:])


def _source(home: Path, release: str) -> Path:
    """Download and unpack the sdist; the folder of llama.cpp in it."""
    folder = home / "source"
    if not folder.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        run_logged(download_command(home, release), home / "build.log")
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
