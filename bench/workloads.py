"""What both servers are asked: rows of the table, each a skill's task on new texts in every round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from bench.programs import SERVER
from bench.skills import AFTER, DIGEST, DOCUMENT_QUESTIONS, TICKET_QUESTIONS
from bench.terms import Terms
from bench.texts import LABELS, Texts
from tools_server.calls.nullable import widen
from tools_server.skills.catalog import Catalog, standard_dirs
from tools_server.skills.render import render
from tools_server.skills.types import Skill

AT_ONCE = 64
SINGLE_CALLS = 16
"""Calls per round where one follows another."""

MIXED_CALLS = 32
PARAGRAPHS = 200
QUICK_PARAGRAPHS = 40
WARM_UP_CALLS = 16
"""One for each slot of the baseline, so that each has the instructions in its cache."""

BARE = f"{SERVER}, bare labels"
ACTIVATED = f"{SERVER}, activated LoRAs"

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


@dataclass(frozen=True, slots=True)
class Task:
    """A skill with its arguments. `schema` is what an answer is held to; `question` names what both sides are asked.

    `adapter` is the name of the baseline's LoRA file; our side applies the one in the skill's folder.
    """

    question: str
    skill: Skill
    arguments: Mapping[str, Any]
    schema: Mapping[str, Any]
    adapter: str = ""

    @property
    def max_tokens(self) -> int:
        """Answer tokens at most, on both sides."""
        return self.skill.manifest.limits.max_output_tokens

    def messages(self, text: str) -> list[dict[str, str]]:
        """The chat that the skill asks with, for an OpenAI-style endpoint."""
        return [
            {"role": message.role, "content": "".join(span.text for span in message.content)}
            for message in render(self.skill, self.arguments, text).messages
        ]

    def answer_in(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The bare answer in one of tools-server's results."""
        found = data.get("data", data)
        return {name: found[name] for name in self.schema["properties"] if name in found}

    def is_valid(self, answer: Any) -> bool:
        """Whether an answer is what was asked for."""
        return Draft202012Validator(self.schema).is_valid(answer)


@dataclass(frozen=True, slots=True)
class Ask:
    """One call on either side."""

    task: Task
    text: str


Asks = Callable[[int], list[Ask]]
"""The calls of one round, by its number; -1 is the warm-up."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. With `one_by_one` a call waits for the last one; else all are sent at once.

    A `unit` is `calls_per_unit` calls. With `per_unit` the row shows so many times the seconds that a unit takes
    (1000: milliseconds), else units per second. `bare_labels` lets the baseline write the label and nothing else,
    by a grammar, instead of an object of JSON.
    """

    key: str
    name: str
    unit: str
    ours: Asks
    theirs: Asks
    baseline: str = SERVER
    one_by_one: bool = False
    per_unit: float | None = None
    calls_per_unit: int = 1
    bare_labels: bool = False
    with_adapters: bool = False


def catalog_of(terms: Terms) -> Catalog:
    """The skills that our side serves under these terms."""
    return Catalog(standard_dirs(terms.settings), adapters_dir=terms.settings.adapters_dir)


def classify_task(catalog: Catalog) -> Task:
    """Sort a short message by its subject, with the bundled skill."""
    return Task("classify", catalog.get("classify"), {"labels": list(LABELS)}, LABEL_SCHEMA)


def digest_task(catalog: Catalog) -> Task:
    """Summarise a paragraph in a sentence; `write_digest` has written the skill."""
    skill = catalog.get(DIGEST.name)
    return Task(DIGEST.name, skill, {}, skill.output_schema)


def plain_rows(catalog: Catalog, texts: Texts, *, quick: bool) -> Sequence[Row]:
    """The rows without adapters: bundled skills, and `DIGEST`. Fields that are not required are nullable."""
    classify = classify_task(catalog)
    extract = Task("extract", catalog.get("extract"), {"fields": FIELDS}, widen(FIELDS))
    digest = digest_task(catalog)

    def each(task: Task, make: Callable[[str, int, int], list[str]], key: str, count: int) -> Asks:
        def asks(round_number: int) -> list[Ask]:
            wanted = min(count, WARM_UP_CALLS) if round_number < 0 else count
            return [Ask(task, text) for text in make(key, round_number, wanted)]

        return asks

    def one(key: str, baseline: str) -> Row:
        asks = each(classify, texts.messages, key, SINGLE_CALLS)
        name = "(a) classify, one by one"
        return Row(
            key, name, "ms/call", asks, asks, baseline, one_by_one=True, per_unit=1000, bare_labels=baseline == BARE
        )

    def many(key: str, baseline: str) -> Row:
        asks = each(classify, texts.messages, key, AT_ONCE)
        return Row(
            key, f"(b) classify, {AT_ONCE} at once", "texts/s", asks, asks, baseline, bare_labels=baseline == BARE
        )

    fill = each(extract, texts.mails, "extract", AT_ONCE)
    share = QUICK_PARAGRAPHS if quick else PARAGRAPHS
    brief = each(digest, texts.paragraphs, "paragraphs", share)
    named = f"(f) summarise, {share} paragraphs" + (f" (quick: not {PARAGRAPHS})" if quick else "")
    return (
        one("one", SERVER),
        one("one-bare", BARE),
        many("many", SERVER),
        many("many-bare", BARE),
        Row("extract", f"(c) extract, {AT_ONCE} at once", "texts/s", fill, fill),
        Row("paragraphs", named, "texts/s", brief, brief),
    )


def adapter_rows(catalog: Catalog, texts: Texts) -> Sequence[Row]:
    """The rows whose skills have an adapter each; `write_adapted_skills` has written them."""

    def task(question: str, name: str) -> Task:
        skill = catalog.get(name)
        return Task(question, skill, {}, skill.output_schema, adapter=name)

    tickets = [task(each.name, each.name) for each in TICKET_QUESTIONS]
    plain = [task(each.name, each.name) for each in DOCUMENT_QUESTIONS]
    after = [task(each.name, f"{each.name}{AFTER}") for each in DOCUMENT_QUESTIONS]

    def mixed(round_number: int) -> list[Ask]:
        found = texts.messages("mixed", round_number, MIXED_CALLS)
        return [Ask(tickets[place % len(tickets)], text) for place, text in enumerate(found)]

    def on_document(tasks: Sequence[Task], key: str) -> Asks:
        return lambda round_number: [
            Ask(each, document) for document in texts.documents(key, round_number, 1) for each in tasks
        ]

    def document(key: str, ours: Sequence[Task], theirs: Sequence[Task], baseline: str) -> Row:
        return Row(
            key,
            f"(e) one document, {len(theirs)} skills",
            "s/document",
            on_document(ours, key),
            on_document(theirs, key),
            baseline,
            one_by_one=True,
            per_unit=1,
            calls_per_unit=len(theirs),
            with_adapters=True,
        )

    return (
        Row("mixed", f"(d) {MIXED_CALLS} calls, 3 adapters", "calls/s", mixed, mixed, with_adapters=True),
        document("document", after, plain, SERVER),
        document("document-activated", after, after, ACTIVATED),
    )
