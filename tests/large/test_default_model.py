"""The default model on plain cases that it must not get wrong. Quality is measured elsewhere; this is a smoke test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tools_server.app import App, build_app
from tools_server.settings import load_settings

pytestmark = pytest.mark.large

SAMPLES = Path(__file__).parents[2] / "examples" / "samples"


@pytest.fixture
async def app() -> AsyncIterator[App]:
    flags = {"model": "qwen2.5-coder-1.5b-instruct", "allow_paths": (SAMPLES,), "in_process": True}
    app = build_app(load_settings(flags))
    yield app
    await app.gate.aclose()


async def test_tickets_get_the_labels_that_a_person_would_give(app: App):
    tickets = (SAMPLES / "tickets.txt").read_text("utf-8").splitlines()
    arguments = {"items": tickets, "labels": ["billing", "bug", "feature request", "praise"]}
    result = await app.runner.run(app.catalog.get("classify"), arguments)
    labels = [entry["label"] for entry in result.data["results"]]
    assert labels == ["billing", "bug", "feature request", "praise", "billing", "bug"]


async def test_an_invoice_gives_its_number_and_total(app: App):
    fields = {
        "type": "object",
        "properties": {"invoice_number": {"type": "string", "maxLength": 20}, "total": {"type": "number"}},
        "required": ["invoice_number", "total"],
    }
    text = (SAMPLES / "invoice.txt").read_text("utf-8")
    result = await app.runner.run(app.catalog.get("extract"), {"text": text, "fields": fields})
    assert result.data["data"] == {"invoice_number": "2026-0873", "total": 426.73}


async def test_what_a_text_does_not_state_is_null(app: App):
    fields = {
        "type": "object",
        "properties": {
            "who": {"type": "string", "maxLength": 40},
            "phone": {"type": "string", "maxLength": 40, "description": "telephone number"},
        },
    }
    text = "Ms Weber from the Graz office asked for a new monitor on Tuesday."
    result = await app.runner.run(app.catalog.get("extract"), {"text": text, "fields": fields})
    assert result.data["data"]["phone"] is None
    assert "Weber" in result.data["data"]["who"]


async def test_a_long_file_is_read_in_parts_and_says_so(app: App):
    text = (SAMPLES / "meeting-notes.md").read_text("utf-8")
    long = "\n\n".join(f"# Day {day}\n\n{text}" for day in range(1, 12))
    result = await app.runner.run(app.catalog.get("summarise"), {"text": long, "max_words": 60}, timeout_s=900)
    assert result.data["summary"]
    assert any("read in" in warning for warning in result.data["warnings"])
