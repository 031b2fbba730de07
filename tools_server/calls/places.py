"""Evidence of an answer: what of it stands in its text, found by code after the model has answered."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tools_server.engine.schema_support import subschemas
from tools_server.evidence.verify import Missing, Verification, verify
from tools_server.skills.schemas import EVIDENCE, LINES, QUOTES, UNSUPPORTED

__all__ = ["evidence_of"]

NAMED = 5
"""Values that one warning names."""

LISTED = 10
"""Entries of `unsupported`: with more the answer is of no use, and the caller's context is not."""

SHOWN = 60
"""Characters of a claim that are shown; the whole of it is in the answer already."""


def evidence_of(
    how: Literal["spans", "claims"],
    answer: Mapping[str, Any],
    text: str,
    schema: Mapping[str, Any],
    inside: str | None,
    *,
    full: bool = False,
) -> tuple[dict[str, Any], list[str]]:
    """Look an answer up in its text, the whole of it as the caller gave it; one verdict with the tool `verify`.

    Gives what is added to the answer, and warnings about what the text does not have:

    - `spans`: `evidence`, `[start, end]` in characters of the text by path (`who`, `items[0].price`); in full also
      `quotes`, the text at these places, and `lines`, the number of the line that each begins on.
    - `claims`: `unsupported`, numbers, dates, names and sentences that the text lacks, if there are any; in full all
      of them, and uncut.

    What the schema lists (enum, const) is chosen, not stated: it is shown where it stands, and not missed. `inside` is
    the property that holds the values, if they are not the answer itself.
    """
    done = verify(answer, text)
    start = f"$.{inside}." if inside else "$."
    missing = _missing(done, schema)
    if how == "spans":
        places = {each.path.removeprefix(start): [each.place.start, each.place.end] for each in done.found}
        named = [f"`{each.path.removeprefix(start)}` ({each.value})" for each in missing]
        added: dict[str, Any] = {EVIDENCE: places}
        if full:
            added[QUOTES] = {path: text[first:last] for path, (first, last) in places.items()}
            added[LINES] = {path: text.count("\n", 0, first) + 1 for path, (first, _) in places.items()}
        return added, [f"Not in the text: {_listed(named)}."] if named else []
    if not missing:
        return {}, []
    listed = missing if full else missing[:LISTED]
    entries = [
        {
            "path": each.path.removeprefix(start),
            "claim": each.value if full else _shown(each.value),
            "kind": each.kind,
        }
        for each in listed
    ]
    count, them = ("1 claim", "it") if len(missing) == 1 else (f"{len(missing)} claims", "them")
    where = "see" if len(listed) == len(missing) else f"the first {LISTED} are in"
    mend = f"Check {them} before you rely on {them}."
    return {UNSUPPORTED: entries}, [f"Not found in the text: {count} of this answer ({where} `unsupported`). {mend}"]


def _missing(done: Verification, schema: Mapping[str, Any]) -> list[Missing]:
    chosen = {
        str(value)
        for _, node in subschemas(schema)
        for value in (*node.get("enum", ()), *([node["const"]] if "const" in node else ()))
    }
    return [each for each in done.missing if each.value not in chosen]


def _listed(named: Sequence[str]) -> str:
    return ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED} more" if len(named) > NAMED else "")


def _shown(claim: str) -> str:
    claim = claim.strip()
    return claim if len(claim) <= SHOWN else f"{claim[: SHOWN - 1]}…"
