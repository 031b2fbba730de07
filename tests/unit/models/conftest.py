"""What the tests of this room share: tiny models, manifests for them, and a store over temporary folders."""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tools_server.models import FileSource, ModelManifest, ModelStore, Weights
from tools_server.models.manifest import dump_manifest


def gguf_bytes(**values: str | int) -> bytes:
    """A GGUF header and nothing else; keys are written with `__` for the dot."""
    pairs = {"general.architecture": "llama", "llama.context_length": 2048}
    pairs.update({key.replace("__", "."): value for key, value in values.items()})

    def string(text: str) -> bytes:
        return struct.pack("<Q", len(text.encode())) + text.encode()

    def value(it: str | int) -> bytes:
        return struct.pack("<I", 8) + string(it) if isinstance(it, str) else struct.pack("<II", 4, it)

    body = b"".join(string(key) + value(it) for key, it in pairs.items())
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + body


def weights_for(content: bytes, *sources: object, id: str = "tiny") -> Weights:
    return Weights.model_validate(
        {
            "id": id,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
            "source": sources or (FileSource(kind="file", path=Path("/nowhere/tiny.gguf")),),
        }
    )


@pytest.fixture
def gguf() -> Callable[..., bytes]:
    return gguf_bytes


@pytest.fixture
def pin() -> Callable[..., Weights]:
    return weights_for


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / name for name in ("cache", "bundled", "user")}
    made["bundled"].mkdir()
    return made


@pytest.fixture
def store(folders: dict[str, Path]) -> ModelStore:
    return ModelStore(cache_dir=folders["cache"], manifest_dirs=(folders["bundled"], folders["user"]))


@pytest.fixture
def publish(folders: dict[str, Path], tmp_path: Path) -> Callable[..., ModelManifest]:
    """Put a manifest into a folder, whose one source is a file with that content."""

    def make(
        content: bytes, *, id: str = "tiny", folder: str = "bundled", licence: str = "Apache-2.0"
    ) -> ModelManifest:
        original = tmp_path / f"{id}.original"
        original.write_bytes(content)
        weights = weights_for(content, FileSource(kind="file", path=original), id=id)
        manifest = ModelManifest(**dict(weights), licence=licence, openness="weights", context_tokens=64)
        folders[folder].mkdir(exist_ok=True)
        (folders[folder] / f"{id}.toml").write_text(dump_manifest(manifest), "utf-8")
        return manifest

    return make
