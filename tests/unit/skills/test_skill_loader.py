import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools_server.skills import folder as folder_module
from tools_server.skills.interface import Common
from tools_server.skills.loader import load_skill
from tools_server.skills.types import BrokenSkill, Skill

Good = Callable[..., Skill]
Broken = Callable[..., BrokenSkill]

SHA = "a" * 64
ADAPTER = f"""
[adapters.tiny]
file = "adapters/tiny/adapter.gguf"
sha256 = "{SHA}"
base_sha256 = "{SHA}"
"""


def manifest(more: str = "", kind: str = "generate") -> str:
    return f'name = "@"\nversion = "1.0.0"\ndescription = "Say something."\nkind = "{kind}"\n{more}'


def properties(**schemas: Any) -> dict[str, Any]:
    return {"type": "object", "properties": schemas}


def output(**schemas: Any) -> dict[str, Any]:
    return {**properties(**schemas), "required": list(schemas)}


def user(body: str) -> str:
    return f"{{% block user %}}\n{{{{ text }}}} {body}\n{{% endblock %}}\n"


def test_the_three_needed_files_make_a_skill(good: Good):
    skill = good(**{"input.schema.json": None, "prompt.jinja": user("")})
    assert skill.name == "demo"
    assert skill.arguments_schema["properties"] == {}
    assert skill.prose == ""
    assert skill.card is None


@pytest.mark.parametrize("file", ["skill.toml", "prompt.jinja", "output.schema.json"])
def test_a_needed_file_that_is_missing_is_named(broken: Broken, file: str):
    outcome = broken(**{file: None})
    assert (outcome.name, outcome.file) == ("demo", file)
    assert "is missing" in outcome.reason


@pytest.mark.parametrize(
    ("file", "content", "key", "word"),
    [
        ("input.schema.json", "{", "line 1 column 2", "not JSON"),
        ("input.schema.json", "[]", "", "object, not list"),
        ("input.schema.json", '{"type": "object", "type": "array"}', "", "'type' twice"),
        ("input.schema.json", '{"type": "object", "default": NaN}', "", "NaN"),
        ("input.schema.json", b"\xff\xfe", "", "not UTF-8"),
        ("input.schema.json", '{"type": "object", "properties": {"a": ' + "[" * 100_000, "", ""),
        ("input.schema.json", {}, "type", 'must be "object"'),
        ("input.schema.json", {"type": "object"}, "properties", "is missing"),
        ("input.schema.json", properties(a={"type": "strin"}), "properties.a.type", "'strin'"),
        ("input.schema.json", properties(a={"pattern": "("}), "properties.a.pattern", "regex"),
        ("input.schema.json", properties(text={}), "properties.text", "given by the server"),
        ("input.schema.json", properties(**{"a-b": {}}), "properties.a-b", "variable"),
        ("input.schema.json", properties(none={}), "properties.none", "variable"),
        ("input.schema.json", {**properties(), "anyOf": [{}]}, "anyOf", "top level"),
        ("input.schema.json", {**properties(), "required": ["x"]}, "required", "'x'"),
        ("input.schema.json", {**properties(), "additionalProperties": True}, "additionalProperties", "false"),
        (
            "input.schema.json",
            {**properties(), "$schema": "http://json-schema.org/draft-07/schema#"},
            "$schema",
            "2020",
        ),
        ("input.schema.json", properties(a={"type": "integer", "default": "x"}), "properties.a.default", "'x'"),
        ("input.schema.json", properties(a={"$ref": "https://example.org/a.json"}), "$ref", "leads nowhere"),
        ("input.schema.json", properties(a={"items": {"$ref": "#/$defs/no"}}), "$ref", "'#/$defs/no'"),
        ("input.schema.json", properties(a={"$ref": "#"}), "$ref", "leads nowhere"),
        ("input.schema.json", properties(a={"$id": "x"}), "$id", "not supported"),
        ("output.schema.json", {"type": "array"}, "type", 'must be "object"'),
        ("output.schema.json", properties(a={}), "required", "at least one"),
        ("output.schema.json", output(warnings={}), "properties.warnings", "given by the server"),
        ("output.schema.json", output(a={"$dynamicRef": "#a"}), "$dynamicRef", "not supported"),
        ("card.json", "nope", "line 1 column 1", "not JSON"),
        ("SKILL.md", "# Demo", "", "front matter"),
        ("SKILL.md", "---\nname: [\n---\n", "", "not YAML"),
        ("SKILL.md", "---\njust text\n---\n", "", "key: value"),
        ("SKILL.md", "---\nname: demo\n---\n", "description", "required"),
        ("SKILL.md", "---\nname: other\ndescription: d\n---\n", "name", "'demo'"),
    ],
)
def test_a_wrong_file_is_named_with_key_and_reason(broken: Broken, file: str, content: Any, key: str, word: str):
    outcome = broken(**{file: content})
    assert (outcome.file, outcome.key) == (file, key)
    assert word in outcome.reason


