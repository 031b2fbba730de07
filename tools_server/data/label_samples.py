"""Samples for skills that choose a label: a fixed set, all labels of a data set, or sets drawn out of them.

Drawn sets are what teaches a model to read the labels of a call instead of learning those of a data set by heart.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tools_server.data.mappings import LabelMapping, LabelSampling, RecordLabelMapping
from tools_server.data.records import Group, Label, Record, Source, canonical, chunks, grouped
from tools_server.errors import DataInvalid

__all__ = ["FORMS", "NONE_NAMES", "label_groups", "record_label_groups"]

NONE_NAMES = ("none", "other", "none of these", "something else", "none of the above", "unknown", "no match")
"""What the label for "no other one fits" is called; users call it many names."""

NONE_PRESENT = 0.5
"""Share of the drawn sets that have such a label, if any sample shall need it: having it must not give it away."""


def _words(name: str) -> list[str]:
    return name.replace("_", " ").replace("-", " ").split()


FORMS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: "_".join(_words(name)),
    lambda name: "_".join(_words(name)).upper(),
    lambda name: "-".join(_words(name)),
    lambda name: " ".join(word[:1].upper() + word[1:] for word in _words(name)),
)
"""Spellings of a label's name: as it is, snake_case, UPPER_SNAKE, kebab-case, Title Case."""


def label_groups(mapping: LabelMapping, source: Source) -> list[Group]:
    """Make samples of records with one label each.

    Raises:
        DataInvalid: a record's label is not among the data set's labels, or a field is missing.
    """
    names = mapping.names
    own = [each for each in source.labels if not names or each.name in names]
    # Several labels of the data set may be one of the skill's; the first one's description is as good as any.
    named = {names.get(each.name, each.name): each.description for each in reversed(own)}
    labels = [Label(name, named[name]) for name in dict.fromkeys(names.get(each.name, each.name) for each in own)]
    records = [(record, record.get("label", str)) for record in source.records]
    answers = [(record, names.get(label, label)) for record, label in records if not names or label in names]
    if mapping.labels == "fixed":
        pairs = source.rng.sample(answers, len(answers)) if mapping.vary else answers
        return chunks(
            [source.sample(mapping.skill, record, {"label": label}) for record, label in pairs], mapping.group
        )
    known = {label.name for label in labels}
    for record, label in answers:
        if label not in known:
            raise DataInvalid(f"{record.place}: label: {label!r} is not in the file of labels.", "Mend the recipe.")
    if isinstance(mapping.labels, LabelSampling):
        return _drawn_groups(mapping, mapping.labels, source, labels, answers)
    return _whole_set_groups(mapping, source, labels, answers)


def _whole_set_groups(
    mapping: LabelMapping, source: Source, labels: Sequence[Label], answers: Sequence[tuple[Record, str]]
) -> list[Group]:
    pairs = source.rng.sample(answers, len(answers)) if mapping.vary else answers
    groups: list[Group] = []
    for piece in chunks(pairs, mapping.group):
        arguments, shown = _present(mapping, labels, source.rng)
        groups.append(
            [source.sample(mapping.skill, record, {"label": shown[label]}, arguments) for record, label in piece]
        )
    return groups


