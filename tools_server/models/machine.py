"""This machine: the fingerprint that a measured speed belongs to, and how much memory is free."""

import hashlib
import os
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

if sys.platform == "win32":
    import win32api

__all__ = ["Machine", "available_memory"]

_CPUINFO = Path("/proc/cpuinfo")


class Machine(BaseModel):
    """A fingerprint. `flags` is a digest of the instruction sets where the system lists them, else empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    cpu: str
    flags: str
    cores: int
    llama_cpp_python: str

    @classmethod
    def here(cls, cpuinfo: Path = _CPUINFO) -> "Machine":
        """The machine that this process runs on."""
        try:
            text = cpuinfo.read_text("utf-8", errors="replace")
        except OSError:  # macOS and Windows have no such file
            text = ""
        model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
        return cls(
            system=f"{platform.system()} {platform.machine()}",
            cpu=model[1].strip() if model else platform.processor() or platform.machine(),
            flags=hashlib.sha256(" ".join(sorted(flags[1].split())).encode()).hexdigest()[:16] if flags else "",
            cores=os.cpu_count() or 1,
            llama_cpp_python=version("llama-cpp-python"),
        )

    def differences(self, other: "Machine") -> list[str]:
        """What is not the same there, for people: `cpu: … there, … here`."""
        ours, theirs = self.model_dump(), other.model_dump()
        return [f"{key}: {theirs[key]} then, {ours[key]} now" for key in ours if ours[key] != theirs[key]]


def available_memory() -> int:
    """Bytes that a new process can use: of the machine, or of the control group (container) that we run in."""
    if sys.platform == "win32":
        return win32api.GlobalMemoryStatusEx()["AvailPhys"]
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text("ascii").splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (allowed := limit.read_text("ascii").strip()) != "max":
        free = min(free, int(allowed) - int(used.read_text("ascii")))
    return free
