"""Every string and number of an answer is looked up; what the server computed itself is not."""

from tools_server.evidence.verify import verify

TEXT = "Ann Lee of Oslo ordered 2 lamps on 3 March 2026 for 19.95 EUR. She is angry, for one came broken."


def test_values_are_found_with_their_places_and_the_others_are_missing():
    answer = {"data": {"who": "Ann Lee", "n": 2, "when": "2026-03-03", "where": None, "paid": True, "city": "Rome"}}
    done = verify(answer, TEXT)
    assert {each.path: TEXT[each.place.start : each.place.end] for each in done.found} == {
        "$.data.who": "Ann Lee",
        "$.data.n": "2",
        "$.data.when": "3 March 2026",
    }
    assert [(each.path, each.value, each.kind) for each in done.missing] == [("$.data.city", "Rome", "value")]
    assert (done.checked, done.supported) == (4, False)


def test_prose_is_looked_up_claim_by_claim():
    answer = {
        "summary": "Ann Lee bought 2 lamps for 20 EUR and is angry because one was broken.",
        "key_points": ["One lamp came broken.", "She lives in Rome with Bob and their dog."],
    }
    done = verify(answer, TEXT)
    assert [(each.path, each.value, each.kind) for each in done.missing] == [
        ("$.summary", "20", "number"),
        ("$.key_points[1]", "She lives in Rome with Bob and their dog.", "sentence"),
        ("$.key_points[1]", "Rome", "name"),
        ("$.key_points[1]", "Bob", "name"),
    ]


def test_what_the_server_computed_is_not_looked_up():
    assert (
        verify({"label": "praise", "confidence": 0.93, "scores": {"praise": 0.93}, "warnings": ["x"]}, TEXT).checked
        == 0
    )
    entities = [{"type": "person", "value": "Ann Lee", "start": 0, "end": 7}]
    done = verify({"entities": entities, "redacted": "[PERSON] of Oslo"}, TEXT)
    assert (done.checked, done.supported) == (1, True)


def test_a_long_answer_of_nothing_but_signs_and_numbers_takes_no_time_worth_speaking_of():
    answer = "a b c d " + "\n" * 40_000 + "!" * 40_000 + "7 " * 20_000 + "3 May " * 5_000 + "Q. " * 5_000
    assert verify(answer, TEXT).checked == 1


def test_a_plain_text_and_a_list_are_answers_too():
    assert verify("Ann Lee ordered lamps.", TEXT).supported
    assert not verify(["Oslo", "Bergen"], TEXT).supported
    assert verify({}, TEXT).supported
