"""What a call is, what it gives back, and how it reports on its way."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tools_server.engine.types import Timings, Usage
from tools_server.skills.manifest import InputKind
from tools_server.skills.types import Skill

Progress = Callable[[float, float | None, str], Awaitable[None]]
"""Called with (done so far, total if known, message). Values never decrease within one call."""


@dataclass(frozen=True, slots=True)
class SkillCall:
    """One validated call."""

    id: str
    skill: Skill
    arguments: Mapping[str, Any]  # the skill's own ones, as they were given
    source: InputKind  # which of text, items and paths was given
    inputs: tuple[str, ...]  # the texts, or the paths, in the caller's order
    started: float  # time.monotonic(), seconds
    deadline: float  # the same clock
    min_confidence: float | None = None  # what the caller asks for
    full: bool = False  # everything that is known of each answer is asked for

    @property
    def single(self) -> bool:
        """Whether the answer is one flat result rather than a list of results."""
        return self.source == "text"


@dataclass(frozen=True, slots=True)
class SkillResult:
    """One finished call.

    `data` is the whole answer and valid against the skill's `result_schema`: one result flattened
    (`{"label": …, "confidence": …}`), or `{"results": [...]}` when the call had `items` or `paths`. An input that
    could not be answered has `{"error": {"code", "message"}}` in its place among the results; `warnings` sit in
    `data` as well, where there are any.
    """

    call_id: str
    skill: str
    version: str
    model: str
    data: Mapping[str, Any]
    usage: Usage
    timings: Timings
