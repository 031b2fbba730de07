import time
from collections.abc import Callable, Sequence

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools_server.inputs import split as module
from tools_server.inputs.split import split as split_async


def split(text: str, limit: int, count: Callable[[str], int]) -> list[str]:
    """Split with a counter of single texts."""

    async def counts(texts: Sequence[str]) -> list[int]:
        return [count(each) for each in texts]

    return anyio.run(split_async, text, limit, counts)


def words(text: str) -> int:
    return len(text.split())


def utf8(text: str) -> int:
    return len(text.encode("utf-8"))


TEXTS = st.text(alphabet=st.sampled_from("ab é漢😀.!?。 \t\n\r\"')…"), max_size=400) | st.text(max_size=200)


@settings(max_examples=150)
@given(TEXTS, st.integers(1, 60))
def test_no_character_is_lost_and_every_chunk_fits(text: str, limit: int) -> None:
    for count in (words, len):
        chunks = split(text, limit, count)
        assert "".join(chunks) == text
        assert all(chunk and count(chunk) <= limit for chunk in chunks)


@settings(max_examples=100)
@given(TEXTS, st.integers(1, 12))
def test_a_character_longer_than_a_chunk_stays_whole(text: str, limit: int) -> None:
    chunks = split(text, limit, utf8)
    assert "".join(chunks) == text
    assert all(utf8(chunk) <= limit or len(chunk) == 1 for chunk in chunks)


@settings(max_examples=100)
@given(TEXTS, st.integers(3, 30))
def test_token_counts_that_do_not_add_up_are_still_honoured(text: str, limit: int) -> None:
    def count(part: str) -> int:  # every join costs more than its parts
        return len(part) + len(part) // 7

    assert all(count(chunk) <= limit for chunk in split(text, limit, count))


def test_a_short_text_is_one_chunk_and_an_empty_one_is_none() -> None:
    assert split("one two", 2, words) == ["one two"]
    assert split("", 2, words) == []


def test_paragraphs_are_kept_whole_where_they_fit() -> None:
    text = "a b c\n\nd e f\n\ng h i"
    assert split(text, 6, words) == ["a b c\n\nd e f\n\n", "g h i"]


def test_a_long_paragraph_is_cut_behind_sentences_and_keeps_their_marks() -> None:
    text = "One two three. Four five six! Seven eight nine?"
    assert split(text, 4, words) == ["One two three. ", "Four five six! ", "Seven eight nine?"]


def test_sentences_without_spaces_are_cut_behind_their_full_stops() -> None:
    assert split("一二三。四五六。七八", 4, len) == ["一二三。", "四五六。", "七八"]


def test_a_single_word_that_is_too_long_is_cut_inside() -> None:
    chunks = split("x" * 1000, 64, len)
    assert "".join(chunks) == "x" * 1000
    assert len(chunks) <= 32


def test_a_left_over_joins_its_neighbour() -> None:
    text = "a b c d e. f.\n\ng h"
    assert split(text, 5, words) == ["a b c d e. ", "f.\n\ng h"]


def test_a_chunk_that_is_hardly_filled_takes_the_beginning_of_the_next_paragraph() -> None:
    text = "a b\n\nc d. e f. g h. i j."
    assert split(text, 8, words) == ["a b\n\nc d. e f. g h. ", "i j."]
    text = "a b c d e\n\nf g. h i."  # filled enough: the paragraph stays whole
    assert split(text, 8, words) == ["a b c d e\n\n", "f g. h i."]


@pytest.mark.parametrize("hostile", [".", "\n", " ", ".)", "\n ", '."', "\r\n\t"])
def test_hostile_runs_cost_linear_time(hostile: str) -> None:
    started = time.perf_counter()
    text = hostile * 60_000 + "x"
    assert "".join(split(text, 5000, len)) == text
    assert time.perf_counter() - started < 3


def test_a_chunk_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens is 0"):
        split("a", 0, words)


async def test_a_text_is_counted_in_few_questions_for_each_may_be_a_round_trip() -> None:
    questions: list[int] = []

    async def counts(texts: Sequence[str]) -> list[int]:
        questions.append(len(texts))
        return [len(text.split()) for text in texts]

    text = "\n\n".join(f"A sentence of six words, {number}. And another one of them." for number in range(500))
    chunks = await split_async(text, 100, counts)
    assert "".join(chunks) == text
    assert len(chunks) > 50
    assert sum(questions) > 500
    assert len(questions) < 2 * len(chunks)


async def test_a_very_long_piece_is_cut_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG", 10)

    async def counts(texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    text = "One two three. Four five six! Seven eight nine?"
    assert "".join(await split_async(text, 20, counts)) == text
