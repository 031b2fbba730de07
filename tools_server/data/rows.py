"""Lines of a user's file and the rows in them. Whatever is wrong is named by file, line and key."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tools_server.calls.arguments import ArgumentCheck
from tools_server.data.records import canonical
from tools_server.data.types import Sample
from tools_server.errors import InvalidArguments, SamplesInvalid
from tools_server.skills.types import Skill

__all__ = ["MAX_LINE_BYTES", "CallCheck", "StrictRow", "numbered_lines", "parse_json", "parse_row"]

MAX_LINE_BYTES = 1_000_000
"""Longest line that is read; one text of a call has at most 200,000 characters."""

Row = TypeVar("Row", bound="StrictRow")


class StrictRow(BaseModel):
    """A row with these keys and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expected: dict[str, Any] = Field(min_length=1)

    @classmethod
    def hint(cls) -> str:
        """What a row of this kind looks like."""
        return f"A row has {', '.join(f'`{name}`' for name in cls.model_fields)} and nothing else."


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Give the lines of a file that are not blank, counted from 1; never holds more than one of them.

    Raises:
        SamplesInvalid: the file cannot be read, a line is not UTF-8, or is longer than `MAX_LINE_BYTES`.
    """
    number = 0
    try:
        with path.open("rb") as file:
            # Only a line feed ends a line: what else Python takes for one may stand inside a JSON string.
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise SamplesInvalid(
                        f"{path}:{number}: is longer than {MAX_LINE_BYTES:,} bytes.",
                        "Write one row per line, and cut texts to what the skill takes.",
                    )
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield number, text
    except UnicodeDecodeError as error:
        raise SamplesInvalid(f"{path}:{number}: is not UTF-8: {error}.", "Save the file as UTF-8.") from error
    except OSError as error:
        raise SamplesInvalid(f"{path}: cannot be read: {error}.", "Check the path, and that it is a file.") from error


def parse_json(line: str, place: str) -> Any:
    """Read one line of JSON Lines.

    Raises:
        SamplesInvalid: it is not JSON, or nests without end.
    """
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SamplesInvalid(f"{place}: is not JSON: {error}.", "Write one JSON object per line.") from error


def parse_row(kind: type[Row], value: Any, place: str) -> Row:
    """Take a value as a row of one kind.

    Raises:
        SamplesInvalid: names the first key that is wrong.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"]) or "row"
        raise SamplesInvalid(f"{place}: {key}: {first['msg']}.", kind.hint()) from error


class CallCheck:
    """Checks that the arguments of samples are calls that their skill takes, with one `text`.

    Samples mostly share all arguments but the text, and holding those against their schema is what takes time: with
    arguments that passed before, a text that is obviously one is let through.
    """

    def __init__(self) -> None:
        self._check = ArgumentCheck()
        self._passed: set[tuple[str, str]] = set()

    def check(self, sample: Sample, skill: Skill) -> Sample:
        """Give the sample back.

        Raises:
            SamplesInvalid: names the argument and the rule.
        """
        own = (skill.digest, canonical({name: value for name, value in sample.arguments.items() if name != "text"}))
        if own in self._passed and _is_plain_text(sample.arguments.get("text"), skill):
            return sample
        try:
            source = self._check.check(skill, sample.arguments).source
        except InvalidArguments as error:
            raise SamplesInvalid(f"{sample.place}: arguments: {error.message}", error.hint) from error
        if source != "text":
            raise SamplesInvalid(
                f"{sample.place}: arguments: has `{source}`.", "Give one `text`; write a row for each of several."
            )
        self._passed.add(own)
        return sample


def _is_plain_text(value: Any, skill: Skill) -> bool:
    """Tell whether a value is a text that any check passes; a doubtful one is checked by the rules."""
    if not isinstance(value, str) or not value.strip():
        return False
    longest = skill.input_schema["properties"]["text"]["maxLength"]
    return len(value) <= longest and not any("\ud800" <= character <= "\udfff" for character in value)
