import subprocess
from pathlib import Path

import anyio
import gguf
import pytest

from bench import ceiling, compilers, memory, neighbour, sections
from bench.lora import write_lora
from bench.programs import BaselineError


def test_sections_and_single_parts_can_be_chosen_and_run_in_a_fixed_order():
    chosen = sections.chosen("prefill, one,ceiling,start")
    assert list(chosen.items()) == [("server", ["one", "start"]), ("ceiling", ["ceiling"]), ("engine", ["prefill"])]
    assert sections.chosen("server") == {"server": list(sections.ROW_KEYS)}


def test_an_unknown_name_is_answered_with_all_names():
    with pytest.raises(ValueError, match=r"'speed' is unknown; there are server \(one, .*\), ceiling"):
        sections.chosen("speed")


def test_outlines_without_numba_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sections, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="without numba"):
        sections.chosen("outlines")


def line(parallel: int) -> str:
    return f'{{"pp": 128, "tg": 32, "pl": {parallel}, "speed_pp": 100.0, "speed_tg": {parallel}.0, "speed": 50.0}}'


def test_the_ceiling_is_read_shape_by_shape():
    found = ceiling.batched_speeds("\n".join(["main: loading", *map(line, ceiling.PARALLEL)]))
    assert found["decode, 16 × 32 tokens"] == 16.0
    printed = '[{"n_prompt": 512, "n_gen": 0, "avg_ts": 99.5}, {"n_prompt": 0, "n_gen": 64, "avg_ts": 7.5}]'
    found |= ceiling.single_speeds(printed)
    assert found["decode, 1 × 64 tokens"] == 7.5
    assert found.keys() == ceiling.BASELINES.keys()


def test_a_ceiling_without_all_shapes_is_an_error():
    with pytest.raises(BaselineError, match=r"nothing of \[4, 16\] prompts"):
        ceiling.batched_speeds(line(1))


def test_what_a_neighbour_keeps_is_alone_over_beside_for_times():
    found = neighbour.Found((50.0, 100.0), (20.0, 5.0), (2.0, 2.5), (2.0, 4.0))
    rows = neighbour.rows("quietly", [found])
    assert [row.ratio.median for row in rows] == [0.5, 0.25, 0.8, 0.5]
    assert rows[0].name == "classify, one by one, quietly"


def test_the_source_for_compilers_has_as_many_functions_as_asked_and_is_valid(tmp_path: Path):
    source = compilers.write_source(tmp_path, 2)
    assert source.read_text("utf-8").count("double f") == 2
    subprocess.run(["c++", "-std=c++17", "-fsyntax-only", source], check=True, timeout=60)


async def test_compilers_run_until_there_is_enough_and_end_with_the_block(tmp_path: Path):
    source = tmp_path / "small.cpp"
    source.write_text("int f() { return 1; }\n")
    async with compilers.compilers(source) as compiling:
        with anyio.fail_after(60):
            await compiling.until_enough()
    assert compiling.mean_s > 0
    assert all(task.done() for task in compiling.tasks)


async def test_a_compilation_that_fails_ends_the_measurement(tmp_path: Path):
    async with compilers.compilers(tmp_path / "missing.cpp") as compiling:
        with anyio.fail_after(60), pytest.raises(BaselineError, match=r"compiling missing\.cpp failed: "):
            await compiling.until_enough()


def model_file(path: Path, **extra: int) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    for key, value in extra.items():
        writer.add_uint32(f"llama.attention.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_kv_cache_holds_keys_and_values_of_every_layer_in_two_bytes(tmp_path: Path):
    plain = model_file(tmp_path / "plain.gguf")
    assert memory.kv_bytes(plain, 100) == 2 * 2 * (16 + 16) * 2 * 100
    wide = model_file(tmp_path / "wide.gguf", key_length=32)
    assert memory.kv_bytes(wide, 100) == 2 * 2 * (32 + 16) * 2 * 100
    assert memory.bound_mib(plain, 100) == pytest.approx(
        150 + 1.3 * (plain.stat().st_size + memory.kv_bytes(plain, 100)) / 2**20
    )


def test_an_adapter_has_two_thin_matrices_for_each_of_the_models(tmp_path: Path):
    path = tmp_path / "a.gguf"
    digest = write_lora(path, "llama", {"blk.0.attn_q.weight": (8, 16)}, seed=1, invocation_tokens=[5, 6])
    reader = gguf.GGUFReader(path)
    assert {tensor.name: list(tensor.data.shape) for tensor in reader.tensors} == {
        "blk.0.attn_q.weight.lora_a": [8, 8],
        "blk.0.attn_q.weight.lora_b": [16, 8],
    }
    assert reader.fields["adapter.alora.invocation_tokens"].contents() == [5, 6]
    assert digest == write_lora(path, "llama", {"blk.0.attn_q.weight": (8, 16)}, seed=1, invocation_tokens=[5, 6])
