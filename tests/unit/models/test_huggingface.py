"""The real huggingface_hub against a Hub of one file on this machine, no network."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub.utils import close_session

from tools_server.errors import ChecksumMismatch, DownloadFailed, ManifestInvalid
from tools_server.models import HuggingFaceSource, ModelManifest, ModelStore, Weights
from tools_server.models.install import Installer
from tools_server.models.manifest import dump_manifest
from tools_server.models.report import silent
from tools_server.models.sources import huggingface

Pin = Callable[..., Weights]
SOURCE = HuggingFaceSource(kind="huggingface", repo="some/repo", file="q4/tiny.gguf", revision="abc")
FILE = "/some/repo/resolve/abc/q4/tiny.gguf"


class Hub:
    """What the fake Hub serves and how it misbehaves; `requests` keeps (method, path, Range header)."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.requests: list[tuple[str, str, str | None]] = []
        self.break_after: list[int] = []  # bytes sent before the connection breaks, one per GET
        self.ranges = True
        self.tags = ["gguf", "license:mit"]
        self.endpoint = ""

    @property
    def gets(self) -> list[str | None]:
        return [wanted for method, path, wanted in self.requests if method == "GET" and "/resolve/" in path]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def handler_for(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.note()
            self.head(200 if "missing" not in self.path else 404, len(hub.content))

        def do_GET(self) -> None:
            self.note()
            if self.path.startswith("/api/models/some/repo"):
                self.answer({"id": "some/repo", "sha": "abc", "tags": hub.tags})
                return
            wanted = self.headers.get("Range")
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and hub.ranges else 0
            body = hub.content[start:]
            self.head(206 if start else 200, len(body), start)
            self.wfile.write(body[: hub.break_after.pop(0)] if hub.break_after else body)
            self.close_connection = True

        def do_POST(self) -> None:
            self.note()
            self.rfile.read(int(self.headers["Content-Length"]))
            lfs = {"oid": hub.sha256, "size": len(hub.content), "pointerSize": 130}
            self.answer([{"type": "file", "path": "q4/tiny.gguf", "size": len(hub.content), "oid": "0", "lfs": lfs}])

        def note(self) -> None:
            hub.requests.append((self.command, self.path, self.headers.get("Range")))

        def head(self, status: int, length: int, start: int = 0) -> None:
            self.send_response(status)
            self.send_header("X-Repo-Commit", "abc")
            self.send_header("ETag", f'"{hub.sha256}"')
            self.send_header("Content-Length", str(length))
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(hub.content) - 1}/{len(hub.content)}")
            self.end_headers()

        def answer(self, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, gguf: Callable[..., bytes]) -> Iterator[Hub]:
    hub = Hub(gguf() + b"weights " * 400_000)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(hub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.endpoint = endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setattr(huggingface, "_PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield hub
    close_session()
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_a_file_of_the_hub_is_downloaded_with_progress(hub: Hub, pin: Pin, tmp_path: Path):
    seen: list[tuple[int, int | None]] = []
    path = Installer(tmp_path).install(pin(hub.content, SOURCE), lambda done, total, what: seen.append((done, total)))
    assert path.read_bytes() == hub.content
    assert [path for _, path, _ in hub.requests] == [FILE, FILE]
    assert len(seen) > 4
    assert seen[0][0] < len(hub.content)


def test_a_broken_download_goes_on_at_the_byte_where_it_broke(hub: Hub, pin: Pin, tmp_path: Path):
    hub.break_after = [2 << 20]
    assert Installer(tmp_path).install(pin(hub.content, SOURCE), silent).read_bytes() == hub.content
    first, second = hub.gets
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 2 << 20


def test_a_killed_download_goes_on_at_the_next_pull(hub: Hub, pin: Pin, tmp_path: Path):
    def killed(done: int, total: int | None, what: str) -> None:
        raise KeyboardInterrupt

    weights = pin(hub.content, SOURCE)
    with pytest.raises(KeyboardInterrupt):
        Installer(tmp_path).install(weights, killed)
    kept = next(tmp_path.rglob("weights")).stat().st_size
    assert kept > 0
    assert Installer(tmp_path).install(weights, silent).read_bytes() == hub.content
    assert hub.gets == [None, f"bytes={kept}-"]


def test_a_server_that_ignores_the_range_does_not_corrupt_the_file(hub: Hub, pin: Pin, tmp_path: Path):
    hub.break_after = [2 << 20]
    hub.ranges = False
    assert Installer(tmp_path).install(pin(hub.content, SOURCE), silent).read_bytes() == hub.content


def test_a_connection_that_breaks_again_and_again_is_given_up(hub: Hub, pin: Pin, tmp_path: Path):
    hub.break_after = [0] * 10
    with pytest.raises(DownloadFailed, match="broke 3 times in a row"):
        Installer(tmp_path).install(pin(hub.content, SOURCE), silent)
    assert len(hub.gets) == 3


def test_another_file_is_refused_before_its_bytes_travel(hub: Hub, pin: Pin, tmp_path: Path):
    weights = pin(b"x" * len(hub.content), SOURCE)
    with pytest.raises(ChecksumMismatch, match=hub.sha256):
        Installer(tmp_path).install(weights, silent)
    with pytest.raises(ChecksumMismatch, match=f"has {len(hub.content)} bytes, not the pinned 1"):
        Installer(tmp_path).install(pin(b"x", SOURCE), silent)
    assert hub.gets == []


def test_a_file_that_the_hub_does_not_have_is_told(hub: Hub, pin: Pin, tmp_path: Path):
    missing = SOURCE.model_copy(update={"file": "missing.gguf"})
    with pytest.raises(DownloadFailed, match="404"):
        Installer(tmp_path).install(pin(hub.content, missing), silent)


def test_offline_mode_asks_nobody(hub: Hub, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadFailed, match="HF_HUB_OFFLINE is set"):
        Installer(tmp_path).install(pin(hub.content, SOURCE), silent)
    assert hub.requests == []


def test_a_pull_in_a_fresh_process_uses_the_users_endpoint_and_tells_it_nothing_else(
    hub: Hub, publish: Callable[..., ModelManifest], folders: dict[str, Path], tmp_path: Path
):
    manifest = publish(hub.content).model_copy(update={"source": (SOURCE,)})
    (folders["bundled"] / "tiny.toml").write_text(dump_manifest(manifest), "utf-8")
    code = "import sys; from pathlib import Path; from tools_server.models import ModelStore; "
    code += "ModelStore(cache_dir=Path(sys.argv[1]), manifest_dirs=[Path(sys.argv[2])]).pull('tiny')"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf")}
    command = [sys.executable, "-c", code, str(folders["cache"]), str(folders["bundled"])]
    subprocess.run(command, env=environment, check=True)
    assert [(method, path) for method, path, _ in hub.requests] == [("HEAD", FILE), ("GET", FILE)]


def test_adding_a_file_of_the_hub_pins_commit_hash_and_licence(hub: Hub, store: ModelStore):
    manifest = store.add("hf:some/repo/q4/tiny.gguf")
    assert manifest.sha256 == hub.sha256
    assert manifest.source == (SOURCE,)
    assert (manifest.id, manifest.licence, manifest.context_tokens) == ("tiny", "mit", 2048)
    assert store.path("tiny").read_bytes() == hub.content
    assert store.manifest("tiny") == manifest


def test_adding_a_file_that_is_no_model_leaves_nothing(hub: Hub, store: ModelStore, folders: dict[str, Path]):
    hub.content = b"no GGUF file at all"
    with pytest.raises(Exception, match="not a usable GGUF file"):
        store.add("hf:some/repo/q4/tiny.gguf")
    assert store.list() == ()
    assert not list(folders["cache"].rglob("*.gguf"))


def test_adding_under_a_taken_id_is_refused_before_the_download(
    hub: Hub, store: ModelStore, publish: Callable[..., object]
):
    publish(b"first", id="tiny")
    with pytest.raises(ManifestInvalid, match="already belongs to another file"):
        store.add("hf:some/repo/q4/tiny.gguf")
    assert hub.gets == []


def test_adding_what_the_hub_does_not_have_says_so(hub: Hub, store: ModelStore):
    with pytest.raises(DownloadFailed, match=r"no file 'other\.gguf' in some/repo"):
        store.add("hf:some/repo/other.gguf")
