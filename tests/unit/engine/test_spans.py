import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tools_server.engine.grammar import GrammarCompiler, Matcher
from tools_server.engine.scripted import ScriptedBackend
from tools_server.engine.types import Constraint, ConstraintKind, as_json_schema
from tools_server.engine.words import borders, chunks, occurrences
from tools_server.errors import InvalidArguments

SPAN = {"type": "string", "x-span": True}
TEXT = 'Dear Ann "the boss" Lee,\n\tpay 12.50 EUR to C:\\x é 😀 by 10:00, Ann.'


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(ScriptedBackend())


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def spans(schema: Any, text: str = TEXT, kind: ConstraintKind = ConstraintKind.SPANS) -> Constraint:
    return Constraint(kind, as_json_schema(schema).source, text)


def accepts(matcher: Matcher, answer: str) -> bool:
    for byte in answer.encode():
        if matcher.is_complete() or not matcher.mask()[byte]:
            return False
        matcher.advance(byte)
    return matcher.is_complete()


def takes(compiler: GrammarCompiler, constraint: Constraint, value: Any) -> bool:
    return accepts(compiler.matcher(constraint), json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def drawn(matcher: Matcher, choose: Any) -> str:
    """Write an answer of the constraint's language, each byte as `choose` picks it among those allowed."""
    out = bytearray()
    while not matcher.is_complete():
        byte = choose([int(token) for token in matcher.mask().nonzero()[0] if token < 256])
        matcher.advance(byte)
        out.append(byte)
    return out.decode()


def strings_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for child in children for text in strings_in(child)]


@pytest.mark.parametrize(
    "copied",
    ["Ann", 'Ann "the boss" Lee', "Lee,\n\tpay", "C:\\x", "é 😀", "12.50", "10:00, Ann.", TEXT],
)
def test_words_of_the_text_can_be_copied_whatever_json_makes_of_them(compiler: GrammarCompiler, copied: str):
    assert takes(compiler, spans(obj(a=SPAN)), {"a": copied})


@pytest.mark.parametrize("other", ["Bob", "ann", "An", "nn", "", " Ann", "Ann ", "Ann Lee", "12,50", "e", "Lee,\n"])
def test_nothing_else_can(compiler: GrammarCompiler, other: str):
    assert not takes(compiler, spans(obj(a=SPAN)), {"a": other})


@pytest.mark.parametrize("copied", [":8080", "::1", ".env", "...", "?x=1", "- 5", "(a)", "Date: 14"])
def test_a_copy_may_begin_with_a_sign_that_belongs_to_it(compiler: GrammarCompiler, copied: str):
    text = "Date: 14 on :8080 or ::1 in .env ... ?x=1 - 5 (a)"
    assert takes(compiler, spans(obj(a=SPAN), text), {"a": copied})
    assert takes(compiler, spans(obj(a={**SPAN, "maxLength": len(copied)}), text), {"a": copied})
    assert not takes(compiler, spans(obj(a={**SPAN, "maxLength": len(copied) - 1}), text), {"a": copied})


@pytest.mark.parametrize("left_over", [": 14", ":", ", Kiel", ",", "! Next", ";\n14", "."])
def test_a_copy_does_not_begin_with_what_parts_it_from_the_words_before(compiler: GrammarCompiler, left_over: str):
    text = "Date: 14, Kiel! Next;\n14."
    for schema in (SPAN, {**SPAN, "maxLength": 6}, {**SPAN, "maxLength": 2}):
        assert not takes(compiler, spans(obj(a=schema), text), {"a": left_over})
        assert takes(compiler, spans(obj(a=schema), text), {"a": "14"})


def test_each_text_has_its_own_copies_and_one_compiled_schema(compiler: GrammarCompiler):
    schema = obj(only_here=SPAN)
    assert takes(compiler, spans(schema, "Ann called"), {"only_here": "Ann"})
    before = len(compiler._compiled)  # pyright: ignore[reportPrivateUsage]
    for index in range(300):
        assert takes(compiler, spans(schema, f"word{index}"), {"only_here": f"word{index}"})
    assert len(compiler._compiled) == before  # pyright: ignore[reportPrivateUsage]
    assert not compiler.is_compiled(spans(schema, "Ann called"))
    assert compiler.is_compiled(spans(schema, ""))


