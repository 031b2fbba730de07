"""Samples: rows of a file are held against their skill, and what is wrong is named by line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools_server.bundled import bundled_dir
from tools_server.errors import SamplesInvalid
from tools_server.skills.catalog import Catalog
from tools_server.tuning.samples import read_file, shipped

GOOD = {"skill": "classify", "arguments": {"text": "Hello", "labels": ["a", "b"]}, "expected": {"label": "a"}}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog([bundled_dir("skills")])


def write(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_rows_are_read_and_empty_lines_do_not_count(catalog: Catalog, tmp_path: Path):
    path = write(tmp_path / "mine.jsonl", GOOD, "", GOOD)
    samples = read_file(path, catalog)
    assert [sample.place for sample in samples] == [f"{path}:1", f"{path}:3"]
    assert samples[0].skill == "classify"
    assert samples[0].expected == {"label": "a"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "is not JSON"),
        ({"skill": "classify", "arguments": {}}, "expected: Field required"),
        (GOOD | {"extra": 1}, "extra: Extra inputs"),
        (GOOD | {"expected": {}}, "expected: Dictionary should have at least 1"),
        (GOOD | {"skill": "clasify"}, "skill: "),
        (GOOD | {"arguments": {"text": "Hello"}}, "arguments: "),
        (GOOD | {"arguments": {"items": ["Hello"], "labels": ["a", "b"]}}, "arguments: has `items`"),
    ],
)
def test_a_wrong_row_is_refused_with_file_line_and_reason(catalog: Catalog, tmp_path: Path, row: Any, said: str):
    path = write(tmp_path / "mine.jsonl", GOOD, row)
    with pytest.raises(SamplesInvalid) as error:
        read_file(path, catalog)
    assert error.value.message.startswith(f"{path}:2: {said}")
    assert error.value.hint


def test_a_file_without_samples_or_no_file_at_all_is_refused(catalog: Catalog, tmp_path: Path):
    with pytest.raises(SamplesInvalid, match="holds no samples"):
        read_file(write(tmp_path / "empty.jsonl"), catalog)
    with pytest.raises(SamplesInvalid, match="cannot be read"):
        read_file(tmp_path / "none.jsonl", catalog)


def test_the_shipped_samples_are_enough_to_see_a_fall(catalog: Catalog):
    counts: dict[str, int] = {}
    for sample in shipped(catalog.snapshot.skills.values()):
        counts[sample.skill] = counts.get(sample.skill, 0) + 1
    assert counts.keys() >= {"classify", "extract"}
    assert "summarise" not in counts, "free text has no right answer"
    assert counts["classify"] >= 60
    assert counts["extract"] >= 30


def test_no_shipped_sample_is_there_twice(catalog: Catalog):
    texts = [sample.arguments["text"] for sample in shipped(catalog.snapshot.skills.values())]
    assert len(texts) == len(set(texts))