@pytest.mark.parametrize(
    ("prompt", "key", "word"),
    [
        ("{% block user %}\n{{ text }\n{% endblock %}", "line 2", "unexpected '}'"),
        ("{% block user %}{{ text }}", "line 1", "endblock"),
        ("{{ text }}", "line 1", "outside of the blocks"),
        ("{% set a = 1 %}\n{% block user %}{{ text }}{% endblock %}", "line 1", "outside of the blocks"),
        ("{% block system %}{{ text }}{% endblock %}", "block user", "is missing"),
        ("{% block usr %}{{ text }}{% endblock %}", "line 1", "did you mean `user`?"),
        ("{% block user %}{{ text }}{% block system %}{% endblock %}{% endblock %}", "line 1", "do not nest"),
        ("{% block user %}hello{% endblock %}", "block user", "never prints `text`"),
        (user("\n{{ fcus }}"), "line 3", "did you mean `focus`?"),
        (user("{{ text | shout }}"), "line 2", "shout"),
        (user("{{ self.user() }}"), "line 2", "`self`"),
        (user("{{ super() }}"), "line 2", "`super`"),
        (user("{% include 'x' %}"), "line 2", "include"),
        (user("{% import 'x' as y %}"), "line 2", "import"),
        ("{% extends 'x' %}" + user(""), "line 1", "extend"),
        (user("") + "{% block assistant %}{{ text }}{% endblock %}", "line 4", "fixed text"),
        (user("{{ " + "(" * 5000 + " }}"), "", "nests too deep"),
    ],
)
def test_a_wrong_prompt_is_named_by_line(broken: Broken, prompt: str, key: str, word: str):
    outcome = broken(**{"prompt.jinja": prompt})
    assert (outcome.file, outcome.key) == ("prompt.jinja", key)
    assert word in outcome.reason


def test_nothing_in_a_prompt_is_computed_when_it_is_read(good: Good):
    good(**{"prompt.jinja": user("{{ 9 ** 9 ** 9 ** 9 }}")})


@pytest.mark.parametrize(
    ("files", "file", "key", "word"),
    [
        (
            {"output.schema.json": output(label={"type": "string"})},
            "output.schema.json",
            "properties.label.enum",
            "two",
        ),
        ({"output.schema.json": output(label={"enum": ["a"]})}, "output.schema.json", "properties.label.enum", "two"),
        ({"output.schema.json": output(label={"enum": ["a", 1]})}, "output.schema.json", "properties.label.enum", "1"),
        (
            {"output.schema.json": output(label={"enum": ["a", "b "]})},
            "output.schema.json",
            "properties.label.enum",
            "b ",
        ),
        ({"output.schema.json": output(x={})}, "output.schema.json", "properties.x", "what choose.write names"),
        ({"output.schema.json": output(scores={})}, "output.schema.json", "properties.label", "is missing"),
        (
            {"skill.toml": manifest('[choose]\nlabels = "x"\n', "choose")},
            "skill.toml",
            "choose.labels",
            "no argument `x`",
        ),
        (
            {
                "skill.toml": manifest('[choose]\nlabels = "x"\n', "choose"),
                "input.schema.json": properties(x={"type": "string"}),
            },
            "skill.toml",
            "choose.labels",
            '"type": "array"',
        ),
        ({"input.schema.json": properties(label={})}, "input.schema.json", "properties.label", "given by the server"),
    ],
)
def test_a_wrong_closed_set_is_named(broken: Broken, files: dict[str, Any], file: str, key: str, word: str):
    outcome = broken(kind="choose", **files)
    assert (outcome.file, outcome.key) == (file, key)
    assert word in outcome.reason


@pytest.mark.parametrize(
    ("choose", "more", "file", "word"),
    [
        ("", {"title": {"type": "string"}}, "output.schema.json", "what choose.write names"),
        ('write = ["title"]', {}, "skill.toml", "no required property `title`"),
        ('write = ["scores"]', {"scores": {"type": "object"}}, "skill.toml", "computed by the server"),
        ('write = ["title"]\nmulti_label = "several"', {"title": {"type": "string"}}, "skill.toml", "needs one label"),
        ('write = ["warnings"]', {"warnings": {"type": "string"}}, "output.schema.json", "given by the server"),
    ],
)
def test_what_is_written_after_a_choice_is_named_and_required(
    broken: Broken, choose: str, more: dict[str, Any], file: str, word: str
):
    outcome = broken(
        **{
            "skill.toml": manifest(f"[choose]\n{choose}\n", kind="choose"),
            "input.schema.json": properties(several={"type": "boolean"}),
            "output.schema.json": output(label={"enum": ["cat", "dog"]}, **more),
            "prompt.jinja": user(""),
        }
    )
    assert outcome.file == file
    assert word in outcome.reason


