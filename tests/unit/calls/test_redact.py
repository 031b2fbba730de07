import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.unit.calls.calls_fakes import FakeEngine, pii_skill, runner_for
from tools_server.bundled import bundled_dir
from tools_server.calls.redact import joined, located, recognised, redacted, repeated
from tools_server.engine.types import ConstraintKind, GenerationRequest
from tools_server.skills.catalog import Catalog


def entities(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"type": kind, "value": value} for kind, value in pairs]


def placed(text: str, *pairs: tuple[str, str]) -> list[tuple[str, int, int]]:
    found = located(entities(*pairs), text)
    assert all(text[entity["start"] : entity["end"]] == entity["value"] for entity in found)
    return [(entity["value"], entity["start"], entity["end"]) for entity in found]


def marked(text: str, *pairs: tuple[str, str]) -> str:
    return redacted(text, located(entities(*pairs), text))


def test_entities_are_found_in_the_order_of_the_text():
    text = "Lee met Ann. Ann met Lee."
    assert placed(text, ("p", "Lee"), ("p", "Ann"), ("p", "Ann"), ("p", "Lee")) == [
        ("Lee", 0, 3),
        ("Ann", 8, 11),
        ("Ann", 13, 16),
        ("Lee", 21, 24),
    ]


def test_one_that_comes_late_is_found_all_the_same():
    assert placed("Ann met Lee.", ("p", "Lee"), ("p", "Ann")) == [("Lee", 8, 11), ("Ann", 0, 3)]


def test_one_that_is_listed_more_often_than_it_stands_there_is_left_out():
    assert placed("Ann met Annual.", ("p", "Ann"), ("p", "Ann"), ("p", "Bob")) == [("Ann", 0, 3)]


def test_an_entity_within_another_has_its_own_place():
    assert placed("4 Mill Lane, Ashford", ("a", "4 Mill Lane, Ashford"), ("l", "Ashford")) == [
        ("4 Mill Lane, Ashford", 0, 20),
        ("Ashford", 13, 20),
    ]


@pytest.mark.parametrize(
    ("text", "pairs", "wanted"),
    [
        (
            "Call Ann on 020 7946 0018.",
            [("person", "Ann"), ("phone number", "020 7946 0018")],
            "Call [PERSON] on [PHONE_NUMBER].",
        ),
        ("Ann, Annual, Ann", [("person", "Ann")], "[PERSON], Annual, [PERSON]"),
        ("nothing here", [], "nothing here"),
        ("Ann", [("person", "Ann")], "[PERSON]"),
        ("4 Mill Lane, Ashford!", [("place", "Ashford"), ("address", "4 Mill Lane, Ashford")], "[ADDRESS]!"),
        ("Ann Lee Smith", [("a", "Ann Lee"), ("b", "Lee Smith")], "[B]"),
        ("Ann Lee Smith Jr", [("a", "Ann Lee"), ("b", "Smith Jr"), ("c", "Lee Smith")], "[C]"),
        ("May 3 or May 4: call May", [("date", "May 3"), ("person", "May")], "[DATE] or [PERSON] 4: call [PERSON]"),
        ("a\nb 👩‍🚀", [("x", "👩‍🚀"), ("y", "a\nb")], "[Y] [X]"),
    ],
)
def test_what_was_found_is_replaced_wherever_it_stands(text: str, pairs: list[tuple[str, str]], wanted: str):
    assert marked(text, *pairs) == wanted


@given(st.lists(st.sampled_from(["Ann", "Lee", "May", "x", "4"]), min_size=1, max_size=12), st.data())
def test_no_found_word_is_left_over(words: list[str], data: Any):
    text = " ".join(words)
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, len(words) - 1), st.integers(1, 3), st.sampled_from("pq")), max_size=4)
    )
    values = [(kind, " ".join(words[start : start + length])) for start, length, kind in pairs]
    left = marked(text, *values).split(" ")
    for value in {value for _, value in values if " " not in value}:
        assert value not in left
    assert not values or left != words


