from collections.abc import Callable
from pathlib import Path

import pytest
from gguf import GGUFWriter

from tools_server.errors import ModelLoadFailed
from tools_server.models.header import read_header

Gguf = Callable[..., bytes]


def test_a_file_written_by_llama_cpps_own_library_is_read(tmp_path: Path):
    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "qwen2")
    writer.add_license("apache-2.0")
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    writer.add_token_list(["<s>", "é", "world"])
    writer.add_token_scores([0.0, -1.0, -2.5])
    writer.add_float32("qwen2.rope.freq_base", 1e6)
    writer.add_context_length(32768)  # behind the arrays that have to be skipped
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    header = read_header(path)
    assert (header.context_tokens, header.licence, header.parts) == (32768, "apache-2.0", 1)
    assert (header.vocabulary, header.kv_values) == (3, 0), "it says nothing of its attention"


def test_a_header_that_ends_anywhere_too_early_is_refused(tmp_path: Path, gguf: Gguf):
    whole = gguf(general__license="mit")
    for length in range(len(whole)):
        (tmp_path / "m.gguf").write_bytes(whole[:length])
        with pytest.raises(ModelLoadFailed, match=r"m\.gguf is not a usable GGUF file"):
            read_header(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda raw: b"GGML" + raw[4:], "begins with b'GGML'"),
        (lambda raw: raw[:4] + b"\x09\0\0\0" + raw[8:], "version 9 is unknown"),
        (lambda raw: raw[:16] + b"\xff" * 8 + raw[24:], "keys"),
        (lambda raw: raw[:56] + b"\x09\0\0\0" + b"\x0a\0\0\0" + b"\xff" * 8, "not a usable GGUF file"),
        (lambda raw: raw[:24] + b"\xff" * 8 + raw[32:], "string of 18446744073709551615 bytes"),
    ],
)
def test_a_damaged_header_is_refused_by_reason(
    tmp_path: Path, gguf: Gguf, change: Callable[[bytes], bytes], reason: str
):
    (tmp_path / "m.gguf").write_bytes(change(gguf()))
    with pytest.raises(ModelLoadFailed, match=reason):
        read_header(tmp_path / "m.gguf")


def test_a_file_without_a_context_length_is_no_language_model(tmp_path: Path, gguf: Gguf):
    (tmp_path / "m.gguf").write_bytes(gguf(general__architecture="clip"))
    with pytest.raises(ModelLoadFailed, match="names no context length"):
        read_header(tmp_path / "m.gguf")
