import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tools_server.bundled import bundled_dir
from tools_server.errors import ChecksumMismatch, DownloadFailed, ManifestInvalid, ModelLoadFailed, ModelNotFound
from tools_server.models import FileSource, ModelManifest, ModelStore, read_manifest
from tools_server.models import install as install_module
from tools_server.settings import Settings

Publish = Callable[..., ModelManifest]
Gguf = Callable[..., bytes]


def test_the_list_tells_what_is_known_and_what_is_here(store: ModelStore, publish: Publish):
    publish(b"first", id="a")
    publish(b"second", id="b", folder="user")
    store.pull("b")
    assert [(s.manifest.id, s.installed, s.verified) for s in store.list()] == [("a", False, False), ("b", True, True)]


def test_a_broken_manifest_harms_no_other(store: ModelStore, publish: Publish, folders: dict[str, Path]):
    publish(b"first", id="a")
    (folders["bundled"] / "b.toml").write_text("id = ", "utf-8")
    assert [status.manifest.id for status in store.list()] == ["a"]
    assert [str(folders["bundled"] / "b.toml") in error.message for error in store.broken()] == [True]
    with pytest.raises(ManifestInvalid, match=r"b\.toml"):
        store.manifest("b")


def test_the_users_manifest_wins_over_the_bundled_one(store: ModelStore, publish: Publish):
    publish(b"first", licence="MIT")
    publish(b"first", licence="Apache-2.0", folder="user")
    assert store.manifest("tiny").licence == "Apache-2.0"
    assert len(store.list()) == 1


def test_an_unknown_id_is_answered_with_near_ones(store: ModelStore, publish: Publish):
    publish(b"first", id="smollm2-135m-instruct")
    with pytest.raises(ModelNotFound, match=r"'smollm-135m'.*Known: smollm2-135m-instruct"):
        store.manifest("smollm-135m")


def test_weights_that_are_not_here_are_answered_with_the_command_that_gets_them(store: ModelStore, publish: Publish):
    publish(b"first")
    with pytest.raises(ModelNotFound, match="tools-server models pull tiny"):
        store.path("tiny")
    with pytest.raises(ModelNotFound, match="tools-server models pull tiny"):
        store.verify("tiny")


def test_the_path_is_given_without_hashing_what_was_hashed_before(
    store: ModelStore, publish: Publish, monkeypatch: pytest.MonkeyPatch
):
    publish(b"first")
    path = store.pull("tiny")
    monkeypatch.setattr(install_module, "sha256_of", lambda *_: pytest.fail("hashed again"))
    assert store.path("tiny") == path


def test_a_file_that_was_touched_is_hashed_again_once(
    store: ModelStore, publish: Publish, monkeypatch: pytest.MonkeyPatch
):
    publish(b"first")
    path = store.pull("tiny")
    os.utime(path, (1, 1))
    assert not store.list()[0].verified
    assert store.path("tiny") == path
    monkeypatch.setattr(install_module, "sha256_of", lambda *_: pytest.fail("hashed again"))
    assert store.path("tiny") == path


@pytest.mark.parametrize("content", [b"wrong", b"longer than before"])
def test_a_changed_file_is_refused_and_a_pull_mends_it(store: ModelStore, publish: Publish, content: bytes):
    publish(b"first")
    path = store.pull("tiny")
    path.write_bytes(content)
    os.utime(path, (1, 1))
    with pytest.raises(ChecksumMismatch, match=r"tools-server models pull tiny"):
        store.path("tiny")
    store.pull("tiny")
    assert store.path("tiny").read_bytes() == b"first"


def test_verify_hashes_even_what_looks_untouched(store: ModelStore, publish: Publish):
    publish(b"first")
    path = store.pull("tiny")
    assert store.verify("tiny") == path
    stat = path.stat()
    path.write_bytes(b"wrong")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.path("tiny") == path  # what the cheap check cannot see
    with pytest.raises(ChecksumMismatch, match="5 bytes"):
        store.verify("tiny")


def test_an_unreadable_seal_only_costs_a_hash(store: ModelStore, publish: Publish):
    publish(b"first")
    path = store.pull("tiny")
    path.with_name(path.name + ".verified.json").write_text("{", "utf-8")
    assert store.path("tiny") == path
    assert store.list()[0].verified


