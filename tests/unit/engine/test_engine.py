"""The whole engine over the scripted model: its answers depend on every token and on the adapter of every KV cell."""

import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from unittest import mock

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools_server.engine import sequence
from tools_server.engine.adapters import MAX_ADAPTERS
from tools_server.engine.backend import Batch
from tools_server.engine.cache import LEAVES
from tools_server.engine.composer import JOINING_BATCHES, MIXED_TOKENS
from tools_server.engine.scripted import VOCABULARY, ScriptedBackend, ScriptedEngine, hashed, saying
from tools_server.engine.types import (
    Adapter,
    FinishReason,
    GenerationRequest,
    Prompt,
    Sampling,
    ScoreRequest,
    as_json_schema,
)
from tools_server.errors import (
    AdapterMismatch,
    DeadlineExceeded,
    DecodeFailed,
    EngineDied,
    InputTooLong,
    InvalidArguments,
    QueueFull,
)

BASE = "0" * 64
A, B, C = (Adapter(sha256=letter * 64, base_sha256=BASE, name=letter) for letter in "abc")
INVOKED = Adapter(sha256="d" * 64, base_sha256=BASE, name="activated")
INVOCATION = tuple(b": ")


def prompt(text: str, *prefixes: int) -> Prompt:
    return Prompt(tuple(text.encode()), prefixes)


def expected(text: str, adapter: Adapter | None, count: int) -> str:
    said = ""
    for _ in range(count):
        said += hashed(text + said, adapter)
    return said


@asynccontextmanager
async def running(
    backend: ScriptedBackend | None = None, *, max_sequences: int = 16, queue_limit: int = 256
) -> AsyncIterator[ScriptedEngine]:
    engine = ScriptedEngine(backend=backend or ScriptedBackend(), max_sequences=max_sequences, queue_limit=queue_limit)
    try:
        with anyio.fail_after(30):
            yield engine
    finally:
        with anyio.CancelScope(shield=True):
            await engine.aclose()


class Gate:
    """Holds the engine in front of a decode until the test lets it go."""

    def __init__(self, when: Callable[[Batch], bool] = lambda _: True) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self._when = when

    def __call__(self, batch: Batch) -> None:
        if self._when(batch):
            self.reached.set()
            assert self.open.wait(20)

    async def wait(self) -> None:
        assert await anyio.to_thread.run_sync(self.reached.wait, 20)


# Answers.


async def test_a_generation_says_what_the_model_says():
    async with running() as engine:
        answer = await engine.generate(GenerationRequest(prompt("hello "), max_tokens=7))
    assert answer.text == expected("hello ", None, 7)
    assert answer.finish_reason is FinishReason.LENGTH
    assert (answer.usage.prompt, answer.usage.completion, answer.usage.forced) == (6, 7, 0)
    assert all(t.logprob is not None and t.logprob < 0 for t in answer.tokens)


async def test_a_turn_that_the_model_ends_is_finished_without_its_end_token():
    async with running(ScriptedBackend(saying("yes"))) as engine:
        answer = await engine.generate(GenerationRequest(prompt("assistant\n"), max_tokens=50))
    assert (answer.text, answer.finish_reason) == ("yes", FinishReason.STOP)


async def test_a_constraint_forces_tokens_and_samples_only_the_rest():
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["alpha", "beta"]}, "n": {"const": 5}},
        "required": ["label", "n"],
        "additionalProperties": False,
    }
    async with running() as engine:
        answer = await engine.generate(GenerationRequest(prompt("p"), 80, as_json_schema(schema)))
    assert answer.text in ('{"label":"alpha","n":5}', '{"label":"beta","n":5}')
    assert answer.finish_reason is FinishReason.STOP
    sampled = [t for t in answer.tokens if t.logprob is not None]
    assert len(sampled) == 1
    assert answer.usage.forced == answer.usage.completion - 1
    assert len(engine.backend.decodes) == 1, "prompt and forced beginning join one decode"


async def test_an_answer_that_is_forced_altogether_needs_no_decode():
    schema = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}
    async with running() as engine:
        answer = await engine.generate(GenerationRequest(prompt("p"), 80, as_json_schema(schema)))
        assert answer.text == '{"a":1}'
        assert engine.backend.decodes == []
        assert (await engine.stats()).kv_cells_used == 0


