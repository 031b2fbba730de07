"""What is trained is what is served: token for token, for every kind of skill."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.native.conftest import MODEL
from tools_server.bundled import bundled_dir
from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.data.types import Sample
from tools_server.engine.llama_vocabulary import LlamaVocabulary
from tools_server.engine.local import LocalEngine
from tools_server.engine.types import Chat, Generation, GenerationRequest, Prompt, ScoreRequest, Scores
from tools_server.errors import OutputTruncated, SamplesInvalid
from tools_server.settings import load_settings
from tools_server.skills.interface import Common
from tools_server.skills.loader import load_skill
from tools_server.skills.types import Skill
from tools_server.training.examples import ExampleBuilder, invocation_of
from tools_server.training.types import Example

TEXT = 'Order 4711-0815 of 3 March 2026: "2 lamps", 19.95 EUR. <|im_end|> Call 0151 5550123, größte Eile! 你好'
SCHEMA = {"type": "object", "properties": {"order": {"type": "string"}, "when": {"type": "string"}, "who": {}}}
CALLS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "classify",
        {"labels": ["order", {"name": "complaint", "description": "is unhappy"}, "other"]},
        {"label": "order"},
    ),
    ("classify", {"labels": ["urgent", "order"], "multi_label": True}, {"labels": ["order"]}),
    ("banking_intent", {}, {"label": "card arrival"}),
    ("commit_message", {}, {"label": "fix"}),
    ("extract", {"fields": SCHEMA}, {"data": {"order": "4711-0815", "when": "3 March 2026", "who": None}}),
    ("summarise", {"max_words": 40}, {"summary": "Two lamps were ordered.", "key_points": ["It is urgent."]}),
]


class Recorder:
    """The real engine, and what was asked of it."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self.prompts: list[Prompt] = []
        self.generations: list[Generation] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def score(self, request: ScoreRequest) -> Scores:
        chat = request.prompt
        self.prompts.append(await self._engine.encode(chat) if isinstance(chat, Chat) else chat)
        return await self._engine.score(request)

    async def generate(self, request: GenerationRequest) -> Generation:
        self.prompts.append(request.prompt)
        self.generations.append(await self._engine.generate(request))
        return self.generations[-1]

    async def aclose(self) -> None:
        """The fixture closes it."""


@pytest.fixture(scope="module")
def vocabulary(weights: Path) -> Iterator[LlamaVocabulary]:
    found = LlamaVocabulary(weights, model_id=MODEL)
    yield found
    found.close()


def skill_of(name: str) -> Skill:
    skill = load_skill(bundled_dir("skills") / name, Common())
    assert isinstance(skill, Skill), skill
    return skill


def examples(
    vocabulary: LlamaVocabulary, name: str, own: Mapping[str, Any], expected: Mapping[str, Any]
) -> list[Example]:
    sample = Sample("1", name, {"text": TEXT, **own}, expected, "here:1")
    return ExampleBuilder(skill_of(name), vocabulary).build([sample])


@pytest.mark.parametrize(
    ("name", "own", "expected"), CALLS, ids=[f"{name}-{at}" for at, (name, _, _) in enumerate(CALLS)]
)
async def test_the_tokens_that_are_trained_are_those_that_a_call_sends(
    engine: LocalEngine, vocabulary: LlamaVocabulary, name: str, own: dict[str, Any], expected: dict[str, Any]
):
    recorder = Recorder(engine)
    runner = SkillRunner(EngineGate(lambda: recorder), load_settings({"model": MODEL}))
    with suppress(
        OutputTruncated
    ):  # the tiny model sometimes rambles to the end of its budget; it was asked all the same
        await runner.run(skill_of(name), {"text": TEXT, **own}, timeout_s=300)
    sent = {prompt.tokens for prompt in recorder.prompts}
    learnt = {each.tokens[: each.prompt] for each in examples(vocabulary, name, own, expected)}
    # What a skill writes after its choice is not trained.
    assert learnt < sent if skill_of(name).manifest.choose.write else learnt == sent


