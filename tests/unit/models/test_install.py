import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tools_server.errors import ChecksumMismatch, DownloadFailed
from tools_server.models import FileSource, HuggingFaceSource, Weights
from tools_server.models.install import Installer
from tools_server.models.report import silent
from tools_server.models.sources import Fetch, Job, SourceFailed

CONTENT = b"the right bytes"
HUB = HuggingFaceSource(kind="huggingface", repo="some/repo", file="tiny.gguf", revision="main")
DISK = FileSource(kind="file", path=Path("/models/tiny.gguf"))

Pin = Callable[..., Weights]


def delivers(content: bytes) -> Fetch:
    def fetch(job: Job) -> None:
        job.target.write_bytes(content)

    return fetch


def says(reason: str) -> Fetch:
    def fetch(job: Job) -> None:
        raise SourceFailed(reason)

    return fetch


def unfinished(folder: Path) -> list[Path]:
    return list(folder.glob("**/*.partial"))


def test_the_weights_get_their_name_only_when_they_are_whole_and_right(tmp_path: Path, pin: Pin):
    weights = pin(CONTENT, DISK)
    seen: list[bool] = []

    def fetch(job: Job) -> None:
        job.target.write_bytes(CONTENT)
        seen.append(installer.path(weights).exists())

    installer = Installer(tmp_path, {"file": fetch})
    assert installer.install(weights, silent).read_bytes() == CONTENT
    assert seen == [False]
    assert installer.is_sealed(weights)
    assert unfinished(tmp_path) == []


def test_the_next_source_is_tried_when_one_fails(tmp_path: Path, pin: Pin):
    installer = Installer(tmp_path, {"huggingface": says("offline"), "file": delivers(CONTENT)})
    assert installer.install(pin(CONTENT, HUB, DISK), silent).read_bytes() == CONTENT


def test_the_next_source_is_tried_when_one_has_another_file(tmp_path: Path, pin: Pin):
    installer = Installer(tmp_path, {"huggingface": delivers(b"the wrong bytes"), "file": delivers(CONTENT)})
    assert installer.install(pin(CONTENT, HUB, DISK), silent).read_bytes() == CONTENT


def test_when_no_source_delivers_the_error_says_what_each_of_them_said(tmp_path: Path, pin: Pin):
    installer = Installer(tmp_path, {"huggingface": says("the Hub is down"), "file": says("no such file")})
    weights = pin(CONTENT, HUB, DISK)
    with pytest.raises(DownloadFailed) as caught:
        installer.install(weights, silent)
    assert "Hugging Face some/repo: the Hub is down" in caught.value.message
    assert "file /models/tiny.gguf: no such file" in caught.value.message
    assert "models pull tiny" in caught.value.hint
    assert not installer.path(weights).exists()


def test_wrong_bytes_from_every_source_are_a_checksum_mismatch_and_nothing_is_kept(tmp_path: Path, pin: Pin):
    installer = Installer(tmp_path, {"huggingface": delivers(b"the wrong bytes"), "file": delivers(b"short")})
    weights = pin(CONTENT, HUB, DISK)
    with pytest.raises(ChecksumMismatch, match=weights.sha256):
        installer.install(weights, silent)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    assert unfinished(tmp_path) == []


def test_wrong_bytes_beside_a_source_that_failed_may_yet_be_mended(tmp_path: Path, pin: Pin):
    installer = Installer(tmp_path, {"huggingface": delivers(b"the wrong bytes"), "file": says("not mounted")})
    with pytest.raises(DownloadFailed, match="not the pinned"):
        installer.install(pin(CONTENT, HUB, DISK), silent)


def test_what_a_source_left_unfinished_is_there_at_the_next_pull(tmp_path: Path, pin: Pin):
    weights = pin(CONTENT, DISK)

    def first_half(job: Job) -> None:
        job.target.write_bytes(CONTENT[:7])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Installer(tmp_path, {"file": first_half}).install(weights, silent)

    def second_half(job: Job) -> None:
        assert job.target.read_bytes() == CONTENT[:7]
        job.target.write_bytes(CONTENT)

    assert Installer(tmp_path, {"file": second_half}).install(weights, silent).read_bytes() == CONTENT


