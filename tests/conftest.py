"""No test meets the engine host of the person who runs it, and none leaves one behind."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools_server.settings import ENV_PREFIX

_VARIABLE = f"{ENV_PREFIX}RUNTIME_DIR"


@pytest.fixture(scope="session", autouse=True)
def _hosts_of_their_own() -> Iterator[None]:
    folder = Path(tempfile.mkdtemp(prefix="ts-"))  # short, as the path of a socket must be
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
        if any(folder.glob("*.pid")):
            from tools_server.host.lifecycle import stop  # noqa: PLC0415 - rarely needed
            from tools_server.host.paths import HostPaths  # noqa: PLC0415

            for pid in folder.glob("*.pid"):
                stop(HostPaths(folder, folder, pid.stem), patience_s=5)
        shutil.rmtree(folder)
