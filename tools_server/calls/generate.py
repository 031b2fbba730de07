"""Skills that generate: one constrained answer per text; a text that is too long is read in parts."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import anyio.to_thread

from tools_server.calls.forms import AnswerForm
from tools_server.calls.gather import gather
from tools_server.calls.places import evidence_of
from tools_server.calls.redact import joined, located, recognised, redacted, repeated
from tools_server.calls.signals import ValueSignal, answer_confidence, shown_signals, value_signals
from tools_server.calls.trust import Trust
from tools_server.calls.work import Work
from tools_server.calls.write import Written, may_be_cut, write
from tools_server.engine.types import Prompt
from tools_server.errors import InputTooLong
from tools_server.inputs.split import split
from tools_server.skills.schemas import REDACTED

SLACK = 16
"""Tokens kept free in each part: a text tokenises a little differently inside of a prompt."""

SMALLEST_PART = 32
"""With room for fewer tokens than this it is the arguments that are too long, not the text."""

MOST_OF_IT = 0.8
"""Partial answers must come to less than this share of what they were read from, or reading in parts has no end."""


class Generator:
    """Answers one input after the other in one form."""

    def __init__(self, work: Work, form: AnswerForm) -> None:
        self._work = work
        self._form = form
        self._limits = work.call.skill.manifest.limits
        self._generate = work.call.skill.manifest.generate
        self._rates = work.call.skill.manifest.has_confidence
        self._trust = Trust.of(work)

    async def answer(self, text: str) -> Mapping[str, Any]:
        """Answer one text; one that was read in parts has `warnings` in its answer.

        Raises:
            InputTooLong: it does not fit, and the skill does not split or splitting does not help.
            OutputTruncated: the answer hit the skill's `max_output_tokens`.
            DecodeFailed: the answer broke its schema.
            CapacityError, EngineError: from the engine.
        """
        prompt, tokens, limit = await self._fit(text)
        warnings: list[str] = []
        located_in = self._generate.locate
        signals: Mapping[str, ValueSignal] | None = None
        if prompt is not None:
            written = await self._write(prompt, text, warnings)
            answer = written.answer
            if self._rates or self._work.call.full:
                signals = value_signals(written.generation)
            if located_in is not None:
                answer = self._in_place(located_in, text, [text], [answer], warnings)
        else:
            parts = await self._split(text, limit)
            warnings.append(f"The text ({tokens:,} tokens) was read in {len(parts)} parts; the answer combines theirs.")
            answers = await self._of_parts(parts, warnings)
            if located_in is not None:
                answer = self._in_place(located_in, text, parts, answers, warnings)
            else:
                answer = await self._combined(answers, text, tokens, warnings)
        how = self._work.call.skill.manifest.trust.evidence
        if how != "none":
            wanted = (self._form.schema, self._form.wrapped_in)
            look_up = partial(evidence_of, how, answer, text, *wanted, full=self._work.call.full)
            added, said = await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True)
            answer = {**answer, **added}
            warnings += said
        if self._rates:
            answer = {**answer, **self._confidence(signals)}
        if self._work.call.full:
            answer = {**answer, "signals": shown_signals(signals), "calibration": self._trust.brief()}
        return {**answer, "warnings": warnings} if warnings else answer

    def _confidence(self, signals: Mapping[str, ValueSignal] | None) -> Mapping[str, Any]:
        """How sure the answer is; one that was put together from parts has no probability of its own."""
        confidence = None if signals is None else self._trust.confidence(answer_confidence(signals))
        return {"confidence": confidence, **self._trust.deferral(confidence)}

    async def _fit(self, text: str) -> tuple[Prompt | None, int, int]:
        """Give the prompt if the text fits, else its token count and how many would.

        Raises:
            InputTooLong: it does not fit and this skill does not split.
        """
        limit = self._limits.max_input_tokens
        why = "its `max_input_tokens`"
        tokens = await self._work.exceeds(text, limit)
        if tokens is None:
            prompt = await self._work.prompt(text)
            if self._room(prompt) >= 0:
                return prompt, 0, limit
            tokens = await self._work.count(text)
        room = self._room(await self._work.prompt("")) - SLACK
        if room < limit:
            limit, why = max(0, room), "what the context leaves beside instructions, arguments and answer"
        if room < SMALLEST_PART:
            raise self._work.no_room(tokens, max(0, room))
        if self._limits.long_input != "split":
            raise self._work.too_long(tokens, limit, why=why)
        return None, tokens, limit

    def _room(self, prompt: Prompt) -> int:
        return self._work.room(len(prompt), self._limits.max_output_tokens)

    async def _one(self, prompt: Prompt, source: str, warnings: list[str], where: str = "") -> dict[str, Any]:
        """Generate one answer, whose copied values are from `source`."""
        return (await self._write(prompt, source, warnings, where)).answer

    async def _write(self, prompt: Prompt, source: str, warnings: list[str], where: str = "") -> Written:
        written = await write(self._work, self._form, prompt, source)
        warnings += [may_be_cut(f"{path}{where}") for path in written.cut]
        return written

    async def _split(self, text: str, limit: int) -> list[str]:
        return await split(text, limit, self._work.engine.count_tokens)

    async def _of_parts(self, parts: list[str], warnings: list[str], source: str | None = None) -> list[dict[str, Any]]:
        """Answer each part; copied values are from the part itself, or from `source` where it is given."""
        self._work.meter.expect(len(parts))

        async def read(index: int) -> dict[str, Any]:
            part, where = parts[index], f" of part {index + 1}"
            answer = await self._one(await self._work.prompt(part), part if source is None else source, warnings, where)
            await self._work.meter.finished(f"part {index + 1} of {len(parts)}")
            return answer

        return await gather([partial(read, index) for index in range(len(parts))], self._work.limit)

    async def _combined(
        self, answers: list[dict[str, Any]], text: str, tokens: int, warnings: list[str]
    ) -> dict[str, Any]:
        """Answer the answers as if they were a text, until they fit at once; what is copied is from the first text."""
        notes = "\n\n".join(self._as_text(answer) for answer in answers)
        prompt, length, limit = await self._fit(notes)
        if prompt is not None:
            return await self._one(prompt, text, warnings)
        if length > MOST_OF_IT * tokens:
            raise InputTooLong(
                f"The text of {tokens:,} tokens was read in {len(answers)} parts, but their answers are {length:,}.",
                "Send a shorter text, or lower `limits.max_output_tokens` in skill.toml.",
            )
        parts = await self._split(notes, limit)
        return await self._combined(await self._of_parts(parts, warnings, text), text, length, warnings)

    def _in_place(
        self, name: str, text: str, parts: list[str], answers: list[dict[str, Any]], warnings: list[str]
    ) -> dict[str, Any]:
        """Join the entities of all parts, each with its place in the whole text."""
        most = self._work.call.skill.output_schema["properties"][name].get("maxItems")
        entities: list[dict[str, Any]] = []
        offset = 0
        for index, (part, answer) in enumerate(zip(parts, answers, strict=True)):
            if len(answer[name]) == most:
                where = f" of part {index + 1}" if len(parts) > 1 else ""
                warnings.append(f"$.{name}{where} has all of its {most} entities; more may be missing.")
            entities += located(answer[name], part, offset)
            offset += len(part)
        if self._generate.recognise:
            entities = recognised(entities, text, self._generate.recognise)
        if self._generate.everywhere:
            entities = repeated(entities, text, self._generate.everywhere)
        if self._generate.join:
            entities = joined(entities, text, self._generate.join)
        return {name: entities} | ({REDACTED: redacted(text, entities)} if self._generate.redact else {})

    def _as_text(self, answer: Mapping[str, Any]) -> str:
        """Turn a partial answer into text to read on: prose as prose, the fields of a caller's schema by name."""
        if self._form.wrapped_in is not None:
            fields = cast("Mapping[str, Any]", answer[self._form.wrapped_in])
            return "\n".join(f"{name}: {_plain(value)}" for name, value in fields.items() if value is not None)
        lines: list[str] = []
        for name, value in answer.items():
            if isinstance(value, str):
                lines.append(value)
            elif isinstance(value, list):
                lines += [f"- {_plain(item)}" for item in cast("list[Any]", value)]
            elif value is not None:
                lines.append(f"{name}: {_plain(value)}")
        return "\n".join(lines)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
