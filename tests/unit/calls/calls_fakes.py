"""A fake engine that counts words as tokens and answers what the test says, and skills made of a few lines."""

import json
import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.engine.types import (
    Adapter,
    Chat,
    Constraint,
    EngineStats,
    FinishReason,
    Generation,
    GenerationRequest,
    ModelInfo,
    Prompt,
    ScoreRequest,
    Scores,
    Timings,
    Token,
    Usage,
)
from tools_server.settings import Settings
from tools_server.skills.interface import Common
from tools_server.skills.loader import load_skill
from tools_server.skills.types import Skill

BASE = "b" * 64


class FakeEngine:
    """Implements the `Engine` port. `say` answers a generation, `weigh` gives a probability to each continuation."""

    def __init__(
        self,
        say: Callable[[str], str] = lambda prompt: "{}",
        weigh: Callable[[str, str], float] = lambda prompt, continuation: 1.0,
        *,
        context_tokens: int = 4096,
        refuse: Callable[[Constraint], None] = lambda constraint: None,
    ) -> None:
        self.say = say
        self.weigh = weigh
        self.refuse = refuse
        self.context_tokens = context_tokens
        self.prompts: list[str] = []
        self.requests: list[GenerationRequest | ScoreRequest] = []
        self.checked: list[Constraint] = []
        self.running = 0
        self.most_running = 0
        self.cancelled = 0
        self.closed = 0
        self.hold: anyio.Event | None = None
        self.submitted = anyio.Event()
        self.finish = FinishReason.STOP
        self._words: list[str] = []
        self._ids: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def info(self) -> ModelInfo:
        return ModelInfo("fake", BASE, "fake", self.context_tokens, 1 << 20)

    def tokenize(self, text: str) -> tuple[int, ...]:
        with self._lock:
            tokens: list[int] = []
            for word in re.findall(r"\s*\S+|\s+\Z", text):
                if word not in self._ids:
                    self._ids[word] = len(self._words)
                    self._words.append(word)
                tokens.append(self._ids[word])
            return tuple(tokens)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(self._words[token] for token in tokens)

    async def encode(self, chat: Chat) -> Prompt:
        text = "".join(f"<{m.role}> {''.join(span.text for span in m.content)}\n" for m in chat.messages)
        return Prompt(self.tokenize(text + chat.assistant_prefix))

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(self.tokenize(text)) for text in texts]

    async def continuations(self, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        return tuple(self.tokenize(text) for text in texts)

    async def check(self, constraint: Constraint) -> None:
        self.checked.append(constraint)
        self.refuse(constraint)

    async def load_adapter(self, adapter: Adapter) -> None: ...

    async def unload_adapter(self, adapter: Adapter) -> None: ...

    async def generate(self, request: GenerationRequest) -> Generation:
        prompt = await self._serve(request)
        answer = self.say(prompt)
        tokens = tuple(Token(i, -0.1, 1.0) for i in self.tokenize(answer))
        usage = Usage(prompt=len(request.prompt), completion=len(tokens))
        return Generation(answer, tokens, self.finish, usage, Timings(0.25, 0.5, 0.75))

    async def score(self, request: ScoreRequest) -> Scores:
        tokens = await self.encode(request.prompt) if isinstance(request.prompt, Chat) else request.prompt
        request = replace(request, prompt=tokens)
        prompt = await self._serve(request)
        raw = [math.log(self.weigh(prompt, self.detokenize(c).strip())) for c in request.continuations]
        total = math.log(sum(math.exp(value) for value in raw))
        usage = Usage(prompt=len(tokens), cached=1)
        return Scores(tuple(value - total for value in raw), 1.0, usage, Timings(0.1, 0.2, 0.2))

    async def _serve(self, request: GenerationRequest | ScoreRequest) -> str:
        prompt = self.detokenize(request.prompt.tokens)
        self.requests.append(request)
        self.prompts.append(prompt)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.submitted.set()
        try:
            await anyio.lowlevel.checkpoint()
            if self.hold is not None:
                await self.hold.wait()
        except BaseException as error:
            self.cancelled += not isinstance(error, Exception)
            raise
        finally:
            self.running -= 1
        return prompt

    async def stats(self) -> EngineStats:
        return EngineStats()

    async def aclose(self) -> None:
        self.closed += 1


def runner_for(engine: FakeEngine, **settings: Any) -> SkillRunner:
    return SkillRunner(EngineGate(lambda: engine, tick_s=0.01), Settings(**{"call_timeout_s": 30.0, **settings}))


def make_skill(
    parent: Path,
    manifest: str,
    *,
    prompt: str = "{% block user %}{{ text }}{% endblock %}",
    arguments: Mapping[str, Any] | None = None,
    output: Mapping[str, Any],
    adapters: Mapping[str, bytes] | None = None,
) -> Skill:
    """Write a skill folder with the given manifest and load it."""
    name = re.search(r'name = "([^"]+)"', manifest)
    assert name is not None
    folder = parent / name[1]
    folder.mkdir(parents=True)
    (folder / "skill.toml").write_text(f'version = "1.2.3"\ndescription = "A skill for tests."\n{manifest}', "utf-8")
    (folder / "prompt.jinja").write_text(prompt, "utf-8")
    (folder / "output.schema.json").write_text(json.dumps(output), "utf-8")
    if arguments is not None:
        (folder / "input.schema.json").write_text(json.dumps(arguments), "utf-8")
    for file, content in (adapters or {}).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    skill = load_skill(folder, Common())
    assert isinstance(skill, Skill), str(skill)
    return skill


LABELS = {
    "type": "object",
    "properties": {
        "labels": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 100, "uniqueItems": True},
        "several": {"type": "boolean", "default": False},
    },
    "required": ["labels"],
    "additionalProperties": False,
}
CLASSIFY_PROMPT = (
    "{% block user %}Labels: {{ choices | map(attribute='name') | join(', ') }}\n{{ text }}"
    "{% if label %}\nIs it {{ label.name }} ?{% endif %}{% endblock %}"
)
SUMMARY = {
    "type": "object",
    "properties": {"summary": {"type": "string"}, "key_points": {"type": "array", "items": {"type": "string"}}},
    "required": ["summary", "key_points"],
    "additionalProperties": False,
}
FIELDS = {
    "type": "object",
    "properties": {"fields": {"type": "object"}},
    "required": ["fields"],
    "additionalProperties": False,
}


