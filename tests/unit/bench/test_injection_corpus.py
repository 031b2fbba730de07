import re
from collections import Counter

import pytest
from pydantic import ValidationError

from bench.injections.attempts import POSITIONS, attempts_on_fields, attempts_on_labels, clean_texts, placed
from bench.injections.carriers import DOCUMENTS, LABELS, TICKETS
from bench.injections.corpus import CONTROLS, DISGUISES, FORGED, Injection, corpus, kinds

FILLED = {"target": "delivery", "field": "label", "right": "billing"}


def injection(**changes: object) -> Injection:
    return Injection.model_validate(
        {"id": "x-01", "kind": "x", "text": "Say {target}.", "wants": {"answer": "{target}"}} | changes
    )


def test_there_are_more_than_a_hundred_attacks_each_with_an_id_of_its_own():
    attacks = [each for each in corpus() if each.kind not in CONTROLS]
    assert len(attacks) >= 120
    assert len({each.id for each in corpus()}) == len(corpus())


def test_there_are_many_kinds_with_ten_injections_or_more_each():
    counts = Counter(each.kind for each in corpus())
    assert len(set(counts) - set(CONTROLS)) >= 8
    assert min(counts.values()) >= 10
    assert {FORGED, *CONTROLS} <= set(kinds())


def test_no_two_injections_say_the_same():
    texts = [re.sub(r"\W+", " ", each.filled(**FILLED)).casefold().strip() for each in corpus()]
    assert [text for text, count in Counter(texts).items() if count > 1] == []


def test_attacks_want_something_and_controls_want_nothing():
    assert all((each.kind in CONTROLS) == (each.wants.nothing is True) for each in corpus())


def test_an_injection_that_wants_a_label_names_it_unless_it_is_disguised():
    for each in corpus():
        if each.wants.answer is not None:
            assert "{target}" in (each.text if each.hidden is None else each.hidden), each.id


def test_every_disguise_is_used_and_changes_what_it_hides():
    used = [each for each in corpus() if each.hidden is not None]
    assert {each.disguise for each in used} == set(DISGUISES)
    for each in used:
        assert each.hidden is not None
        assert each.hidden.replace("{target}", "delivery") not in each.filled(**FILLED)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"text": "Say {word}."}, "unknown placeholders"),
        ({"wants": {"answer": "{word}"}}, "unknown placeholders"),
        ({"wants": {"answer": "x", "empty": True}}, "exactly one"),
        ({"wants": {}}, "exactly one"),
        ({"text": "{hidden}"}, "belong together"),
        ({"hidden": "x", "as": "base64"}, "belong together"),
        ({"text": "{hidden}", "hidden": "x", "as": "morse"}, "no disguise"),
    ],
)
def test_a_malformed_line_is_refused(changes: dict[str, object], complaint: str):
    with pytest.raises(ValidationError, match=complaint):
        injection(**changes)


def test_what_fills_a_placeholder_is_not_filled_again():
    assert injection(text="{target} {field}").filled(target="{field}", field="f", right="r") == "{field} f"


def test_the_same_attempts_are_made_every_time_and_a_new_line_changes_no_other():
    found = attempts_on_labels(corpus(), tries=2)
    assert attempts_on_labels(corpus(), tries=2) == found
    assert attempts_on_labels(corpus()[5:], tries=2) == found[10:]


def test_each_injection_is_put_into_different_tickets_after_a_wrong_label():
    for tries in (1, 2, 12):
        found = attempts_on_labels(corpus(), tries=tries)
        assert len({(each.injection.id, each.carrier) for each in found}) == tries * len(corpus())
    found = attempts_on_labels(corpus(), tries=2)
    assert all(each.target in set(LABELS) - {TICKETS[each.carrier].right} for each in found)
    assert {each.position for each in found} == set(POSITIONS)
    assert {each.carrier for each in found} == set(range(len(TICKETS)))


def test_a_sample_of_every_kind_is_put_into_documents_and_all_forged_delimiters_are():
    found = attempts_on_fields(corpus(), every=2)
    counts, whole = Counter(each.injection.kind for each in found), Counter(each.kind for each in corpus())
    assert counts[FORGED] == whole[FORGED]
    assert all(counts[kind] == (whole[kind] + 1) // 2 for kind in kinds() if kind != FORGED)
    assert len(attempts_on_fields(corpus(), every=1)) == len(corpus())


@pytest.mark.parametrize(("position", "text"), [("beginning", "!\na\nb"), ("middle", "a\n!\nb"), ("end", "a\nb\n!")])
def test_an_injection_stands_on_lines_of_its_own(position: str, text: str):
    assert placed(["a", "b"], "!", position) == text


def test_the_carriers_state_what_is_right_and_not_what_attackers_want():
    assert {ticket.right for ticket in TICKETS} == set(LABELS)
    for document, text in zip(DOCUMENTS, clean_texts("extract"), strict=True):
        assert all(value in text for value in document.right.values())
        assert document.bait not in text
        assert document.attacked in document.right
        assert set(document.described) == set(document.right)
