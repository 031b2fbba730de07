import hashlib
import json
import logging
import math
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator

from tests.unit.calls.calls_fakes import BASE, FakeEngine, classify_skill, extract_skill, runner_for, summarise_skill
from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.calls.types import SkillResult
from tools_server.engine.types import FinishReason, ScoreRequest
from tools_server.errors import (
    AdapterMismatch,
    DeadlineExceeded,
    DecodeFailed,
    EngineDied,
    InputNotAllowed,
    InputTooLong,
    InputUnreadable,
    InvalidArguments,
    ModelLoadFailed,
    OutputTruncated,
    QueueFull,
    ToolsServerError,
)
from tools_server.settings import Settings
from tools_server.skills.types import Skill

ANSWER = '{"summary": "short", "key_points": ["one"]}'


@pytest.fixture
def classify(tmp_path: Path) -> Skill:
    return classify_skill(tmp_path)


@pytest.fixture
def summarise(tmp_path: Path) -> Skill:
    return summarise_skill(tmp_path)


def checked(skill: Skill, result: SkillResult) -> dict[str, Any]:
    """Give the data, after checking it against what the tool promises."""
    data = json.loads(json.dumps(result.data, allow_nan=False))
    Draft202012Validator(skill.result_schema).validate(data)
    return data


class Heard:
    """A progress callback that remembers."""

    def __init__(self) -> None:
        self.reports: list[tuple[float, float | None, str]] = []

    async def __call__(self, done: float, total: float | None, message: str) -> None:
        self.reports.append((done, total, message))

    @property
    def values(self) -> list[float]:
        return [done for done, _, _ in self.reports]


async def test_a_text_is_answered_flat_with_usage_timings_and_an_id(summarise: Skill) -> None:
    engine = FakeEngine(lambda prompt: ANSWER)
    result = await runner_for(engine).run(summarise, {"text": "a long story"})
    assert checked(summarise, result) == {"summary": "short", "key_points": ["one"]}
    assert (result.skill, result.version, result.model) == ("summarise", "1.2.3", "fake")
    assert len(result.call_id) == 32
    assert int(result.call_id, 16) >= 0
    assert result.usage.prompt == len(engine.requests[0].prompt)
    assert result.usage.completion > 0
    assert result.timings.queued == 0.25
    assert result.timings.first_token >= 0.5
    assert 0 < result.timings.total < 30
    assert engine.prompts == ["<user> Summarise:\na long story\n"]


async def test_every_call_has_its_own_id(summarise: Skill) -> None:
    runner = runner_for(FakeEngine(lambda prompt: ANSWER))
    ids = {(await runner.run(summarise, {"text": "x"})).call_id for _ in range(3)}
    assert len(ids) == 3


async def test_items_are_answered_in_their_order_and_at_once_but_not_without_bound(summarise: Skill) -> None:
    engine = FakeEngine(lambda prompt: json.dumps({"summary": prompt.split()[-1], "key_points": []}))
    items = [f"item {number}" for number in range(40)]
    result = await runner_for(engine, max_sequences=4).run(summarise, {"items": items})
    results = checked(summarise, result)["results"]
    assert [entry["index"] for entry in results] == list(range(40))
    assert [entry["summary"] for entry in results] == [str(number) for number in range(40)]
    assert engine.most_running == 8
    assert result.usage.prompt == sum(len(request.prompt) for request in engine.requests)


async def test_one_bad_input_among_many_has_its_error_in_its_place(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, "max_input_tokens = 16")
    result = await runner_for(FakeEngine(lambda prompt: ANSWER)).run(
        skill, {"items": ["fine", "too long " * 19 + "too long", "fine too"]}
    )
    good, bad, also_good = checked(skill, result)["results"]
    assert good["summary"] == also_good["summary"] == "short"
    assert bad == {"index": 1, "error": {"code": "input_too_long", "message": bad["error"]["message"]}}
    assert "The text is 40 tokens; `summarise` takes 16" in bad["error"]["message"]
    assert "Send the part that matters" in bad["error"]["message"]


