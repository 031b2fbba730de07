"""Holding an answer against its source text, for the tool and the command of that name. No model takes part."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import anyio.to_thread
from jsonschema import Draft202012Validator

from tools_server.calls.arguments import errors_in
from tools_server.calls.complaints import complaint_about
from tools_server.errors import InputTooLong, InvalidArguments
from tools_server.evidence.verify import Verification, verify
from tools_server.inputs.paths import Sandbox
from tools_server.settings import Settings

__all__ = ["LONGEST_TEXT", "VERIFY_INPUT", "VERIFY_OUTPUT", "Verifier", "as_data", "check_length"]

MOST_CHARACTERS = 200_000
"""Of an answer, written as JSON."""

LONGEST_TEXT = 1_000_000
"""Characters of a text: some seconds, and 200 MB of memory while it is looked through."""

VERIFY_INPUT: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "answer": {
            "type": ["object", "array", "string"],
            "description": "What is checked: the answer of a tool or your own, as an object or a text. Of a call with "
            "`items` or `paths`, one entry of `results` at a time.",
        },
        "text": {
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_TEXT,
            "description": "The text that the answer is about. Give exactly one of `text` and `path`.",
        },
        "path": {
            "type": "string",
            "minLength": 1,
            "maxLength": 4096,
            "description": "Absolute path of the file that it is about, inside the allowed folders.",
        },
        "detail": {
            "enum": ["brief", "full"],
            "default": "brief",
            "description": "`full` quotes the words of each place; `brief` gives offsets only.",
        },
    },
    "required": ["answer"],
    "additionalProperties": False,
}

_PLACE: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "start": {"type": "integer", "minimum": 0, "description": "In characters of the text."},
        "end": {"type": "integer", "minimum": 0},
        "how": {"enum": ["exact", "folded", "number", "date"]},
        "quote": {"type": "string"},
    },
    "required": ["start", "end", "how"],
}
VERIFY_OUTPUT: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "supported": {"type": "boolean", "description": "Whether nothing is missing."},
        "checked": {"type": "integer", "minimum": 0, "description": "Strings and numbers that were looked up."},
        "missing": {
            "type": "array",
            "description": "What the text does not have: whole values; numbers, dates, names and sentences of prose.",
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "value": {"type": "string"},
                    "kind": {"enum": ["value", "number", "date", "name", "sentence"]},
                },
                "required": ["path", "value", "kind"],
            },
        },
        "evidence": {
            "type": "object",
            "description": "Where each value stands, by its JSON path.",
            "additionalProperties": _PLACE,
        },
    },
    "required": ["supported", "checked", "missing", "evidence"],
}


class Verifier:
    """Checks calls and answers them."""

    def __init__(self, settings: Settings) -> None:
        self._sandbox = Sandbox(settings.allow_paths)
        self._arguments = Draft202012Validator(VERIFY_INPUT)

    async def run(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Verify the answer of one call of the tool.

        Raises:
            InvalidArguments: the arguments break their schema, or the answer is longer than any call's.
            InputNotAllowed, InputUnreadable, InputTooLong: the path.
        """
        if errors := errors_in(dict(arguments), self._arguments):
            complaint = complaint_about(errors[0])
            raise InvalidArguments(f"{complaint.what}.", complaint.mend)
        if ("text" in arguments) == ("path" in arguments):
            raise InvalidArguments("$: give exactly one of `text` and `path`.", "Leave the other one out.")
        answer = arguments["answer"]
        if isinstance(answer, Mapping) and "results" in answer:
            raise InvalidArguments(
                "$.answer: has `results`, which are about several texts.", "Verify one entry at a time, with its text."
            )
        if len(json.dumps(answer)) > MOST_CHARACTERS:
            raise InvalidArguments(
                f"$.answer: is longer than {MOST_CHARACTERS:,} characters.", "Verify a part of it at a time."
            )
        text = arguments["text"] if "text" in arguments else await self._sandbox.read(arguments["path"])
        check_length(text)
        done = await anyio.to_thread.run_sync(partial(verify, answer, text), abandon_on_cancel=True)
        return as_data(done, text if arguments.get("detail") == "full" else None)


def check_length(text: str) -> None:
    """Refuse a text that would take too long.

    Raises:
        InputTooLong: it has more than `LONGEST_TEXT` characters.
    """
    if len(text) > LONGEST_TEXT:
        raise InputTooLong(
            f"The text is {len(text):,} characters; an answer is verified against {LONGEST_TEXT:,} at most.",
            "Give the part that the answer is about.",
        )


def as_data(verification: Verification, quoted_from: str | None = None) -> dict[str, Any]:
    """Give a verification as the tool answers it, with quotes when the text is given."""
    evidence: dict[str, Any] = {}
    for finding in verification.found:
        place = finding.place
        entry: dict[str, Any] = {"start": place.start, "end": place.end, "how": place.how}
        if quoted_from is not None:
            entry["quote"] = quoted_from[place.start : place.end]
        evidence[finding.path] = entry
    missing = [{"path": each.path, "value": each.value, "kind": each.kind} for each in verification.missing]
    return cast(
        "dict[str, Any]",
        {
            "supported": verification.supported,
            "checked": verification.checked,
            "missing": missing,
            "evidence": evidence,
        },
    )
