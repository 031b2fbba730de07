"""Identifiers that show by their form what they are: addresses in networks, numbers that check themselves, and more.

A model may overlook one, or take the number of a card for that of a telephone; a pattern and a check digit do neither.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from ipaddress import ip_address

__all__ = ["FORMS", "identifiers"]

Span = tuple[int, int]
"""Where one stands: characters of the text, from the first up to the second."""

# Each pattern begins where no word does before it, and is bounded or without choices: a text cannot make it slow.
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
_IP4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IP6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{4,39}(?![\w:])")
_CARD = re.compile(r"(?<![\w.+-])[2-6]\d{3}(?:[ -]?\d){9,15}(?!\w|[.,-]\d)")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d\d(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?(?!\w)")
_IBAN_COMPACT = re.compile(r"(?<!\w)[A-Za-z]{2}\d\d[A-Za-z0-9]{11,30}(?!\w)")
_SSN = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])")
_URL = re.compile(
    r"(?<![\w.])(?:https?://|www\.)\w(?:[^\s<>\"'`|\\^{}\[\]()]|\([^\s<>\"'`|\\^{}\[\]()]{0,200}\)){2,2000}(?<![.,;:!?*_~])",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"(?<![\w+./-])\+[1-9](?:[ ./-]?(?:\d|\(\d{1,5}\))){6,20}(?:,? ?(?:ext\.?|x) ?\d{1,6})?(?!\w|[.,/-]\d)"
)
_ISO_DATE = re.compile(
    r"(?<![\w./-])(\d{4}-\d\d-\d\d)"
    r"(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z| ?[+-]\d\d(?::?\d\d)?| ?(?:UTC|GMT|[A-Z]{1,4}T))?)?(?!\w|[./-]\d)"
)


def identifiers(form: str, text: str) -> Iterator[Span]:
    """Yield where identifiers of a form (one of `FORMS`) stand in a text, in its order and apart from each other."""
    yield from FORMS[form](text)


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    return (match.span() for match in pattern.finditer(text))


def _addresses(text: str) -> Iterator[Span]:
    """IPv4 and IPv6 addresses; of the latter not `::` or `a::b`, which program text is full of."""
    for start, end in sorted([*_matches(_IP4, text), *_matches(_IP6, text)]):
        found = text[start:end]
        if ":" in found and not re.search(r"\d", found):
            continue
        try:
            ip_address(found)
        except ValueError:
            continue
        yield start, end


def _cards(text: str) -> Iterator[Span]:
    """Numbers of payment cards (ISO/IEC 7812): 13 to 19 digits whose last one checks the others, after Luhn."""
    for start, end in _matches(_CARD, text):
        digits = [int(digit) for digit in text[start:end] if digit.isdecimal()]
        doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
        if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 and len(set(digits)) > 1:
            yield start, end


def _ibans(text: str) -> Iterator[Span]:
    """International bank account numbers (ISO 13616), in groups of four or without blanks.

    Read with its first four characters last and letters as two digits (A is 10), the remainder by 97 is 1.
    """
    end = 0
    for match in sorted([*_IBAN.finditer(text), *_IBAN_COMPACT.finditer(text)], key=lambda each: each.span()):
        start, stop = match.span()
        while start >= end and stop > start:
            compact = text[start:stop].replace(" ", "")
            if len(compact) >= 15 and int("".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])) % 97 == 1:
                yield start, stop
                end = stop
            stop = text.rfind(" ", start, stop)  # words in capitals may follow: leave the last group out


def _phones(text: str) -> Iterator[Span]:
    """International telephone numbers (ITU-T E.164): a plus and 9 to 15 digits. Sums with a plus seldom have nine."""
    for start, end in _matches(_PHONE, text):
        number = re.split(r"[ex]", text[start:end], maxsplit=1)[0]
        if 9 <= sum(sign.isdecimal() for sign in number) <= 15:
            yield start, end


def _iso_dates(text: str) -> Iterator[Span]:
    """Days of the calendar as ISO 8601 and logs write them, with the time and the zone that belong to them."""
    for match in _ISO_DATE.finditer(text):
        try:
            date.fromisoformat(match[1])
        except ValueError:
            continue
        yield match.span()


FORMS: Mapping[str, Callable[[str], Iterator[Span]]] = {
    "email": lambda text: _matches(_EMAIL, text),
    "ip_address": _addresses,
    "payment_card": _cards,
    "iban": _ibans,
    "us_ssn": lambda text: _matches(_SSN, text),
    "url": lambda text: _matches(_URL, text),
    "phone_number": _phones,
    "iso_date": _iso_dates,
}
"""What can be found, by the names that `generate.recognise` of a skill.toml uses."""
