from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.training.adapter_fakes import BASE, CREATED, make_version, origin, sha256, write_adapter
from tools_server.errors import AdapterMismatch, AdapterVersionConflict, AdapterVersionNotFound
from tools_server.skills.adapters import Active, find_version, version_names
from tools_server.training.versions import add_version, check_bytes, remove_version, write_active


def test_a_version_has_the_file_and_everything_that_is_known_of_it(tmp_path: Path):
    file = write_adapter(tmp_path / "a.gguf", invocation=[3])
    version = add_version(tmp_path / "root", "demo", "tiny", file, origin())
    copy = version.folder / "adapter.gguf"
    assert copy.read_bytes() == file.read_bytes()
    known = version.provenance
    assert (known.sha256, known.size_bytes) == (sha256(file), file.stat().st_size)
    assert (known.kind, known.architecture, known.rank, known.alpha) == ("alora", "llama", 2, 4.0)
    assert (known.base_sha256, known.seed, known.scores) == (BASE, 7, {"dev_accuracy": 0.81})
    assert known.data == origin().data
    assert known.recipe == {"learning_rate": 1e-3, "targets": ["attn_q"], "schedule": {"kind": "cosine"}}
    assert find_version(tmp_path / "root", "demo", "tiny", version.name) == version


def test_a_version_is_named_by_its_time_in_utc_and_its_hash_unless_it_has_a_name(tmp_path: Path):
    first = make_version(tmp_path, "demo")
    assert first.name == f"20260802-101500-{first.provenance.sha256[:8]}"
    later = make_version(tmp_path, "demo", created=CREATED + timedelta(days=1))
    named = make_version(tmp_path, "demo", "by-hand")
    assert version_names(tmp_path, "demo", "tiny") == [first.name, later.name, named.name]


@pytest.mark.parametrize("name", ["taken", "shipped", "none", "active.toml"])
def test_a_name_that_is_taken_is_refused_and_nothing_is_left_behind(tmp_path: Path, name: str):
    kept = make_version(tmp_path, "demo", "taken").provenance
    with pytest.raises(AdapterVersionConflict, match=rf"'{name}'"):
        make_version(tmp_path, "demo", name, seed=1)
    assert find_version(tmp_path, "demo", "tiny", "taken").provenance == kept
    assert [path.name for path in (tmp_path / "demo/tiny").iterdir()] == ["taken"]


def test_the_same_file_at_the_same_time_is_no_second_version(tmp_path: Path):
    make_version(tmp_path, "demo")
    with pytest.raises(AdapterVersionConflict, match="already"):
        make_version(tmp_path, "demo")


def test_a_truncated_file_becomes_no_version(tmp_path: Path):
    file = write_adapter(tmp_path / "a.gguf")
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(AdapterMismatch, match="it is truncated"):
        add_version(tmp_path / "root", "demo", "tiny", file, origin())
    assert not (tmp_path / "root").exists()


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path):
    file = write_adapter(tmp_path / "a.gguf")
    with pytest.raises(AdapterVersionNotFound, match=r"'\.\./x' cannot be part"):
        add_version(tmp_path / "root", "demo", "tiny", file, origin(), version="../x")
    assert not (tmp_path / "root").exists()


def test_what_breaks_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tools_server.training.versions.write_aside", full)
    with pytest.raises(OSError, match="No space left"):
        make_version(tmp_path, "demo")
    assert list((tmp_path / "demo/tiny").iterdir()) == []


def test_a_version_goes_unless_it_is_served(tmp_path: Path):
    make_version(tmp_path, "demo", "one")
    write_active(tmp_path, "demo", "tiny", Active(version="one", since=CREATED, how="promoted", reason="r"))
    with pytest.raises(AdapterVersionConflict, match="demo@tiny:one is the version that is served") as caught:
        remove_version(tmp_path, "demo", "tiny", "one")
    assert "rollback demo --model tiny" in caught.value.hint
    make_version(tmp_path, "demo", "two")
    assert remove_version(tmp_path, "demo", "tiny", "two").name == "two"
    assert version_names(tmp_path, "demo", "tiny") == ["one"]
    with pytest.raises(AdapterVersionNotFound, match="'two'"):
        remove_version(tmp_path, "demo", "tiny", "two")


def test_other_bytes_of_the_same_size_are_found_out(tmp_path: Path):
    version = make_version(tmp_path, "demo", "one")
    check_bytes(version)
    file = version.folder / "adapter.gguf"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(AdapterMismatch, match=r"demo@tiny:one has SHA-256 \w{12}…, \w{12}… was written"):
        check_bytes(version)
