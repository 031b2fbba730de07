"""Evidence of an answer: where in the text each of its values stands, found by code after the model has answered."""

from collections.abc import Mapping
from typing import Any

from tools_server.engine.schema_support import subschemas
from tools_server.evidence.verify import verify

__all__ = ["evidence_of"]

NAMED = 5
"""Values that one warning names."""


def evidence_of(
    answer: Mapping[str, Any], text: str, schema: Mapping[str, Any], inside: str | None
) -> tuple[dict[str, list[int]], list[str]]:
    """Look an answer's values up in its text.

    Gives `[start, end]` in characters of the text by path (`who`, `items[0].price`), and warnings about what the text
    does not have. What the schema lists (enum, const) is chosen, not stated: it is shown where it stands, and not
    missed. `inside` is the property that holds the values, if they are not the answer itself.
    """
    chosen = {
        str(value)
        for _, node in subschemas(schema)
        for value in (*node.get("enum", ()), *([node["const"]] if "const" in node else ()))
    }
    done = verify(answer, text)
    start = f"$.{inside}." if inside else "$."
    places = {each.path.removeprefix(start): [each.place.start, each.place.end] for each in done.found}
    missing = [f"`{each.path.removeprefix(start)}` ({each.value})" for each in done.missing if each.value not in chosen]
    if not missing:
        return places, []
    named = ", ".join(missing[:NAMED]) + (f" and {len(missing) - NAMED} more" if len(missing) > NAMED else "")
    return places, [f"Not in the text: {named}."]
