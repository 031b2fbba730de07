from typing import Any, cast

import pytest

from bench.classify import OutlinesSide
from bench.measure import Comparison
from bench.programs import BaselineError
from bench.serving import OURS, Answer, Tally, checked, comparison, job_of, latency, remarks, request_body
from bench.texts import LABELS, Texts
from bench.tokens import decode_shapes, prefill_shapes
from bench.workloads import FIELDS, Ask, Row, plain_rows
from tools_server.skills.catalog import Catalog


@pytest.fixture(scope="module")
def rows(plain_catalog: Catalog) -> dict[str, Row]:
    return {row.key: row for row in plain_rows(plain_catalog, Texts(), quick=True)}


def test_both_sides_get_the_same_prompts_and_every_round_new_ones():
    shape = prefill_shapes()[1]
    first, again, next_round = (shape.make_prompts(number, 49_152) for number in (0, 0, 1))
    assert first == again
    assert [len(prompt) for prompt in first] == [64] * 8
    assert all(mine != other for mine in first for other in next_round)


def test_prefill_counts_prompt_tokens_and_decode_generated_ones():
    assert [shape.units(shape.answer_in(0)) for shape in prefill_shapes()] == [512, 512]
    assert [shape.units(shape.answer_in(0)) for shape in decode_shapes()] == [64, 256, 1024]


def test_the_warm_up_is_short():
    assert all(shape.answer_in(-1) <= 8 for shape in (*prefill_shapes(), *decode_shapes()))


def side(answer: str, ignored: list[str]) -> OutlinesSide:
    found = OutlinesSide("outlines_core", cast(Any, None), cast(Any, None), 0.5, {"text": answer}, [], ignored)
    found.astray += [answer] * (answer not in LABELS)
    return found


@pytest.mark.parametrize(("answer", "ignored"), [("I think it is a bug.", []), ("praise", ["ImportError: numba"])])
def test_a_baseline_that_does_not_constrain_is_named_first(answer: str, ignored: list[str]):
    assert side(answer, ignored).remarks({"text": "praise"})[0].startswith("**unconstrained!**")


def test_a_baseline_that_constrains_is_compared_by_its_labels():
    remarks = side("praise", []).remarks({"text": "praise"})
    assert remarks[0] == "same label for 1 of 1 texts"
    assert "0.5 s, not counted" in remarks[1]


def test_the_server_is_asked_what_the_skill_asks(rows: dict[str, Row]):
    ask = rows["extract"].theirs(0)[0]
    body = request_body(ask)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert ask.text in body["messages"][1]["content"]
    assert body["max_tokens"] == ask.task.skill.manifest.limits.max_output_tokens
    assert body["response_format"]["json_schema"]["schema"]["required"] == list(FIELDS["properties"])
    assert "lora" not in body


def test_bare_labels_are_bound_by_a_grammar(rows: dict[str, Row]):
    body = request_body(rows["one-bare"].theirs(0)[0], bare_labels=True)
    assert body["grammar"].startswith('root ::= "billing" | "bug report" |')
    assert "response_format" not in body


def test_the_adapter_of_a_task_is_switched_on_for_its_request_alone(rows: dict[str, Row]):
    asked = rows["one"].theirs(0)[0]
    task = asked.task.__class__("q", asked.task.skill, asked.task.arguments, asked.task.schema, adapter="b")
    assert request_body(Ask(task, "text"), ["a", "b"])["lora"] == [{"id": 1, "scale": 1.0}]


class Scripted:
    """A side that answers every call alike, and counts how many were under way at once."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def ask(self, ask: Ask) -> Answer:
        self.asked.append(ask.text)
        return self.answer


async def test_a_job_asks_every_text_and_counts_all_but_the_warm_up(rows: dict[str, Row]):
    row, tally = rows["one"], Tally()
    scripted = Scripted(Answer({"label": "praise"}, prompt=10, cached=4))
    job = job_of(scripted, row.ours, row, tally)
    await job(-1)
    assert (len(scripted.asked), tally.seconds) == (16, [])
    assert await job(0) > 0
    assert (len(tally.answers), tally.prompt, tally.cached) == (16, 160, 64)


def test_a_latency_row_shows_milliseconds_and_turns_the_ratio_round(rows: dict[str, Row]):
    tally = Tally(seconds=[0.1])
    found = comparison(rows["one"], tally, tally, {OURS: (20.0,), "llama-server": (5.0,)})
    assert isinstance(found, Comparison)
    assert (found.unit, found.ours, found.baseline, found.ratio.median) == ("ms/call", (50.0,), (200.0,), 4.0)


def test_latency_is_compared_by_its_medians_and_only_where_calls_do_not_wait():
    ours, theirs = Tally(seconds=[0.05, 0.9, 0.05]), Tally(seconds=[0.2, 0.2, 0.1])
    assert latency(ours, theirs, one_by_one=True) == ("a call takes 50 ms (median), the baseline's 200 ms: 0.25 ×",)
    assert latency(ours, theirs, one_by_one=False) == ()


def test_agreement_counts_calls_that_both_answered_and_failures_are_told():
    def answers(**values: int) -> dict[tuple[str, str], Any]:
        return {("q", text): value for text, value in values.items()}

    ours = Tally(answers(a=1, b=2, c=3), seconds=[1, 1, 1], prompt=30, cached=15, completion=6, forced=3)
    theirs = Tally(answers(a=1, b=0), ["{"], seconds=[1, 1, 1], prompt=30, completion=9)
    assert remarks(ours, theirs, "llama-server") == [
        "same answer as llama-server for 1 of 2 calls",
        "tools-server, per call: 10 prompt tokens (5 cached), 2.0 answer tokens (1 of them forced)",
        "llama-server had no valid answer for 1 of 3 calls, such as '{'",
        "llama-server, per call: 10 prompt tokens (0 cached), 3.0 answer tokens",
    ]


def test_an_answer_that_a_measurement_needs_is_demanded():
    with pytest.raises(BaselineError, match="no valid answer but out of memory"):
        checked(Answer(None, "out of memory"))