def classify_skill(parent: Path, extra: str = "", **more: Any) -> Skill:
    return make_skill(
        parent,
        f'name = "classify"\nkind = "choose"\n[choose]\nlabels = "labels"\nmulti_label = "several"\n{extra}',
        prompt=CLASSIFY_PROMPT,
        arguments=LABELS,
        output={"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]},
        **more,
    )


def commit_skill(parent: Path, extra: str = "", **more: Any) -> Skill:
    output = {
        "type": "object",
        "properties": {"label": {"enum": ["fix", "feature"]}, "title": {"type": "string", "maxLength": 40}},
        "required": ["label", "title"],
    }
    return make_skill(
        parent,
        f'name = "commit"\nkind = "choose"\n[choose]\nwrite = ["title"]\n{extra}',
        prompt="{% block user %}{{ text }}\n{% if label %}A {{ label.name }} called{% endif %}{% endblock %}",
        output=output,
        **more,
    )


def summarise_skill(parent: Path, limits: str = "", **more: Any) -> Skill:
    manifest = f'name = "summarise"\nkind = "generate"\n[limits]\n{limits}'
    return make_skill(
        parent, manifest, prompt="{% block user %}Summarise:\n{{ text }}{% endblock %}", output=SUMMARY, **more
    )


def extract_skill(parent: Path, limits: str = "", more: str = "") -> Skill:
    manifest = f'name = "extract"\nkind = "generate"\n{more}[generate]\nschema_from = "fields"\n[limits]\n{limits}'
    output = {"type": "object", "properties": {"data": {"type": "object"}}, "required": ["data"]}
    prompt = "{% block user %}{{ fields | tojson }}\n{{ text }}{% endblock %}"
    return make_skill(parent, manifest, prompt=prompt, arguments=FIELDS, output=output)


def pii_skill(parent: Path, limits: str = "") -> Skill:
    manifest = f'name = "pii"\nkind = "generate"\n[generate]\nlocate = "entities"\nredact = true\n[limits]\n{limits}'
    entity = {
        "type": "object",
        "properties": {
            "type": {"enum": ["person", "phone number", "place"]},
            "value": {"type": "string", "maxLength": 40, "x-span": True},
        },
        "required": ["type", "value"],
        "additionalProperties": False,
    }
    entities = {"type": "array", "maxItems": 3, "items": entity}
    output = {"type": "object", "properties": {"entities": entities}, "required": ["entities"]}
    return make_skill(parent, manifest, output=output)