def _drawn_groups(
    mapping: LabelMapping,
    sampling: LabelSampling,
    source: Source,
    labels: Sequence[Label],
    answers: Sequence[tuple[Record, str]],
) -> list[Group]:
    """Draw a set of labels for each group, then its records; each record is used once, frequencies stay natural."""
    rng = source.rng
    left: dict[str, list[Record]] = {label.name: [] for label in labels}
    for record, label in rng.sample(answers, len(answers)):
        left[label].append(record)
    ordinary = [label for label in labels if label.name != mapping.none_label]
    groups: list[Group] = []
    while any(left.values()):
        first = _draw(left, left, rng)
        # A record that says of itself that no label fits needs the added one; else it is there now and then, and then
        # so many records come from outside the set that it is right in the share of all samples that is asked for.
        added = first == mapping.none_label or (sampling.none > 0 and rng.random() < NONE_PRESENT)
        outside_share = sampling.none / NONE_PRESENT if added else 0.0
        is_outside = first == mapping.none_label or rng.random() < outside_share
        chosen = [label for label in ordinary if label.name == first and not is_outside]
        others = [label for label in ordinary if label.name != first]
        size = rng.randint(sampling.least, sampling.most) - len(chosen)
        if sampling.similar > 0 and rng.random() < sampling.similar:
            shuffled = rng.sample(others, len(others))  # those that are equally like come in any order
            chosen += sorted(shuffled, key=lambda label: -_likeness(label.name, first))[:size]
        else:
            chosen += rng.sample(others, min(size, len(others)))
        inside = [label.name for label in chosen]
        outside = [name for name in left if name not in inside]
        if first == mapping.none_label and not any(left[name] for name in inside):
            outside_share = 1.0  # a split of such records alone
        drawn = [first]
        members = [left[first].pop()]
        while len(members) < mapping.group:
            pool = outside if rng.random() < outside_share else inside
            if not any(left[name] for name in pool):
                break
            drawn.append(_draw(left, pool, rng))
            members.append(left[drawn[-1]].pop())
        none = Label(rng.choice([name for name in NONE_NAMES if name not in left]))
        arguments, shown = _present(mapping, [*chosen, none] if added else chosen, rng, shuffle=True)
        groups.append(
            [
                source.sample(
                    mapping.skill, record, {"label": shown[label if label in inside else none.name]}, arguments
                )
                for record, label in zip(members, drawn, strict=True)
            ]
        )
    rng.shuffle(groups)
    return groups


def _likeness(name: str, other: str) -> float:
    """Share of words that two names have in common, of all words that they have (Jaccard)."""
    words, more = set(_words(name)), set(_words(other))
    return len(words & more) / max(1, len(words | more))


def _draw(left: Mapping[str, Sequence[Record]], names: Iterable[str], rng: random.Random) -> str:
    """Draw a label, each as likely as it has records left."""
    candidates = list(names)
    return rng.choices(candidates, weights=[len(left[name]) for name in candidates])[0]


def record_label_groups(mapping: RecordLabelMapping, source: Source) -> list[Group]:
    """Make samples of records that carry their own labels.

    Raises:
        DataInvalid: a record's label is not among its labels, or a field is missing.
    """
    vary = source.rng if mapping.vary else None
    groups: list[Group] = []
    for records in grouped(source.records, lambda each: canonical(each.items("labels")), mapping.group, vary):
        labels = [
            Label(str(each.get("name")), str(each.get("description") or "")) for each in records[0].items("labels")
        ]
        arguments, shown = _present(mapping, labels, source.rng)
        group: Group = []
        for record in records:
            label = record.get("label", str)
            if label not in shown:
                raise DataInvalid(f"{record.place}: label: {label!r} is not among its `labels`.", "Mend the file.")
            group.append(source.sample(mapping.skill, record, {"label": shown[label]}, arguments))
        groups.append(group)
    return groups


def _present(
    mapping: LabelMapping | RecordLabelMapping, labels: Sequence[Label], rng: random.Random, *, shuffle: bool = False
) -> tuple[dict[str, Any], dict[str, str]]:
    """Give the argument `labels` of a group's calls, and by each label's own name the name that it has there."""
    shown = {label.name: label.name for label in labels}
    described = rng.random() < mapping.descriptions
    order = list(labels)
    if mapping.vary:
        if mapping.none_label in shown:
            spare = [name for name in NONE_NAMES if name not in shown]
            shown[mapping.none_label] = rng.choice([mapping.none_label, *spare])
        form = rng.choice(FORMS)
        spelt = {name: form(other) or other for name, other in shown.items()}
        if len(set(spelt.values())) == len(spelt):  # two names may differ in their spelling alone
            shown = spelt
    if mapping.vary or shuffle:
        rng.shuffle(order)
    given: list[Any] = [
        {"name": shown[label.name], "description": label.description}
        if described and label.description
        else shown[label.name]
        for label in order
    ]
    return {"labels": given}, shown
