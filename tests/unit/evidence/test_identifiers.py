"""Identifiers found by their form: what is one, and what only looks like one."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools_server.evidence.identifiers import FORMS, identifiers
from tools_server.skills.manifest import IdentifierForm


def found(form: str, text: str) -> list[str]:
    return [text[start:end] for start, end in identifiers(form, text)]


@pytest.mark.parametrize(
    ("form", "text", "wanted"),
    [
        (
            "email",
            "Write to ann.lee+x@mail.example.org, or <bob@example.com>.",
            ["ann.lee+x@mail.example.org", "bob@example.com"],
        ),
        ("email", "@ann, ann@, a@b, user@10.0.0.1 and http://x.org/@me", []),
        (
            "ip_address",
            "From 10.0.0.1 (fe80::1ff:fe23:4567:890a), then 192.168.1.20.",
            ["10.0.0.1", "fe80::1ff:fe23:4567:890a", "192.168.1.20"],
        ),
        ("ip_address", "v1.2.3.4.5, 300.1.1.1, at 12:30:15, std::dec, dead::beef, ::", []),
        (
            "payment_card",
            "4111 1111 1111 1111 or 5500-0000-0000-0004, 3530111333300000.",
            ["4111 1111 1111 1111", "5500-0000-0000-0004", "3530111333300000"],
        ),
        ("payment_card", "4111 1111 1111 1112, order 1234567890123, +4411111111111111, 4444444444444444", []),
        (
            "iban",
            "GB82 WEST 1234 5698 7654 32 and de89370400440532013000",
            ["GB82 WEST 1234 5698 7654 32", "de89370400440532013000"],
        ),
        ("iban", "PAY TO DE89 3704 0044 0532 0130 00 NOW", ["DE89 3704 0044 0532 0130 00"]),
        ("iban", "BE68 5390 0754 7034 THE END", ["BE68 5390 0754 7034"]),
        ("iban", "GB82 WEST 1234 5698 7654 33, AB12 CDEF 3456 GHIJ", []),
        ("us_ssn", "SSN 078-05-1120.", ["078-05-1120"]),
        (
            "url",
            "See https://a.example/x?y=1#z, (www.b.example/c_(d)) or <http://192.0.2.1:8080/>.",
            ["https://a.example/x?y=1#z", "www.b.example/c_(d)", "http://192.0.2.1:8080/"],
        ),
        ("url", '{"u":"HTTPS://A.EXAMPLE/B"} [t](https://c.example)', ["HTTPS://A.EXAMPLE/B", "https://c.example"]),
        ("url", "https:// www. awww.b.example, ftp://c.example, report.pdf, https://!!!", []),
        (
            "phone_number",
            "tel:+48600555019, (+354 555 0119), +44 (0)20 7946 0018 ext. 12; +1-202-555-0119 x3.",
            ["+48600555019", "+354 555 0119", "+44 (0)20 7946 0018 ext. 12", "+1-202-555-0119 x3"],
        ),
        ("phone_number", "+20 000 000 EUR, 1+123456789, +0123456789, +1 202 555 01191234567, +2.5, ++123456789", []),
        (
            "iso_date",
            "2024-02-29: 2024-12-05 16:20:11.402 CET 2024-03-18T15:41:00Z 2025-03-02 22:14 -04:00, at 2025-01-17T18:45",
            [
                "2024-02-29",
                "2024-12-05 16:20:11.402 CET",
                "2024-03-18T15:41:00Z",
                "2025-03-02 22:14 -04:00",
                "2025-01-17T18:45",
            ],
        ),
        ("iso_date", "id,2024-07-02 06:11:40 AEST,312\n7,2024-07-03,16", ["2024-07-02 06:11:40 AEST", "2024-07-03"]),
        ("iso_date", "2023-02-29, 12024-01-01, 2024-01-011, /2024-01-01, 2024-13-01, 2024-01-01-7, v2024-01-01", []),
        ("us_ssn", "000-12-3456, 666-12-3456, 912-12-3456, 123-00-4567, 123-45-0000, 1123-45-6789", []),
    ],
)
def test_identifiers_are_told_by_form_and_check_digit(form: str, text: str, wanted: list[str]):
    assert found(form, text) == wanted


def test_a_manifest_can_name_each_form_that_there_is():
    assert set(get_args(IdentifierForm)) == set(FORMS)


@given(st.sampled_from(sorted(FORMS)), st.text(alphabet="aB4 7.:-@GB82\n٣é+(/)xT", max_size=120))
def test_what_is_found_is_in_order_and_apart(form: str, text: str):
    end = 0
    for start, stop in identifiers(form, text):
        assert end <= start < stop <= len(text)
        end = stop


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a.",
        "1",
        "1 ",
        "1.",
        "a@a.",
        "ab:",
        "A1 ",
        "AB12 ",
        "4111 ",
        "+1 ",
        "+1 (",
        "+1 2",
        "(",
        "www.",
        "http://",
        "2024-01-01 ",
    ],
)
def test_a_long_text_of_half_identifiers_is_read_to_its_end(piece: str):
    text = piece * 40_000 + " ann@example.org"  # a pattern that looks back would take hours
    assert found("email", text)[-1:] == ["ann@example.org"]
    for form in FORMS:
        assert all(0 <= start < end <= len(text) for start, end in identifiers(form, text))
