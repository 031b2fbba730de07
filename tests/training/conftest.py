"""Training for real, on tiny models written here and on the small real one. Skipped where the extra is missing."""

import importlib.util
from pathlib import Path

import pytest

from tests.training.tiny import write_tiny
from tools_server.models import ModelStore
from tools_server.settings import load_settings

MODEL = "smollm2-135m-instruct"
NEEDED = ("torch", "transformers", "peft", "gguf")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    for item in items:
        if missing and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f"the extra `train` is not installed: no {', '.join(missing)}"))


@pytest.fixture(scope="session")
def weights() -> Path:
    """The verified weights of the small real model; a missing file is an error that names the command to run."""
    return ModelStore.from_settings(load_settings()).path(MODEL)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "llama.gguf", "llama")


@pytest.fixture(scope="session")
def tiny_qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "qwen2.gguf", "qwen2")
