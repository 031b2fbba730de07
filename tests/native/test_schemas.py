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
from tools_server.engine.types import FinishReason, GenerationRequest, Sampling, as_json_schema

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
