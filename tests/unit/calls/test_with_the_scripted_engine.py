"""The room over the real scheduler, constraints and thread; only the model's arithmetic is scripted."""

import json
from pathlib import Path

import anyio
import pytest
from jsonschema import Draft202012Validator

from tests.unit.calls.calls_fakes import classify_skill, commit_skill, extract_skill, summarise_skill
from tools_server.bundled import bundled_dir
from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.engine.scripted import Script, ScriptedBackend, ScriptedEngine, saying
from tools_server.errors import InvalidArguments, OutputTruncated
from tools_server.evidence.verify import verify
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog


class Rooms:
    """A runner over a scripted engine that is closed at the end."""

    def __init__(self, script: Script) -> None:
        self.gate = EngineGate(lambda: ScriptedEngine(backend=ScriptedBackend(script, context_tokens=8192)))
        self.runner = SkillRunner(self.gate, Settings())

    async def __aenter__(self) -> SkillRunner:
        return self.runner

    async def __aexit__(self, *_: object) -> None:
        await self.gate.aclose()


async def test_labels_are_scored(tmp_path: Path) -> None:
    skill = classify_skill(tmp_path)
    with anyio.fail_after(20):
        async with Rooms(saying("spam")) as runner:
            result = await runner.run(skill, {"labels": ["ham", "spam", "spam and eggs"], "items": ["a", "b"]})
    Draft202012Validator(skill.result_schema).validate(result.data)
    assert [entry["label"] for entry in result.data["results"]] == ["spam", "spam"]
    assert result.usage.cached > 0


async def test_a_callers_schema_is_enforced_with_null_for_what_was_not_required(tmp_path: Path) -> None:
    fields = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "at": {"$ref": "#/$defs/Place"}},
        "required": ["name"],
        "$defs": {"Place": {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "string"}}}},
    }
    said = {"name": "Ada", "age": None, "at": {"city": "Bern", "zip": None}}
    with anyio.fail_after(20):
        async with Rooms(saying(json.dumps(said, separators=(",", ":")))) as runner:
            result = await runner.run(extract_skill(tmp_path), {"fields": fields, "text": "Ada from Bern"})
    assert result.data == {"data": said}
    assert result.usage.forced > 0


@pytest.mark.parametrize("keyword", ["not", "if", "minContains", "propertyNames", "x-anything"])
async def test_what_the_decoder_cannot_enforce_is_told_by_path_and_keyword(tmp_path: Path, keyword: str) -> None:
    value = 1 if keyword == "minContains" else {}
    fields = {"type": "object", "properties": {"a": {"type": "array", "items": {keyword: value}}}}
    with anyio.fail_after(20):
        async with Rooms(saying("")) as runner:
            with pytest.raises(InvalidArguments) as caught:
                await runner.run(extract_skill(tmp_path), {"fields": fields, "text": "x"})
    assert "$.fields.properties.a.items" in caught.value.message
    assert f"`{keyword}`" in caught.value.message


async def test_an_endless_answer_is_truncated_loudly(tmp_path: Path) -> None:
    def endless(text: str, _adapter: object) -> str:
        said = text.rpartition("assistant\n")[2]
        return '{"summary":"'[len(said) :][:1] or "x"

    with anyio.fail_after(20):
        async with Rooms(endless) as runner:
            with pytest.raises(OutputTruncated, match="after 64 tokens"):
                await runner.run(summarise_skill(tmp_path, "max_output_tokens = 64"), {"text": "x"})


async def test_with_several_labels_on_the_text_is_decoded_once_for_all_of_them() -> None:
    skill = Catalog([bundled_dir("skills")]).get("classify")
    text = "a long text " * 30
    labels = [{"name": name, "description": f"about {name}"} for name in ("bills", "parcels", "praise")]
    with anyio.fail_after(20):
        async with Rooms(saying("yes")) as runner:
            result = await runner.run(skill, {"labels": labels, "text": text, "multi_label": True})
    assert result.data["labels"] == ["bills", "parcels", "praise"]
    # The scripted tokenizer makes a token of each byte.
    assert result.usage.cached >= 2 * len(text)


