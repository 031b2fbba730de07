"""Scores of entities: pairs of type and value, as many of each as the text has."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tools_server.data.types import Sample
from tools_server.engine.words import borders, occurrences
from tools_server.evals.scoring.base import (
    Data,
    Scored,
    binary,
    counts,
    f1,
    normal,
    payload,
    precision,
    precision_recall_f1,
    quotient,
    recall,
    source_of,
    stands,
)
from tools_server.evals.scoring.confidence import score_confidences
from tools_server.evals.statistics import Measure

__all__ = ["score_entities"]


def score_entities(samples: Sequence[Sample], answers: Sequence[Data]) -> Scored:
    """Score `entities`, a list of `{"type", "value"}`, as a multiset of (type, normalised value).

    `f1`, `precision`, `recall` are micro; `exact_match` asks for the whole list, `nothing_wrong` only that no entity is
    wrong, which is what a confidence is about; `unsupported` is the share of answered values that do not occur in the
    text. `covered` is the share of the characters of all wanted values that lie in answered ones, of whatever type and
    however divided: what a redaction replaces; `covered_rightly` is the share of what it replaces that is wanted. The
    details have the F1 of each type.
    """
    table: list[tuple[int, int, int]] = []
    exact: list[bool] = []
    clean: list[bool] = []
    invented: list[tuple[int, int]] = []
    covered: list[tuple[int, int, int]] = []
    by_type: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for sample, answer in zip(samples, answers, strict=True):
        wanted, given = _entities(sample.expected), _entities(answer)
        parts = wanted & given, given - wanted, wanted - given
        table.append((parts[0].total(), parts[1].total(), parts[2].total()))
        exact.append(answer is not None and wanted == given)
        clean.append(answer is not None and not parts[1])
        source = source_of(sample)
        values = [str(entity["value"]) for entity in _listed(answer)]
        invented.append((sum(not stands(value, source) for value in values), len(values)))
        text = str(sample.arguments["text"])
        ours, theirs = _characters(answer, text), _characters(sample.expected, text)
        covered.append((len(ours & theirs), len(ours - theirs), len(theirs - ours)))
        for column, part in enumerate(parts):
            for (kind, _), times in part.items():
                by_type[kind][column] += times
    scores = {kind: float(f1(counts([row], 3))[0]) for kind, row in sorted(by_type.items())}
    return Scored(
        [
            *precision_recall_f1("", counts(table, 3), primary=True),
            Measure("covered", "ratio", "higher", counts(covered, 3), recall),
            Measure("covered_rightly", "ratio", "higher", counts(covered, 3), precision),
            binary("exact_match", exact),
            binary("nothing_wrong", clean),
            Measure("unsupported", "ratio", "lower", counts(invented, 2), quotient),
            *score_confidences(answers, clean),
        ],
        {"f1_by_type": {kind: round(value, 4) for kind, value in scores.items()}},
    )


def _listed(data: Data) -> Sequence[Mapping[str, Any]]:
    return cast("Sequence[Mapping[str, Any]]", payload(data).get("entities") or ())


def _characters(data: Data, text: str) -> set[int]:
    """Places of the characters of all values, wherever in the text their words stand, as `redacted` replaces them."""
    at = borders(text)
    return {
        place
        for value in {str(entity["value"]) for entity in _listed(data)}
        for start in occurrences(value, text, at)
        for place in range(start, start + len(value))
    }


def _entities(data: Data) -> Counter[tuple[str, Any]]:
    return Counter((str(entity["type"]), normal(entity["value"])) for entity in _listed(data))
