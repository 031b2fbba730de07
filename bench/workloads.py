"""What both servers are asked: the chat messages that a bundled skill renders, and a schema for the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from bench.classify import LABELS, TEXTS
from tools_server.calls.nullable import widen
from tools_server.skills.catalog import Catalog
from tools_server.skills.render import render
from tools_server.skills.types import Skill

SINGLE_CALLS = 16
"""Texts per round where one call follows another."""

WARM_UP_TEXTS = 8
"""One for each of the baseline's slots."""

LABEL_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"label": {"enum": list(LABELS)}},
    "required": ["label"],
    "additionalProperties": False,
}
FIELDS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "order": {"type": "integer", "description": "order number"},
        "customer": {"type": "string", "maxLength": 40, "description": "who writes"},
        "product": {"type": "string", "maxLength": 40},
        "price": {"type": "number", "description": "in euros"},
        "date": {"type": "string", "maxLength": 40, "description": "as written"},
    },
    "required": ["order"],
}
CUSTOMERS = (
    "Maria Lopez", "Tom Becker", "Aisha Khan", "Jonas Lind", "Priya Nair", "Chen Wei", "Olga Petrova", "Sam Okafor",
)  # fmt: skip
MAILS = (
    "{who} here. The toaster arrived broken on 3 March. I paid 39.90 euros for it.",
    "Where is my desk lamp? It cost 64 euros, you promised it for 12 May. Regards, {who}",
    "Please cancel the garden chair for 120 euros, which I ordered on 8 June. {who}",
    "My name is {who}. The headphones that you sold me for 89.50 euros stopped working yesterday.",
    "On 21 January I ordered a rain jacket. It is too small. Thanks, {who}",
    "Hi, {who} again. You charged 249 euros twice for the office chair, on 2 July.",
    "Send me an invoice please: one kettle, 29.95 euros, bought on 17 April by {who}.",
    "The bicycle pump is great, worth every cent of the 18 euros. {who}, 30 August",
)
ALL_MAILS = tuple(mail.format(who=who) for mail in MAILS for who in CUSTOMERS)


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the table. `schema` is what an answer is held to; with `one_by_one` a call waits for the last one."""

    name: str
    skill: Skill
    arguments: Mapping[str, Any]
    schema: Mapping[str, Any]
    one_by_one: bool = False

    @property
    def max_tokens(self) -> int:
        """Answer tokens at most, on both sides."""
        return self.skill.manifest.limits.max_output_tokens

    def texts(self, round_number: int) -> list[str]:
        """The texts of one round, the same for both sides and new in each, so that no side can answer from memory.

        The number comes first: what follows it is then in no cache of prompts.
        """
        first = 10_000 + 100 * (round_number + 1)
        if self.skill.name == "extract":
            texts = [f"Order {first + at}: {mail}" for at, mail in enumerate(ALL_MAILS)]
        else:
            texts = [f"Ticket {first + at}: {text}" for at, text in enumerate(TEXTS)]
        return texts[: WARM_UP_TEXTS if round_number < 0 else SINGLE_CALLS if self.one_by_one else None]

    def messages(self, text: str) -> list[dict[str, str]]:
        """The chat that the skill asks with, for an OpenAI-style endpoint."""
        return [
            {"role": message.role, "content": "".join(span.text for span in message.content)}
            for message in render(self.skill, self.arguments, text).messages
        ]

    def answer_in(self, result: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The bare answer in one of tools-server's results; None where that is an error."""
        if "error" in result:
            return None
        return result["data"] if "data" in result else {"label": result["label"]}

    def is_valid(self, answer: Any) -> bool:
        """Whether an answer is what was asked for."""
        return Draft202012Validator(self.schema).is_valid(answer)


def workloads(catalog: Catalog) -> Sequence[Workload]:
    """All rows. The extracted fields are nullable where they are not required, as tools-server has them."""
    classify, extract = catalog.get("classify"), catalog.get("extract")
    labels = {"labels": list(LABELS)}
    return (
        Workload("classify, one by one", classify, labels, LABEL_SCHEMA, one_by_one=True),
        Workload(f"classify, {len(TEXTS)} at once", classify, labels, LABEL_SCHEMA),
        Workload(f"extract, {len(ALL_MAILS)} at once", extract, {"fields": FIELDS}, widen(FIELDS)),
    )
