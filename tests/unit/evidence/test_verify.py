"""Every string and number of an answer is looked up; what the server computed itself is not."""

from tools_server.evidence.verify import Missing, verify

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
        "key_points": ["One lamp came broken.", "She now lives in Rome with Bob."],
    }
    done = verify(answer, TEXT)
    assert [(each.path, each.value, each.kind) for each in done.missing] == [
        ("$.summary", "20", "number"),
        ("$.key_points[1]", "Rome", "name"),
        ("$.key_points[1]", "Bob", "name"),
    ]


def test_of_a_sentence_that_rests_on_nothing_the_rest_is_not_told_again():
    done = verify({"summary": "Ann Lee is angry. Bananas grow in Rome since 1999, says Bob."}, TEXT)
    assert [(each.value, each.kind) for each in done.missing] == [
        ("Bananas grow in Rome since 1999, says Bob.", "sentence")
    ]


def test_short_strings_beside_prose_are_prose_and_words_by_themselves_are_values():
    prose = "Ann is angry about a lamp."
    assert verify({"key_points": [prose, "Angry woman", "7 lamps", "Rome"]}, TEXT).missing == (
        [Missing("$.key_points[2]", "7", "number"), Missing("$.key_points[3]", "Rome", "value")]
    )
    copied = verify({"rows": ["Ann Lee of Oslo", "Angry woman"], "note": prose, "who": "Angry woman"}, TEXT)
    assert [each.path for each in copied.missing] == ["$.rows[1]", "$.who"]


def test_what_the_server_computed_is_not_looked_up():
    labelled = {"label": "praise", "confidence": 0.93, "scores": {"praise": 0.93}, "warnings": ["x"]}
    assert verify(labelled, TEXT).checked == 0
    added = {"unsupported": [{"path": "a", "claim": "7"}], "signals": {"n": 7}, "deferred": True, "reason": "x"}
    assert verify(added, TEXT).checked == 0
    assert verify({"evidence": {"a": [0, 7]}, "quotes": {"a": "Ann"}, "lines": {"a": 7}}, TEXT).checked == 0
    assert verify({"lines": ["Rome"], "reason": "Rome"}, TEXT).checked == 2, "names like any other"
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
