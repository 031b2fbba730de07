"""Baselines for labels: no thought, common words, and a linear classifier."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools_server.data.types import Sample
from tools_server.evals.extras import library, one_against_rest
from tools_server.evals.scoring.base import folded
from tools_server.skills.labels import Label, labels_of
from tools_server.skills.types import Skill

__all__ = ["common_words", "first_label", "is_learnable", "majority", "tf_idf"]

_WORD = re.compile(r"\w+")
_ENDING = re.compile(r"(?:ing|ed|es|s)$")


def first_label(skill: Skill, samples: Sequence[Sample]) -> list[Mapping[str, Any]]:
    """Always the first label of the call; no label where every fitting one is asked for."""
    return [_answer(sample, [_names(skill, sample)[0]], none=True) for sample in samples]


def common_words(skill: Skill, samples: Sequence[Sample]) -> list[Mapping[str, Any]]:
    """The label that shares most words with the text, endings aside; of equal ones the first.

    Where every fitting label is asked for, all that share a word.
    """
    found: list[Mapping[str, Any]] = []
    for sample in samples:
        text = _words(str(sample.arguments["text"]))
        labels = labels_of(skill, sample.arguments)
        shared = [_shared(text, label) for label in labels]
        if "labels" in sample.expected:
            chosen = [label.name for label, share in zip(labels, shared, strict=True) if share]
        else:
            chosen = [labels[max(range(len(labels)), key=shared.__getitem__)].name]
        found.append(_answer(sample, chosen))
    return found


def majority(skill: Skill, train: Sequence[Sample], samples: Sequence[Sample]) -> list[Mapping[str, Any]]:
    """Of each call's labels the one that is most frequent in the train split; the most frequent set of several."""
    single = Counter(label for sample in train for label in _expected(sample) if "label" in sample.expected)
    sets = Counter(_expected(sample) for sample in train if "labels" in sample.expected)
    commonest = sets.most_common(1)[0][0] if sets else ()
    return [
        _answer(sample, commonest)
        if "labels" in sample.expected
        else _answer(sample, [max(_names(skill, sample), key=single.__getitem__)])
        for sample in samples
    ]


def is_learnable(skill: Skill, train: Sequence[Sample], samples: Sequence[Sample]) -> bool:
    """Tell whether one classifier can answer all samples: one set of labels, and all of them learnt from."""
    sets = {frozenset(_names(skill, sample)) for sample in samples}
    if len(sets) != 1 or len({"labels" in sample.expected for sample in (*samples, *train)}) != 1:
        return False
    learnt = {label for sample in train for label in _expected(sample)}
    return len(learnt) > 1 and learnt <= next(iter(sets))


def tf_idf(train: Sequence[Sample], samples: Sequence[Sample]) -> list[Mapping[str, Any]]:
    """TF-IDF of words (1-2) and of characters in words (2-5), then one logistic regression for each label.

    The likeliest label is answered; where every fitting one is asked for, all that are likelier than not.
    """
    pipeline, text = library("sklearn.pipeline"), library("sklearn.feature_extraction.text")
    features = pipeline.make_union(
        text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        text.TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
    )
    model = pipeline.make_pipeline(features, one_against_rest(10))
    texts = [[str(sample.arguments["text"]) for sample in group] for group in (train, samples)]
    if "label" in samples[0].expected:
        model.fit(texts[0], [sample.expected["label"] for sample in train])
        return [{"label": str(label)} for label in model.predict(texts[1])]
    binarizer = library("sklearn.preprocessing").MultiLabelBinarizer()
    model.fit(texts[0], binarizer.fit_transform([_expected(sample) for sample in train]))
    return [{"labels": list(found)} for found in binarizer.inverse_transform(model.predict(texts[1]))]


def _names(skill: Skill, sample: Sample) -> list[str]:
    return [label.name for label in labels_of(skill, sample.arguments)]


def _expected(sample: Sample) -> tuple[str, ...]:
    return tuple(sorted(sample.expected["labels"])) if "labels" in sample.expected else (sample.expected["label"],)


def _answer(sample: Sample, chosen: Iterable[str], *, none: bool = False) -> Mapping[str, Any]:
    if "labels" in sample.expected:
        return {"labels": [] if none else list(chosen)}
    return {"label": next(iter(chosen))}


def _shared(text: set[str], label: Label) -> int:
    return len(text & _words(f"{label.name} {label.description}".replace("_", " ")))


def _words(text: str) -> set[str]:
    return {_ENDING.sub("", word) for word in _WORD.findall(folded(text))}