async def test_when_all_inputs_fail_alike_the_call_fails_so(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, "max_input_tokens = 16")
    with pytest.raises(InputTooLong, match=r"None of the 2 inputs could be answered: \[0\] .* \[1\] "):
        await runner_for(FakeEngine()).run(skill, {"items": ["w " * 30, "w " * 40]})
    with pytest.raises(InputTooLong, match=r"^The text is 30 tokens"):
        await runner_for(FakeEngine()).run(skill, {"items": [("w " * 30).strip()]})


async def test_a_full_queue_for_all_inputs_keeps_its_retry_after(summarise: Skill) -> None:
    def full(prompt: str) -> str:
        raise QueueFull("no room", "Try again.", retry_after=7.0)

    with pytest.raises(QueueFull) as caught:
        await runner_for(FakeEngine(full)).run(summarise, {"items": ["a", "b"]})
    assert caught.value.retry_after == 7.0
    assert str(caught.value) == "None of the 2 inputs could be answered: [0] no room [1] no room Try again."


async def test_when_inputs_fail_for_different_reasons_each_is_told(summarise: Skill, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\0")
    engine = FakeEngine(lambda prompt: ANSWER)
    result = await runner_for(engine, allow_paths=(tmp_path,)).run(
        summarise, {"paths": [str(tmp_path / "binary"), "/etc/passwd"]}
    )
    entries = checked(summarise, result)["results"]
    assert [entry["error"]["code"] for entry in entries] == ["input_unreadable", "input_not_allowed"]
    assert entries[0]["path"] == str(tmp_path / "binary")
    assert "--allow-path DIR" in entries[1]["error"]["message"]
    assert engine.requests == []


async def test_files_are_read_and_named_in_their_results(summarise: Skill, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("story of a", "utf-8")
    (tmp_path / "b.txt").write_text("story of b", "utf-8")
    engine = FakeEngine(lambda prompt: json.dumps({"summary": prompt.split()[-1], "key_points": []}))
    paths = [str(tmp_path / "a.txt"), "b.txt", str(tmp_path / "c.txt")]
    result = await runner_for(engine, allow_paths=(tmp_path,)).run(summarise, {"paths": paths})
    entries = checked(summarise, result)["results"]
    assert [entry["path"] for entry in entries] == paths
    assert [entry.get("summary") for entry in entries] == ["a", "b", None]
    assert entries[2]["error"]["code"] == "input_unreadable"


async def test_paths_are_denied_by_default(summarise: Skill, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x", "utf-8")
    with pytest.raises(InputNotAllowed, match="no folder is allowed"):
        await runner_for(FakeEngine()).run(summarise, {"paths": [str(tmp_path / "a.txt")]})
    with pytest.raises(InputUnreadable, match="no such file"):
        await runner_for(FakeEngine(), allow_paths=(tmp_path,)).run(summarise, {"paths": ["absent"]})


async def test_bad_arguments_never_reach_the_engine(classify: Skill) -> None:
    loads: list[int] = []

    def load() -> FakeEngine:
        loads.append(1)
        return FakeEngine()

    with pytest.raises(InvalidArguments):
        await SkillRunner(EngineGate(load), Settings()).run(classify, {"labels": ["a"], "text": "x"})
    assert loads == []


async def test_progress_grows_with_every_finished_input(summarise: Skill) -> None:
    heard = Heard()
    runner = runner_for(FakeEngine(lambda prompt: ANSWER))
    await runner.run(summarise, {"items": ["a", "b", "c"]}, progress=heard)
    counted = [report for report in heard.reports if report[1] is not None]
    assert [(done, total) for done, total, _ in counted] == [(1, 3), (2, 3), (3, 3)]
    assert heard.values == sorted(heard.values)


async def test_a_call_that_waits_for_the_model_hears_of_it_first(summarise: Skill) -> None:
    go = threading.Event()
    heard = Heard()

    def load() -> FakeEngine:
        assert go.wait(10)
        return FakeEngine(lambda prompt: ANSWER)

    async def progress(done: float, total: float | None, message: str) -> None:
        await heard(done, total, message)
        go.set()

    with anyio.fail_after(10):
        await SkillRunner(EngineGate(load, tick_s=0.01), Settings()).run(summarise, {"text": "x"}, progress=progress)
    assert "loading the model" in heard.reports[0][2]
    assert heard.reports[-1][:2] == (1, 1)
    assert heard.values == sorted(heard.values)


async def test_a_model_that_cannot_be_loaded_fails_the_call(summarise: Skill) -> None:
    def load() -> FakeEngine:
        raise ModelLoadFailed("bad weights", "")

    with pytest.raises(ModelLoadFailed):
        await SkillRunner(EngineGate(load), Settings()).run(summarise, {"text": "x"})


# Deadlines and cancellation.


async def test_the_deadline_reaches_the_engine(summarise: Skill) -> None:
    engine = FakeEngine(lambda prompt: ANSWER)
    before = time.monotonic()
    await runner_for(engine, call_timeout_s=50).run(summarise, {"text": "x"})
    await runner_for(engine).run(summarise, {"text": "x"}, timeout_s=7)
    first, second = (request.deadline for request in engine.requests)
    assert first is not None
    assert second is not None
    assert 50 <= first - before < 55
    assert 7 <= second - before < 12


async def test_a_call_ends_at_its_deadline_even_if_the_engine_sleeps(summarise: Skill) -> None:
    engine = FakeEngine(lambda prompt: ANSWER)
    engine.hold = anyio.Event()
    heard = Heard()
    with anyio.fail_after(5), pytest.raises(DeadlineExceeded, match=r"0\.05 s are over: the answer was not finished"):
        await runner_for(engine).run(summarise, {"text": "x"}, timeout_s=0.05, progress=heard)
    assert engine.cancelled == 1
    assert all(total is None for _, total, _ in heard.reports)


async def test_a_deadline_also_ends_the_wait_for_the_model(summarise: Skill) -> None:
    go = threading.Event()

    def load() -> FakeEngine:
        go.wait(10)
        return FakeEngine()

    with anyio.fail_after(5), pytest.raises(DeadlineExceeded, match="still loading"):
        await SkillRunner(EngineGate(load), Settings()).run(summarise, {"text": "x"}, timeout_s=0.05)
    go.set()


async def test_what_was_answered_before_the_deadline_is_not_lost(summarise: Skill) -> None:
    engine = FakeEngine(lambda prompt: ANSWER)
    serve = engine._serve

    async def slow_for_b(request: Any) -> str:
        prompt = await serve(request)
        if "b" in prompt.split():
            await anyio.sleep_forever()
        return prompt

    engine._serve = slow_for_b  # type: ignore[method-assign]
    with anyio.fail_after(5):
        result = await runner_for(engine).run(summarise, {"items": ["a", "b", "c"]}, timeout_s=0.8)
        a, b, c = checked(summarise, result)["results"]
        assert a["summary"] == c["summary"] == "short"
        assert b["error"]["code"] == "deadline_exceeded"
        with pytest.raises(DeadlineExceeded, match="None of the 2 inputs"):
            await runner_for(engine).run(summarise, {"items": ["b", "b"]}, timeout_s=0.3)


@pytest.mark.parametrize("inputs", [{"text": "x"}, {"items": ["x", "y", "z"]}])
async def test_a_cancelled_call_ends_its_requests_and_says_nothing_more(
    summarise: Skill, inputs: dict[str, Any]
) -> None:
    engine = FakeEngine(lambda prompt: ANSWER)
    engine.hold = anyio.Event()
    heard = Heard()
    answers: list[SkillResult] = []
    runner = runner_for(engine)
    await runner._gate.get()

    async def call() -> None:
        answers.append(await runner.run(summarise, inputs, progress=heard))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await engine.submitted.wait()
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert answers == []
    assert heard.reports == []
    assert (engine.running, engine.cancelled) == (0, len(engine.requests))


async def test_a_dead_engine_ends_the_whole_call_and_its_other_requests(summarise: Skill) -> None:
    def say(prompt: str) -> str:
        if "dies" in prompt:
            raise EngineDied("the thread is gone", "Restart.")
        return ANSWER

    engine = FakeEngine(say)
    with anyio.fail_after(5), pytest.raises(EngineDied, match=r"^the thread is gone Restart\.$"):
        await runner_for(engine).run(summarise, {"items": ["a", "dies", "b"]})
    assert engine.running == 0


async def test_a_bug_is_raised_as_it_is_and_not_in_a_group(summarise: Skill) -> None:
    def say(prompt: str) -> str:
        raise KeyError("a bug")

    with anyio.fail_after(5), pytest.raises(KeyError, match="a bug"):
        await runner_for(FakeEngine(say)).run(summarise, {"items": ["a", "b"]})


# Adapters.


def with_adapter(tmp_path: Path, base: str, model: str = "fake") -> Skill:
    content = b"GGUF adapter"
    digest = hashlib.sha256(content).hexdigest()
    file = f"adapters/{model}/adapter.gguf"
    section = f'[adapters.{model}]\nfile = "{file}"\nsha256 = "{digest}"\nbase_sha256 = "{base}"\nscale = 0.5'
    return classify_skill(tmp_path, section, adapters={file: content})


async def test_the_adapter_for_the_loaded_model_goes_with_every_request(tmp_path: Path) -> None:
    engine = FakeEngine()
    skill = with_adapter(tmp_path, BASE)
    await runner_for(engine).run(skill, {"labels": ["a", "b"], "items": ["x", "y"]})
    assert [request.adapter for request in engine.requests] == [skill.adapters["fake"]] * 2
    assert skill.adapters["fake"].scale == 0.5


async def test_a_skill_with_no_adapter_for_this_model_runs_on_the_bare_one(tmp_path: Path) -> None:
    engine = FakeEngine()
    await runner_for(engine).run(with_adapter(tmp_path, "c" * 64, "other"), {"labels": ["a", "b"], "text": "x"})
    assert engine.requests[0].adapter is None


async def test_an_adapter_for_other_weights_is_refused_before_anything_runs(tmp_path: Path) -> None:
    engine = FakeEngine()
    with pytest.raises(AdapterMismatch, match=r"cccccccccccc…, but bbbbbbbbbbbb… is loaded"):
        await runner_for(engine).run(with_adapter(tmp_path, "c" * 64), {"labels": ["a", "b"], "items": ["x", "y"]})
    assert engine.requests == []


# Choosing.


def weights(**probabilities: float) -> Any:
    return lambda prompt, continuation: probabilities[continuation]


async def test_the_likeliest_label_comes_with_normalised_probabilities(classify: Skill) -> None:
    engine = FakeEngine(weigh=weights(question=0.01, complaint=0.03))
    result = await runner_for(engine).run(classify, {"labels": ["question", "complaint"], "text": "It broke."})
    data = checked(classify, result)
    assert data == {"label": "complaint", "confidence": 0.75, "scores": {"complaint": 0.75, "question": 0.25}}
    assert engine.prompts == ["<user> Labels: question, complaint\nIt broke.\n"]
    assert isinstance(engine.requests[0], ScoreRequest)


async def test_of_equally_likely_labels_the_callers_first_wins(classify: Skill) -> None:
    engine = FakeEngine()
    for labels in (["b", "a", "c"], ["c", "b", "a"]):
        data = checked(classify, await runner_for(engine).run(classify, {"labels": labels, "text": "x"}))
        assert data["label"] == labels[0]
        assert data["confidence"] == 0.3333
        assert list(data["scores"]) == labels


async def test_of_many_labels_the_ten_likeliest_are_shown(classify: Skill) -> None:
    labels = [f"label{number}" for number in range(30)]
    engine = FakeEngine(weigh=lambda prompt, label: 1 + labels.index(label))
    data = checked(classify, await runner_for(engine).run(classify, {"labels": labels, "text": "x"}))
    assert list(data["scores"]) == labels[:19:-1]
    assert data["label"] == "label29"
    assert math.isclose(data["confidence"], 30 / 465, abs_tol=1e-4)


async def test_several_labels_are_each_asked_yes_or_no(classify: Skill) -> None:
    chances = {"angry": 0.9, "urgent": 0.5, "spam": 0.2}

    def weigh(prompt: str, continuation: str) -> float:
        label = prompt.split()[-2]
        return chances[label] if continuation == "yes" else 1 - chances[label]

    engine = FakeEngine(weigh=weigh)
    arguments = {"labels": list(chances), "several": True, "text": "Help!"}
    data = checked(classify, await runner_for(engine).run(classify, arguments))
    assert data == {"labels": ["angry", "urgent"], "confidence": 0.5, "scores": chances}
    asked = sorted(prompt.partition("Help!")[2].strip() for prompt in engine.prompts)
    assert asked == sorted(f"Is it {label} ?" for label in chances)


async def test_no_label_may_fit_when_several_are_asked_for(classify: Skill) -> None:
    engine = FakeEngine(weigh=weights(yes=0.1, no=0.9))
    arguments = {"labels": ["a", "b"], "several": True, "items": ["x"]}
    data = checked(classify, await runner_for(engine).run(classify, arguments))
    assert data["results"][0] == {"index": 0, "labels": [], "confidence": 0.9, "scores": {"a": 0.1, "b": 0.1}}


async def test_labels_that_are_alike_are_refused(classify: Skill) -> None:
    with pytest.raises(InvalidArguments, match=r"labels\[1\]"):
        await runner_for(FakeEngine()).run(classify, {"labels": ["a", "a "], "items": ["x", "y"]})


async def test_a_text_that_leaves_no_context_for_the_labels_is_refused_with_counts(classify: Skill) -> None:
    engine = FakeEngine(context_tokens=60)
    with pytest.raises(InputTooLong, match=r"The text is 80 tokens; `classify` takes 5\d \(what the context leaves"):
        await runner_for(engine).run(classify, {"labels": ["a", "b"], "text": "w " * 79 + "w"})
    assert engine.requests == []


async def test_labels_that_leave_no_context_are_to_blame_themselves(classify: Skill) -> None:
    labels = [f"a label number {number}" for number in range(20)]
    with pytest.raises(InputTooLong, match="leave 0 of the context's 60 tokens") as caught:
        await runner_for(FakeEngine(context_tokens=60)).run(classify, {"labels": labels, "text": "short"})
    assert "fewer labels" in caught.value.hint


# Generating.


async def test_an_answer_cut_by_its_budget_is_an_error_that_says_so(summarise: Skill) -> None:
    engine = FakeEngine(lambda prompt: '{"summary": "half a')
    engine.finish = FinishReason.LENGTH
    with pytest.raises(OutputTruncated, match="not complete after 512 tokens") as caught:
        await runner_for(engine).run(summarise, {"text": "x"})
    assert "half a" in caught.value.message
    assert "max_output_tokens" in caught.value.hint


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("not json", "not usable JSON"),
        ('{"summary": "x"}', "`key_points` missing"),
        ('{"summary": 3, "key_points": []}', r"\$.summary breaks `type`"),
        ('{"summary": "\\ud800", "key_points": []}', "not usable JSON"),
        ('{"summary": "x", "key_points": [], "more": NaN}', "not usable JSON"),
    ],
)
async def test_an_answer_that_breaks_its_schema_never_leaves(
    summarise: Skill, answer: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(DecodeFailed, match=reason):
        await runner_for(FakeEngine(lambda prompt: answer)).run(summarise, {"text": "x"})
    assert "broke its schema" in caplog.text


async def test_decoding_settings_of_the_manifest_reach_the_engine(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, "max_output_tokens = 77\n[decoding]\ntemperature = 0.5\ntop_p = 0.9\nseed = 3")
    engine = FakeEngine(lambda prompt: ANSWER)
    await runner_for(engine).run(skill, {"text": "x"})
    request = engine.requests[0]
    assert not isinstance(request, ScoreRequest)
    assert request.max_tokens == 77
    assert (request.sampling.temperature, request.sampling.top_p, request.sampling.seed) == (0.5, 0.9, 3)
    assert request.constraint is not None
    assert json.loads(request.constraint.source) == skill.output_schema


async def test_a_callers_schema_is_widened_and_its_answer_wrapped(tmp_path: Path) -> None:
    skill = extract_skill(tmp_path)
    fields = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name"],
    }
    engine = FakeEngine(lambda prompt: '{"name": "Ada", "age": null}')
    runner = runner_for(engine)
    result = await runner.run(skill, {"fields": fields, "items": ["Ada", "Ada again"]})
    assert checked(skill, result)["results"][1] == {"index": 1, "data": {"name": "Ada", "age": None}}
    request = engine.requests[0]
    assert not isinstance(request, ScoreRequest)
    assert request.constraint is not None
    assert json.loads(request.constraint.source)["required"] == ["name", "age"]
    assert json.loads(engine.checked[0].source) == fields
    await runner.run(skill, {"fields": fields, "text": "Ada"})
    assert len(engine.checked) == 2  # as given and widened, once for all calls


async def test_a_required_field_that_comes_back_null_is_caught(tmp_path: Path) -> None:
    fields = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    with pytest.raises(DecodeFailed, match=r"\$.name breaks `type`"):
        await runner_for(FakeEngine(lambda prompt: '{"name": null}')).run(
            extract_skill(tmp_path), {"fields": fields, "text": "x"}
        )


async def test_a_date_that_is_on_no_calendar_is_caught_by_its_format(tmp_path: Path) -> None:
    fields = {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}}
    with pytest.raises(DecodeFailed, match=r"\$.day"):
        await runner_for(FakeEngine(lambda prompt: '{"day": "2026-02-31"}')).run(
            extract_skill(tmp_path), {"fields": fields, "text": "x"}
        )


