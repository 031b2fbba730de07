import itertools
from pathlib import Path

import pytest

from bench import llama_server, programs
from bench.skills import AFTER, DOCUMENT_FIRST, DOCUMENT_QUESTIONS, TASK_FIRST, TICKET_QUESTIONS, SkillWriter
from bench.terms import Terms
from bench.texts import Texts
from bench.workloads import FIELDS, Row, adapter_rows, plain_rows
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog
from tools_server.skills.render import render

SHAPES = {"blk.0.attn_q.weight": (8, 8), "blk.0.ffn_up.weight": (8, 16)}


@pytest.fixture(scope="module")
def rows(plain_catalog: Catalog) -> dict[str, Row]:
    return {row.key: row for row in plain_rows(plain_catalog, Texts(), quick=True)}


@pytest.fixture(scope="module")
def terms() -> Terms:
    settings = Settings(model="tiny", context_tokens=4096, batch_tokens=256, threads=3, max_sequences=5)
    return Terms(settings, Path("m.gguf"), "a" * 64, slots=7)


@pytest.fixture(scope="module")
def with_adapters(terms: Terms, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    folder = tmp_path_factory.mktemp("skills")
    writer = SkillWriter(folder, terms, "llama", SHAPES)
    for question in (*TICKET_QUESTIONS, *DOCUMENT_QUESTIONS):
        writer.write(question.name, question, TASK_FIRST)
    for question in DOCUMENT_QUESTIONS:
        writer.write(f"{question.name}{AFTER}", question, DOCUMENT_FIRST, (1, 2))
    catalog = Catalog([folder])
    return {row.key: row for row in adapter_rows(catalog, Texts())}


def test_the_server_gets_what_the_engine_has(terms: Terms):
    command = llama_server.serve_command(Path("bin/llama-server"), terms, 4711)
    given = dict(itertools.pairwise(command))
    assert command[0] == "bin/llama-server"
    assert [given[option] for option in ("--model", "--host", "--port")] == ["m.gguf", "127.0.0.1", "4711"]
    assert [given[option] for option in ("--ctx-size", "--batch-size", "--ubatch-size")] == ["4096", "256", "256"]
    assert given["--threads"] == given["--threads-batch"] == "3"
    assert given["--parallel"] == "7"
    assert "--kv-unified" in command
    assert "--lora" not in command


def test_adapters_are_loaded_and_left_to_the_requests(terms: Terms):
    command = llama_server.serve_command(Path("llama-server"), terms, 1, [Path("a.gguf"), Path("b.gguf")])
    assert [word for word in command if word.endswith(".gguf")] == ["m.gguf", "a.gguf", "b.gguf"]
    assert "--lora-init-without-apply" in command


def test_our_side_gets_the_same_and_nothing_of_the_users_own(terms: Terms, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLS_SERVER_LOW_PRIORITY", "true")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    given = terms.environment()
    names = ("MODEL", "CONTEXT_TOKENS", "BATCH_TOKENS", "THREADS", "MAX_SEQUENCES", "TUNED")
    assert [given[f"TOOLS_SERVER_{name}"] for name in names] == ["tiny", "4096", "256", "3", "5", "false"]
    assert {"TOOLS_SERVER_LOW_PRIORITY", "OMP_WAIT_POLICY"}.isdisjoint(given)


def test_the_engines_wait_policy_is_not_handed_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert "OMP_WAIT_POLICY" not in programs.native_environment()
    assert programs.native_environment("active")["OMP_WAIT_POLICY"] == "active"


def test_only_the_package_itself_is_fetched_as_source_and_in_our_version():
    command = programs.download_command(Path("home"), "1.2.3")
    assert command[-1] == "llama-cpp-python==1.2.3"
    assert command[command.index("--no-binary") + 1] == "llama-cpp-python"
    assert "--no-deps" in command


def test_the_build_is_optimised_and_makes_the_programs_alone():
    configure, compile_it = programs.build_commands(Path("source"), Path("target"))
    assert "-DCMAKE_BUILD_TYPE=Release" in configure
    assert {"-DLLAMA_BUILD_UI=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF"} <= set(configure)
    assert compile_it[compile_it.index("--target") + 1 : compile_it.index("--parallel")] == list(programs.PROGRAMS)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(programs, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(programs.BaselineError, match="`cmake` is missing"):
        programs.build()


def test_a_program_that_fails_is_quoted_with_its_last_lines(tmp_path: Path):
    with pytest.raises(programs.BaselineError, match=r"exit code 3:\nout of luck"):
        programs.run_logged(["sh", "-c", "echo out of luck; exit 3"], tmp_path / "log")


def test_every_row_has_new_texts_in_every_round(rows: dict[str, Row]):
    assert [len(rows[key].ours(0)) for key in ("one", "many", "extract", "paragraphs")] == [16, 64, 64, 40]
    every = [ask.text for row in rows.values() for number in (-1, 0, 1) for ask in row.ours(number)]
    assert len(set(every)) == len(every)
    assert rows["one"].ours(0) == rows["one"].theirs(0)


def test_a_share_of_the_paragraphs_says_so(rows: dict[str, Row], plain_catalog: Catalog):
    assert rows["paragraphs"].name == "(f) summarise, 40 paragraphs (quick: not 200)"
    whole = plain_rows(plain_catalog, Texts(), quick=False)
    assert whole[-1].name == "(f) summarise, 200 paragraphs"


def test_an_answer_is_held_to_its_schema(rows: dict[str, Row]):
    classify, extract = (rows[key].ours(0)[0].task for key in ("one", "extract"))
    assert classify.is_valid(classify.answer_in({"label": "praise", "confidence": 1.0}))
    assert not classify.is_valid({"label": "blame"})
    nothing = dict.fromkeys(FIELDS["properties"])
    assert extract.is_valid(extract.answer_in({"data": {**nothing, "order": 7}}))
    assert not extract.is_valid(nothing)


def test_mixed_calls_take_turns_over_three_adapters(with_adapters: dict[str, Row]):
    asks = with_adapters["mixed"].ours(0)
    assert len(asks) == 32
    assert [ask.task.adapter for ask in asks[:4]] == ["urgency", "team", "gist", "urgency"]


def test_three_questions_are_asked_about_one_document_that_comes_first_on_our_side(with_adapters: dict[str, Row]):
    row = with_adapters["document"]
    ours, theirs = row.ours(0), row.theirs(0)
    assert len({ask.text for ask in (*ours, *theirs)}) == 1
    assert [ask.task.question for ask in ours] == [ask.task.question for ask in theirs]
    assert row.calls_per_unit == len(ours) == 3
    first = [render(ask.task.skill, {}, "DOC").messages[0].content[1].text for ask in ours]
    assert first == ["DOC"] * 3
    assert theirs[0].task.messages("DOC")[0]["role"] == "system"


def test_the_activated_baseline_is_asked_what_our_side_is(with_adapters: dict[str, Row]):
    row = with_adapters["document-activated"]
    assert row.ours(0) == row.theirs(0)
    assert {ask.task.adapter for ask in row.ours(0)} == {"doc-kind-after", "doc-facts-after", "doc-brief-after"}
