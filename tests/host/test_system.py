"""What the operating system is asked for."""

import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from tools_server.host import system


def test_the_memory_of_this_process_is_told():
    assert system.resident_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)


def test_without_a_proc_file_system_the_peak_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(system.Path, "exists", lambda _: False)
    assert system.resident_bytes() > 1e6


@pytest.mark.skipif(not hasattr(os, "nice"), reason="Windows")
def test_a_process_of_low_priority_lets_others_go_first():
    code = "import os; from tools_server.host.system import lower_priority; lower_priority(); print(os.nice(0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) == os.nice(0) + system.NICENESS


def test_where_there_is_no_nice_the_priority_class_is_lowered(monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[int, int]] = []
    kernel = SimpleNamespace(
        GetCurrentProcess=lambda: 7, SetPriorityClass=lambda process, priority: asked.append((process, priority))
    )
    monkeypatch.delattr(os, "nice")
    monkeypatch.setattr(system.ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    system.lower_priority()
    assert asked == [(7, 0x4000)]