async def test_a_callers_pattern_cannot_hang_the_check_of_the_answer(tmp_path: Path) -> None:
    fields = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}, "b": {"type": "string", "pattern": r"\p{Lu}"}},
        "patternProperties": {"^(x+)+$": {"type": "string"}},
        "additionalProperties": False,
        "required": ["a", "b"],
    }
    answer = {"a": "a" * 40 + "!", "b": "Ä", "x" * 40 + "!": "z"}
    engine = FakeEngine(lambda prompt: json.dumps(answer))
    with anyio.fail_after(5):
        result = await runner_for(engine).run(extract_skill(tmp_path), {"fields": fields, "text": "x"})
    assert result.data == {"data": answer}


async def test_a_keyword_that_cannot_be_enforced_is_told_by_the_callers_own_path(tmp_path: Path) -> None:
    def refuse(_: Any) -> None:
        raise InvalidArguments("The JSON Schema cannot be enforced at $.properties.a, keyword `not`: no.", "Remove it.")

    engine = FakeEngine(refuse=refuse)
    with pytest.raises(InvalidArguments, match=r"at \$\.fields\.properties\.a, keyword `not`") as caught:
        await runner_for(engine).run(
            extract_skill(tmp_path), {"fields": {"type": "object", "properties": {"a": {}}}, "items": ["x", "y"]}
        )
    assert caught.value.hint == "Remove it."
    assert engine.requests == []