def test_the_store_of_the_settings_knows_the_bundled_models_and_keeps_the_users_apart(tmp_path: Path):
    settings = Settings(config_dir=tmp_path / "config", cache_dir=tmp_path / "cache")
    store = ModelStore.from_settings(settings)
    assert {status.manifest.id for status in store.list()} == {
        file.stem for file in bundled_dir("models").glob("*.toml")
    }
    assert store.manifest_path("new") == tmp_path / "config" / "models" / "new.toml"
    assert not any(status.installed for status in store.list())


def test_adding_a_file_copies_it_and_pins_the_hash_it_has(
    store: ModelStore, gguf: Gguf, tmp_path: Path, folders: dict[str, Path]
):
    original = tmp_path / "My Model (Q4).gguf"
    original.write_bytes(gguf(general__license="mit"))
    manifest = store.add(str(original))
    assert (manifest.id, manifest.licence, manifest.context_tokens) == ("my-model-q4", "mit", 2048)
    assert read_manifest(folders["user"] / "my-model-q4.toml") == manifest
    assert manifest.source == (FileSource(kind="file", path=original),)
    original.unlink()
    assert store.verify(manifest.id).read_bytes() == gguf(general__license="mit")


def test_adding_the_same_file_again_changes_nothing(store: ModelStore, gguf: Gguf, tmp_path: Path):
    (tmp_path / "m.gguf").write_bytes(gguf())
    first = store.add(str(tmp_path / "m.gguf"), model_id="mine")
    store.manifest_path("mine").write_text(store.manifest_path("mine").read_text("utf-8") + "# note\n", "utf-8")
    assert store.add(str(tmp_path / "m.gguf"), model_id="mine") == first
    assert store.manifest_path("mine").read_text("utf-8").endswith("# note\n")


def test_a_file_that_is_at_hand_stands_in_for_the_sources_of_a_known_model(
    store: ModelStore, gguf: Gguf, publish: Publish, tmp_path: Path, folders: dict[str, Path]
):
    known = publish(gguf(), id="known")
    (tmp_path / "known.original").rename(tmp_path / "copied-over.gguf")
    with pytest.raises(DownloadFailed, match="models add PATH --id known"):
        store.pull("known")
    assert store.add(str(tmp_path / "copied-over.gguf"), model_id="known") == known
    assert store.path("known").read_bytes() == gguf()
    assert not folders["user"].exists()


def test_adding_another_file_under_a_taken_id_is_refused(
    store: ModelStore, gguf: Gguf, publish: Publish, tmp_path: Path
):
    publish(b"first", id="taken")
    (tmp_path / "taken.gguf").write_bytes(gguf())
    with pytest.raises(ManifestInvalid, match=r"'taken' already belongs to another file.*--id"):
        store.add(str(tmp_path / "taken.gguf"))
    assert not store.list()[0].installed


@pytest.mark.parametrize(
    ("name", "content", "error", "reason"),
    [
        ("m.gguf", b"PK\x03\x04 not a model", ModelLoadFailed, "begins with b'PK"),
        ("m.safetensors", b"GGUF", ModelLoadFailed, r"ends in \.gguf"),
        ("m.gguf", None, ModelNotFound, "There is no file"),
    ],
)
def test_what_is_no_model_is_refused_and_leaves_nothing(
    store: ModelStore,
    tmp_path: Path,
    folders: dict[str, Path],
    name: str,
    content: bytes | None,
    error: type[Exception],
    reason: str,
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=reason):
        store.add(str(tmp_path / name))
    assert not folders["user"].exists()
    assert not folders["cache"].exists()


def test_one_part_of_a_split_model_is_refused_with_the_way_to_join_it(store: ModelStore, gguf: Gguf, tmp_path: Path):
    (tmp_path / "m-00001-of-00003.gguf").write_bytes(gguf(split__count=3))
    with pytest.raises(ModelLoadFailed, match=r"one of 3 parts.*--merge"):
        store.add(str(tmp_path / "m-00001-of-00003.gguf"))


def test_an_id_that_could_leave_the_folder_is_refused(store: ModelStore, gguf: Gguf, tmp_path: Path):
    (tmp_path / "m.gguf").write_bytes(gguf())
    with pytest.raises(ManifestInvalid, match=r"\.\./evil.*--id"):
        store.add(str(tmp_path / "m.gguf"), model_id="../evil")


@pytest.mark.native
def test_the_tiny_model_on_this_machine_is_the_pinned_one():
    store = ModelStore.from_settings(Settings())
    status = next(status for status in store.list() if status.manifest.id == "smollm2-135m-instruct")
    assert status.path.exists(), "not pulled: tools-server models pull smollm2-135m-instruct"
    assert store.verify("smollm2-135m-instruct") == status.path
