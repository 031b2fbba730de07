"""The script that makes the file of `snips_commands`, on a source of a few commands."""

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "datasets/prepare/snips_commands.py"
SLOTS = ["title", "object_type"]
SCHEMA = {"type": "object", "properties": {slot: {"type": ["string", "null"]} for slot in SLOTS}}
KINDS = runpy.run_path(str(SCRIPT))["SLOTS"]


def find(title: str, *, kind: str | None = None) -> dict[str, list[dict[str, str]]]:
    chunks = [{"text": "find "}, {"text": f"{title} ", "entity": "object_name"}]
    return {"data": [*chunks, *([{"text": kind, "entity": "object_type"}] if kind else [])]}


def prepared(folder: Path, commands: list[dict]) -> list[dict]:
    """What the script makes of a source that has these commands of one kind, `find Heat 2` being in test already."""
    for name in KINDS:
        file = folder / "source" / name / f"train_{name}_full.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({name: commands if name == "SearchCreativeWork" else []}), "utf-8")
    data = folder / "data/snips/extraction"
    data.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        texts = ["find Heat 2"] if split == "test" else []
        records = [{"id": f"snips-{split}-SearchCreativeWork-1", "text": text, "schema": SCHEMA} for text in texts]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["snips_commands", str(folder / "source"), str(folder / "data")])
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return [json.loads(line) for line in (data / "train_rest.jsonl").read_text("utf-8").splitlines()]


def test_a_command_becomes_a_record_whose_spans_stand_in_its_text(tmp_path: Path):
    (record,) = prepared(tmp_path, [find("Mean Streets", kind="movie")])
    assert record["id"] == "snips-full-SearchCreativeWork-0000"
    assert record["text"] == "find Mean Streets movie"
    assert record["fields"] == {"title": "Mean Streets", "object_type": "movie"}
    assert {slot: record["text"][slice(*span)] for slot, span in record["spans"].items()} == record["fields"]


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param([find("heat  9")], id="what test has with another digit"),
        pytest.param([{"data": [*find("A", kind="show")["data"], *find("B")["data"]]}], id="a slot filled twice"),
        pytest.param([find("Caf\N{REPLACEMENT CHARACTER}")], id="damaged text"),
    ],
)
def test_a_command_is_left_out_that_is(tmp_path: Path, commands: list[dict]):
    assert not prepared(tmp_path, commands)


def test_a_command_that_comes_twice_is_kept_once(tmp_path: Path):
    assert len(prepared(tmp_path, [find("Mean Streets"), find("MEAN STREETS")])) == 1


def test_a_slot_that_the_schema_lacks_ends_the_script_with_its_name(tmp_path: Path):
    with pytest.raises(SystemExit, match="SearchCreativeWork, command 0: the schema has no slot 'year'"):
        prepared(tmp_path, [{"data": [{"text": "1999", "entity": "year"}]}])
