"""The real small model, loaded once for all native tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.native.lora import make_adapter
from tools_server.engine.llama import LlamaBackend
from tools_server.engine.llama_library import llama
from tools_server.engine.local import LocalEngine
from tools_server.engine.types import Adapter
from tools_server.models import ModelStore
from tools_server.settings import load_settings

MODEL = "smollm2-135m-instruct"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.native)


@pytest.fixture(scope="session")
def store() -> ModelStore:
    return ModelStore.from_settings(load_settings())


@pytest.fixture(scope="session")
def weights(store: ModelStore) -> Path:
    """The verified weights; a missing file is an error that names the command to run."""
    return store.path(MODEL)


@pytest.fixture(scope="session")
def sha256(store: ModelStore) -> str:
    return store.manifest(MODEL).sha256


@pytest.fixture(scope="session")
def shared_backend(weights: Path, sha256: str) -> LlamaBackend:
    return LlamaBackend(
        weights, model_id=MODEL, sha256=sha256, context_tokens=8192, max_sequences=16, batch_tokens=512, threads=2
    )


class _Kept(LlamaBackend):
    """A view of a backend that survives the engine over it, so that each test has a fresh engine in no time."""

    def __init__(self, backend: LlamaBackend) -> None:
        self.__dict__ = backend.__dict__

    def close(self) -> None:
        llama.llama_memory_clear(self._memory, True)
        self.use_adapter(None)
        for adapter in list(self._adapters):
            self.unload_adapter(adapter)


@pytest.fixture
def backend(shared_backend: LlamaBackend) -> LlamaBackend:
    return _Kept(shared_backend)


@pytest.fixture
async def engine(backend: LlamaBackend) -> Any:
    engine = LocalEngine(backend)
    yield engine
    await engine.aclose()


@pytest.fixture(scope="session")
def f32_weights(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same weights written out as F32: no quantised arithmetic between scheduling and its result."""
    target = tmp_path_factory.mktemp("f32") / "smollm2-f32.gguf"
    params = llama.llama_model_quantize_default_params()
    params.ftype = llama.LLAMA_FTYPE_ALL_F32
    params.allow_requantize = True
    params.nthread = 2
    assert llama.llama_model_quantize(str(weights).encode(), str(target).encode(), params) == 0
    yield target
    target.unlink()


@pytest.fixture(scope="session")
def shared_exact_backend(f32_weights: Path, sha256: str) -> LlamaBackend:
    return LlamaBackend(
        f32_weights, model_id=MODEL, sha256=sha256, context_tokens=2048, max_sequences=8, batch_tokens=512, exact=True
    )


@pytest.fixture
def exact_backend(shared_exact_backend: LlamaBackend) -> LlamaBackend:
    """The model in F32: a result depends on what is decoded with it by no more than float rounding."""
    return _Kept(shared_exact_backend)


@pytest.fixture
async def exact_engine(exact_backend: LlamaBackend) -> Any:
    engine = LocalEngine(exact_backend, max_sequences=8)
    yield engine
    await engine.aclose()


@pytest.fixture(scope="session")
def adapters(sha256: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Adapter, Adapter, Adapter]:
    folder = tmp_path_factory.mktemp("adapters")
    a, b, c = (make_adapter(folder / f"{name}.gguf", seed=i, base_sha256=sha256) for i, name in enumerate("abc"))
    return a, b, c
