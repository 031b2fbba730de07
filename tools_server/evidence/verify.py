"""Holding an answer against its source, value by value."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from tools_server.evidence.claims import Kind, outermost, unsupported
from tools_server.evidence.source import Place, Source

__all__ = ["Finding", "Missing", "Verification", "verify"]

COMPUTED = frozenset(
    (
        *("label", "labels", "confidence", "scores", "warnings", "index", "path", "redacted"),
        *("evidence", "unsupported", "usage", "signals", "calibration", "deferred"),
    )
)
"""Properties on an answer's top level that say nothing that could stand in a source."""

COMPUTED_BESIDE: Mapping[str, tuple[str, ...]] = {"evidence": ("quotes", "lines"), "deferred": ("reason",)}
"""More of them, where the first is there: by themselves, `lines` are rather those of an invoice."""

ENTITY_COMPUTED = frozenset(("type", "start", "end"))
"""The same of located entities: `{"type", "value", "start", "end"}`."""

PROSE_WORDS = 4
"""A string of that many words that is not found as a whole is taken for prose, and what it claims is looked up. So are
shorter ones of two words and more in a list that has such prose: key points are key points, however short."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One value of an answer, by its JSON path, and where it stands in the source."""

    path: str
    value: str
    place: Place


@dataclass(frozen=True, slots=True)
class Missing:
    """What the source does not have: a whole value, or a claim in prose."""

    path: str
    value: str
    kind: Literal["value"] | Kind


@dataclass(frozen=True, slots=True)
class Verification:
    """What of an answer stands in its source. `checked` counts values and strings of prose."""

    checked: int
    found: Sequence[Finding]
    missing: Sequence[Missing]

    @property
    def supported(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


def verify(answer: Any, text: str) -> Verification:
    """Look up every string and number of an answer in its source text. Null, true and false say nothing to look up.

    Values are found word for word; then but for case, white space, quotes, dashes and Unicode's compatibility forms;
    then as numbers (`1,250.50` for 1250.5) and dates (`3 March 2026` for 2026-03-03). Of prose, numbers, dates and
    names are looked up, and sentences are named that share hardly a word with the source (`unsupported` in `claims`).
    Each is told of once: a sentence without what is in it.
    """
    source = Source(text)
    beside = [names for name, names in COMPUTED_BESIDE.items() if isinstance(answer, Mapping) and name in answer]
    leaves = _leaves(answer, "$", COMPUTED.union(*beside))
    looked_up = [(path, str(value), source.find(str(value))) for path, value in leaves]
    prose_lists = {_list_of(path) for path, written, place in looked_up if place is None and _is_long(written)} - {""}
    found: list[Finding] = []
    missing: list[Missing] = []
    for path, written, place in looked_up:
        if place is not None:
            found.append(Finding(path, written, place))
        elif _is_long(written) or (_list_of(path) in prose_lists and len(written.split()) > 1):
            claims = outermost(unsupported(written, source))
            missing += [Missing(path, claim.text, claim.kind) for claim in claims]
        else:
            missing.append(Missing(path, written, "value"))
    return Verification(len(looked_up), found, missing)


def _is_long(written: str) -> bool:
    return len(written.split()) >= PROSE_WORDS


def _list_of(path: str) -> str:
    """The path of the list that a value is an item of; empty when it is none."""
    return path.rpartition("[")[0] if path.endswith("]") else ""


def _leaves(node: Any, path: str, computed: frozenset[str] = frozenset()) -> Iterator[tuple[str, str | int | float]]:
    if isinstance(node, Mapping):
        fields = cast("Mapping[str, Any]", node)
        if {"type", "value", "start", "end"} <= fields.keys():
            computed = ENTITY_COMPUTED
        for name, value in fields.items():
            if name not in computed:
                yield from _leaves(value, f"{path}.{name}")
    elif isinstance(node, list):
        for index, item in enumerate(cast("list[Any]", node)):
            yield from _leaves(item, f"{path}[{index}]")
    elif isinstance(node, str):
        if node.strip():
            yield path, node
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield path, node
