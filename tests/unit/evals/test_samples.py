"""What a skill is evaluated on, however it is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.evals.evals_fakes import bundled, labelled, write_lines
from tools_server.errors import DataNotFound, EvaluationImpossible, SamplesInvalid
from tools_server.evals.samples import find_samples, metric_of, own_samples, spread, together
from tools_server.settings import Settings
from tools_server.skills.types import Skill


def row(text: str, label: str) -> str:
    return json.dumps({"text": text, "labels": ["a", "b"], "expected": {"label": label}})


@pytest.mark.parametrize(
    ("name", "metric"),
    [("classify", "accuracy"), ("extract", "field_accuracy"), ("summarise", "rouge_l"), ("find_pii", "entities")],
)
def test_shipped_skills_say_how_they_are_scored_and_bring_samples(name: str, metric: str):
    skill = bundled(name)
    assert metric_of(skill) == metric
    found = own_samples(skill)
    assert (found.name, found.split) == (name, "samples")
    assert len(found.samples) >= 5
    assert found.train() == ()


def silent(skill: Skill, folder: Path) -> Skill:
    return replace(skill, folder=folder)


def test_a_skill_that_says_nothing_is_scored_by_its_kind_where_that_is_clear(tmp_path: Path):
    assert metric_of(silent(bundled("classify"), tmp_path)) == "accuracy"
    assert metric_of(silent(bundled("extract"), tmp_path)) == "field_accuracy"
    with pytest.raises(EvaluationImpossible, match=r"`summarise` does not say how its answers are scored.*eval\.toml"):
        metric_of(silent(bundled("summarise"), tmp_path))
    with pytest.raises(EvaluationImpossible, match="`classify` has no samples of its own"):
        own_samples(silent(bundled("classify"), tmp_path))


@pytest.mark.parametrize("content", ['metric = "magic"\nsamples = "s"', "metric =", 'metric = "accuracy"'])
def test_a_broken_description_is_named(tmp_path: Path, content: str):
    (tmp_path / "evals").mkdir()
    write_lines(tmp_path / "evals" / "eval.toml", content)
    with pytest.raises(SamplesInvalid, match=r"eval\.toml: "):
        metric_of(silent(bundled("classify"), tmp_path))


def test_a_file_of_ones_own_is_a_split_by_its_name_and_another_one_is_learnt_from(tmp_path: Path):
    test = write_lines(tmp_path / "held-out.jsonl", row("x", "a"), row("y", "b"))
    train = write_lines(tmp_path / "train.jsonl", row("z", "a"), row(" X ", "a"))
    found = find_samples(str(test), "dev", bundled("classify"), settings=Settings(), train=train)
    assert (found.name, found.split, len(found.samples)) == ("held-out.jsonl", "held-out", 2)
    # " X " is the text x, which is evaluated: it is not learnt from.
    assert [sample.arguments["text"] for sample in found.train()] == ["z"]


def test_a_data_set_that_nobody_knows_is_an_error_that_names_others():
    with pytest.raises(DataNotFound, match="no data set 'banking78'") as caught:
        find_samples("banking78", "dev", bundled("classify"), settings=Settings())
    assert "banking77" in caught.value.hint


def test_the_hash_is_of_the_samples_that_are_evaluated(tmp_path: Path):
    path = write_lines(tmp_path / "mine.jsonl", *(row(f"text {number}", "a") for number in range(10)))
    found = find_samples(str(path), "dev", bundled("classify"), settings=Settings())
    assert found.limited(None).sha256 == found.sha256 != found.limited(9).sha256
    assert [sample.arguments["text"][-1] for sample in found.limited(4).samples] == ["0", "2", "5", "7"]


def test_samples_are_taken_evenly_and_never_more_than_there_are():
    samples = labelled(*((str(number), "bug") for number in range(3)))
    assert spread(samples, 9) == samples
    assert spread(samples, 0) == []


def test_several_sets_are_scored_as_one_and_none_twice(tmp_path: Path):
    files = [write_lines(tmp_path / f"{name}.jsonl", row(f"{name} 1", "a"), row("both", "b")) for name in "xy"]
    train = write_lines(tmp_path / "train.jsonl", row("both", "b"), row("new", "a"))
    sets = [find_samples(str(path), "dev", bundled("classify"), settings=Settings(), train=train) for path in files]
    found = together(sets)
    assert (found.name, found.split, found.licence) == ("x.jsonl+y.jsonl", "x+y", "the user's own")
    assert [sample.arguments["text"] for sample in found.samples] == ["x 1", "both", "y 1", "both"]
    assert {sample.arguments["text"] for sample in found.train()} == {"new"}
    assert together(sets[:1]) is sets[0]
    with pytest.raises(EvaluationImpossible, match=r"x\.jsonl:x was named twice"):
        together([*sets, sets[0]])
