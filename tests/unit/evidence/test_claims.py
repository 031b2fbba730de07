"""What prose says and its source does not have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools_server.evidence.claims import outermost, sentences, unsupported
from tools_server.evidence.source import Source


def claims(prose: str, source: str, kind: str) -> list[str]:
    return [claim.text for claim in unsupported(prose, Source(source)) if claim.kind == kind]


def test_numbers_of_a_summary_must_be_in_the_text():
    source = "On 3 May, two people paid 1,250.00 EUR at 09:12."
    assert claims("2 paid 1250 EUR at 9:12 on 3 May.", source, "number") == []
    assert claims("3 paid 1251 EUR at 9:13.", source, "number") == ["1251", "9:13"]
    assert claims("One of them paid.", source, "number") == [], "a word such as one is more often no number"


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ("It took 1 250 000 rows, 2.5 million, 10% or 10 percent of all.", []),
        ("It took 1.250.000 rows and 2500000 more in 25 runs of 38 minutes.", []),
        ("It took 1,250,001 rows, 2.6 million, 11 % of all.", ["1,250,001", "2.6 million", "11"]),
        ("It took 10 days and 2.5 million euros.", []),  # units are not compared
        ("Call 0171 0042 about INV-0815.", []),
        ("Call 0171 0043 about INV-0816 or 1.2.3.4.5.", ["0043", "0816", "1.2.3.4.5"]),
    ],
)
def test_a_number_is_the_same_with_other_separators_and_signs_and_a_code_is_a_word(said: str, missing: list[str]):
    source = "10 % of 1,250,000 rows; 2.5 million in twenty-five runs of 38min. Call 0171/0042 about (INV-0815)."
    assert claims(said, source, "number") == missing


def test_dates_of_a_summary_must_be_in_the_text():
    source = "The meeting of 2026-05-03 was moved."
    assert claims("It was planned for May 3.", source, "date") == []
    assert claims("It was planned for the 3rd of May 2026, or 03/05/26.", source, "date") == []
    assert claims("It was planned for 4 May 2026.", source, "date") == ["4 May 2026"]
    assert claims("It was planned for 4 May 2026.", source, "number") == [], "a date is told once"


def test_names_of_a_summary_must_be_in_the_text_but_for_the_first_word_of_a_sentence():
    source = "maria LOPEZ-Garcia wrote to the Berlin office's staff."
    assert claims("Today Maria Lopez wrote to Berlin's office. Nobody answered.", source, "name") == []
    found = claims("He met Anna in “Paris”. Rome is far from Oslo.", source, "name")
    assert found == ["Anna", "Paris", "Oslo"]


def test_words_of_a_name_are_told_as_one_and_the_first_word_of_a_sentence_only_with_the_next():
    source = "Maria Lopez of the API team sent two PRs. Mr. Lee agreed."
    assert claims("Anna Schmidt wrote to Maria Meier. Bob did not.", source, "name") == ["Anna Schmidt", "Meier"]
    assert claims("Later Mr. Kim and Dr. Lee spoke of APIs, a PR and what I said.", source, "name") == ["Kim"]
    assert claims("Owner: Maria. Anna Lopez reviews.", source, "name") == []


def test_a_sentence_that_shares_hardly_a_word_with_the_text_rests_on_nothing():
    source = "The customer asks for a refund because the parcel arrived broken."
    fine = "A broken parcel arrived, and the customer wants it refunded."
    made_up = "Bananas grow quickly under tropical moonlight."
    assert claims(f"{fine} {made_up}", source, "sentence") == [made_up]
    assert claims("Yes, it is so.", source, "sentence") == [], "too short to say"


def test_grammar_is_nothing_to_rest_on_and_scripts_without_spaces_are_left_out():
    source = "They have been there because these were with them."
    assert claims("They have been there because bananas grow under moonlight.", source, "sentence") != []
    assert claims("会议改到星期五，付款服务中断，证书已经过期，订单全部恢复。", "会议已取消", "sentence") == []


def test_forms_of_a_word_count_as_that_word():
    source = "The lamp moves; a box needs paying."
    assert claims("Lamps moved, boxes need payment.", source, "sentence") == []


@pytest.mark.parametrize(
    "said", ["The parcel never arrived.", "The parcel arrived broken, says Ann.", "3 parcels arrived."]
)
def test_negations_and_what_belongs_to_what_are_not_compared(said: str):
    assert unsupported(said, Source("The parcel arrived on day 3. Ann is not content: hers is broken.")) == []


def test_what_lies_in_another_claim_is_told_with_it():
    found = unsupported("Lamps shine. Bananas grow in Rome since 1999. 7 lamps, B-12.", Source("Lamps shine."))
    assert [claim.text for claim in outermost(found)] == ["Bananas grow in Rome since 1999.", "7", "B-12"]


NAMES = ("Ann", "Lee's", "Dr.", "Maria-Lopez", "Acme™", "İstanbul", "Ber\u00adlin", "ﬁnal", "Café", "Cafe\u0301", "I")
NUMBERS = (
    "1,250.50",
    "1 250",
    "0042",
    "INV-20418",
    "1.2.3.4",
    "10 %",
    "2.5 million",
    "v2.4",
    "42nd",
    "twenty-five",
    "½",
)
DATES = ("2026-05-03", "3 May", "May 3, 2026", "99/99/2026", "9:12")
OTHERS = ("x²", "ſix", "not", "because", "refunded", "e.g.", "…", "PRs")
PHRASES = st.lists(st.sampled_from((*NAMES, *NUMBERS, *DATES, *OTHERS)), min_size=1, max_size=8).map(" ".join)
COPIED = st.lists(st.tuples(PHRASES, st.sampled_from((". ", "! ", "?\n", "\n", ": "))).map("".join), max_size=6).map(
    "".join
)


@given(COPIED | st.text(max_size=80))
def test_sentences_that_are_copied_from_the_text_are_never_reported(text: str):
    source = Source(text)
    copied = [text[start:end] for start, end in sentences(text)]
    assert [claim for sentence in copied for claim in unsupported(sentence, source)] == []
    assert unsupported("\n".join(reversed(copied)), source) == []


def test_sentences_end_at_marks_and_line_breaks_but_not_inside_numbers_or_names_of_files():
    text = "It costs 1.5 EUR. See app.py!\nNext line  \n\n  Last?"
    assert [text[start:end] for start, end in sentences(text)] == [
        "It costs 1.5 EUR.",
        "See app.py!",
        "Next line  ",
        "Last?",
    ]