@pytest.mark.parametrize(
    ("given", "own", "deferred"),
    [({}, "", False), ({"min_confidence": 1.0}, "", True), ({}, "[trust]\ndefer_below = 1.0", True),
     ({"min_confidence": 0.5}, "[trust]\ndefer_below = 1.0", False)],
)  # fmt: skip
async def test_an_answer_that_is_less_sure_than_asked_for_is_deferred_and_still_given(
    tmp_path: Path, given: dict[str, float], own: str, deferred: bool
) -> None:
    skill = classify_skill(tmp_path, own)
    with anyio.fail_after(20):
        async with Rooms(saying("spam")) as runner:
            result = await runner.run(skill, {"labels": ["ham", "spam"], "items": ["a"], **given})
    Draft202012Validator(skill.result_schema).validate(result.data)
    (entry,) = result.data["results"]
    assert entry["label"] == "spam"
    assert entry.get("deferred", False) is deferred
    assert ("reason" in entry) is deferred


async def test_where_none_of_the_labels_may_fit_the_answer_can_be_null() -> None:
    skill = Catalog([bundled_dir("skills")]).get("classify")
    call = {"labels": ["ham", "spam"], "text": "a", "detail": "full"}
    with anyio.fail_after(20):
        async with Rooms(saying("none of these")) as runner:
            asked = await runner.run(skill, {**call, "allow_none": True})
            forced = await runner.run(skill, call)
    Draft202012Validator(skill.result_schema).validate(asked.data)
    assert asked.data["label"] is None
    assert asked.data["scores"]["none of these"] == pytest.approx(asked.data["confidence"], abs=1e-4)
    assert forced.data["label"] in ("ham", "spam")


