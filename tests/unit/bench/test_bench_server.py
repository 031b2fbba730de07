import itertools
from pathlib import Path

import pytest

from bench import llama_server
from bench.serving import Tally, latency, remarks, request_body
from bench.workloads import FIELDS, Workload, workloads
from tools_server.bundled import bundled_dir
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog


@pytest.fixture(scope="module")
def rows() -> dict[str, Workload]:
    return {row.name: row for row in workloads(Catalog([bundled_dir("skills")]))}


def test_the_server_gets_what_the_engine_has():
    settings = Settings(context_tokens=4096, batch_tokens=256, threads=3)
    command = llama_server.serve_command(Path("bin/llama-server"), Path("m.gguf"), settings, 4711)
    given = dict(itertools.pairwise(command))
    assert command[0] == "bin/llama-server"
    assert [given[option] for option in ("--model", "--host", "--port")] == ["m.gguf", "127.0.0.1", "4711"]
    assert [given[option] for option in ("--ctx-size", "--batch-size", "--ubatch-size")] == ["4096", "256", "256"]
    assert given["--threads"] == given["--threads-batch"] == "3"
    assert given["--parallel"] == str(llama_server.SLOTS)
    assert "--kv-unified" in command


def test_the_engines_wait_policy_is_not_handed_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert "OMP_WAIT_POLICY" not in llama_server.environment(None)
    assert llama_server.environment("active")["OMP_WAIT_POLICY"] == "active"


def test_only_the_package_itself_is_fetched_as_source_and_in_our_version():
    command = llama_server.download_command(Path("home"), "1.2.3")
    assert command[-1] == "llama-cpp-python==1.2.3"
    assert command[command.index("--no-binary") + 1] == "llama-cpp-python"
    assert "--no-deps" in command


def test_the_build_is_optimised_and_makes_the_server_alone():
    configure, compile_it = llama_server.build_commands(Path("source"), Path("target"))
    assert "-DCMAKE_BUILD_TYPE=Release" in configure
    assert {"-DLLAMA_BUILD_UI=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF"} <= set(configure)
    assert compile_it[compile_it.index("--target") + 1] == "llama-server"


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(llama_server, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(llama_server.BaselineError, match="`cmake` is missing"):
        llama_server.build()


def test_every_round_has_new_texts_that_differ_from_their_beginning(rows: dict[str, Workload]):
    for row in rows.values():
        texts = [text.split(":")[0] for number in (-1, 0, 1) for text in row.texts(number)]
        assert len(set(texts)) == len(texts) == 8 + 2 * (16 if row.one_by_one else 64)
        assert row.texts(0) == row.texts(0)


def test_the_server_is_asked_what_the_skill_asks(rows: dict[str, Workload]):
    row = rows["extract, 64 at once"]
    body = request_body(row, "the text")
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "the text" in body["messages"][1]["content"]
    assert body["max_tokens"] == row.skill.manifest.limits.max_output_tokens
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["required"] == list(FIELDS["properties"])


def test_an_answer_is_held_to_its_schema(rows: dict[str, Workload]):
    classify, extract = rows["classify, one by one"], rows["extract, 64 at once"]
    assert classify.is_valid(classify.answer_in({"label": "praise", "confidence": 1.0}))
    assert not classify.is_valid({"label": "blame"})
    nothing = dict.fromkeys(FIELDS["properties"])
    assert extract.is_valid(extract.answer_in({"index": 0, "data": {**nothing, "order": 7}}))
    assert not extract.is_valid(nothing)
    assert extract.answer_in({"index": 0, "error": {"code": "output_truncated"}}) is None


def test_latency_is_compared_by_its_medians_and_only_where_calls_do_not_wait():
    ours, theirs = Tally(seconds=[0.05, 0.9, 0.05]), Tally(seconds=[0.2, 0.2, 0.1])
    assert latency(ours, theirs, one_by_one=True) == ("a call takes 50 ms (median), llama-server's 200 ms: 0.25 ×",)
    assert latency(ours, theirs, one_by_one=False) == ()


def test_agreement_counts_texts_that_both_answered_and_failures_are_told():
    ours = Tally({"a": 1, "b": 2, "c": 3}, prompt=30, cached=15, completion=6, forced=3)
    theirs = Tally({"a": 1, "b": 0}, ["{"], prompt=30, completion=9)
    assert remarks(ours, theirs) == [
        "same answer for 1 of 2 texts",
        "tools-server, per text: 10 prompt tokens (5 cached), 2.0 answer tokens (1 of them forced)",
        "llama-server had no valid answer for 1 of 3 texts, such as '{'",
        "llama-server, per text: 10 prompt tokens (0 cached), 3.0 answer tokens",
    ]
