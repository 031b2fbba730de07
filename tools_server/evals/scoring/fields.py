"""Scores of extracted objects, field by field."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tools_server.data.types import Sample
from tools_server.evals.scoring.base import (
    Data,
    Scored,
    binary,
    counts,
    normal,
    payload,
    precision_recall_f1,
    quotient,
    source_of,
    stands,
)
from tools_server.evals.scoring.confidence import score_confidences
from tools_server.evals.statistics import Measure
from tools_server.skills.interface import filled
from tools_server.skills.types import Skill

__all__ = ["score_fields"]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One value: `path` names its field, with `[]` for the items of a list."""

    path: str
    value: Any


def score_fields(skill: Skill, samples: Sequence[Sample], answers: Sequence[Data]) -> Scored:
    """Score objects by the values that are not null, in the expected and in the answered one.

    Objects inside are taken apart into their fields. Each item of a list counts for itself, in any order; an item that
    is an object or a list is right only as a whole. A value is right when it equals the expected one, or one of the
    sample's alternatives for its field, after normalisation (`base.normal`). A wrong value where one was expected is
    one fp and one fn. `exact_match` asks for the whole object: nothing missing, nothing wrong, nothing more; null, an
    empty list and an absent field are the same. `nothing_wrong` asks only that what is filled is right, which is what a
    confidence is about. `unsupported` is the share of answered strings, enumerated ones left
    out, that do not occur in the text.

    Only the parts of an answer that the sample speaks of are looked at.
    """
    table: list[tuple[int, int, int]] = []
    exact: list[bool] = []
    clean: list[bool] = []
    invented: list[tuple[int, int]] = []
    for sample, answer in zip(samples, answers, strict=True):
        wanted = list(_leaves(payload(sample.expected)))
        given = [leaf for leaf in _leaves(_asked(sample, answer)) if leaf.value is not None]
        right = _matches(wanted, given, sample.alternatives)
        table.append((right, len(given) - right, len(wanted) - right))
        exact.append(answer is not None and right == len(given) == len(wanted))
        clean.append(answer is not None and right == len(given))
        source, schema = source_of(sample), _schema(skill, sample)
        free = [leaf.value for leaf in given if isinstance(leaf.value, str) and not _is_listed(schema, leaf.path)]
        invented.append((sum(not stands(value, source) for value in free), len(free)))
    rows = counts(table, 3)
    measures = [
        *precision_recall_f1("", rows, primary=True),
        binary("exact_match", exact),
        binary("nothing_wrong", clean),
        Measure("unsupported", "ratio", "lower", counts(invented, 2), quotient),
        *score_confidences(answers, clean),
    ]
    return Scored(measures)


def _asked(sample: Sample, answer: Data) -> Mapping[str, Any]:
    """The part of the answer that the sample has an opinion on: all of `data`, else the expected fields."""
    given = payload(answer)
    if payload(sample.expected) is not sample.expected:
        return given
    return {name: value for name, value in given.items() if name in sample.expected}


def _leaves(value: Any, path: str = "") -> Iterator[_Leaf]:
    if isinstance(value, Mapping):
        for name, inner in cast("Mapping[str, Any]", value).items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield _Leaf(f"{path}[]", item)
    elif value is not None:
        yield _Leaf(path, value)


def _matches(wanted: Sequence[_Leaf], given: Sequence[_Leaf], alternatives: Mapping[str, Sequence[Any]]) -> int:
    """How many expected values have an answered one of their own that equals them."""
    left = [(leaf.path, normal(leaf.value)) for leaf in given]
    right = 0
    for leaf in wanted:
        others = alternatives.get(leaf.path.removesuffix("[]"), ())
        accepted = {normal(value) for value in (leaf.value, *others)}
        found = next((pair for pair in left if pair[0] == leaf.path and pair[1] in accepted), None)
        if found is not None:
            left.remove(found)
            right += 1
    return right


def _schema(skill: Skill, sample: Sample) -> Mapping[str, Any]:
    """The schema of what the skill fills: the caller's, or the skill's own."""
    argument = skill.manifest.generate.schema_from
    given = filled(skill, sample.arguments)[argument] if argument else None
    return cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else skill.output_schema


def _is_listed(schema: Mapping[str, Any], path: str) -> bool:
    """Tell whether the schema lists the values that may stand at a path."""
    here = schema
    for step in path.replace("[]", ".[]").split("."):
        here = _at(schema, here.get("items") if step == "[]" else here.get("properties", {}).get(step))
    branches = [_at(schema, branch) for branch in here.get("anyOf", ())]
    return any("enum" in each or "const" in each for each in (here, *branches))


def _at(root: Mapping[str, Any], schema: Any) -> Mapping[str, Any]:
    """A subschema with a reference inside the document followed; empty where there is none."""
    here = _object(schema)
    reference = str(here.get("$ref", ""))
    if not reference.startswith("#/"):
        return here
    target = root
    for step in reference[2:].split("/"):
        target = _object(target.get(step))
    return target


def _object(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