def test_a_schema_from_the_caller_fills_data_alone(broken: Broken):
    outcome = broken(
        **{
            "skill.toml": manifest('[generate]\nschema_from = "fields"\n'),
            "input.schema.json": properties(fields={"type": "object"}),
            "prompt.jinja": user(""),
        }
    )
    assert (outcome.file, outcome.key) == ("output.schema.json", "properties")


ENTITY = {
    "type": "object",
    "properties": {"type": {"enum": ["a", "b"]}, "value": {"type": "string"}},
    "required": ["type", "value"],
}
LOCATED = '[generate]\nlocate = "found"\nredact = true\n'


@pytest.mark.parametrize(
    ("generate", "answer", "file", "key", "word"),
    [
        ("[generate]\nredact = true\n", {"found": {"type": "array"}}, "skill.toml", "generate.redact", "needs"),
        (LOCATED, {"other": {"type": "array"}}, "skill.toml", "generate.locate", "no required property `found`"),
        (LOCATED, {"found": True, "n": True}, "output.schema.json", "properties", "one property"),
        (LOCATED, {"found": True}, "output.schema.json", "properties.found", "array"),
        (LOCATED, {"found": {"type": "string"}}, "output.schema.json", "properties.found", "array"),
        (LOCATED, {"found": {"type": "array"}}, "output.schema.json", "properties.found", '"items"'),
        (
            LOCATED,
            {"found": {"type": "array", "items": {**ENTITY, "required": ["type"]}}},
            "output.schema.json",
            "properties.found.items",
            "both required",
        ),
        (
            LOCATED,
            {"found": {"type": "array", "items": {**ENTITY, "properties": {**ENTITY["properties"], "end": True}}}},
            "output.schema.json",
            "properties.found.items.properties.end",
            "added by",
        ),
        (
            '[generate.recognise]\na = "email"\n',
            {"found": {"type": "array"}},
            "skill.toml",
            "generate.recognise",
            "needs generate.locate",
        ),
        (
            LOCATED + '[generate.recognise]\nc = "email"\n',
            {"found": {"type": "array", "items": ENTITY}},
            "skill.toml",
            "generate.recognise.c",
            "none of the types",
        ),
        (
            '[generate]\neverywhere = ["a"]\n',
            {"found": {"type": "array"}},
            "skill.toml",
            "generate.everywhere",
            "needs generate.locate",
        ),
        (
            LOCATED + 'everywhere = ["a", "d"]\n',
            {"found": {"type": "array", "items": ENTITY}},
            "skill.toml",
            "generate.everywhere",
            "`d` is none of the types",
        ),
        (
            '[generate.join]\na = ["b"]\n',
            {"found": {"type": "array"}},
            "skill.toml",
            "generate.join",
            "needs generate.locate",
        ),
        (
            LOCATED + '[generate.join]\na = ["b", "c"]\n',
            {"found": {"type": "array", "items": ENTITY}},
            "skill.toml",
            "generate.join.a",
            "`c` is none of the types",
        ),
        (LOCATED, {"redacted": True, "found": True}, "output.schema.json", "properties.redacted", "by the server"),
    ],
)
def test_what_is_to_be_located_is_a_list_of_types_and_values(
    broken: Broken, generate: str, answer: dict[str, Any], file: str, key: str, word: str
):
    outcome = broken(**{"skill.toml": manifest(generate), "output.schema.json": output(**answer)})
    assert (outcome.file, outcome.key) == (file, key)
    assert word in outcome.reason


@pytest.mark.parametrize(
    ("more", "kind", "schemas", "key"),
    [
        ('[trust]\nevidence = "spans"\n', "choose", {"label": {"enum": ["a", "b"]}}, "trust.evidence"),
        ('[trust]\nevidence = "spans"\n', "generate", {"evidence": {"type": "string"}}, "properties.evidence"),
        ('[trust]\nevidence = "claims"\n', "choose", {"label": {"enum": ["a", "b"]}}, "trust.evidence"),
        ('[trust]\nevidence = "claims"\n', "generate", {"unsupported": {"type": "string"}}, "properties.unsupported"),
        ("[trust]\ndefer_below = 0.5\n", "generate", {"answer": {"type": "string"}}, "trust.defer_below"),
    ],
)
def test_evidence_is_for_what_a_skill_generates_and_deferral_for_what_it_chooses(
    broken: Broken, more: str, kind: str, schemas: dict[str, Any], key: str
):
    outcome = broken(
        **{
            "skill.toml": manifest(more, kind=kind),
            "input.schema.json": None,
            "output.schema.json": output(**schemas),
            "prompt.jinja": user(""),
        }
    )
    assert outcome.key == key


