import pytest

from tools_server.host.paths import host_paths
from tools_server.settings import Settings


def test_a_session_without_a_runtime_folder_is_no_warning_for_the_user(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("platformdirs.unix._WARNED", set())  # it warns once in a process
    paths = host_paths(Settings(), model_id="m", model_sha256="a" * 64)  # a warning would be an error here
    assert paths.folder.name