def test_a_copy_that_can_only_go_on_one_way_is_forced(compiler: GrammarCompiler):
    matcher = compiler.matcher(spans(obj(name=SPAN), "Nebuchadnezzar"))
    assert bytes(matcher.forced()) == b'{"name":"Nebuchadnezzar"}'


def test_a_copy_keeps_to_its_length(compiler: GrammarCompiler):
    short = obj(a={**SPAN, "maxLength": 4}, b={**SPAN, "maxLength": 1}, c=SPAN)
    text = "x Ann é12 wonderful"
    assert takes(compiler, spans(short, text), {"a": "Ann", "b": "x", "c": "wonderful"})
    assert takes(compiler, spans(short, text), {"a": "é12", "b": "x", "c": "Ann é12"})
    assert not takes(compiler, spans(short, text), {"a": "Ann é12", "b": "x", "c": "Ann"})
    assert not takes(compiler, spans(short, text), {"a": "wonderful", "b": "x", "c": "Ann"})


@pytest.mark.parametrize("text", ["", " \n\t ", "wonderful", "\ud800", ", ."])
def test_where_no_word_fits_the_empty_string_is_the_only_copy(compiler: GrammarCompiler, text: str):
    schema = obj(a={**SPAN, "maxLength": 4})
    assert bytes(compiler.matcher(spans(schema, text)).forced()) == b'{"a":""}'
    nullable = obj(a={"type": ["string", "null"], "maxLength": 4, "x-span": True})
    assert takes(compiler, spans(nullable, text), {"a": None})


def test_nothing_is_copied_across_half_a_surrogate_pair(compiler: GrammarCompiler):
    assert takes(compiler, spans(obj(a=SPAN), "Ann \ud83d Lee"), {"a": "Lee"})
    assert not takes(compiler, spans(obj(a=SPAN), "Ann \ud83d Lee"), {"a": "Ann  Lee"})


def test_what_is_not_copied_means_the_same_as_ever(compiler: GrammarCompiler):
    schema = obj(
        who=SPAN,
        kind={"enum": ["a", "b"]},
        n={"type": "integer", "minimum": 3},
        day={"type": "string", "format": "date"},
        code={"type": "string", "pattern": "^[A-Z]{2}$"},
        free={"type": "string", "maxLength": 5},
    )
    good = {"who": "Ann", "kind": "b", "n": 7, "day": "2026-01-31", "code": "XY", "free": "Bob"}
    assert takes(compiler, spans(schema), good)
    for name, wrong in {"kind": "c", "n": 2, "day": "31 Jan", "code": "X", "free": "too long"}.items():
        assert not takes(compiler, spans(schema), {**good, name: wrong}), name


def test_optional_properties_may_be_left_out_and_come_in_order(compiler: GrammarCompiler):
    schema = {**obj(a=SPAN, b={"type": "integer"}, c=SPAN), "required": ["b"]}
    for answer in ({"b": 1}, {"a": "Ann", "b": 1}, {"b": 1, "c": "Lee"}, {"a": "Ann", "b": 1, "c": "Lee"}):
        assert takes(compiler, spans(schema), answer)
    for answer in ({}, {"a": "Ann"}, {"c": "Lee", "b": 1}, {"b": 1, "d": "Lee"}):
        assert not takes(compiler, spans(schema), answer)
    assert takes(compiler, spans({**schema, "required": []}), {})


