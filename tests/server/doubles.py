"""A catalog and a runner that do what a test says, so that the server is tested alone."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Template

from tools_server.calls.types import Progress, SkillResult
from tools_server.engine.types import Timings, Usage
from tools_server.errors import SkillNotFound
from tools_server.skills.manifest import Manifest
from tools_server.skills.types import BrokenSkill, Skill, Snapshot

TEXT_INPUT = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
LABEL_OUTPUT = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}


def make_skill(
    name: str, *, description: str = "", title: str | None = None, card: Mapping[str, Any] | None = None
) -> Skill:
    manifest = Manifest(
        name=name,
        version="1.2.3",
        title=f"{name.capitalize()} text" if title is None else title,
        description=description or f"Do {name} to each text. Use for many texts; not for one line.",
        kind="choose",
    )
    return Skill(
        manifest=manifest,
        folder=Path("/skills") / name,
        digest=f"digest of {name}",
        prompt_digest=f"prompt digest of {name}",
        arguments_schema={"type": "object"},
        output_schema=LABEL_OUTPUT,
        input_schema=TEXT_INPUT,
        result_schema=LABEL_OUTPUT,
        template=Template(""),
        adapters={},
        prose="",
        card=card,
    )


def snapshot_of(*skills: Skill, broken: tuple[BrokenSkill, ...] = ()) -> Snapshot:
    return Snapshot(skills={skill.name: skill for skill in skills}, broken=broken)


class Skills:
    """A catalog whose content a test sets."""

    def __init__(self, *skills: Skill) -> None:
        self.snapshot = snapshot_of(*skills)
        self._callbacks: list[Callable[[Snapshot], None]] = []

    def get(self, name: str) -> Skill:
        if name not in self.snapshot.skills:
            raise SkillNotFound(f"No skill {name!r}.", f"Known: {', '.join(self.snapshot.skills)}.")
        return self.snapshot.skills[name]

    def subscribe(self, callback: Callable[[Snapshot], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def set(self, *skills: Skill, broken: tuple[BrokenSkill, ...] = ()) -> None:
        self.snapshot = snapshot_of(*skills, broken=broken)
        for callback in self._callbacks:
            callback(self.snapshot)

    @property
    def subscribers(self) -> int:
        return len(self._callbacks)


RESULT = SkillResult(
    call_id="call-1",
    skill="classify",
    version="1.2.3",
    model="tiny",
    data={"label": "größer"},
    usage=Usage(prompt=10, cached=4, completion=3, forced=1),
    timings=Timings(queued=0.1, first_token=0.2, total=0.3),
)


class Runs:
    """A runner that answers what a test says, or does what a test says."""

    def __init__(self, outcome: SkillResult | Exception | None = None) -> None:
        self.outcome = outcome or RESULT
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.act: Callable[[Progress], Awaitable[None]] | None = None

    async def run(self, skill: Skill, arguments: Mapping[str, Any], *, progress: Progress | None = None) -> SkillResult:
        self.calls.append((skill.name, arguments))
        if self.act is not None:
            assert progress is not None
            await self.act(progress)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return replace(self.outcome, skill=skill.name)
