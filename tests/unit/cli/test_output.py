"""Answers on the screen: complete, unwrapped, and never read as markup."""

import json

import pytest
from rich.text import Text

from tools_server.cli import output

Captured = pytest.CaptureFixture[str]


def test_json_keeps_order_and_letters_of_every_language(capsys: Captured):
    output.print_json({"z": "Grüße, 世界", "a": [1]})
    out = capsys.readouterr().out
    assert "Grüße, 世界" in out
    assert list(json.loads(out)) == ["z", "a"]


def test_an_answer_is_shown_as_lines_with_nested_values_indented(capsys: Captured):
    output.print_data({"label": None, "scores": {"a": 0.5}, "points": ["one", "two"], "none": [], "yes": True})
    assert capsys.readouterr().out.splitlines() == [
        "label: null",
        "scores:",
        "  a: 0.5",
        "points:",
        "  - one",
        "  - two",
        "none: []",
        "yes: true",
    ]


def test_text_of_an_answer_is_neither_markup_nor_wrapped(capsys: Captured):
    words = "[red]not red[/red] :smile: " + "word " * 100
    output.print_data({"summary": words})
    assert capsys.readouterr().out == f"summary: {words}\n"


def test_a_table_folds_long_cells_instead_of_cutting_them(capsys: Captured, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    output.print_table(("id", "what"), [("a", "x" * 60), (Text("b"), "[i]plain[/i]")])
    out = capsys.readouterr().out
    assert out.count("x") == 60
    assert "[i]plain[/i]" in out


def test_notes_go_to_stderr(capsys: Captured):
    output.note("loading [1/2]")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "loading [1/2]\n")
