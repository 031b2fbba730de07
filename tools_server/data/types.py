"""What evaluation and training have in common: samples of calls and the answers that are wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One call with its wanted answer.

    `arguments` are those of a call with one `text`; `expected` holds what of the answer's `data` matters, such as
    `{"label": …}`, `{"data": {…}}` or `{"summary": …}`. `alternatives` has, by a field's name, other values that a fair
    score accepts too. `place` is file and line, for people. Samples with equal `arguments` but for the text share their
    prompt's beginning.
    """

    id: str
    skill: str
    arguments: Mapping[str, Any]
    expected: Mapping[str, Any]
    place: str
    alternatives: Mapping[str, Sequence[Any]] = field(default_factory=dict[str, Sequence[Any]])