def test_a_large_file_is_refused_with_its_size(broken: Broken):
    outcome = broken(**{"prompt.jinja": "x" * 70_000})
    assert outcome.file == "prompt.jinja"
    assert "larger than 64 KiB (70,000 bytes)" in outcome.reason


def test_a_folder_of_very_many_files_is_refused(broken: Broken, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folder_module, "MAX_ENTRIES", 3)
    assert "more than 3 files" in broken().reason


@pytest.mark.parametrize("link", ["prompt.jinja", "notes/deep.txt", "elsewhere"])
def test_a_link_that_leads_outside_is_refused(make_folder: Callable[..., Path], tmp_path: Path, link: str):
    folder = make_folder(**{"prompt.jinja": None} if link == "prompt.jinja" else {})
    (tmp_path / "secret").write_text(user(""))
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(tmp_path / "secret")
    outcome = load_skill(folder, Common())
    assert isinstance(outcome, BrokenSkill)
    assert outcome.file == link
    assert "outside" in outcome.reason


def test_a_link_inside_the_folder_is_fine(make_folder: Callable[..., Path]):
    folder = make_folder(**{"prompt.jinja": None, "prompts/v1.jinja": user("")})
    (folder / "prompt.jinja").symlink_to("prompts/v1.jinja")
    assert isinstance(load_skill(folder, Common()), Skill)


def test_a_folder_that_is_a_link_itself_is_fine(make_folder: Callable[..., Path], tmp_path: Path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "demo").symlink_to(make_folder())
    assert isinstance(load_skill(tmp_path / "linked" / "demo", Common()), Skill)


def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(make_folder: Callable[..., Path]):
    folder = make_folder(**{"prompt.jinja": None})
    os.mkfifo(folder / "prompt.jinja")
    outcome = load_skill(folder, Common())
    assert isinstance(outcome, BrokenSkill)
    assert "not a regular file" in outcome.reason


def test_a_folder_that_is_gone_is_broken_and_raises_nothing(tmp_path: Path):
    outcome = load_skill(tmp_path / "gone", Common())
    assert isinstance(outcome, BrokenSkill)
    assert "cannot be read" in outcome.reason


def test_an_adapter_becomes_an_identity(good: Good):
    skill = good(**{"skill.toml": manifest(ADAPTER + "scale = 0.5\n"), "adapters/tiny/adapter.gguf": b"GGUF..."})
    adapter = skill.adapters["tiny"]
    assert (adapter.sha256, adapter.base_sha256, adapter.scale) == (SHA, SHA, 0.5)
    assert adapter.path == skill.folder / "adapters/tiny/adapter.gguf"


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [
        ("adapters/tiny/adapter.gguf", None, "is not there"),
        ("adapters/tiny/adapter.gguf", b"version https://git-lfs", "no GGUF file"),
        ("adapters/other/adapter.gguf", b"GGUF", "in adapters/tiny/"),
        ("adapters/tiny/../../../x.gguf", None, "in adapters/tiny/"),
        ("adapters/tiny/adapter.bin", b"GGUF", "must be a .gguf file"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_named(broken: Broken, file: str, content: bytes | None, word: str):
    source = manifest(ADAPTER.replace("adapters/tiny/adapter.gguf", file))
    files = {"skill.toml": source} | ({file: content} if content else {})
    outcome = broken(**files)
    assert (outcome.file, outcome.key) == ("skill.toml", "adapters.tiny.file")
    assert word in outcome.reason


def test_prose_and_card_are_kept(good: Good):
    front = "---\nname: demo\ndescription: Says it.\nlicense: MIT\nallowed-tools: Read\nmetadata:\n  a: b\n---\n"
    skill = good(**{"SKILL.md": front + "# Demo\n\nUse it.\n", "card.json": {"f1": 0.9}})
    assert skill.prose == "# Demo\n\nUse it."
    assert skill.card == {"f1": 0.9}


def test_the_digest_follows_what_shapes_answers_and_nothing_else(good: Good):
    first = good().digest
    assert good(**{"SKILL.md": "---\nname: demo\ndescription: d\n---\n", "card.json": {}}).digest == first
    assert good(**{"prompt.jinja": user("again")}).digest != first
    assert good(**{"calibration.json": {}}).digest != first


def test_a_bug_of_ours_breaks_one_folder_only(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("tools_server.skills.loader.check_arguments", fail)
    outcome = load_skill(make_folder(), Common())
    assert isinstance(outcome, BrokenSkill)
    assert "ZeroDivisionError: oops" in outcome.reason
    assert "unforeseen" in caplog.text