def test_what_shows_by_its_form_what_it_is_takes_the_place_of_what_it_was_taken_for():
    text = "Ann (ann@example.org) pays with 4111 1111 1111 1111 from 4 Mill Lane."
    said = located(entities(("person", "Ann"), ("phone", "4111 1111"), ("address", "4 Mill Lane")), text)
    found = recognised(said, text, {"e-mail": "email", "card": "payment_card"})
    assert [(each["type"], each["value"]) for each in found] == [
        ("person", "Ann"),
        ("e-mail", "ann@example.org"),
        ("card", "4111 1111 1111 1111"),
        ("address", "4 Mill Lane"),
    ]
    assert all(text[each["start"] : each["end"]] == each["value"] for each in found)
    assert redacted(text, found) == "[PERSON] ([E-MAIL]) pays with [CARD] from [ADDRESS]."
    assert recognised(found, text, {"e-mail": "email", "card": "payment_card"}) == found


@pytest.mark.parametrize(
    ("text", "pairs", "wanted"),
    [
        pytest.param("on 2024-12-05", [("date", "12-05")], ["2024-12-05"], id="a part gives way"),
        pytest.param("on Thu 2024-12-05", [("date", "Thu 2024-12-05")], ["Thu 2024-12-05"], id="more around it stays"),
        pytest.param("Ann 2024-12-05", [("person", "Ann 2024-12-05")], ["Ann 2024-12-05", "2024-12-05"], id="as other"),
        pytest.param(
            "from 2024-12-05 to 2024-12-09",
            [("date", "2024-12-05 to 2024-12-09")],
            ["2024-12-05", "2024-12-09"],
            id="two as one are two",
        ),
        pytest.param(
            "see https://a.example/?to=ann@b.example&on=2024-12-05",
            [("person", "ann")],
            ["https://a.example/?to=ann@b.example&on=2024-12-05"],
            id="within a page's address is nothing else",
        ),
    ],
)
def test_what_shows_by_its_form_is_given_once(text: str, pairs: list[tuple[str, str]], wanted: list[str]):
    forms = {"date": "iso_date", "e-mail": "email", "domain": "url"}
    found = recognised(located(entities(*pairs), text), text, forms)
    assert [each["value"] for each in found] == wanted
    assert recognised(found, text, forms) == found


@pytest.mark.parametrize(
    ("text", "pairs", "wanted"),
    [
        pytest.param(
            "Ann, 450 Mill Lane 15, Ashford TN23 1AA",
            [
                ("person", "Ann"),
                ("street", "450"),
                ("street", "Mill Lane 15"),
                ("city", "Ashford"),
                ("zip", "TN23 1AA"),
            ],
            ["Ann", "450 Mill Lane 15, Ashford TN23 1AA"],
            id="on one line",
        ),
        pytest.param(
            "4 Mill Lane\n  Apt. 2,\r\n  Ashford\n  TN23",
            [("street", "4 Mill Lane"), ("street", "Apt. 2"), ("city", "Ashford"), ("zip", "TN23")],
            ["4 Mill Lane\n  Apt. 2,\r\n  Ashford\n  TN23"],
            id="on several lines",
        ),
        pytest.param(
            "4 Mill Lane, Ashford\n7 Oak Way, Bonn",
            [("street", "4 Mill Lane"), ("city", "Ashford"), ("street", "7 Oak Way"), ("city", "Bonn")],
            ["4 Mill Lane, Ashford", "7 Oak Way, Bonn"],
            id="a second address begins where the first has its city",
        ),
        pytest.param(
            "450 Mill Lane 15, Ashford\n7 Oak Way, Bonn",
            [("street", "450"), ("street", "Mill Lane 15, Ashford"), ("street", "7 Oak Way, Bonn")],
            ["450 Mill Lane 15, Ashford", "7 Oak Way, Bonn"],
            id="be it that the city came with it",
        ),
        pytest.param(
            "4 Mill Lane, Estonia 62488, 7 Oak Way",
            [("street", "4 Mill Lane"), ("city", "Estonia"), ("street", "62488"), ("street", "7 Oak Way")],
            ["4 Mill Lane, Estonia 62488", "7 Oak Way"],
            id="but no address begins behind another with a mere space between",
        ),
        pytest.param(
            "From Ashford, Bonn to 7 Oak Way and Bonn",
            [("city", "Ashford"), ("city", "Bonn"), ("street", "7 Oak Way"), ("city", "Bonn")],
            ["Ashford", "Bonn", "7 Oak Way", "Bonn"],
            id="cities alone, before it, or behind a word stay what they are",
        ),
        pytest.param(
            "4 Mill Lane\n\nAshford is nice",
            [("street", "4 Mill Lane"), ("city", "Ashford")],
            ["4 Mill Lane", "Ashford"],
            id="not over an empty line",
        ),
        pytest.param(
            "4 Mill Lane,Ashford,T2\t7 Oak Way\tBonn",
            [
                ("street", "4 Mill Lane"),
                ("city", "Ashford"),
                ("zip", "T2"),
                ("street", "7 Oak Way"),
                ("city", "Bonn"),
            ],
            ["4 Mill Lane", "Ashford", "T2", "7 Oak Way", "Bonn"],
            id="not over the columns of a table",
        ),
        pytest.param(
            "4 Ann Lane, Ashford",
            [("street", "4 Ann Lane"), ("person", "Ann"), ("city", "Ashford")],
            ["4 Ann Lane, Ashford", "Ann"],
            id="what lies within does not end it",
        ),
        pytest.param(
            "4 Mill Lane, Ann, Ashford",
            [("street", "4 Mill Lane"), ("person", "Ann"), ("city", "Ashford")],
            ["4 Mill Lane", "Ann", "Ashford"],
            id="what stands between does",
        ),
    ],
)
def test_pieces_of_an_address_are_one_entity(text: str, pairs: list[tuple[str, str]], wanted: list[str]):
    found = joined(located(entities(*pairs), text), text, {"street": ("city", "zip")})
    assert [each["value"] for each in found] == wanted
    assert all(text[each["start"] : each["end"]] == each["value"] for each in found)
    assert joined(found, text, {"street": ("city", "zip")}) == found
    assert joined(found, text, {}) == found