def test_lists_keep_their_bounds(compiler: GrammarCompiler):
    def of(count: int, **bounds: int) -> bool:
        return takes(compiler, spans(obj(a={"type": "array", "items": SPAN, **bounds})), {"a": ["Ann"] * count})

    assert [of(count) for count in (0, 1, 5)] == [True, True, True]
    assert [of(count, maxItems=2) for count in (0, 1, 2, 3)] == [True, True, True, False]
    assert [of(count, minItems=2, maxItems=3) for count in (0, 1, 2, 3, 4)] == [False, False, True, True, False]
    assert [of(count, minItems=1) for count in (0, 1, 2)] == [False, True, True]
    assert [of(count, maxItems=0) for count in (0, 1)] == [True, False]


def test_alternatives_types_and_references_lead_to_copies(compiler: GrammarCompiler):
    schema = {
        **obj(
            a={"anyOf": [SPAN, {"type": "null"}]},
            b={"type": ["string", "number", "null"], "x-span": True},
            c={"$ref": "#/$defs/tree"},
        ),
        "$defs": {
            "tree": obj(
                name=SPAN, parts={"type": "array", "items": {"$ref": "#/$defs/tree"}}, size={"$ref": "#/$defs/size"}
            ),
            "size": {"type": "integer"},
        },
    }
    leaf = {"name": "Lee", "parts": [], "size": 2}
    assert takes(compiler, spans(schema), {"a": None, "b": 1.5, "c": {**leaf, "parts": [leaf, leaf]}})
    assert takes(compiler, spans(schema), {"a": "Ann", "b": "12.50", "c": leaf})
    assert not takes(
        compiler, spans(schema), {"a": "Ann", "b": "12.50", "c": {**leaf, "parts": [{**leaf, "name": "Bob"}]}}
    )
    assert not takes(compiler, spans(schema), {"a": "Ann", "b": "12.50", "c": {**leaf, "size": "2"}})


def test_property_names_are_written_as_they_are(compiler: GrammarCompiler):
    for name in ('na"me', "naïve\n", "x-span", "default", "\x7f", "C:\\", "😀", "$ref"):
        assert takes(compiler, spans(obj(**{name: SPAN})), {name: "Ann"}), name


def test_with_all_spans_every_free_string_is_a_copy_but_those_that_are_excepted(compiler: GrammarCompiler):
    schema = obj(
        a={"type": "string"},
        b={"type": ["string", "null"], "description": "…"},
        derived={"type": "string", "x-span": False},
        code={"type": "string", "pattern": "^[a-z]$"},
        kind={"type": "string", "enum": ["x"]},
        map={"type": "object", "additionalProperties": {"type": "string"}},
    )
    good = {"a": "Ann", "b": None, "derived": "made up", "code": "q", "kind": "x", "map": {"k": "made up"}}
    everywhere = spans(schema, kind=ConstraintKind.ALL_SPANS)
    assert takes(compiler, everywhere, good)
    assert not takes(compiler, everywhere, {**good, "a": "Bob"})
    assert not takes(compiler, everywhere, {**good, "b": "Bob"})
    assert takes(compiler, spans(schema), {**good, "a": "Bob"})


def test_a_schema_without_a_string_to_copy_is_an_ordinary_one(compiler: GrammarCompiler):
    schema = obj(n={"type": "integer"})
    assert takes(compiler, spans(schema, kind=ConstraintKind.ALL_SPANS), {"n": 3})


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (obj(a={**SPAN, "pattern": "^x$"}), r"\$\.properties\.a, keyword `x-span`"),
        (obj(a={"x-span": True}), r"\$\.properties\.a, keyword `x-span`"),
        (obj(a={"allOf": [SPAN]}), r"\$\.properties\.a\.allOf\[0\], keyword `x-span`"),
        (obj(a={"type": "object", "additionalProperties": SPAN}), r"\$\.properties\.a\.additionalProperties, keyword"),
        (obj(a={"type": "string", "x-span": "yes"}), r"'yes' is neither true nor false"),
        (
            {**obj(a={"allOf": [{"$ref": "#/$defs/b"}]}), "$defs": {"b": SPAN}},
            r"\$\.\$defs\.b, keyword `x-span`: only `properties`",
        ),
        (obj(a=SPAN, b={"type": "string", "pattern": "(?=x)"}), r"\$\.properties\.b, keyword `pattern`"),
    ],
)
def test_a_mark_that_cannot_be_honoured_is_refused_by_place(compiler: GrammarCompiler, schema: Any, place: str):
    with pytest.raises(InvalidArguments, match=place):
        compiler.matcher(spans(schema))


