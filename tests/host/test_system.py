"""What the operating system is asked for."""

import os
import subprocess
import sys

import psutil
import pytest

from tests.host.conftest import posix
from tools_server.host import system


def test_the_memory_of_this_process_is_told():
    assert system.resident_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)


@posix
def test_without_a_proc_file_system_the_peak_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(system.Path, "exists", lambda _: False)
    assert system.resident_bytes() > 1e6


@pytest.mark.skipif(not hasattr(os, "nice"), reason="Windows")
def test_a_process_of_low_priority_lets_others_go_first():
    code = "import os; from tools_server.host.system import lower_priority; lower_priority(); print(os.nice(0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) == os.nice(0) + system.NICENESS


@pytest.mark.skipif(sys.platform != "win32", reason="has priority classes")
def test_on_windows_a_process_of_low_priority_lets_others_go_first():
    code = (
        "import psutil; from tools_server.host import system; system.lower_priority(); print(psutil.Process().nice())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() in ("16384", "Priority.BELOW_NORMAL_PRIORITY_CLASS")
