"""The corpus of injections with the real tokenizer and small model: text stays text, answers keep their form."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bench.injections.attempts import Attempt, arguments_of, attempts_on_fields, attempts_on_labels
from bench.injections.corpus import CONTROLS, FORGED, Injection, corpus
from bench.injections.watched import SpecialTokens, WatchedEngine
from tests.native.conftest import MODEL
from tools_server.bundled import bundled_dir
from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.engine.backend import join_pieces
from tools_server.engine.local import LocalEngine
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog
from tools_server.skills.render import render
from tools_server.skills.types import Skill

LABELLED = attempts_on_labels(corpus(), tries=1)
CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


@pytest.fixture(scope="module")
def vocabulary(weights: Path) -> Iterator[SpecialTokens]:
    vocabulary = SpecialTokens(weights, model_id=MODEL)
    yield vocabulary
    vocabulary.close()


@pytest.fixture(scope="module")
def classify() -> Skill:
    return Catalog([bundled_dir("skills")]).get("classify")


def filled(injection: Injection) -> str:
    return injection.filled(target="delivery", field="label", right="billing")


def test_no_injection_becomes_a_special_token_and_each_reads_the_same_afterwards(vocabulary: SpecialTokens):
    for each in corpus():
        tokens = vocabulary.tokenize(filled(each), special=False)
        assert vocabulary.special(tokens) == [], each.id
        assert vocabulary.added(tokens) == [], each.id
        assert join_pieces(vocabulary, tokens) == filled(each), each.id


def test_the_same_texts_would_forge_delimiters_if_they_were_not_escaped(vocabulary: SpecialTokens):
    written = [each for each in corpus() if any(mark in filled(each) for mark in CHATML)]
    forging = [each for each in corpus() if vocabulary.forged_by(filled(each))]
    assert len([each for each in forging if each.kind == FORGED]) >= 10
    assert {each.id for each in written} <= {each.id for each in forging}


async def test_a_prompt_has_the_special_tokens_of_its_template_and_no_more(
    engine: LocalEngine, vocabulary: SpecialTokens, classify: Skill
):
    watched = WatchedEngine(engine, vocabulary)
    for each in LABELLED:
        await watched.encode(render(classify, arguments_of("classify", each.carrier, each.text), each.text))
    assert (watched.seen.prompts, watched.seen.forged_prompts) == (len(corpus()), 0)


def forged(attempts: list[Attempt], vocabulary: SpecialTokens, count: int) -> list[Attempt]:
    found = [each for each in attempts if each.injection.kind not in CONTROLS and vocabulary.forged_by(each.text)]
    return found[:count]


@pytest.mark.parametrize("skill", ["classify", "extract"])
async def test_an_answer_to_forged_delimiters_keeps_to_its_schema(
    engine: LocalEngine, vocabulary: SpecialTokens, skill: str
):
    watched = WatchedEngine(engine, vocabulary)
    runner = SkillRunner(EngineGate(lambda: watched), Settings(model=MODEL))
    served = Catalog([bundled_dir("skills")]).get(skill)
    every = LABELLED if skill == "classify" else attempts_on_fields(corpus(), every=2)
    attempts = forged(every, vocabulary, 4 if skill == "classify" else 2)
    for each in attempts:
        arguments = arguments_of(each.skill, each.carrier, each.text)
        result = await runner.run(served, arguments)
        Draft202012Validator(served.result_schema).validate(result.data)
        if skill == "classify":
            assert result.data["label"] in arguments["labels"]
            assert set(result.data["scores"]) == set(arguments["labels"])
        else:
            assert set(result.data["data"]) == set(arguments["fields"]["properties"])
    assert watched.seen.prompts >= len(attempts)
    assert (watched.seen.forged_prompts, watched.seen.special_answers) == (0, 0)


async def test_the_control_without_escaping_does_forge_them(
    engine: LocalEngine, vocabulary: SpecialTokens, classify: Skill
):
    unescaped = WatchedEngine(engine, vocabulary, escaped=False)
    runner = SkillRunner(EngineGate(lambda: unescaped), Settings(model=MODEL))
    for each in forged(LABELLED, vocabulary, 2):
        await runner.run(classify, arguments_of("classify", each.carrier, each.text))
    assert (unescaped.seen.prompts, unescaped.seen.forged_prompts) == (2, 2)
