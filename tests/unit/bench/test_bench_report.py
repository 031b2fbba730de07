from pathlib import Path

from bench import report
from bench.measure import Comparison
from bench.report import Section


def section(*remarks: str) -> Section:
    row = Comparison("decode, 1 × 64", "loop", "tokens/s", (80.0, 90.0, 1234.5), (100.0, 100.0, 100.0), remarks)
    return Section("tiny", 3, [row], {"CPU": "one"})


def test_a_section_has_values_ratio_and_machine():
    text = report.as_markdown(section("note"))
    row = "| decode, 1 × 64 | loop | tokens/s | 90.0 (80.0 – 1,234) | 100 (100 – 100) | 0.90 | 0.80 – 12.3 |"
    assert row in text.splitlines()
    assert "- decode, 1 × 64: note" in text
    assert "- CPU: one" in text


def test_writing_a_section_replaces_the_last_one_of_its_title_and_nothing_else(tmp_path: Path):
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
    found = report.as_json([section()])["sections"][0]
    assert (found["title"], found["rounds"], found["machine"]) == ("tiny", 3, {"CPU": "one"})
    row = found["comparisons"][0]
    assert row["ratio"] == 0.9
    assert row["tools_server"] == [80.0, 90.0, 1234.5]
    assert row["ratios"][2] == 12.345


def test_the_two_columns_are_headed_by_the_sides():
    both = Section("tiny", 1, section().comparisons, {}, sides=("side by side", "alone"))
    assert [column.header for column in report.as_table(both).columns][3:5] == ["side by side", "alone"]
    assert "| unit | side by side | alone |" in report.as_markdown(both)


def test_a_remark_that_comes_twice_is_shown_once():
    assert section("same", "same", "other").notes == ["decode, 1 × 64: same", "decode, 1 × 64: other"]
