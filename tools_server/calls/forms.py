"""The form that a generated answer must have: the constraint that decoding obeys and the check that follows it."""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import anyio.to_thread
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from referencing import Registry

from tools_server.calls.arguments import errors_in
from tools_server.calls.cache import Recent
from tools_server.calls.caller_schema import check_schema
from tools_server.calls.complaints import complaint_about
from tools_server.calls.nullable import widen
from tools_server.engine.schema_support import SPAN, subschemas
from tools_server.engine.types import Constraint, ConstraintKind, Engine, as_json_schema
from tools_server.errors import DecodeFailed, InvalidArguments, ManifestInvalid
from tools_server.skills.interface import filled
from tools_server.skills.schemas import written_schema
from tools_server.skills.types import Skill

logger = logging.getLogger(__name__)


def _skipped(*_: Any) -> None:
    return None


def _no_others(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[ValidationError] | None:
    if "patternProperties" in schema:
        return None
    return cast("Any", Draft202012Validator).VALIDATORS["additionalProperties"](validator, rule, instance, schema)


# Patterns are left to the decoder, which has enforced them already, in another dialect than Python's `re` and in
# linear time; `re` would let a caller's pattern hang the whole server.
_AnswerValidator = cast("Any", validators).extend(
    Draft202012Validator,
    {"pattern": _skipped, "patternProperties": _skipped, "additionalProperties": _no_others},
)


KINDS = {"marked": ConstraintKind.SPANS, "all": ConstraintKind.ALL_SPANS, "none": ConstraintKind.JSON_SCHEMA}
"""How an answer is constrained, by what `generate.spans` says is copied from the text."""

LONG_STRING = 32
"""A string that fills a `maxLength` below this is a code or a name of that length more often than it is cut."""


def _fills_its_limit(_: Any, limit: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and len(instance) >= limit >= LONG_STRING and schema.get("minLength") != limit:
        yield ValidationError("ends where it had to")


# Finds strings that the decoder may have cut: `maxLength` is all that it asks of an answer, wherever it stands.
_CutFinder = cast("Any", validators).extend(_AnswerValidator, {"maxLength": _fills_its_limit})


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """A compiled answer schema. `wrapped_in` names the property of the result that holds the answer, if any."""

    schema: Mapping[str, Any]
    constraint: Constraint
    validator: Any
    cut_finder: Any
    wrapped_in: str | None = None

    def constraint_for(self, text: str) -> Constraint:
        """Give the constraint of the answer about one text, which is where copied values are from."""
        return (
            self.constraint
            if self.constraint.kind is ConstraintKind.JSON_SCHEMA
            else replace(self.constraint, text=text)
        )

    def read(self, text: str, skill: Skill) -> dict[str, Any]:
        """Parse an answer and check it once more, though the constraint has left no other way.

        Raises:
            DecodeFailed: it is no JSON, or breaks the schema all the same (a date that is on no calendar).
        """
        try:
            answer = json.loads(text)
            json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()  # half a surrogate pair cannot leave
        except (ValueError, RecursionError) as error:
            raise _broken(skill, f"it is not usable JSON ({error})") from error
        if errors := errors_in(answer, self.validator):
            raise _broken(skill, complaint_about(errors[0]).what)
        return {self.wrapped_in: answer} if self.wrapped_in else answer

    def cut_strings(self, data: Mapping[str, Any]) -> list[str]:
        """Give the JSON paths of strings that end exactly at their `maxLength`, and so may have been cut."""
        answer = data[self.wrapped_in] if self.wrapped_in else data
        start = f"$.{self.wrapped_in}" if self.wrapped_in else "$"
        found = [*self.cut_finder.iter_errors(answer)]
        paths: set[str] = set()
        while found:
            error = found.pop()
            found += error.context  # a string in one branch of an `anyOf` is told of in there
            if error.validator == "maxLength":
                paths.add(start + error.json_path.removeprefix("$"))
        return sorted(paths)


class Forms:
    """Compiles answer forms, each once: by the skill's digest, or by the text of a caller's schema."""

    def __init__(self) -> None:
        self._of_skills: Recent[str, AnswerForm] = Recent(256)
        self._of_callers: Recent[tuple[str, ConstraintKind, str], AnswerForm] = Recent(64)

    async def form_of(self, skill: Skill, arguments: Mapping[str, Any], engine: Engine) -> AnswerForm:
        """Give the form of what the model writes in one call.

        Raises:
            InvalidArguments: the caller's schema is none, or cannot be enforced; names path and keyword.
            ManifestInvalid: the same of the skill's own schema.
        """
        argument = skill.manifest.generate.schema_from
        schema = filled(skill, arguments)[argument] if argument is not None else None
        if argument is not None and schema is not None:
            if set(skill.output_schema["properties"]) != {"data"}:
                raise ManifestInvalid(
                    f"Skill `{skill.name}`: with generate.schema_from, output.schema.json has `data` and nothing else.",
                    "Remove the other properties.",
                )
            kind = KINDS[skill.manifest.generate.spans]
            key = (argument, kind, json.dumps(schema, ensure_ascii=False))
            known = self._of_callers.get(key)
            return known or self._of_callers.put(key, await _callers_form(argument, schema, kind, engine))
        return self._of_skills.get(skill.digest) or self._of_skills.put(skill.digest, await _skills_form(skill, engine))


async def _callers_form(argument: str, schema: Mapping[str, Any], kind: ConstraintKind, engine: Engine) -> AnswerForm:
    path = f"$.{argument}"
    await anyio.to_thread.run_sync(check_schema, schema, path, abandon_on_cancel=True)
    try:
        # As given first, so that a complaint has the caller's own path.
        await engine.check(replace(as_json_schema(schema), kind=kind))
        return await _compiled(widen(schema), kind, engine, wrapped_in="data")
    except InvalidArguments as error:
        message = re.sub(r"\$(?=[.\[,:\s])", lambda _: path, error.message, count=1)
        raise InvalidArguments(f"`{argument}`: {message}", error.hint) from error


async def _skills_form(skill: Skill, engine: Engine) -> AnswerForm:
    try:
        schema = written_schema(skill.output_schema, skill.manifest)
        return await _compiled(schema, KINDS[skill.manifest.generate.spans], engine)
    except InvalidArguments as error:
        raise ManifestInvalid(f"Skill `{skill.name}`: output.schema.json: {error.message}", error.hint) from error


async def _compiled(
    schema: Mapping[str, Any], kind: ConstraintKind, engine: Engine, wrapped_in: str | None = None
) -> AnswerForm:
    constraint = constraint_of(schema, kind)
    await engine.check(constraint)
    registry = cast("Any", Registry)()
    validator = _AnswerValidator(schema, registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return AnswerForm(schema, constraint, validator, _CutFinder(schema, registry=registry), wrapped_in)


def constraint_of(schema: Mapping[str, Any], kind: ConstraintKind) -> Constraint:
    """Give the constraint of an answer schema, without the text that a call adds where values are copied."""
    if kind is ConstraintKind.SPANS and not any(node.get(SPAN) for _, node in subschemas(schema)):
        kind = ConstraintKind.JSON_SCHEMA  # nothing is marked, so no text need come along
    return replace(as_json_schema(schema), kind=kind)


def _broken(skill: Skill, reason: str) -> DecodeFailed:
    error = DecodeFailed(
        f"The model's answer for `{skill.name}` broke its schema: {reason}.",
        "Try again, or loosen the schema (a format, a pattern) at that place.",
    )
    logger.error("%s", error.message)
    return error