async def test_a_budget_that_runs_out_says_so():
    async with running() as engine:
        schema = as_json_schema({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
        answer = await engine.generate(GenerationRequest(prompt("p"), 9, schema))
    assert answer.finish_reason is FinishReason.LENGTH
    assert answer.usage.completion == 9


async def test_scores_are_the_probabilities_that_constrained_decoding_gives_the_labels():
    async with running() as engine:
        labels = await engine.continuations(["card", "card payment", "cash", "x", "transfer"])
        scores = await engine.score(ScoreRequest(prompt("which? "), labels))
    found = [math.exp(logprob) for logprob in scores.logprobs]
    assert found == pytest.approx(label_probabilities("which? ", None, labels), abs=1e-4)
    assert sum(found) == pytest.approx(1.0)


async def test_labels_that_differ_in_their_first_token_cost_one_decode():
    async with running() as engine:
        labels = await engine.continuations(["refund", "delivery question", "other"])
        await engine.score(ScoreRequest(prompt("which? "), labels))
        assert (await engine.stats()).decodes == 1


async def test_what_all_labels_begin_with_is_decoded_with_the_prompt():
    async with running() as engine:
        labels = await engine.continuations(["card lost", "card stolen"])
        scores = await engine.score(ScoreRequest(prompt("which? "), labels))
        assert (await engine.stats()).decodes == 1
    found = [math.exp(logprob) for logprob in scores.logprobs]
    assert found == pytest.approx(label_probabilities("which? ", None, labels), abs=1e-4)
    assert scores.usage.prompt == len("which? card ")


async def test_what_comes_before_the_invocation_is_shared_with_the_base_and_never_what_comes_after():
    backend = ScriptedBackend()
    backend.invocations[INVOKED] = INVOCATION
    asked = prompt("the document: what is it?", len("the document"), len("the document: "))
    async with running(backend) as engine:
        base, invoked, again = [
            await engine.generate(GenerationRequest(asked, 5, adapter=adapter)) for adapter in (None, INVOKED, INVOKED)
        ]
    assert base.text == expected("the document: what is it?", None, 5)
    assert invoked.text == again.text == expected("the document: what is it?", INVOKED, 5)
    assert (invoked.usage.cached, again.usage.cached) == (len("the document"), len("the document: "))
    assert [adapter for adapter, _ in backend.decodes[5:7]] == [INVOKED, INVOKED]


async def test_an_activated_adapter_acts_from_its_last_invocation_on():
    backend = ScriptedBackend()
    backend.invocations[INVOKED] = INVOCATION
    text = "one: two: three"
    async with running(backend) as engine:
        answer = await engine.generate(GenerationRequest(prompt(text), 3, adapter=INVOKED))
    assert answer.text == expected(text, INVOKED, 3)
    assert backend.decodes[:2] == [(None, len("one: two")), (INVOKED, len(": three"))]


async def test_a_prompt_without_the_invocation_is_refused_and_harms_nobody():
    backend = ScriptedBackend()
    backend.invocations[INVOKED] = INVOCATION
    async with running(backend) as engine:
        with pytest.raises(AdapterMismatch, match=r"invocation tokens \[58, 32\] on, which are not in the prompt"):
            await engine.generate(GenerationRequest(prompt("nothing here"), 3, adapter=INVOKED))
        assert (await engine.generate(GenerationRequest(prompt("p"), 3))).text == expected("p", None, 3)


async def test_a_label_that_begins_another_ends_with_the_end_token():
    async with running() as engine:
        card, payment, cash = await engine.continuations(["card", "card payment", "cash"])
    assert card == (*b"card", 256)
    assert payment == tuple(b"card payment")
    assert cash == tuple(b"cash")


async def test_more_labels_than_sequence_ids_are_scored_in_waves():
    labels = [f"{a}{b}{c}" for a in "abcdefgh" for b in "abcde" for c in "xyz"]
    async with running() as engine:
        continuations = await engine.continuations([*labels, *(label + "!" for label in labels)])
        scores = await engine.score(ScoreRequest(prompt("q"), continuations))
        found = [math.exp(logprob) for logprob in scores.logprobs]
        assert found == pytest.approx(label_probabilities("q", None, continuations), abs=1e-4)
        assert scores.usage.prompt > 1 + LEAVES  # more paths than there are sequence ids for them
        assert (await engine.stats()).kv_cells_used == 0


async def test_short_answers_run_at_once_although_their_budgets_would_not_fit_together():
    backend = ScriptedBackend(kv_cells=400, context_tokens=300)
    async with running(backend) as engine:
        schema = as_json_schema({"type": "object", "properties": {"a": {"const": "x"}}, "required": ["a"]})
        await engine.check(schema)  # compiled, so that what follows is submitted at once
        gate = Gate()
        backend.on_decode = gate
        async with anyio.create_task_group() as group:
            for i in range(4):
                group.start_soon(engine.generate, GenerationRequest(prompt(f"{i}" * 10), 250, schema))
            await anyio.to_thread.run_sync(gate.reached.wait, 20)
            for _ in range(50):  # turns of the loop, in which the other three are submitted
                await anyio.lowlevel.checkpoint()
            gate.open.set()
        stats = await engine.stats()
    assert (stats.finished, stats.preempted) == (4, 0)
    assert stats.decodes <= 2, "all four were decoded together"


async def test_answers_that_outgrow_the_cache_are_preempted_and_resumed_without_a_trace(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(sequence, "STRETCH", 16)
    backend = ScriptedBackend(kv_cells=400, context_tokens=300)
    texts = [f"question {i}: " for i in range(6)]
    answers: dict[str, str] = {}
    async with running(backend, max_sequences=6) as engine:

        async def one(text: str) -> None:
            request = GenerationRequest(prompt(text), 150, sampling=Sampling())
            answers[text] = (await engine.generate(request)).text

        async with anyio.create_task_group() as group:
            for text in texts:
                group.start_soon(one, text)
        stats = await engine.stats()
    assert answers == {text: expected(text, None, 150) for text in texts}
    assert stats.preempted > 0
    assert stats.kv_cells_used == 0


async def test_the_same_seed_gives_the_same_answer_alone_and_in_company():
    def request(seed: int) -> GenerationRequest:
        return GenerationRequest(prompt("hot "), 20, sampling=Sampling(temperature=40.0, seed=seed))

    async with running() as engine:
        alone = [(await engine.generate(request(seed))).text for seed in range(6)]
        together: dict[int, str] = {}

        async def one(seed: int) -> None:
            together[seed] = (await engine.generate(request(seed))).text

        async with anyio.create_task_group() as group:
            for seed in range(6):
                group.start_soon(one, seed)
    assert [together[seed] for seed in range(6)] == alone
    assert len(set(alone)) > 1


# Adapters and prefixes.


async def test_the_same_prompt_under_a_then_b_then_a_gives_a_its_answer_twice():
    p = prompt("instructions. the text", 14)
    async with running() as engine:
        answers = [(await engine.generate(GenerationRequest(p, 8, adapter=x))).text for x in (A, B, A, None)]
        stats = await engine.stats()
    assert answers[0] == answers[2] == expected("instructions. the text", A, 8)
    assert answers[1] == expected("instructions. the text", B, 8)
    assert answers[3] == expected("instructions. the text", None, 8)
    assert (stats.prefix_hits, stats.prefix_misses) == (1, 3)


async def test_a_shared_prefix_is_prefilled_once_even_when_all_come_at_once():
    texts = [f"the long shared instructions of a skill: item {i}" for i in range(10)]
    async with running() as engine:
        answers: dict[int, str] = {}

        async def one(i: int) -> None:
            answers[i] = (await engine.generate(GenerationRequest(prompt(texts[i], 41), 4))).text

        async with anyio.create_task_group() as group:
            for i in range(10):
                group.start_soon(one, i)
        stats = await engine.stats()
    assert answers == {i: expected(texts[i], None, 4) for i in range(10)}
    assert (stats.prefix_misses, stats.prefix_hits, stats.cached_tokens) == (1, 9, 9 * 41)


async def test_a_builder_that_is_cancelled_leaves_the_prefix_to_the_next():
    gate = Gate()
    async with running(ScriptedBackend(on_decode=gate)) as engine:
        p = prompt("shared instructions: text", 21)
        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def builder() -> None:
                with scope:
                    await engine.generate(GenerationRequest(p, 4))

            group.start_soon(builder)
            await gate.wait()
            done = anyio.Event()

            async def waiter() -> None:
                assert (await engine.generate(GenerationRequest(p, 4))).text == expected(p_text, None, 4)
                done.set()

            p_text = "shared instructions: text"
            group.start_soon(waiter)
            await anyio.lowlevel.checkpoint()
            scope.cancel()
            gate.open.set()
            await done.wait()


async def test_the_least_recently_used_prefix_goes_when_the_cache_is_full_and_answers_stay_right():
    texts = [f"instructions number {i:02} and then some text" for i in range(30)]
    async with running(ScriptedBackend(kv_cells=160, context_tokens=160)) as engine:
        for _ in range(2):
            for text in texts:
                answer = await engine.generate(GenerationRequest(prompt(text, 22, 40), 4))
                assert answer.text == expected(text, None, 4)
        stats = await engine.stats()
    assert stats.prefix_evictions > 0
    assert stats.kv_cells_used <= 160


async def test_one_decode_has_one_adapter_and_adapters_take_turns():
    async with running() as engine:
        ended: list[str] = []

        async def one(adapter: Adapter, i: int) -> None:
            text = f"{adapter.name}{i} " + "x" * 90
            answer = await engine.generate(GenerationRequest(prompt(text), 40, adapter=adapter))
            assert answer.text == expected(text, adapter, 40)
            ended.append(adapter.name)

        async with anyio.create_task_group() as group:
            for i in range(21):
                for adapter in (A, B, C):
                    group.start_soon(one, adapter, i)
        assert len(ended) == 63
        assert (await engine.stats()).adapter_switches < len(engine.backend.decodes) / 3
        # Nobody starves: while all three have work, none waits longer than the turns of the two others.
        order = [adapter for adapter, _ in engine.backend.decodes]
        gaps = [b - a for x in (A, B, C) for a, b in pairwise(positions(order, x))]
        assert max(gaps) < len(order) / 2


def positions(order: list[Adapter | None], adapter: Adapter) -> list[int]:
    return [i for i, x in enumerate(order) if x == adapter]


async def test_an_adapter_for_another_base_is_refused_by_name():
    foreign = Adapter(sha256="f" * 64, base_sha256="e" * 64, name="skills/classify/adapters/other.gguf")
    async with running() as engine:
        for attempt in (
            lambda: engine.generate(GenerationRequest(prompt("p"), 4, adapter=foreign)),
            lambda: engine.load_adapter(foreign),
        ):
            with pytest.raises(AdapterMismatch, match=r"other\.gguf.*trained for the base.*this engine runs scripted"):
                await attempt()


async def test_an_adapter_is_unloaded_once_nobody_uses_it_and_its_prefixes_go_with_it():
    gate = Gate(lambda batch: len(batch) == 1)
    backend = ScriptedBackend(on_decode=gate)
    async with running(backend) as engine, anyio.create_task_group() as group:

        async def use() -> None:
            answer = await engine.generate(GenerationRequest(prompt("prefix and text", 10), 5, adapter=A))
            assert answer.text == expected("prefix and text", A, 5)

        group.start_soon(use)
        await gate.wait()
        assert A in backend.loaded
        gate.open.set()
        await engine.unload_adapter(A)
        while (await engine.stats()).adapters_loaded:
            await engine.generate(GenerationRequest(prompt("other"), 1))
        assert A not in backend.loaded
        assert (await engine.stats()).kv_cells_used == 0


async def test_the_adapter_served_longest_ago_makes_room_for_the_seventeenth():
    adapters = [Adapter(sha256=f"{i:064}", base_sha256=BASE) for i in range(MAX_ADAPTERS + 1)]
    backend = ScriptedBackend()
    async with running(backend) as engine:
        for adapter in adapters:
            await engine.generate(GenerationRequest(prompt("some text", 8), 2, adapter=adapter))
        answer = await engine.generate(GenerationRequest(prompt("more"), 2, adapter=adapters[-1]))
        assert answer.text == expected("more", adapters[-1], 2)
        assert backend.loaded == set(adapters[1:])
        again = await engine.generate(GenerationRequest(prompt("some text", 8), 2, adapter=adapters[0]))
        assert again.text == expected("some text", adapters[0], 2)


# Capacity and endings.


def watched(backend: ScriptedBackend, gate: Gate) -> list[tuple[int, int]]:
    """Let a gate see every batch; gives the list that grows by the tokens and outputs of each."""
    steps: list[tuple[int, int]] = []

    def watch(batch: Batch) -> None:
        gate(batch)
        steps.append((len(batch), batch.n_outputs))

    backend.on_decode = watch
    return steps


async def test_a_long_prompt_does_not_stall_a_running_generation():
    gate = Gate(lambda batch: len(batch) == 1)
    backend = ScriptedBackend(n_batch=256)
    steps = watched(backend, gate)
    long = "y" * 900
    async with running(backend) as engine, anyio.create_task_group() as group:
        group.start_soon(engine.generate, GenerationRequest(prompt("short"), 200))
        await gate.wait()
        gate.open.set()
        answer = await engine.generate(GenerationRequest(prompt(long), 3))
        assert answer.text == expected(long, None, 3)
    chunks = [at for at, (size, _) in enumerate(steps) if size > MIXED_TOKENS]
    assert len(chunks) >= 6
    assert all(steps[at][1] == 0 for at in chunks[:-1]), "no chunk paid for the other's cells"
    assert all(steps[at + 1] == (1, 1) for at in chunks[:-1]), "after every chunk the other had its token"


async def test_answers_wait_for_short_prompts_and_are_decoded_with_theirs():
    gate = Gate(lambda batch: len(batch) == 1)
    backend = ScriptedBackend(n_batch=256)
    steps = watched(backend, gate)
    async with running(backend) as engine, anyio.create_task_group() as group:
        group.start_soon(engine.generate, GenerationRequest(prompt("first"), 40))
        await gate.wait()
        for letter in "abcd":
            group.start_soon(engine.generate, GenerationRequest(prompt(letter * 100), 8))
        await anyio.wait_all_tasks_blocked()
        gate.open.set()
    chunks = [at for at, (size, _) in enumerate(steps) if size > MIXED_TOKENS]
    assert len(chunks) > 1
    assert chunks == list(range(chunks[0], chunks[0] + len(chunks))), "no answer had a token in between"
    assert (5, 5) in steps, "all five were decoded together"


async def test_a_stream_of_short_requests_does_not_hold_up_a_long_answer():
    gate = Gate(lambda batch: len(batch) == 1)
    backend = ScriptedBackend(n_batch=128)
    steps = watched(backend, gate)
    async with running(backend, max_sequences=4) as engine, anyio.create_task_group() as group:
        group.start_soon(engine.generate, GenerationRequest(prompt("long"), 20))
        await gate.wait()
        for number in range(60):
            group.start_soon(engine.generate, GenerationRequest(prompt(f"{number:02}" * 30), 1))
        await anyio.wait_all_tasks_blocked()
        gate.open.set()
    sizes = [size for size, _ in steps]
    assert sizes.count(1) > 1, "the long answer had a turn"
    between = 0
    for size in sizes[sizes.index(1) :]:
        between = between + size if size > MIXED_TOKENS else 0
        assert between <= (JOINING_BATCHES + 1) * backend.n_batch


async def test_a_small_prefill_joins_the_tokens_of_answers():
    gate = Gate(lambda batch: len(batch) == 1)
    backend = ScriptedBackend()
    sizes = watched(backend, gate)
    async with running(backend) as engine, anyio.create_task_group() as group:
        group.start_soon(engine.generate, GenerationRequest(prompt("first"), 40))
        await gate.wait()
        group.start_soon(engine.generate, GenerationRequest(prompt("second one"), 3))
        await anyio.wait_all_tasks_blocked()
        gate.open.set()
    assert (len("second one") + 1, 2) in sizes


async def test_a_short_request_behind_a_long_prompt_is_answered_first():
    gate = Gate()
    async with running(ScriptedBackend(n_batch=32, on_decode=gate)) as engine, anyio.create_task_group() as group:
        ended: list[str] = []

        async def one(text: str) -> None:
            await engine.generate(GenerationRequest(prompt(text), 3))
            ended.append(text[0])

        group.start_soon(one, "y" * 900)
        await gate.wait()
        for letter in "abc":
            group.start_soon(one, letter * 20)
        await anyio.lowlevel.checkpoint()
        gate.open.set()
    assert ended[-1] == "y"


async def test_a_cancelled_request_frees_its_slot_at_the_next_step():
    gate = Gate(lambda batch: len(batch) == 1)
    async with running(ScriptedBackend(on_decode=gate), max_sequences=1) as engine:
        async with anyio.create_task_group() as group:
            group.start_soon(engine.generate, GenerationRequest(prompt("first"), 1000))
            await gate.wait()
            assert (await engine.stats()).running == 1
            group.cancel_scope.cancel()
        gate.open.set()
        answer = await engine.generate(GenerationRequest(prompt("second"), 3))
        stats = await engine.stats()
    assert answer.text == expected("second", None, 3)
    assert (stats.cancelled, stats.finished, stats.kv_cells_used) == (1, 1, 0)


async def test_a_request_that_waits_can_be_cancelled_too():
    gate = Gate()
    async with running(ScriptedBackend(on_decode=gate), max_sequences=1) as engine:
        async with anyio.create_task_group() as outer:
            outer.start_soon(engine.generate, GenerationRequest(prompt("first"), 3))
            await gate.wait()
            async with anyio.create_task_group() as inner:
                inner.start_soon(engine.generate, GenerationRequest(prompt("second"), 3))
                await anyio.lowlevel.checkpoint()
                inner.cancel_scope.cancel()
            gate.open.set()
        await engine.generate(GenerationRequest(prompt("third"), 1))
        assert ((await engine.stats()).cancelled, (await engine.stats()).finished) == (1, 2)


async def test_deadlines_end_running_and_waiting_requests_and_free_their_slots():
    gate = Gate(lambda batch: len(batch) == 1)
    async with running(ScriptedBackend(on_decode=gate), max_sequences=1) as engine:
        messages: list[str] = []

        async def doomed(text: str) -> None:
            with pytest.raises(DeadlineExceeded) as caught:
                await engine.generate(GenerationRequest(prompt(text), 1000, deadline=time.monotonic() + 0.05))
            messages.append(caught.value.message)

        async with anyio.create_task_group() as group:
            group.start_soon(doomed, "first")
            await gate.wait()
            group.start_soon(doomed, "second")
            # The engine looks at the clock between steps; it is held in one until the deadline has passed.
            await anyio.sleep_until(anyio.current_time() + 0.06)
            gate.open.set()
        assert sorted("running" in m for m in messages) == [False, True]
        assert (await engine.stats()).kv_cells_used == 0
        assert (await engine.generate(GenerationRequest(prompt("third"), 1))).text


async def test_a_full_queue_refuses_with_a_time_to_come_back():
    gate = Gate()
    async with running(ScriptedBackend(on_decode=gate), max_sequences=1, queue_limit=2) as engine:
        async with anyio.create_task_group() as group:
            for i in range(3):
                group.start_soon(engine.generate, GenerationRequest(prompt(f"p{i}"), 2))
            await gate.wait()
            with pytest.raises(QueueFull, match="2 requests are waiting, the limit is 2") as caught:
                await engine.generate(GenerationRequest(prompt("late"), 2))
            assert caught.value.retry_after >= 1
            gate.open.set()
        assert (await engine.stats()).finished == 3


async def test_a_prompt_that_can_never_fit_is_refused_with_the_counts():
    async with running(ScriptedBackend(context_tokens=100)) as engine:
        with pytest.raises(InputTooLong, match=r"95 tokens and with 10 .* exceeds the context of 100"):
            await engine.generate(GenerationRequest(prompt("x" * 95), 10))


async def test_an_empty_prompt_and_an_unusable_label_set_are_refused():
    async with running() as engine:
        with pytest.raises(InvalidArguments, match="prompt is empty"):
            await engine.generate(GenerationRequest(prompt(""), 10))
        for bad in ((), ((1,), ()), ((1,), (1,))):
            with pytest.raises(InvalidArguments, match="closed set"):
                await engine.score(ScoreRequest(prompt("p"), bad))


async def test_a_refused_batch_fails_its_requests_and_the_engine_lives_on():
    def refuse(batch: Batch) -> None:
        if ord("!") in batch.tokens:
            raise DecodeFailed("llama_decode returned -1", "Try again.")

    async with running(ScriptedBackend(on_decode=refuse)) as engine:
        with pytest.raises(DecodeFailed, match="returned -1"):
            await engine.generate(GenerationRequest(prompt("bad!"), 4))
        assert (await engine.generate(GenerationRequest(prompt("good"), 4))).text == expected("good", None, 4)
        assert (await engine.stats()).kv_cells_used == 0


async def test_when_the_thread_dies_every_request_ends_with_an_error_and_no_new_one_starts():
    gate = Gate()

    def die(batch: Batch) -> None:
        gate(batch)
        raise RuntimeError("segmentation fault, nearly")

    async with running(ScriptedBackend(on_decode=die), max_sequences=2) as engine:
        errors: list[str] = []

        async def one(i: int) -> None:
            with pytest.raises(EngineDied) as caught:
                await engine.generate(GenerationRequest(prompt(f"p{i}"), 4))
            errors.append(str(caught.value))

        async with anyio.create_task_group() as group:
            for i in range(5):
                group.start_soon(one, i)
            await gate.wait()
            gate.open.set()
        assert len(errors) == 5
        assert all("segmentation fault, nearly" in error and "Restart" in error for error in errors)
        with pytest.raises(EngineDied):
            await engine.score(ScoreRequest(prompt("p"), ((1,),)))
        with pytest.raises(EngineDied):
            await engine.load_adapter(A)


async def test_closing_ends_what_runs_and_frees_the_model():
    gate = Gate()
    backend = ScriptedBackend(on_decode=gate)
    engine = ScriptedEngine(backend=backend)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:

            async def one() -> None:
                with pytest.raises(EngineDied, match="closed"):
                    await engine.generate(GenerationRequest(prompt("p"), 1000))

            group.start_soon(one)
            await gate.wait()
            gate.open.set()
            await engine.aclose()
    assert backend.closed.is_set()


def label_probabilities(text: str, adapter: Adapter | None, labels: Sequence[tuple[int, ...]]) -> list[float]:
    """What the scripted model gives labels when every token is drawn among those that lead to one of them."""
    found = []
    for label in labels:
        probability = 1.0
        for i, token in enumerate(label):
            row = [0.5 * t / (VOCABULARY - 1) for t in range(VOCABULARY)]
            row[ord(hashed(text + bytes(label[:i]).decode(), adapter))] = 10.0
            allowed = {other[i] for other in labels if other[:i] == label[:i]}
            probability *= math.exp(row[token]) / sum(math.exp(row[t]) for t in allowed)
        found.append(probability)
    return found


requests = st.lists(
    st.tuples(
        st.sampled_from([None, A, B, INVOKED]),
        st.sampled_from(["short: ", "a rather longer prefix of instructions: "]),
        st.text("xyz", min_size=1, max_size=60),
        st.integers(1, 40),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=60)
@given(requests, st.sampled_from([1, 3, 64]))
def test_whatever_runs_together_every_answer_is_what_it_would_be_alone(batch, stretch):
    async def scenario() -> None:
        backend = ScriptedBackend(kv_cells=330, context_tokens=300, n_batch=24, n_outputs=8)
        backend.invocations[INVOKED] = INVOCATION
        async with running(backend, max_sequences=4) as engine:
            endings: list[int] = []

            async def one(i: int, adapter, head, tail, count, scored, cancelled) -> None:
                p = prompt(head + tail, len(head) - 2, len(head))
                with anyio.CancelScope() as scope:
                    if cancelled:
                        scope.cancel()
                    if scored:
                        labels = await engine.continuations(["ab", "abc", "b", "ccc"])
                        scores = await engine.score(ScoreRequest(p, labels, adapter))
                        alone = label_probabilities(head + tail, adapter, labels)
                        assert list(map(math.exp, scores.logprobs)) == pytest.approx(alone, abs=1e-4)
                    else:
                        answer = await engine.generate(GenerationRequest(p, count, adapter=adapter))
                        assert answer.text == expected(head + tail, adapter, count)
                endings.append(i)

            async with anyio.create_task_group() as group:
                for i, item in enumerate(batch):
                    group.start_soon(one, i, *item)
            assert sorted(endings) == list(range(len(batch)))
            # Cancelled requests are swept at the next step; another request makes sure that there was one.
            await engine.generate(GenerationRequest(prompt("last"), 1))
            stats = await engine.stats()
            assert (stats.running, stats.waiting) == (0, 0)
            assert stats.kv_cells_used <= 2 * 3 * 50

    with mock.patch.object(sequence, "STRETCH", stretch):
        anyio.run(scenario)
