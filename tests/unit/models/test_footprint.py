"""What a model will take is estimated from its header; a limit refuses it with the numbers and the way out."""

from pathlib import Path

import pytest
from gguf import GGUFWriter

from tools_server.errors import ModelLoadFailed
from tools_server.models.footprint import check_memory_limit, footprint
from tools_server.models.header import read_header
from tools_server.settings import Settings


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """28 layers, two KV heads of 128 numbers: a token takes 28 · 2 · (128 + 128) = 14,336 numbers."""
    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "qwen2")
    writer.add_context_length(32768)
    writer.add_block_count(28)
    writer.add_embedding_length(1536)
    writer.add_head_count(12)
    writer.add_head_count_kv(2)
    writer.add_token_list([f"t{n}" for n in range(1000)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def test_the_kv_cache_is_layers_times_heads_times_key_and_value(model: Path):
    assert read_header(model).kv_values == 14336
    taken = footprint(model, context_tokens=16384, kv_type="f16")
    assert taken.kv == 16384 * 14336 * 2
    assert taken.weights == model.stat().st_size
    assert taken.total == taken.weights + taken.kv + taken.rest
    assert footprint(model, context_tokens=16384, kv_type="q8_0").kv == taken.kv * 17 / 32


def test_heads_that_differ_from_the_share_of_the_width_count_as_they_are(tmp_path: Path):
    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "gemma")
    writer.add_context_length(1)
    writer.add_block_count(2)
    writer.add_embedding_length(100)
    writer.add_head_count(10)
    writer.add_head_count_kv([1, 2])  # one for each layer: the upper bound is taken
    writer.add_key_length(64)
    writer.add_value_length(32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert read_header(path).kv_values == 2 * 10 * 96


def test_a_model_below_the_limit_and_one_without_a_limit_may_load(model: Path):
    check_memory_limit(Settings(), model)
    check_memory_limit(Settings(memory_limit_mb=1000), model)


def test_a_model_above_the_limit_is_refused_with_the_context_that_would_fit(model: Path):
    with pytest.raises(ModelLoadFailed, match=r"about 621 MB .*KV cache for 16,384 tokens 470") as caught:
        check_memory_limit(Settings(memory_limit_mb=400), model)
    assert caught.value.hint == "Lower `context_tokens` to 8,683 or less, or raise `memory_limit_mb`."
    check_memory_limit(Settings(memory_limit_mb=400, context_tokens=8683), model)


def test_weights_above_the_limit_are_refused_with_another_way_out(model: Path):
    with pytest.raises(ModelLoadFailed, match="`memory_limit_mb` is 100") as caught:
        check_memory_limit(Settings(memory_limit_mb=100), model)
    assert caught.value.hint == "Serve a smaller model, or raise `memory_limit_mb`."
