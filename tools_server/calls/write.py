"""One answer written under a constraint: generated, read, and checked once more."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tools_server.calls.forms import AnswerForm
from tools_server.calls.work import Work
from tools_server.engine.types import FinishReason, Generation, Prompt
from tools_server.errors import OutputTruncated

__all__ = ["Written", "may_be_cut", "write"]


@dataclass(frozen=True, slots=True)
class Written:
    """One answer as it was read, the paths of strings that may be cut, and the generation that it comes from."""

    answer: dict[str, Any]
    cut: Sequence[str]
    generation: Generation


async def write(work: Work, form: AnswerForm, prompt: Prompt, source: str, *, bare: bool = False) -> Written:
    """Generate one answer, whose copied values are from `source`.

    `bare` leaves the skill's adapter out.

    Raises:
        OutputTruncated: the answer hit the skill's `max_output_tokens`.
        DecodeFailed: the answer broke its schema.
        CapacityError, EngineError: from the engine.
    """
    generation = await work.generate(prompt, form.constraint_for(source), bare=bare)
    manifest = work.call.skill.manifest
    if generation.finish_reason is FinishReason.LENGTH:
        raise OutputTruncated(
            f"The answer of `{manifest.name}` was not complete after {manifest.limits.max_output_tokens:,} tokens "
            f"(its `max_output_tokens`); it ended in {json.dumps(generation.text[-40:], ensure_ascii=False)}.",
            "Ask for less (fewer fields, a shorter text), or raise `limits.max_output_tokens` in skill.toml.",
        )
    answer = form.read(generation.text, work.call.skill)
    return Written(answer, form.cut_strings(answer), generation)


def may_be_cut(path: str) -> str:
    """Word the warning about a string that fills its limit."""
    return f"{path} ends exactly at its `maxLength` and may be cut."