def test_a_text_beyond_all_bounds_is_refused(compiler: GrammarCompiler):
    text = " ".join(f"word{index}" for index in range(200_000))
    with pytest.raises(InvalidArguments, match=r"cannot be copied from this text of 2,088,889 characters: .*too big"):
        compiler.matcher(spans(obj(a=SPAN), text))


NESTED = {
    **obj(
        a={"type": ["string", "null"], "x-span": True},
        entities={
            "type": "array",
            "maxItems": 2,
            "items": obj(type={"enum": ["p", "q"]}, value={**SPAN, "maxLength": 9}),
        },
        tree={"$ref": "#/$defs/t"},
    ),
    "$defs": {"t": {"anyOf": [obj(n=SPAN, t={"$ref": "#/$defs/t"}), {"type": "null"}]}},
}


@settings(max_examples=150)
@given(
    st.text(max_size=40)
    | st.text(alphabet='ab "\\\n\t{}[]:,/#u0\x00\x1f\x7f\u0301é😀שלום日本\u2028', max_size=40)
    | st.sampled_from(['{"a":"b\\n"}', "SPAN: /x/", "%json {}", '\\u0041 \\ "', "שלום, עולם", "\ud83d x"]),
    st.data(),
)
@example("\x00", None)
@example("a\x0b", None)
def test_whatever_is_written_its_copies_are_in_the_text(compiler: GrammarCompiler, text: str, data: Any):
    answers: list[str] = []
    # First the shortest way through, as an alternative that always ends; then as chance has it.
    answers.append(drawn(compiler.matcher(spans(NESTED, text)), min))
    if data is not None:
        steps = iter(data.draw(st.lists(st.integers(0, 255), max_size=120)))
        answers.append(drawn(compiler.matcher(spans(NESTED, text)), lambda some: some[next(steps, 0) % len(some)]))
    for answer in answers:
        value = json.loads(answer)
        Draft202012Validator(NESTED).validate(value)
        copies = [entity["value"] for entity in value["entities"]] + strings_in(value["tree"]) + strings_in(value["a"])
        assert all(copy in text and (copy in ("", copy.strip(" \n\t\r"))) for copy in copies)


@given(st.text(max_size=60))
def test_chunks_lose_nothing_and_any_run_of_them_can_be_copied(compiler: GrammarCompiler, text: str):
    pieces = chunks(text)
    assert "".join(pieces) == text
    words = [piece for piece in pieces if not piece.isspace() and piece not in ":;,.!?"]
    if words and not any("\ud800" <= character <= "\udfff" for character in text):
        whole = text if text.strip() == text and not re.match(r"[:;,.!?](\s|$)", text) else words[0]
        assert takes(compiler, spans(obj(a=SPAN), text), {"a": whole})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't stop-me_now 3.5kg", ["don", "'", "t", " ", "stop", "-", "me_now", " ", "3", ".", "5kg"]),
        ("cafe\u0301 हिन्दी", ["cafe\u0301", " ", "हिन्दी"]),
        ("東京は", ["東", "京", "は"]),
        ("a👩‍🚀b", ["a", "👩‍", "🚀", "b"]),
        ("\n \t", ["\n", " ", "\t"]),
    ],
)
def test_words_are_cut_where_people_would(text: str, words: list[str]):
    assert chunks(text) == words


def test_occurrences_begin_and_end_at_borders():
    text = "Ann, Annual Ann Ann-Lee"
    at = borders(text)
    assert list(occurrences("Ann", text, at)) == [0, 12, 16]
    assert list(occurrences("Ann", text, at, 1, 17)) == [12]
    assert list(occurrences("Ann Ann", text, at)) == [12]
    assert list(occurrences("", text, at)) == []
