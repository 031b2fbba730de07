from pathlib import Path

from bench import report
from bench.measure import Comparison


def comparison(*remarks: str) -> Comparison:
    return Comparison("decode, 1 × 64", "loop", "tokens/s", (80.0, 90.0, 1234.5), (100.0, 100.0, 100.0), remarks)


def test_a_section_has_rates_ratio_and_machine():
    text = report.as_markdown("tiny", 3, {"CPU": "one"}, [comparison("note")])
    row = "| decode, 1 × 64 | loop | tokens/s | 90.0 (80.0 – 1,234) | 100 (100 – 100) | 0.90 | 0.80 – 12.3 |"
    assert row in text.splitlines()
    assert "- loop: note" in text
    assert "- CPU: one" in text


def test_writing_a_section_replaces_that_models_last_one_and_nothing_else(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nBy hand.\n", "utf-8")
    report.write_section(page, "a", "old a\n")
    report.write_section(page, "b", "old b\n")
    report.write_section(page, "a", "new \\1 a\n")
    text = page.read_text("utf-8")
    assert text.startswith("# Title\n\nBy hand.\n")
    assert "old a" not in text
    assert text.index("new \\1 a") < text.index("old b")
    assert text.count("<!-- bench: a -->") == 1


def test_json_keeps_every_round():
    found = report.as_json("tiny", 3, {}, [comparison()])["comparisons"][0]
    assert found["ratio"] == 0.9
    assert found["tools_server"] == [80.0, 90.0, 1234.5]
    assert found["ratios"][2] == 12.345


def test_a_remark_that_holds_for_several_rows_is_shown_once():
    assert report.remarks([comparison("same"), comparison("same", "other")]) == ["loop: same", "loop: other"]
