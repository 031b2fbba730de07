"""Our side of the benchmarks: a real front end over stdio, with an engine host of its own that ends with it."""

from pathlib import Path

import psutil
import pytest

from bench.front_end import engine_home, engine_pid, front_end
from bench.lora import invocation, linear_shapes
from bench.memory import bound_mib, resident_mib
from bench.serving import Ours
from bench.skills import DOCUMENT_FIRST, DOCUMENT_QUESTIONS, SkillWriter
from bench.terms import Terms
from bench.texts import Texts
from bench.workloads import Ask, Task, catalog_of, classify_task
from tests.native.conftest import MODEL
from tools_server.bundled import bundled_dir
from tools_server.settings import load_settings
from tools_server.skills.catalog import Catalog

WAIT_S = 30.0


@pytest.fixture
def terms() -> Terms:
    return Terms.of(load_settings({"model": MODEL, "context_tokens": 4096}), slots=4)


def test_bundled_skills_are_measured_without_the_adapters_that_the_other_side_lacks(terms: Terms):
    assert MODEL in Catalog([bundled_dir("skills")]).get("find_pii").adapters
    assert MODEL not in catalog_of(terms).get("find_pii").adapters
    served_by_the_front_end = Catalog(
        [bundled_dir("skills")], adapters_dir=Path(terms.environment()["TOOLS_SERVER_ADAPTERS_DIR"])
    )
    assert MODEL not in served_by_the_front_end.get("find_pii").adapters


async def test_a_front_end_answers_and_its_engine_is_gone_afterwards(terms: Terms):
    task = classify_task(catalog_of(terms))
    with engine_home(terms) as home:
        async with front_end(terms, home) as side:
            answer = await Ours(side).ask(Ask(task, Texts().messages("test", 0, 1)[0]))
        assert answer.value is not None, answer.failure
        assert answer.prompt > answer.cached
        engine = psutil.Process(engine_pid(terms, home))
        assert 0 < resident_mib(engine.pid) < bound_mib(terms.weights, terms.settings.context_tokens)
    engine.wait(WAIT_S)
    assert not engine.is_running()


async def test_the_document_is_read_once_for_skills_with_activated_adapters(terms: Terms, tmp_path: Path):
    writer = SkillWriter(tmp_path, terms, *linear_shapes(terms.weights))
    invoked = invocation(terms.weights)
    for question in DOCUMENT_QUESTIONS[:2]:
        writer.write(question.name, question, DOCUMENT_FIRST, invoked)
    terms = terms.with_skills(tmp_path)
    (document,) = Texts().documents("test", 0, 1)
    skills = [catalog_of(terms).get(question.name) for question in DOCUMENT_QUESTIONS[:2]]
    asks = [Ask(Task(skill.name, skill, {}, skill.output_schema), document) for skill in skills]
    with engine_home(terms) as home:
        async with front_end(terms, home) as side:
            first, second = [await Ours(side).ask(ask) for ask in asks]
    assert first.value is not None, first.failure
    assert second.value is not None, second.failure
    assert second.cached > 0.9 * second.prompt