async def test_in_full_detail_an_answer_has_every_score_and_what_it_rests_on() -> None:
    skill = Catalog([bundled_dir("skills")]).get("classify")
    labels = [f"label {n:02}" for n in range(30)]
    with anyio.fail_after(20):
        async with Rooms(saying("label 07")) as runner:
            full = await runner.run(skill, {"labels": labels, "text": "a", "detail": "full"})
            brief = await runner.run(skill, {"labels": labels, "text": "a"})
    Draft202012Validator(skill.result_schema).validate(full.data)
    assert len(full.data["scores"]) == 30
    assert sum(full.data["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert len(brief.data["scores"]) == 10
    assert not {"signals", "calibration"} & brief.data.keys()
    signals = full.data["signals"]
    first, second = sorted(full.data["scores"].values())[-2:][::-1]
    assert signals["margin"] == pytest.approx(first - second, abs=1e-6)
    assert 0 <= signals["entropy"] < 3.5
    assert 0 < signals["mass"] <= 1
    assert full.data["calibration"] is None


async def test_what_is_extracted_says_how_sure_all_its_values_are_and_can_be_deferred() -> None:
    skill = Catalog([bundled_dir("skills")]).get("extract")
    fields = {"type": "object", "properties": {"name": {"type": "string"}, "town": {"type": "string"}}}
    said = saying('{"name":"Ada","town":"Bern"}')
    call = {"fields": fields, "text": "Ada\nfrom Bern"}
    with anyio.fail_after(20):
        async with Rooms(said) as runner:
            brief = await runner.run(skill, call)
            full = await runner.run(skill, {**call, "detail": "full", "min_confidence": 1.0})
    for result in (brief, full):
        Draft202012Validator(skill.result_schema).validate(result.data)
    assert brief.data["data"] == {"name": "Ada", "town": "Bern"}
    assert 0 < brief.data["confidence"] <= 1
    assert not {"signals", "deferred", "quotes", "lines"} & brief.data.keys()
    assert set(full.data["signals"]) == {"name", "town"}
    assert full.data["quotes"] == {"name": "Ada", "town": "Bern"}
    assert full.data["lines"] == {"name": 1, "town": 2}
    assert full.data["signals"]["name"]["tokens"] > 0
    assert full.data["deferred"] is True
    assert "below `min_confidence` of 1" in full.data["reason"]


def writing(text: str, _: object) -> str:
    """A model that chooses `feature`, and writes a title once it is asked about one."""
    asked, _, said = text.rpartition("assistant\n")
    answer = '{"title":"add a flag"}' if "A feature called" in asked else "feature"
    return answer[len(said) :][:1]


async def test_a_skill_that_chooses_can_write_about_its_choice_and_reads_the_text_once(tmp_path: Path) -> None:
    skill = commit_skill(tmp_path)
    text = "a long change " * 30
    with anyio.fail_after(20):
        async with Rooms(writing) as runner:
            result = await runner.run(skill, {"text": text})
    Draft202012Validator(skill.result_schema).validate(result.data)
    assert result.data["label"] == "feature"
    assert result.data["confidence"] > 0.9
    assert result.data["title"] == "add a flag"
    assert result.usage.cached >= len(text), "the scripted tokenizer makes a token of each byte"


async def test_a_title_that_fills_its_limit_is_warned_of_and_one_without_end_is_refused(tmp_path: Path) -> None:
    def long_title(text: str, _: object) -> str:
        asked, _, said = text.rpartition("assistant\n")
        return ('{"title":"' + "x" * 40 + '"}' if "called" in asked else "fix")[len(said) :][:1]

    with anyio.fail_after(20):
        async with Rooms(long_title) as runner:
            result = await runner.run(commit_skill(tmp_path / "a"), {"items": ["a", "b"]})
            with pytest.raises(OutputTruncated, match="after 20 tokens"):
                await runner.run(commit_skill(tmp_path / "b", "[limits]\nmax_output_tokens = 20"), {"text": "a"})
    assert [entry["warnings"] for entry in result.data["results"]] == [
        ["$.title ends exactly at its `maxLength` and may be cut."]
    ] * 2


async def test_a_string_that_ends_where_it_had_to_is_warned_of(tmp_path: Path) -> None:
    fields = {
        "type": "object",
        "properties": {
            "code": {"type": "string", "maxLength": 3},
            "note": {"type": "string", "maxLength": 40},
            "more": {"type": "array", "items": {"$ref": "#/$defs/Line"}, "maxItems": 2},
        },
        "required": ["code", "more"],
        "$defs": {"Line": {"type": "string", "maxLength": 50}},
    }
    said = {"code": "EUR", "note": "n" * 40, "more": ["short", "m" * 50]}
    with anyio.fail_after(20):
        async with Rooms(saying(json.dumps(said, separators=(",", ":")))) as runner:
            result = await runner.run(extract_skill(tmp_path), {"fields": fields, "text": "x"})
    assert result.data["data"] == said
    assert [warning.split()[0] for warning in result.data["warnings"]] == ["$.data.more[1]", "$.data.note"]
    assert "may be cut" in result.data["warnings"][0]


async def test_evidence_says_where_each_value_stands_and_a_warning_names_what_is_not_there(tmp_path: Path) -> None:
    skill = extract_skill(tmp_path, more='[trust]\nevidence = "spans"\n')
    fields = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "mood": {"enum": ["angry", "calm"]},
            "lines": {
                "type": "array",
                "maxItems": 2,
                "items": {"type": "object", "properties": {"n": {"type": "number"}}},
            },
            "note": {"type": "string"},
        },
        "required": ["name", "mood", "lines"],
    }
    said = {"name": "Ada", "mood": "calm", "lines": [{"n": 1250.5}, {"n": 7}], "note": None}
    text = "Ada owes 1,250.50 EUR."
    with anyio.fail_after(20):
        async with Rooms(saying(json.dumps(said, separators=(",", ":")))) as runner:
            result = await runner.run(skill, {"fields": fields, "text": text})
    Draft202012Validator(skill.result_schema).validate(result.data)
    places = result.data["evidence"]
    assert {path: text[start:end] for path, (start, end) in places.items()} == {"name": "Ada", "lines[0].n": "1,250.50"}
    assert result.data["warnings"] == ["Not in the text: `lines[1].n` (7)."]


CLAIMS = 'max_output_tokens = 400\n[trust]\nevidence = "claims"'


