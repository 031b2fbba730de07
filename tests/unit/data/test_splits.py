"""Splits: what is shared is found, what is parted stays parted, and a hash knows what was used."""

import hashlib

import pytest

from tools_server.data.splits import check_disjoint, hash_of, missing_labels, split
from tools_server.data.types import Sample
from tools_server.errors import DataInvalid


def sample(text: str, label: str = "a", place: str = "x.jsonl:1", name: str = "x") -> Sample:
    return Sample(name, "classify", {"text": text}, {"label": label}, place)


def test_a_text_in_two_splits_is_refused_with_both_places_whatever_its_case_and_blanks():
    train = [sample("Where is  my CARD?", place="train.jsonl:7"), sample("Other")]
    test = [sample("where is\nmy card? ", place="test.csv:3")]
    with pytest.raises(DataInvalid) as error:
        check_disjoint({"train": train, "test": test})
    assert "test.csv:3 (test) has the text of train.jsonl:7 (train)" in error.value.message
    assert error.value.hint


def test_a_text_that_repeats_inside_one_split_is_allowed():
    check_disjoint({"train": [sample("a"), sample("A")], "dev": [sample("b")]})


def test_only_the_first_shared_texts_are_quoted():
    same = [sample(f"text {i}") for i in range(9)]
    with pytest.raises(DataInvalid, match=r"^9 sample\(s\) stand in two splits: .*; and 4 more\."):
        check_disjoint({"train": same, "dev": same})


def test_the_hash_knows_content_and_nothing_else():
    one, two = sample("a", place="here:1", name="n1"), sample("b")
    assert hash_of([one, two]) == hash_of([two, sample("a", place="there:9", name="n2")])
    assert hash_of([one]) != hash_of([one, one])
    assert hash_of([one]) != hash_of([sample("a", "b")])
    line = '["classify",{"text":"a"},{"label":"a"},{}]'  # what provenance of the past was made of
    assert hash_of([one]) == hashlib.sha256(line.encode()).hexdigest()


def test_parting_is_stable_and_keeps_equal_texts_together():
    samples = [sample(f"text {i}") for i in range(1000)]
    train, dev = split(samples, seed=1, dev_share=0.2)
    assert 150 < len(dev) < 250
    assert len(train) + len(dev) == 1000
    more, _ = split([sample("TEXT  5"), *samples[:500]], seed=1, dev_share=0.2)
    assert more[-1:] == [each for each in train if each in samples[:500]][-1:], "an added sample moves no other one"
    assert (sample("TEXT  5") in more) == (samples[5] in train)
    assert split(samples, seed=2, dev_share=0.2)[1] != dev


def test_labels_without_a_sample_are_told_in_their_order():
    several = Sample("m", "classify", {"text": "x"}, {"labels": ["c", "d"]}, "x:1")
    assert missing_labels([sample("x", "b"), several], ["z", "a", "b", "c", "d"]) == ["z", "a"]
