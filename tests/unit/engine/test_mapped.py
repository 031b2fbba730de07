import mmap
import re
import sys
from pathlib import Path

import pytest

from tools_server.engine.mapped import let_go

SIZE = 8 << 20


def resident(path: Path) -> int:
    """Bytes of a mapped file that are in this process's memory, as the kernel counts them."""
    text = Path("/proc/self/smaps").read_text("utf-8")
    (block,) = re.findall(rf"{re.escape(str(path))}\n(.*?)VmFlags", text, re.DOTALL)
    return 1024 * int(re.search(r"^Rss:\s+(\d+)", block, re.MULTILINE)[1])  # type: ignore[index]


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells about a process")
def test_pages_that_were_read_leave_memory_and_come_back_as_they_were(tmp_path: Path):
    path = tmp_path.resolve() / "weights of a model.gguf"
    content = bytes(range(256)) * (SIZE // 256)
    path.write_bytes(content)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[:] == content
        assert resident(path) == SIZE
        assert let_go(path) == SIZE
        assert resident(path) < SIZE / 16
        assert mapped[:] == content


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells about a process")
def test_a_mapping_that_can_be_written_is_left_alone(tmp_path: Path):
    path = tmp_path.resolve() / "mine"
    path.write_bytes(bytes(SIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        mapped[:4] = b"mine"
        assert let_go(path) == 0
        assert mapped[:4] == b"mine"


def test_a_file_that_is_not_mapped_is_nothing_to_let_go_of(tmp_path: Path):
    assert let_go(tmp_path / "none") == 0