@pytest.mark.parametrize(
    ("text", "pairs", "wanted"),
    [
        pytest.param("Ann. ann, Ann, Annual, Ann", [("p", "Ann")], ["Ann", "Ann", "Ann"], id="word for word"),
        pytest.param(
            "Ann, Ann Lee, Ann Lee", [("p", "Ann"), ("p", "Ann Lee")], ["Ann", "Ann Lee", "Ann Lee"], id="longest"
        ),
        pytest.param(
            "Ann of Ann Lane, Ann", [("p", "Ann"), ("s", "Ann Lane")], ["Ann", "Ann Lane", "Ann"], id="not within"
        ),
        pytest.param("34 of 34", [("age", "34")], ["34"], id="not of all types"),
        pytest.param("May. May", [("p", "May"), ("s", "May")], ["May", "May"], id="found as two types"),
        pytest.param("Jo Jo Jo Jo", [("p", "Jo Jo")], ["Jo Jo", "Jo Jo"], id="apart from each other"),
        pytest.param("nothing", [], [], id="none"),
    ],
)
def test_what_was_found_once_is_an_entity_wherever_its_words_stand(
    text: str, pairs: list[tuple[str, str]], wanted: list[str]
):
    found = repeated(located(entities(*pairs), text), text, ("p", "s"))
    assert [each["value"] for each in found] == wanted
    assert all(text[each["start"] : each["end"]] == each["value"] for each in found)
    assert repeated(found, text, ("p", "s")) == found
    assert repeated(found, text, ()) == found


async def test_a_name_that_is_found_in_one_part_of_a_long_text_is_listed_in_all_of_them() -> None:
    skill = Catalog([bundled_dir("skills")]).get("find_pii")
    text = (
        "Ann Lee came. "
        + "Nothing is said here of anybody at all, nor is it in what follows. " * 300
        + "So said Ann Lee."
    )
    engine = FakeEngine(
        lambda prompt: json.dumps({"entities": entities(("person", "Ann Lee")) if "Ann Lee came" in prompt else []})
    )
    result = await runner_for(engine).run(skill, {"text": text})
    assert len(engine.requests) > 1
    assert [each["start"] for each in result.data["entities"]] == [0, len(text) - len("Ann Lee.")]


async def test_an_address_in_pieces_has_one_mark_and_may_be_longer_than_a_piece_may() -> None:
    skill = Catalog([bundled_dir("skills")]).get("find_pii")
    street = "Mill Lane " * 19 + "15"
    said = {"entities": entities(("street address", street), ("location", "Ashford upon the Water"))}
    engine = FakeEngine(lambda _prompt: json.dumps(said))
    result = await runner_for(engine).run(skill, {"text": f"She lives at {street}, Ashford upon the Water."})
    Draft202012Validator(skill.result_schema).validate(result.data)
    assert [entity["value"] for entity in result.data["entities"]] == [f"{street}, Ashford upon the Water"]
    assert result.data["redacted"] == "She lives at [STREET_ADDRESS]."


