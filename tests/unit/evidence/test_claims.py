"""What prose says and its source does not have."""

from tools_server.evidence.claims import sentences, unsupported
from tools_server.evidence.source import Source


def claims(prose: str, source: str, kind: str) -> list[str]:
    return [claim.text for claim in unsupported(prose, Source(source)) if claim.kind == kind]


def test_numbers_of_a_summary_must_be_in_the_text():
    source = "On 3 May, two people paid 1,250.00 EUR at 09:12."
    assert claims("2 paid 1250 EUR at 9:12 on 3 May.", source, "number") == []
    assert claims("3 paid 1251 EUR at 9:13.", source, "number") == ["1251", "9:13"]
    assert claims("One of them paid.", source, "number") == [], "a word such as one is more often no number"


def test_dates_of_a_summary_must_be_in_the_text():
    source = "The meeting of 2026-05-03 was moved."
    assert claims("It was planned for May 3.", source, "date") == []
    assert claims("It was planned for 4 May 2026.", source, "date") == ["4 May 2026"]
    assert claims("It was planned for 4 May 2026.", source, "number") == [], "a date is told once"


def test_names_of_a_summary_must_be_in_the_text_but_for_the_first_word_of_a_sentence():
    source = "maria LOPEZ-Garcia wrote to the Berlin office's staff."
    assert claims("Today Maria Lopez wrote to Berlin's office. Nobody answered.", source, "name") == []
    found = claims("He met Anna in “Paris”. Rome is far from Oslo.", source, "name")
    assert found == ["Anna", "Paris", "Oslo"]


def test_a_sentence_that_shares_hardly_a_word_with_the_text_rests_on_nothing():
    source = "The customer asks for a refund because the parcel arrived broken."
    fine = "A broken parcel arrived, and the customer wants it refunded."
    made_up = "Bananas grow quickly under tropical moonlight."
    assert claims(f"{fine} {made_up}", source, "sentence") == [made_up]
    assert claims("Yes, it is so.", source, "sentence") == [], "too short to say"


def test_sentences_end_at_marks_and_line_breaks_but_not_inside_numbers_or_names_of_files():
    text = "It costs 1.5 EUR. See app.py!\nNext line  \n\n  Last?"
    assert [text[start:end] for start, end in sentences(text)] == [
        "It costs 1.5 EUR.",
        "See app.py!",
        "Next line  ",
        "Last?",
    ]