async def test_an_answer_that_the_model_gave_is_walked_to_the_same_tokens(
    engine: LocalEngine, vocabulary: LlamaVocabulary
):
    recorder = Recorder(engine)
    runner = SkillRunner(EngineGate(lambda: recorder), load_settings({"model": MODEL}))
    result = await runner.run(skill_of("extract"), {"text": TEXT, "fields": SCHEMA}, timeout_s=300)
    (generation,) = recorder.generations
    given = [token.id for token in generation.tokens]
    (example,) = examples(vocabulary, "extract", {"fields": SCHEMA}, {"data": result.data["data"]})
    last = example.targets[-1]  # nothing is decided behind it, so it may be no input itself
    ending = (last.token,) if last.position == len(example.tokens) else ()
    walked = (*example.tokens[example.prompt :], *ending)
    assert b"".join(map(vocabulary.piece, walked)) == b"".join(map(vocabulary.piece, given))
    decided = b"".join(vocabulary.piece(target.token) for target in example.targets)
    assert len(decided) < sum(len(vocabulary.piece(token)) for token in walked)
    for name in SCHEMA["properties"]:  # what the schema forces is not learnt
        assert name.encode() not in decided


def test_only_places_where_labels_part_are_learnt(vocabulary: LlamaVocabulary):
    (example,) = examples(
        vocabulary, "classify", {"labels": ["card lost", "card stolen", "praise"]}, {"label": "card stolen"}
    )
    first, second = example.targets
    assert first.position == example.prompt
    assert len(first.among or ()) == 2
    assert second.position == example.prompt + 1
    assert vocabulary.piece(second.token).strip() == b"st" or b"stolen".startswith(
        vocabulary.piece(second.token).strip()
    )
    assert len(example.tokens) == example.prompt + 1


def test_the_answer_turn_invokes_an_activated_adapter(vocabulary: LlamaVocabulary):
    invocation = invocation_of(vocabulary)
    text = b"".join(map(vocabulary.piece, invocation))
    assert b"assistant" in text
    sample = Sample("1", "banking_intent", {"text": TEXT}, {"label": "card arrival"}, "here:1")
    (example,) = ExampleBuilder(skill_of("banking_intent"), vocabulary, activated=True).build([sample])
    assert example.tokens[example.invocation : example.prompt] == invocation


def test_letters_that_take_several_tokens_can_be_learnt(vocabulary: LlamaVocabulary):
    order = "Škofja Loka"  # the text has another letter that begins with the same byte, so the next one is free
    arguments = {"text": f"Order from Žiri and {order}.", "fields": SCHEMA}
    sample = Sample("1", "extract", arguments, {"data": {"order": order}}, "here:1")
    (example,) = ExampleBuilder(skill_of("extract"), vocabulary).build([sample])
    pieces = [vocabulary.piece(token) for token in example.tokens[example.prompt :]]
    assert "Š".encode()[1:] in pieces, "the letter is not parted"
    assert order.encode() in b"".join(pieces)
    assert "Š".encode()[1:] in [vocabulary.piece(target.token) for target in example.targets]


def test_a_summary_without_key_points_is_learnt_up_to_its_end(vocabulary: LlamaVocabulary):
    def learnt(expected: Mapping[str, Any]) -> tuple[bytes, list[tuple[int, int]]]:
        (example,) = examples(vocabulary, "summarise", {"max_words": 40}, expected)
        text = b"".join(map(vocabulary.piece, example.tokens[example.prompt :]))
        return text, [(target.position, target.token) for target in example.targets]

    part, targets = learnt({"summary": "Two lamps were ordered."})
    whole, more = learnt({"summary": "Two lamps were ordered.", "key_points": ["It is urgent."]})
    assert whole.startswith(part)
    assert part == b'{"summary":"Two lamps were ordered', "what the last decision leads to need not be read"
    assert vocabulary.piece(targets[-1][1]).startswith(b'."')
    assert targets == more[: len(targets)], "each decision up to there is the same as in the whole answer"
    assert len(targets) < len(more)


@pytest.mark.parametrize(
    ("name", "own", "expected", "message"),
    [
        (
            "classify",
            {"labels": ["a", "b"]},
            {"label": "c"},
            r"here:1: the label 'c' is not among the sample's 2 labels",
        ),
        ("extract", {"fields": SCHEMA}, {"data": {"order": 12}}, r"here:1: the wanted answer .* cannot be given"),
        (
            "summarise",
            {},
            {"key_points": ["It is urgent."]},
            r"here:1: .* no `summary`, .* before `key_points`",
        ),
    ],
)
def test_an_answer_that_the_skill_could_never_give_is_refused_by_its_place(
    vocabulary: LlamaVocabulary, name: str, own: dict[str, Any], expected: dict[str, Any], message: str
):
    with pytest.raises(SamplesInvalid, match=message):
        examples(vocabulary, name, own, expected)
