from pathlib import Path

import pytest
from gguf import GGUFWriter

from tests.unit.training.adapter_fakes import write_adapter
from tools_server.errors import AdapterMismatch
from tools_server.models.adapter_header import read_adapter_header


def test_a_lora_written_by_llama_cpps_own_library_is_read(tmp_path: Path):
    path = write_adapter(tmp_path / "a.gguf", rank=3)
    header = read_adapter_header(path)
    assert (header.architecture, header.kind, header.rank, header.alpha) == ("llama", "lora", 3, 4.0)
    assert (header.matrices, header.size_bytes) == (1, path.stat().st_size)


def test_an_adapter_with_invocation_tokens_is_an_activated_one(tmp_path: Path):
    assert read_adapter_header(write_adapter(tmp_path / "a.gguf", invocation=[5, 6])).kind == "alora"


def test_a_file_that_ends_anywhere_too_early_is_refused(tmp_path: Path):
    whole = write_adapter(tmp_path / "whole.gguf").read_bytes()
    data = len(whole.rstrip(b"\0"))  # the writer pads behind the last tensor, which nobody reads
    for length in [*range(0, data - 8, 7), data - 40, data - 33]:
        (tmp_path / "a.gguf").write_bytes(whole[:length])
        with pytest.raises(AdapterMismatch, match=r"a\.gguf is not a usable adapter: it ") as caught:
            read_adapter_header(tmp_path / "a.gguf")
        assert caught.value.hint


def test_a_truncated_file_is_told_by_its_sizes(tmp_path: Path):
    path = write_adapter(tmp_path / "a.gguf")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size - 40])
    with pytest.raises(AdapterMismatch, match=rf"it is truncated: {size - 40} bytes of \d+"):
        read_adapter_header(path)


def test_what_is_no_lora_is_refused_by_what_it_is(tmp_path: Path):
    model = tmp_path / "model.gguf"
    writer = GGUFWriter(model, "llama")
    writer.add_type("model")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    pointer = tmp_path / "pointer.gguf"
    pointer.write_text("version https://git-lfs.github.com/spec/v1")
    cases = {
        model: "`general.type` is 'model', not 'adapter'",
        pointer: "begins with b'vers'",
        tmp_path / "x": "No such",
    }
    for path, reason in cases.items():
        with pytest.raises(AdapterMismatch) as caught:
            read_adapter_header(path)
        assert reason in caught.value.message


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b"weight.lora_b", b"weight.lora_c", "not pairs of `lora_a` and `lora_b`"),
        (b"adapter.lora.alpha", b"adapter.lora.alphx", "names no `adapter.lora.alpha`"),
        (b"\x04" + bytes(7) + b"lora", b"\x04" + bytes(7) + b"lokr", "`adapter.type` is 'lokr', not 'lora'"),
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, before: bytes, after: bytes, reason: str):
    path = write_adapter(tmp_path / "a.gguf")
    data = path.read_bytes()
    assert before in data
    path.write_bytes(data.replace(before, after))
    with pytest.raises(AdapterMismatch) as caught:
        read_adapter_header(path)
    assert reason in caught.value.message