def test_unfinished_work_for_another_hash_is_not_resumed(tmp_path: Path, pin: Pin):
    def half(job: Job) -> None:
        assert not job.target.exists()
        job.target.write_bytes(b"half")
        raise SourceFailed("interrupted")

    installer = Installer(tmp_path, {"file": half})
    for content in (b"old weights", b"new weights"):
        with pytest.raises(DownloadFailed):
            installer.install(pin(content, DISK), silent)


def test_installed_weights_are_not_fetched_again(tmp_path: Path, pin: Pin):
    weights = pin(CONTENT, DISK)
    Installer(tmp_path, {"file": delivers(CONTENT)}).install(weights, silent)
    Installer(tmp_path, {"file": says("must not be asked")}).install(weights, silent)


def test_right_weights_that_somebody_put_there_are_sealed_not_fetched(tmp_path: Path, pin: Pin):
    weights = pin(CONTENT, DISK)
    installer = Installer(tmp_path, {"file": says("must not be asked")})
    installer.path(weights).parent.mkdir(parents=True)
    installer.path(weights).write_bytes(CONTENT)
    assert not installer.is_sealed(weights)
    installer.install(weights, silent)
    assert installer.is_sealed(weights)


def test_damaged_weights_are_replaced(tmp_path: Path, pin: Pin):
    weights = pin(CONTENT, DISK)
    installer = Installer(tmp_path, {"file": delivers(CONTENT)})
    installer.install(weights, silent).write_bytes(b"some other bytes")
    assert installer.install(weights, silent).read_bytes() == CONTENT


def test_a_failed_replacement_leaves_the_old_file_alone(tmp_path: Path, pin: Pin):
    weights = pin(CONTENT, DISK)
    path = Installer(tmp_path, {"file": delivers(CONTENT)}).install(weights, silent)
    path.write_bytes(b"some other bytes")
    with pytest.raises(DownloadFailed):
        Installer(tmp_path, {"file": says("offline")}).install(weights, silent)
    assert path.read_bytes() == b"some other bytes"


def test_two_pulls_of_one_model_fetch_it_once(tmp_path: Path, pin: Pin):
    weights = pin(CONTENT, DISK)
    fetched: list[str] = []
    inside, waiting = threading.Event(), threading.Event()

    def slow(job: Job) -> None:
        fetched.append(threading.current_thread().name)
        inside.set()
        assert waiting.wait(10)
        job.target.write_bytes(CONTENT)

    def second_report(done: int, total: int | None, what: str) -> None:
        if what.startswith("waiting for another pull"):
            waiting.set()

    first = threading.Thread(target=Installer(tmp_path, {"file": slow}).install, args=(weights, silent))
    first.start()
    assert inside.wait(10)
    path = Installer(tmp_path, {"file": slow}).install(weights, second_report)
    first.join(10)
    assert path.read_bytes() == CONTENT
    assert len(fetched) == 1


def test_a_full_disk_is_noticed_before_the_first_byte(tmp_path: Path, pin: Pin, monkeypatch: pytest.MonkeyPatch):
    original = tmp_path / "original.gguf"
    original.write_bytes(CONTENT)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 5, 5))
    installer = Installer(tmp_path / "cache")
    weights = pin(CONTENT, FileSource(kind="file", path=original))
    with pytest.raises(DownloadFailed, match=r"0\.0 MB free, 16\.8 MB are needed"):
        installer.install(weights, silent)
    assert not list((tmp_path / "cache").rglob("weights"))


def test_progress_counts_bytes_of_the_whole_file(tmp_path: Path, pin: Pin):
    original = tmp_path / "original.gguf"
    original.write_bytes(CONTENT)
    seen: list[tuple[int, int | None, str]] = []
    weights = pin(CONTENT, FileSource(kind="file", path=original))
    Installer(tmp_path / "cache").install(weights, lambda *step: seen.append(step))
    size = len(CONTENT)
    assert seen == [(size, size, "copying original.gguf"), (size, size, "checking the download")]
    assert original.read_bytes() == CONTENT