async def test_a_skill_whose_own_schema_cannot_be_enforced_is_to_blame_itself(summarise: Skill) -> None:
    def refuse(_: Any) -> None:
        raise InvalidArguments("cannot be enforced at $.properties.a", "")

    with pytest.raises(ToolsServerError) as caught:
        await runner_for(FakeEngine(refuse=refuse)).run(summarise, {"text": "x"})
    assert caught.value.code == "manifest_invalid"
    assert "output.schema.json" in caught.value.message


async def test_a_schema_argument_that_is_no_object_schema_is_refused_by_path(tmp_path: Path) -> None:
    skill = extract_skill(tmp_path)
    for fields, told in (({"type": "array"}, "$.fields.type"), ({"type": "objekt"}, "$.fields.type")):
        with pytest.raises(InvalidArguments) as caught:
            await runner_for(FakeEngine()).run(skill, {"fields": fields, "text": "x"})
        assert told in caught.value.message


async def test_a_short_call_costs_little_besides_the_engine(classify: Skill) -> None:
    runner = runner_for(FakeEngine(weigh=weights(question=0.1, complaint=0.9)))
    arguments = {"labels": ["question", "complaint"], "text": "It broke after two days."}
    await runner.run(classify, arguments)
    times: list[float] = []
    for _ in range(50):
        started = time.perf_counter()
        await runner.run(classify, arguments)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.002  # measured: 0.4 to 0.6 ms on a shared core
