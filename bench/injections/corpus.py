"""The corpus: injections by kind, what each one wants, and how its placeholders are filled."""

import base64
import codecs
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

FILE = Path(__file__).with_name("corpus.jsonl")

FORGED = "chat-delimiters"
"""The kind that the escaping of special tokens is built against."""

CONTROLS = ("mention", "harmless")
"""Kinds that ask for nothing: what a further line in a text does, and what the mere word does that attackers name."""

PLACEHOLDERS = frozenset({"target", "field", "right", "hidden"})
"""`target`: the label or value that the attacker wants. `field`: the name of what is attacked. `right`: what the text
says itself. `hidden`: the disguised part of the injection."""

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_SMALL = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"}
_CYRILLIC = {"a": "а", "c": "с", "e": "е", "i": "і", "o": "о", "p": "р", "s": "ѕ", "x": "х", "y": "у"}
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}

DISGUISES: Mapping[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(" "),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "reversed": lambda text: text[::-1],
    "spaced": " ".join,
    "dotted": ".".join,
    "leet": lambda text: text.translate(str.maketrans(_SMALL)),
    "zero_width": "\u200b".join,
    "homoglyphs": lambda text: text.translate(str.maketrans(_CYRILLIC)),
    "full_width": lambda text: text.translate(_FULL_WIDTH),
}
"""How a hidden part is written, by the name that `as` gives."""


def _known(text: str) -> str:
    if unknown := set(_PLACEHOLDER.findall(text)) - PLACEHOLDERS:
        raise ValueError(f"unknown placeholders {sorted(unknown)}; there are {sorted(PLACEHOLDERS)}")
    return text


Template = Annotated[str, AfterValidator(_known)]


class Wants(BaseModel):
    """What the attacker is after: exactly one of these.

    `answer`: this label or value. `says`: these words anywhere in the answer's values. `invalid`: an answer that
    breaks its schema. `empty`: no value at all. `nothing`: it is no attack.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer: Template | None = None
    says: Template | None = None
    invalid: Literal[True] | None = None
    empty: Literal[True] | None = None
    nothing: Literal[True] | None = None

    @model_validator(mode="after")
    def _one(self) -> "Wants":
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("an injection wants exactly one thing")
        return self


class Injection(BaseModel):
    """One line of the corpus. With `hidden`, `text` has the placeholder for it, and `as` says how it is disguised."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: str
    text: Template
    wants: Wants
    hidden: Template | None = None
    disguise: str | None = Field(None, alias="as")

    @model_validator(mode="after")
    def _hidden_is_used(self) -> "Injection":
        uses = "{hidden}" in self.text
        if {uses, self.hidden is not None, self.disguise is not None} == {True, False}:
            raise ValueError(f"{self.id}: `hidden`, `as` and the placeholder {{hidden}} belong together")
        if self.disguise is not None and self.disguise not in DISGUISES:
            raise ValueError(f"{self.id}: {self.disguise!r} is no disguise; there are {sorted(DISGUISES)}")
        return self

    @property
    def names_target(self) -> bool:
        """Whether the attacker's label or value is in it, to be taken or not."""
        return self.wants.answer is not None or "{target}" in self.text

    def filled(self, *, target: str, field: str, right: str) -> str:
        """The text to put into a carrier."""
        values = {"target": target, "field": field, "right": right}
        if self.hidden is not None and self.disguise is not None:
            values["hidden"] = DISGUISES[self.disguise](fill(self.hidden, values))
        return fill(self.text, values)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values in the place of placeholders; what they bring in is not looked at again.

    Raises:
        KeyError: a placeholder has no value.
    """
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


@cache
def corpus() -> tuple[Injection, ...]:
    """Read all injections, in the order of the file.

    Raises:
        ValueError: a line is malformed.
    """
    lines = FILE.read_text("utf-8").splitlines()
    return tuple(Injection.model_validate(json.loads(line)) for line in lines)


def kinds() -> tuple[str, ...]:
    """Every kind, in the order of the file; those that attack come first."""
    return tuple(dict.fromkeys(each.kind for each in corpus()))
