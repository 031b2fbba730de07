"""A value is found word for word, or as the same thing written otherwise, and never inside of another one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools_server.evidence.numbers import dates, numbers
from tools_server.evidence.source import Source

TEXT = (
    "Order A-1042 was charged twice on 3 March 2026 at 09:12. Please refund 1.250,50 EUR, or about 1.2 million won. "
    "Two people from “Müller  GmbH” paid; ﬁnal bill: 5 500 kr, due 04/07/26, lot forty-two."
)


@pytest.mark.parametrize(
    ("value", "quote", "how"),
    [
        ("A-1042", "A-1042", "exact"),
        ("3 March 2026", "3 March 2026", "exact"),
        ("a-1042", "A-1042", "folded"),
        ('"müller gmbh"', "“Müller  GmbH”", "folded"),
        ("twice.", "twice", "folded"),
        ("final", "ﬁnal", "folded"),
        ("1250.50", "1.250,50", "number"),
        ("1,250.50 EUR", "1.250,50", "number"),
        ("1200000", "1.2 million", "number"),
        ("5,500", "5 500", "number"),
        ("2", "Two", "number"),
        ("42", "forty-two", "number"),
        ("9:12", "09:12", "number"),
        ("2026-03-03", "3 March 2026", "date"),
        ("March 3", "3 March 2026", "date"),
        ("7 April 2026", "04/07/26", "date"),
        ("2026-07-04", "04/07/26", "date"),
    ],
)
def test_a_value_is_found_as_it_stands_or_written_otherwise(value: str, quote: str, how: str):
    place = Source(TEXT).find(value)
    assert place is not None
    assert (TEXT[place.start : place.end], place.how) == (quote, how)


@pytest.mark.parametrize(
    "value",
    [
        "1042A",
        "Mül",  # half a word
        "50",  # a part of 1.250,50
        "12",  # a part of 09:12
        "1250.50 USD",  # another currency
        "02",  # a code, not two
        "3 April 2026",
        "2027-03-03",
        "Bob",
        "   ",
    ],
)
def test_what_the_text_does_not_have_is_not_found(value: str):
    assert Source(TEXT).find(value) is None


def test_a_date_without_a_year_agrees_with_that_day_in_any_year():
    assert Source("on 3 May").find("2026-05-03") is not None
    assert Source("on 3 May 2025").find("2026-05-03") is None


@pytest.mark.parametrize(
    "text",
    [
        "3 mıllion",
        "3 Auguſt",
        "3 ſep",
        "ſix",
        "99/99/2026",
        "32 Mai",
        "13.13.13",
        "1.2.3.4",
        "...",
        "10:99:99:99",
        "1,2,3,4",
    ],
)
def test_what_looks_like_a_date_or_a_number_and_is_none_harms_nobody(text: str):
    assert dates(text) == []
    assert all(mention.readings for mention in numbers(text))


def test_long_codes_are_no_numbers():
    code = "1234567890" * 4
    assert Source(f"It is {code}.").find(code) is not None
    assert Source(f"It is {code}.").find(code[:-1] + "1") is None


@given(st.text(max_size=60), st.text(max_size=12))
def test_a_place_is_always_inside_the_text_and_an_exact_one_has_the_value(text: str, value: str):
    place = Source(text).find(value)
    if place is not None:
        assert 0 <= place.start < place.end <= len(text)
        assert place.how != "exact" or text[place.start : place.end] == value


@given(st.integers(0, 10**9), st.integers(0, 99))
def test_a_number_is_found_however_its_thousands_and_decimals_are_marked(whole: int, cents: int):
    english = f"{whole:,}.{cents:02}"
    source = Source(f"It costs {english} in all.")
    for written in (
        f"{whole}.{cents:02}",
        f"{whole},{cents:02}",
        english.translate(str.maketrans(",.", ".,")),
        english.replace(",", "\u202f"),
    ):
        assert source.find(written) is not None, written
    assert source.find(f"{whole + 1}.{cents:02}") is None
