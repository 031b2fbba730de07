"""Every folder in skills/ and examples/skills/ loads, renders and bounds its answers; its samples fit its schemas."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator

from tools_server.calls.redact import located
from tools_server.engine.words import borders, occurrences
from tools_server.skills.catalog import Catalog
from tools_server.skills.folder import skill_folders
from tools_server.skills.interface import Common
from tools_server.skills.labels import is_multi_label, labels_of
from tools_server.skills.loader import load_skill
from tools_server.skills.render import render
from tools_server.skills.types import Skill
from tools_server.skills.watch import watch

ROOT = Path(__file__).parents[2]
BUNDLED = skill_folders(ROOT / "skills")
FOLDERS = [*BUNDLED, *skill_folders(ROOT / "examples" / "skills")]
LISTED_FIRST = 120
"""Characters of a description that many clients show: what the tool does must stand in them."""


def load(folder: Path) -> Skill:
    skill = load_skill(folder, Common())
    assert isinstance(skill, Skill), skill
    return skill


def samples(folder: Path) -> list[dict[str, Any]]:
    metric = tomllib.loads((folder / "evals" / "eval.toml").read_text("utf-8"))
    lines = (folder / "evals" / metric["samples"]).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def unbounded(schema: Any, path: str = "$") -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    if schema.get("type") == "string" and not {"maxLength", "enum", "const", "pattern"} & schema.keys():
        yield path
    if schema.get("type") == "array" and "maxItems" not in schema:
        yield path
    for name, inner in schema.get("properties", {}).items():
        yield from unbounded(inner, f"{path}.{name}")
    yield from unbounded(schema.get("items"), f"{path}[]")


each = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def test_the_promised_skills_ship():
    assert {folder.name for folder in BUNDLED} == {
        "banking_intent",
        "classify",
        "commit_message",
        "extract",
        "find_pii",
        "route_support_request",
        "summarise",
    }


@each
def test_it_loads_and_its_schemas_are_valid(folder: Path):
    skill = load(folder)
    Draft202012Validator.check_schema(skill.input_schema)
    Draft202012Validator.check_schema(skill.result_schema)
    assert not {"anyOf", "oneOf", "allOf"} & skill.input_schema.keys()


@each
def test_its_description_says_what_when_and_when_not(folder: Path):
    description = load(folder).manifest.description
    assert len(description) <= 500
    assert "Use for" in description
    assert "not for" in description
    assert len(description.split(". ")[0]) <= 2 * LISTED_FIRST


@each
def test_every_argument_is_described_for_the_agent(folder: Path):
    for name, schema in load(folder).input_schema["properties"].items():
        assert 20 <= len(schema["description"]) <= 700, name


@each
def test_every_generated_text_and_list_is_bounded(folder: Path):
    skill = load(folder)
    if skill.manifest.kind == "generate":
        assert list(unbounded(skill.output_schema)) == []


@each
def test_its_samples_fit_its_schemas(folder: Path):
    skill = load(folder)
    found = samples(folder)
    assert 5 <= len(found) <= 200
    takes = Draft202012Validator(skill.input_schema)
    for sample in found:
        assert sample.keys() == {"input", "expected"}
        takes.validate(sample["input"])
        for name, value in sample["expected"].items():
            Draft202012Validator(skill.result_schema["properties"][name]).validate(value)


@each
def test_its_samples_render_with_the_text_as_payload(folder: Path):
    skill = load(folder)
    for sample in samples(folder):
        chat = render(skill, sample["input"], sample["input"]["text"])
        assert [message.role for message in chat.messages] == ["system", "user"]
        payloads = [span.text for span in chat.messages[-1].content if span.payload]
        assert sample["input"]["text"] in payloads
        assert "None" not in "".join(span.text for message in chat.messages for span in message.content)


@each
def test_what_comes_before_the_text_is_the_same_for_every_text(folder: Path):
    skill = load(folder)
    arguments = samples(folder)[0]["input"]
    first, second = (render(skill, arguments, text) for text in ("one", "another"))
    assert first.messages[0] == second.messages[0]


@each
def test_expected_labels_are_among_the_labels(folder: Path):
    skill = load(folder)
    if skill.manifest.kind != "choose":
        return
    for sample in samples(folder):
        names = {label.name for label in labels_of(skill, sample["input"])}
        expected = sample["expected"]
        assert set(expected.get("labels", [])) | {expected.get("label")} - {None} <= names


def test_expected_data_is_valid_against_the_samples_own_fields():
    for sample in samples(ROOT / "skills" / "extract"):
        fields = sample["input"]["fields"]
        stated = {name: value for name, value in sample["expected"]["data"].items() if value is not None}
        Draft202012Validator(fields).validate(stated)
        assert sample["expected"]["data"].keys() == fields["properties"].keys()


def is_copy(value: str, text: str) -> bool:
    return next(occurrences(value, text, borders(text)), None) is not None


def test_what_is_expected_of_extract_can_be_copied_from_the_text():
    for sample in samples(ROOT / "skills" / "extract"):
        for name, field in sample["input"]["fields"]["properties"].items():
            value = sample["expected"]["data"][name]
            if isinstance(value, str) and "enum" not in field:
                assert is_copy(value, sample["input"]["text"]), value


def test_what_is_expected_of_find_pii_is_copied_and_in_the_order_of_the_text():
    for sample in samples(ROOT / "skills" / "find_pii"):
        text, entities = sample["input"]["text"], sample["expected"]["entities"]
        places = located(entities, text)
        assert [place["value"] for place in places] == [entity["value"] for entity in entities]
        assert [place["start"] for place in places] == sorted(place["start"] for place in places)
        assert all(is_copy(entity["value"], text) for entity in entities)


def test_the_types_that_the_prompt_of_find_pii_names_are_those_of_its_schema():
    skill = load(ROOT / "skills" / "find_pii")
    entity = skill.output_schema["properties"]["entities"]["items"]["properties"]
    instructions = render(skill, {}, "x").messages[0].content[0].text
    named = instructions.partition("Types: ")[2].partition(".\n")[0]
    assert re.sub(r" \([^)]*\)", "", named).split(", ") == entity["type"]["enum"]


def test_classify_asks_about_one_label_after_the_shared_text():
    skill = load(ROOT / "skills" / "classify")
    arguments = {"labels": ["food", {"name": "staff", "description": "who works there"}], "multi_label": True}
    assert is_multi_label(skill, arguments)
    chats = [render(skill, arguments, "cold soup", label=label) for label in labels_of(skill, arguments)]
    assert chats[0].messages[0] == chats[1].messages[0]
    first, second = ([span.text for span in chat.messages[1].content] for chat in chats)
    shared = next(index for index, (one, other) in enumerate(zip(first, second, strict=False)) if one != other)
    assert "cold soup" in first[:shared]
    assert (first[shared], second[shared]) == ("food", "staff")
    assert "yes or no" in first[-1]


def test_summarise_puts_max_words_and_focus_into_the_prompt():
    skill = load(ROOT / "skills" / "summarise")
    chat = render(skill, {"max_words": 33, "focus": "who pays"}, "x")
    assert "at most 33 words" in chat.messages[0].content[0].text
    assert "who pays" in [span.text for span in chat.messages[1].content]
    plain = render(skill, {}, "x")
    assert "at most 80 words" in plain.messages[0].content[0].text


@pytest.mark.parametrize("name", ["summarise", "classify", "extract", "find_pii"])
def test_the_prose_of_a_bundled_skill_is_there_for_agents(name: str):
    assert load(ROOT / "skills" / name).prose.startswith("# ")


def test_reading_skills_loads_nothing_heavy():
    code = (
        "import sys; from pathlib import Path; from tools_server.skills.catalog import Catalog;"
        f"Catalog([Path({str(ROOT / 'skills')!r})]);"
        "print([m for m in ('llama_cpp', 'outlines', 'llguidance', 'numpy', 'mcp', 'watchfiles') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_the_example_joins_a_watched_catalog_when_its_folder_is_dropped_in(tmp_path: Path):
    catalog, arrived = Catalog([ROOT / "skills", tmp_path]), anyio.Event()
    catalog.subscribe(lambda snapshot: arrived.set() if "log_level" in snapshot.skills else None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, catalog)
        shutil.copytree(ROOT / "examples" / "skills" / "log_level", tmp_path / "log_level")
        with anyio.fail_after(15):
            await arrived.wait()
        tasks.cancel_scope.cancel()
    assert [label.name for label in labels_of(catalog.get("log_level"), {})] == ["debug", "info", "warning", "error"]


def test_every_shipped_calibration_holds_for_answers_that_are_given_with_the_skills_adapter_or_without():
    skills = Catalog([ROOT / "skills"]).snapshot.skills.values()
    found = [(skill, each) for skill in skills for each in skill.calibrations]
    assert {skill.name for skill, _ in found} >= {"banking_intent", "classify", "extract", "route_support_request"}
    for skill, each in found:
        adapter = skill.adapters.get(each.model)
        assert each.prompt_digest == skill.prompt_digest, f"{skill.name} on {each.model}: calibrate it again"
        if each.adapter_sha256 is None:  # also beside one with an adapter: `adapters promote none` serves the bare base
            assert skill.calibration(each.model, each.base_sha256, adapter) is not None, "what is served has one too"
            adapter = None
        else:
            assert adapter is not None, f"{skill.name} on {each.model}"
            assert each.adapter_sha256 == adapter.sha256, f"{skill.name} on {each.model}"
        assert skill.calibration(each.model, each.base_sha256, adapter) == each
        assert each.fitted + each.checked <= sum(data.samples for data in each.data)
        assert "test" not in {data.split for data in each.data}