async def test_an_identifier_that_the_model_does_not_name_is_redacted_all_the_same() -> None:
    skill = Catalog([bundled_dir("skills")]).get("find_pii")
    engine = FakeEngine(lambda _prompt: json.dumps({"entities": []}))
    result = await runner_for(engine).run(skill, {"text": "My IBAN is GB82 WEST 1234 5698 7654 32."})
    Draft202012Validator(skill.result_schema).validate(result.data)
    assert result.data["entities"] == [{"type": "IBAN", "value": "GB82 WEST 1234 5698 7654 32", "start": 11, "end": 38}]
    assert result.data["redacted"] == "My IBAN is [IBAN]."


async def test_places_and_the_redacted_text_are_added_by_code(tmp_path: Path) -> None:
    skill = pii_skill(tmp_path)
    said = {"entities": entities(("person", "Ann"), ("phone number", "020 7946"))}
    engine = FakeEngine(lambda prompt: json.dumps(said))
    result = await runner_for(engine).run(skill, {"items": ["Ann: 020 7946, Ann", "Ann is in, 020 7946"]})
    Draft202012Validator(skill.result_schema).validate(result.data)
    first, second = result.data["results"]
    assert first["entities"] == [
        {"type": "person", "value": "Ann", "start": 0, "end": 3},
        {"type": "phone number", "value": "020 7946", "start": 5, "end": 13},
    ]
    assert first["redacted"] == "[PERSON]: [PHONE_NUMBER], [PERSON]"
    assert second["redacted"] == "[PERSON] is in, [PHONE_NUMBER]"
    constraints = [request.constraint for request in engine.requests if isinstance(request, GenerationRequest)]
    assert {(it.kind, it.text) for it in constraints if it} == {
        (ConstraintKind.SPANS, "Ann: 020 7946, Ann"),
        (ConstraintKind.SPANS, "Ann is in, 020 7946"),
    }


async def test_a_long_text_is_redacted_in_parts_and_places_are_of_the_whole(tmp_path: Path) -> None:
    skill = pii_skill(tmp_path, 'max_input_tokens = 60\nmax_output_tokens = 50\nlong_input = "split"')
    text = "\n\n".join(f"Dear Name{number}, " + "word " * 30 for number in range(12))

    def say(prompt: str) -> str:
        names = [word.rstrip(",") for word in prompt.split() if word.startswith("Name")]
        return json.dumps({"entities": entities(*(("person", name) for name in names[:3]))})

    engine = FakeEngine(say)
    result = await runner_for(engine).run(skill, {"text": text})
    Draft202012Validator(skill.result_schema).validate(result.data)
    assert [entity["value"] for entity in result.data["entities"]] == [f"Name{number}" for number in range(12)]
    assert all(text[it["start"] : it["end"]] == it["value"] for it in result.data["entities"])
    assert result.data["redacted"].count("[PERSON]") == 12
    assert "Name" not in result.data["redacted"]
    assert "was read in 12 parts" in result.data["warnings"][0]
    sources = [it.constraint.text for it in engine.requests if isinstance(it, GenerationRequest) and it.constraint]
    assert "".join(sources) == text  # each part copies from itself alone


async def test_an_answer_of_parts_has_no_confidence_and_is_deferred_where_one_is_asked_for() -> None:
    skill = Catalog([bundled_dir("skills")]).get("find_pii")
    engine = FakeEngine(lambda _prompt: json.dumps({"entities": []}))
    call = {"text": "\n\n".join("word " * 90 for _ in range(8))}
    plain = await runner_for(engine).run(skill, call)
    asked = await runner_for(engine).run(skill, {**call, "min_confidence": 0.5, "detail": "full"})
    for result in (plain, asked):
        Draft202012Validator(skill.result_schema).validate(result.data)
        assert result.data["confidence"] is None
    assert "deferred" not in plain.data
    assert asked.data["deferred"] is True
    assert asked.data["reason"] == "The confidence is not known, so it may be below `min_confidence` of 0.5."
    assert asked.data["signals"] is None


async def test_a_full_list_is_told(tmp_path: Path) -> None:
    skill = pii_skill(tmp_path)
    said = {"entities": entities(("person", "Ann"), ("person", "Bob"), ("person", "Lee"))}
    result = await runner_for(FakeEngine(lambda prompt: json.dumps(said))).run(skill, {"text": "Ann, Bob, Lee, Mia"})
    assert result.data["warnings"] == ["$.entities has all of its 3 entities; more may be missing."]
    assert result.data["redacted"] == "[PERSON], [PERSON], [PERSON], Mia"
