import pytest

from bench.texts import LABELS, MOST_WORDS, Texts, TextsUsedUp


def test_both_sides_get_the_same_texts_and_every_round_and_row_new_ones():
    texts = Texts()
    first = texts.messages("one", 0, 16)
    assert texts.messages("one", 0, 16) == first
    others = [texts.messages("one", 1, 16), texts.messages("many", 0, 64), texts.messages("one", -1, 16)]
    every = [text for found in (first, *others) for text in found]
    assert len(set(every)) == len(every) == 112


def test_messages_are_short_and_begin_in_many_ways():
    found = Texts().messages("many", 0, 64)
    assert all(6 <= len(text.split()) <= MOST_WORDS for text in found)
    assert len({" ".join(text.split()[:3]) for text in found}) > 40
    assert len(LABELS) == 6


def test_the_same_seed_gives_the_same_texts():
    assert Texts(1).messages("a", 0, 8) == Texts(1).messages("a", 0, 8) != Texts(2).messages("a", 0, 8)


@pytest.mark.parametrize("kind", ["mails", "paragraphs", "documents"])
def test_longer_texts_differ_within_their_first_words(kind: str):
    texts = Texts()
    make = getattr(texts, kind)
    begins = [text[:40] for text in [*make("row", 0, 30), *make("row", 1, 30)]]
    assert len(set(begins)) == 60


def test_a_document_is_some_1500_words():
    (document,) = Texts().documents("row", 0, 1)
    assert 1300 < len(document.split()) < 1700


def test_messages_that_are_used_up_are_an_error_and_never_come_twice():
    with pytest.raises(TextsUsedUp, match="run fewer rounds"):
        Texts().messages("one", 0, 100_000)
