"""The one use case: run a skill on one text, on several, or on files.

Whatever is true of a call over MCP is true of one from the CLI and of an evaluation, for they all come through here.
"""

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import anyio

from tools_server.calls.arguments import ArgumentCheck
from tools_server.calls.cache import Recent
from tools_server.calls.choose import Chooser, TokenisedLabels
from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.forms import Forms
from tools_server.calls.gather import gather
from tools_server.calls.generate import Generator
from tools_server.calls.outcomes import concerns_one_input, failed_entry, raise_if_none_succeeded
from tools_server.calls.progress import Meter, Tally
from tools_server.calls.types import Progress, SkillCall, SkillResult
from tools_server.calls.work import Work, within
from tools_server.engine.types import Adapter, Engine
from tools_server.errors import AdapterMismatch, DeadlineExceeded, ToolsServerError
from tools_server.inputs.paths import Sandbox
from tools_server.settings import Settings
from tools_server.skills.types import Skill

Answer = Callable[[str], Awaitable[Mapping[str, Any]]]


KEPT_LABEL_SETS = 64
"""Tokenised label sets that are kept: a caller's labels are usually used many times in a row."""


class SkillRunner:
    """Runs skills on the engine behind the gate. Calls may run side by side."""

    def __init__(self, gate: EngineGate, settings: Settings) -> None:
        self._gate = gate
        self._timeout_s = settings.call_timeout_s
        # Twice what runs at once, so that the engine always finds the next request waiting.
        self._limit = 2 * settings.max_sequences
        self._sandbox = Sandbox(settings.allow_paths)
        self._check = ArgumentCheck()
        self._forms = Forms()
        self._tokenised: TokenisedLabels = Recent(KEPT_LABEL_SETS)

    async def run(
        self,
        skill: Skill,
        arguments: Mapping[str, Any],
        *,
        progress: Progress | None = None,
        timeout_s: float | None = None,
    ) -> SkillResult:
        """Run a skill.

        A call with `text` raises its error. Of a call with `items` or `paths`, an input that cannot be answered has
        its error among the results, unless no input could be answered at all, or the error concerns them all.

        Raises:
            CallError: the arguments, a path, or a text are at fault; says how to mend it.
            CapacityError: the queue is full, or the call's time is up.
            SkillError, ModelError, EngineError: the skill, the model, or the engine failed.
        """
        started = time.monotonic()
        seconds = self._timeout_s if timeout_s is None else timeout_s
        checked = self._check.check(skill, arguments)
        call = SkillCall(
            id=uuid.uuid4().hex,
            skill=skill,
            arguments=checked.own,
            source=checked.source,
            inputs=checked.inputs,
            started=started,
            deadline=started + seconds,
            min_confidence=checked.min_confidence,
            full=checked.full,
        )
        in_time = partial(within, call.deadline)
        engine = await in_time(
            partial(self._gate.get, progress), late=lambda: _late(seconds, "the model is still loading")
        )
        work = Work(
            call=call,
            engine=engine,
            adapter=_adapter(skill, engine),
            limiter=anyio.CapacityLimiter(self._limit),
            limit=self._limit,
            meter=Meter(progress, len(call.inputs)),
            tally=Tally(started),
        )
        answer = await in_time(partial(self._answerer, work), late=lambda: _late(seconds, "nothing was answered yet"))
        if call.single:
            data = await in_time(
                partial(answer, call.inputs[0]), late=lambda: _late(seconds, "the answer was not finished")
            )
            await work.meter.finished("answered")
        else:
            data = await self._several(work, answer, seconds)
        return SkillResult(
            call_id=call.id,
            skill=skill.name,
            version=skill.manifest.version,
            model=engine.info.id,
            data=data,
            usage=work.tally.usage,
            timings=work.tally.timings(time.monotonic()),
        )

    async def _answerer(self, work: Work) -> Answer:
        """Prepare what all inputs of the call have in common."""
        if work.call.skill.manifest.kind == "choose":
            return (await Chooser.prepare(work, self._tokenised, self._forms)).answer
        form = await self._forms.form_of(work.call.skill, work.call.arguments, work.engine)
        return Generator(work, form).answer

    async def _several(self, work: Work, answer: Answer, seconds: float) -> Mapping[str, Any]:
        call = work.call
        errors: dict[int, ToolsServerError] = {}

        async def entry(index: int) -> Mapping[str, Any]:
            place: dict[str, Any] = {"index": index}
            if call.source == "paths":
                place["path"] = call.inputs[index]
            late = partial(_late, seconds, f"input {index} was not finished")
            try:
                result = {
                    **place,
                    **await within(call.deadline, partial(self._read_and_answer, call, index, answer), late=late),
                }
            except ToolsServerError as error:
                if not concerns_one_input(error):
                    raise
                errors[index] = error
                result = failed_entry(place, error)
            await work.meter.finished("answered" if index not in errors else "failed")
            return result

        results = await gather([partial(entry, index) for index in range(len(call.inputs))], self._limit)
        raise_if_none_succeeded(errors, len(call.inputs))
        return {"results": results}

    async def _read_and_answer(self, call: SkillCall, index: int, answer: Answer) -> Mapping[str, Any]:
        given = call.inputs[index]
        return await answer(await self._sandbox.read(given) if call.source == "paths" else given)


def _adapter(skill: Skill, engine: Engine) -> Adapter | None:
    """Give the skill's adapter for this model, None when it has none.

    Raises:
        AdapterMismatch: the manifest pins other base weights than those that are loaded.
    """
    info = engine.info
    adapter = skill.adapters.get(info.id)
    if adapter is not None and adapter.base_sha256 != info.sha256:
        raise AdapterMismatch(
            f"The adapter of `{skill.name}` for {info.id} was trained on weights with SHA-256 "
            f"{adapter.base_sha256[:12]}…, but {info.sha256[:12]}… is loaded.",
            "Serve the weights that it was trained on, or remove it from skill.toml, or if it was promoted, run "
            f"`tools-server skills adapters rollback {skill.name}`.",
        )
    return adapter


def _late(seconds: float, what: str) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"The call's {seconds:g} s are over: {what}.",
        "Send fewer or shorter inputs in one call, or raise `call_timeout_s`.",
    )
