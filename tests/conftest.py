"""No test meets the engine host or the adapters of the person who runs it, and none leaves a host behind."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tools_server.settings import ENV_PREFIX

settings.register_profile("untimed", deadline=None)  # other work on the machine is no failure
settings.load_profile("untimed")

_VARIABLE = f"{ENV_PREFIX}RUNTIME_DIR"


@pytest.fixture(scope="session", autouse=True)
def _hosts_of_their_own() -> Iterator[None]:
    folder = Path(tempfile.mkdtemp(prefix="ts-"))  # short, as the path of a socket must be
    own = {_VARIABLE: str(folder), f"{ENV_PREFIX}ADAPTERS_DIR": str(folder / "adapters")}
    before = {variable: os.environ.get(variable) for variable in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for variable, value in before.items():
            if value is None:
                del os.environ[variable]
            else:
                os.environ[variable] = value
        if any(folder.glob("*.pid")):
            from tools_server.host.lifecycle import stop  # noqa: PLC0415 - rarely needed
            from tools_server.host.paths import HostPaths  # noqa: PLC0415

            for pid in folder.glob("*.pid"):
                stop(HostPaths(folder, folder, pid.stem), patience_s=5)
        shutil.rmtree(folder)
