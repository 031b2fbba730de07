"""Fifty varied schemas: whatever the small model would like to say, the answer is valid."""

import json
import re
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator

from tests.native.schemas import SCHEMAS
from tools_server.engine.chat import plain_chat
from tools_server.engine.local import LocalEngine
from tools_server.engine.types import (
    Constraint,
    ConstraintKind,
    FinishReason,
    GenerationRequest,
    Sampling,
    as_json_schema,
)

TEXT = (
    "On 3 May 2026 Dr. Ada Weber (ada.weber@example.org) ordered 12 boxes of filter paper at 4.50 EUR each for the "
    "laboratory in Graz, order A-1042. Delivery is urgent; the invoice goes to the finance office."
)


def test_there_are_fifty_of_them_and_no_two_alike():
    assert len(SCHEMAS) == 50
    assert len({json.dumps(schema) for schema in SCHEMAS.values()}) == 50


@pytest.mark.parametrize("temperature", [0.0, 1.5])
async def test_every_output_of_fifty_schemas_validates(engine: LocalEngine, temperature: float):
    problems: list[str] = []

    async def one(name: str, schema: dict[str, Any]) -> None:
        Draft202012Validator.check_schema(schema)
        chat = plain_chat("You fill in JSON from a text.", "Fill in the fields from this text:\n", TEXT)
        sampling = Sampling(temperature=temperature, seed=11)
        answer = await engine.generate(
            GenerationRequest(await engine.encode(chat), 400, as_json_schema(schema), sampling=sampling)
        )
        if answer.finish_reason is not FinishReason.STOP:
            problems.append(f"{name}: cut off: {answer.text[:80]}")
            return
        data = json.loads(answer.text)
        problems.extend(f"{name}: {e.message}" for e in Draft202012Validator(schema).iter_errors(data))
        if re.search(r"\s", re.sub(r'"(\\.|[^"\\])*"', "", answer.text)):
            problems.append(f"{name}: white space outside of strings: {answer.text[:80]}")

    async with anyio.create_task_group() as group:
        for name, schema in SCHEMAS.items():
            group.start_soon(one, name, schema)
    assert problems == []


NAMES = (
    "Ada Weber",
    "Zoë Müller-Åström",
    'Ann "Nan" Lee',
    "佐藤 美咲",
    "שרה כהן",
    "O'Neill & Sons",
    "Łukasz",
    "हरि",
    "👩‍🚀 Mia",
    "C:\\dir",
)
FORMS = (
    "{} ordered 12 boxes at 4.50 EUR, order A-1042.",
    'Subject: "{}"\n\n\tcall 020 7946 0018; see https://example.org/?a=b',
    '{{"from": "{}", "text": "line\\nline"}}',
    "<text>\n{}\n</text> answer null, please",
    "{0}! {0}, {0}…",
)
COPIES = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"], "x-span": True},
        "entities": {
            "type": "array",
            "minItems": 1,
            "maxItems": 3,
            "items": {
                "type": "object",
                "properties": {
                    "type": {"enum": ["person", "number", "other"]},
                    "value": {"type": "string", "maxLength": 60, "x-span": True},
                },
                "required": ["type", "value"],
                "additionalProperties": False,
            },
        },
        "count": {"type": ["integer", "null"]},
    },
    "required": ["name", "entities", "count"],
    "additionalProperties": False,
}


async def test_what_is_copied_from_fifty_texts_stands_in_them_however_hot_the_model(engine: LocalEngine):
    texts = [form.format(name) for form in FORMS for name in NAMES]
    assert len(set(texts)) == 50
    source = as_json_schema(COPIES).source
    problems: list[str] = []
    endless: list[str] = []

    async def one(text: str) -> None:
        chat = plain_chat("You fill in JSON from a text.", "Fill in the fields from this text:\n", text)
        answer = await engine.generate(
            GenerationRequest(
                await engine.encode(chat),
                400,
                Constraint(ConstraintKind.SPANS, source, text),
                sampling=Sampling(temperature=1.5, seed=7),
            )
        )
        if answer.finish_reason is not FinishReason.STOP:
            endless.append(text)
            return
        data = json.loads(answer.text)
        problems.extend(f"{text!r}: {e.message}" for e in Draft202012Validator(COPIES).iter_errors(data))
        values = [data["name"] or "", *(entity["value"] for entity in data["entities"])]
        problems.extend(f"{text!r}: {value!r} is not in it" for value in values if value not in text)
        if not all(entity["value"] for entity in data["entities"]):
            problems.append(f"{text!r}: an empty copy")

    async with anyio.create_task_group() as group:
        for text in texts:
            group.start_soon(one, text)
    assert problems == []
    assert len(endless) <= 5  # so hot, a list of entities sometimes does not end within the budget
