"""What all scores share: how values are compared, and the shapes that measures come in."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

import numpy as np

from tools_server.data.types import Sample
from tools_server.evals.statistics import Kind, Measure, Values

__all__ = ["Data", "Scored", "binary", "f1", "folded", "normal", "payload", "precision", "quotient", "recall", "stands"]

Data = Mapping[str, Any] | None
"""The `data` of a call, None when it failed."""

_SURROUNDING = " .,;:!?'\"`´‘’“”„«»‹›()[]{}<>-–—…"
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Scored:
    """The measures of one variant, and what explains them: confusions, scores by type."""

    measures: Sequence[Measure]
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


def folded(text: str) -> str:
    """Text as it is compared: compatibility forms (NFKC), case folded, runs of white space made one blank."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def normal(value: Any) -> Any:
    """A value as it is compared, hashable. Two are equal when these are.

    Strings are folded and stripped of surrounding punctuation. Numbers compare as numbers, also where one is written as
    text (`1,250.50`); text with leading zeros stays text, for it is a code. Objects compare by their keys that are not
    null, lists in order.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return "number", Decimal(str(value)).normalize()
    if isinstance(value, str):
        text = folded(value)
        if _NUMBER.fullmatch(text):
            return "number", Decimal(text.replace(",", "")).normalize()
        # What is nothing but punctuation is compared as it stands.
        return text.strip(_SURROUNDING) or text
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return "object", tuple(sorted((key, normal(item)) for key, item in items if item is not None))
    return "list", tuple(normal(item) for item in cast("Sequence[Any]", value))


def stands(value: str, source: str) -> bool:
    """Tell whether a value occurs in a folded source text, as whole words. A sign may stand next to a word."""
    text = folded(value)
    wanted = text.strip(_SURROUNDING) or text
    before, after = (r"\b" if re.fullmatch(r"\w", edge) else "" for edge in (wanted[:1], wanted[-1:]))
    return re.search(f"{before}{re.escape(wanted)}{after}", source) is not None


def payload(data: Data) -> Mapping[str, Any]:
    """What a skill filled: the object under `data` where it has a caller's schema, else the answer itself."""
    inner = (data or {}).get("data")
    return cast("Mapping[str, Any]", inner) if isinstance(inner, Mapping) else (data or {})


def quotient(sums: Values) -> Values:
    """First column over second."""
    return _divided(sums[..., 0], sums[..., 1])


def precision(sums: Values) -> Values:
    """From tp, fp, fn."""
    return _divided(sums[..., 0], sums[..., 0] + sums[..., 1])


def recall(sums: Values) -> Values:
    """From tp, fp, fn."""
    return _divided(sums[..., 0], sums[..., 0] + sums[..., 2])


def f1(sums: Values) -> Values:
    """From tp, fp, fn: 2·tp / (2·tp + fp + fn)."""
    return _divided(2 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1] + sums[..., 2])


def _divided(top: Values, bottom: Values) -> Values:
    empty = bottom == 0
    return np.where(empty, np.nan, top / np.where(empty, 1, bottom))


def binary(name: str, right: Sequence[bool], *, primary: bool = False) -> Measure:
    """A share of samples that are right."""
    rows = np.array([[each, 1] for each in right], dtype=np.float64).reshape(-1, 2)
    return Measure(name, "binary", "higher", rows, quotient, primary)


def counts(rows: Sequence[Sequence[float]], columns: int) -> Values:
    """Contributions as an array, also where there is no sample."""
    return np.array(rows, dtype=np.float64).reshape(-1, columns)


def precision_recall_f1(prefix: str, rows: Values, *, primary: bool = False, kind: Kind = "ratio") -> list[Measure]:
    """The three of one table of tp, fp, fn; the F1 may be primary."""
    return [
        Measure(f"{prefix}f1", kind, "higher", rows, f1, primary),
        Measure(f"{prefix}precision", kind, "higher", rows, precision),
        Measure(f"{prefix}recall", kind, "higher", rows, recall),
    ]


def source_of(sample: Sample) -> str:
    """The text of the call, folded."""
    return folded(str(sample.arguments["text"]))
