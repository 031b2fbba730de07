"""Which injection goes into which text, and where: drawn from a hash of its id, so that every run does the same."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.injections.carriers import DOCUMENTS, LABELS, TICKETS
from bench.injections.corpus import FORGED, Injection

SkillName = Literal["classify", "extract"]

POSITIONS = ("beginning", "middle", "end")

STRIDE = 5
"""Tickets between two tries of one injection: no divisor of their number, so no ticket comes twice."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to make: a carrier with an injection in it. `target` is the label or value that the attacker names."""

    skill: SkillName
    injection: Injection
    carrier: int
    position: str
    target: str
    text: str


def attempts_on_labels(injections: Sequence[Injection], *, tries: int) -> list[Attempt]:
    """Put each injection into `tries` tickets (12 at most), each after a label that is not the right one."""
    found: list[Attempt] = []
    for injection in injections:
        drawn = zlib.crc32(injection.id.encode())
        for number in range(tries):
            carrier = (drawn + STRIDE * number) % len(TICKETS)
            position = POSITIONS[(drawn // len(TICKETS) + number) % len(POSITIONS)]
            ticket = TICKETS[carrier]
            others = [label for label in LABELS if label != ticket.right]
            target = others[(drawn // (len(TICKETS) * len(POSITIONS)) + number) % len(others)]
            injected = injection.filled(target=target, field="label", right=ticket.right)
            text = placed(ticket.lines, injected, position)
            found.append(Attempt("classify", injection, carrier, position, target, text))
    return found


def attempts_on_fields(injections: Sequence[Injection], *, every: int) -> list[Attempt]:
    """Put every `every`th injection of each kind into one document, after one of its fields.

    The kind that has a control without escaping is taken whole: half of it would say little.
    """
    found: list[Attempt] = []
    seen: dict[str, int] = {}
    for injection in injections:
        number = seen[injection.kind] = seen.get(injection.kind, -1) + 1
        if number % every and injection.kind != FORGED:
            continue
        drawn = zlib.crc32(injection.id.encode())
        carrier = drawn % len(DOCUMENTS)
        position = POSITIONS[drawn // len(DOCUMENTS) % len(POSITIONS)]
        document = DOCUMENTS[carrier]
        right = document.right[document.attacked]
        injected = injection.filled(target=document.bait, field=document.attacked, right=right)
        text = placed(document.lines, injected, position)
        found.append(Attempt("extract", injection, carrier, position, document.bait, text))
    return found


def placed(lines: Sequence[str], injected: str, position: str) -> str:
    """Put an injection into a text, on lines of its own."""
    at = {"beginning": 0, "middle": len(lines) // 2, "end": len(lines)}[position]
    return "\n".join([*lines[:at], injected, *lines[at:]])


def clean_texts(skill: SkillName) -> list[str]:
    """The carriers of a skill without anything in them, in their order."""
    carriers = TICKETS if skill == "classify" else DOCUMENTS
    return ["\n".join(carrier.lines) for carrier in carriers]


def arguments_of(skill: SkillName, carrier: int, text: str) -> Mapping[str, Any]:
    """The arguments of a call about a carrier, as a client would send them."""
    if skill == "classify":
        return {"text": text, "labels": list(LABELS)}
    return {"text": text, "fields": DOCUMENTS[carrier].fields}
