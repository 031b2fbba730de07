"""A baseline for fields and entities: each token is tagged B-, I- or O by logistic regression."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from tools_server.data.types import Sample
from tools_server.evals.extras import library, one_against_rest
from tools_server.evals.scoring import MetricName
from tools_server.evals.scoring.base import payload

__all__ = ["is_learnable", "tagged"]

_TOKEN = re.compile(r"\w+|[^\w\s]")
_OUTSIDE = "O"
_NEIGHBOURS = (-2, -1, 1, 2)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    start: int
    end: int


def is_learnable(metric: MetricName, train: Sequence[Sample], samples: Sequence[Sample]) -> bool:
    """Tell whether the train split has every field that is asked for; entities need a train split alone."""
    if metric == "entities":
        return any(payload(sample.expected).get("entities") for sample in train)
    known = {name for sample in train for name in payload(sample.expected)}
    return bool(train) and all(set(payload(sample.expected)) <= known for sample in samples)


def tagged(metric: MetricName, train: Sequence[Sample], samples: Sequence[Sample]) -> list[Mapping[str, Any]]:
    """Learn which spans the train split names, and find such spans.

    Values that do not stand literally in their text (booleans, choices that are implied) cannot be learnt; of several
    spans for one field the likeliest is taken; a field without one is null.
    """
    entities = metric == "entities"
    features: list[list[str]] = []
    tags: list[str] = []
    for sample in train:
        text = str(sample.arguments["text"])
        tokens = _tokens(text)
        features += _features(tokens)
        tags += _tags(text, tokens, list(_wanted(sample, entities=entities)))
    if set(tags) <= {_OUTSIDE}:
        return [_answer([], sample, entities=entities) for sample in samples]
    # Each token is a "text" whose words are its features; those seen once tell nothing.
    counter = library("sklearn.feature_extraction.text").CountVectorizer(analyzer=list, binary=True, min_df=2)
    model = library("sklearn.pipeline").make_pipeline(counter, one_against_rest(5))
    model.fit(features, tags)
    return [_find(model, sample, entities=entities) for sample in samples]


def _find(model: Any, sample: Sample, *, entities: bool) -> Mapping[str, Any]:
    text = str(sample.arguments["text"])
    tokens = _tokens(text)
    if not tokens:
        return _answer([], sample, entities=entities)
    tags = [str(tag) for tag in model.classes_]
    allowed = [entities or tag == _OUTSIDE or tag[2:] in payload(sample.expected) for tag in tags]
    likely = np.where(allowed, model.predict_proba(_features(tokens)), 0.0)
    best: list[int] = likely.argmax(axis=1).tolist()
    spans: list[tuple[float, str, str]] = []
    open_at: int | None = None
    for place in range(len(tokens) + 1):
        tag = tags[best[place]] if place < len(tokens) else _OUTSIDE
        if open_at is not None and tag != f"I-{tags[best[open_at]][2:]}":
            sure = sum(float(likely[at, best[at]]) for at in range(open_at, place)) / (place - open_at)
            spans.append((sure, tags[best[open_at]][2:], text[tokens[open_at].start : tokens[place - 1].end]))
            open_at = None
        if open_at is None and tag != _OUTSIDE:
            open_at = place  # an I- without its beginning begins a span as well
    return _answer(spans, sample, entities=entities)


def _answer(spans: Sequence[tuple[float, str, str]], sample: Sample, *, entities: bool) -> Mapping[str, Any]:
    if entities:
        return {"entities": [{"type": kind, "value": value} for _, kind, value in spans]}
    found: dict[str, Any] = dict.fromkeys(payload(sample.expected))
    for _, name, value in sorted(spans):  # the likeliest last, so that it stays
        found[name] = value
    return {"data": found} if payload(sample.expected) is not sample.expected else found


def _wanted(sample: Sample, *, entities: bool) -> Iterator[tuple[str, str]]:
    """Pairs of kind and value."""
    wanted = payload(sample.expected)
    if entities:
        for entity in cast("Sequence[Mapping[str, Any]]", wanted.get("entities") or ()):
            yield str(entity["type"]), str(entity["value"])
        return
    for name, value in wanted.items():
        values: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
        yield from ((name, str(each)) for each in values if isinstance(each, str | int | float))


def _tags(text: str, tokens: Sequence[_Token], wanted: Sequence[tuple[str, str]]) -> list[str]:
    """Tag the first free place of each value; the longest values choose first."""
    tags = [_OUTSIDE] * len(tokens)
    for kind, value in sorted(wanted, key=lambda pair: -len(pair[1])):
        for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE):
            inside = [i for i, token in enumerate(tokens) if token.start >= match.start() and token.end <= match.end()]
            if inside and all(tags[i] == _OUTSIDE for i in inside):
                tags[inside[0]] = f"B-{kind}"
                for i in inside[1:]:
                    tags[i] = f"I-{kind}"
                break
    return tags


def _tokens(text: str) -> list[_Token]:
    return [_Token(match[0], match.start(), match.end()) for match in _TOKEN.finditer(text)]


def _features(tokens: Sequence[_Token]) -> list[list[str]]:
    """Of each token its word, shape, beginnings and endings, and word and shape of two neighbours on both sides."""
    words = [token.text.casefold() for token in tokens]
    shapes = [_shape(token.text) for token in tokens]
    found: list[list[str]] = []
    for place, word in enumerate(words):
        row = [f"word={word}", f"shape={shapes[place]}", f"first={place == 0}"]
        for length in (1, 2, 3):
            row += [f"begins={word[:length]}", f"ends={word[-length:]}"]
        for step in _NEIGHBOURS:
            there = place + step
            inside = 0 <= there < len(words)
            row.append(f"word{step:+d}={words[there] if inside else ''}")
            row.append(f"shape{step:+d}={shapes[there] if inside else ''}")
        found.append(row)
    return found


def _shape(word: str) -> str:
    """`Berlin` is Xx, `A12b` is Xdx: kinds of characters, repeats closed up."""
    kinds = "".join("d" if c.isdigit() else "X" if c.isupper() else "x" if c.isalpha() else c for c in word)
    return re.sub(r"(.)\1+", r"\1", kinds)