async def test_what_a_summary_claims_and_its_text_does_not_have_is_listed_as_verify_tells_it(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, CLAIMS)
    said = {
        "summary": "Priya renewed the certificate on 5 March. About 1,250 orders failed.",
        "key_points": ["Penguins migrate across frozen oceans.", "310 orders failed, says Anna Schmidt."],
    }
    text = "4 March 2026: Priya renewed the certificate by hand. About 310 orders failed."
    with anyio.fail_after(20):
        async with Rooms(saying(json.dumps(said, separators=(",", ":")))) as runner:
            result = await runner.run(skill, {"items": [text, "5 March: nothing."]})
    Draft202012Validator(skill.result_schema).validate(result.data)
    entry = result.data["results"][0]
    assert entry["unsupported"] == [
        {"path": "summary", "claim": "5 March", "kind": "date"},
        {"path": "summary", "claim": "1,250", "kind": "number"},
        {"path": "key_points[0]", "claim": "Penguins migrate across frozen oceans.", "kind": "sentence"},
        {"path": "key_points[1]", "claim": "Anna Schmidt", "kind": "name"},
    ]
    assert entry["warnings"] == [
        "Not found in the text: 4 claims of this answer (see `unsupported`). Check them before you rely on them."
    ]
    told = [(f"$.{each['path']}", each["claim"], each["kind"]) for each in entry["unsupported"]]
    assert [(each.path, each.value, each.kind) for each in verify(entry, text).missing] == told
    assert "5 March" not in [each["claim"] for each in result.data["results"][1]["unsupported"]]


async def test_a_summary_that_holds_has_nothing_added(tmp_path: Path) -> None:
    said = {"summary": "About 310 orders failed.", "key_points": ["310 failed on March 4."]}
    with anyio.fail_after(20):
        async with Rooms(saying(json.dumps(said, separators=(",", ":")))) as runner:
            result = await runner.run(
                summarise_skill(tmp_path, CLAIMS), {"text": "4 March 2026: about 310 orders have failed."}
            )
    assert result.data == said


async def test_of_very_many_claims_the_first_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    long = "Penguins " + "migrate " * 20
    said = {"summary": " ".join(f"{number} rows." for number in range(100, 111)), "key_points": [long]}
    with anyio.fail_after(20):
        async with Rooms(saying(json.dumps(said, separators=(",", ":")))) as runner:
            result = await runner.run(summarise_skill(tmp_path / "a", CLAIMS), {"text": "Nothing of it."})
            said["summary"] = "Nothing."
        async with Rooms(saying(json.dumps(said, separators=(",", ":")))) as runner:
            other = await runner.run(skill := summarise_skill(tmp_path / "b", CLAIMS), {"text": "Nothing of it."})
            full = await runner.run(skill, {"text": "Nothing of it.", "detail": "full"})
    assert len(result.data["unsupported"]) == 10
    assert "12 claims of this answer (the first 10 are in `unsupported`)" in result.data["warnings"][0]
    (claim,) = other.data["unsupported"]
    assert (len(claim["claim"]), claim["claim"][-1]) == (60, "…")
    assert full.data["unsupported"] == [{**claim, "claim": long}]


async def test_a_marked_property_of_a_callers_schema_is_copied_from_the_text(tmp_path: Path) -> None:
    fields = {
        "type": "object",
        "properties": {"name": {"type": "string", "x-span": True}, "note": {"type": "string", "maxLength": 20}},
        "required": ["name", "note"],
    }
    said = '{"name":"Bob","note":"made up"}'
    with anyio.fail_after(20):
        async with Rooms(saying(said)) as runner:
            result = await runner.run(extract_skill(tmp_path), {"fields": fields, "items": ["Ada from Bern", "Bob"]})
    first, second = (entry["data"] for entry in result.data["results"])
    assert first["name"] in "Ada from Bern"
    assert second == {"name": "Bob", "note": "made up"}


async def test_the_bundled_extract_copies_every_string_that_is_free() -> None:
    fields = {"type": "object", "properties": {"name": {"type": "string"}, "kind": {"type": "string", "x-span": False}}}
    with anyio.fail_after(20):
        async with Rooms(saying('{"name":"Bob","kind":"a person"}')) as runner:
            skill = Catalog([bundled_dir("skills")]).get("extract")
            result = await runner.run(skill, {"fields": fields, "text": '"Ada" from Bern'})
    assert result.data["data"]["name"] in (None, "Ada", "from", "Bern", "from Bern")


async def test_a_mark_that_cannot_be_honoured_is_told_by_the_callers_path(tmp_path: Path) -> None:
    fields = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x", "x-span": True}}}
    with anyio.fail_after(20):
        async with Rooms(saying("")) as runner:
            with pytest.raises(InvalidArguments, match=r"at \$\.fields\.properties\.a, keyword `x-span`"):
                await runner.run(extract_skill(tmp_path), {"fields": fields, "text": "x"})
