"""A JSON Schema that came as an argument: is it one, is it within bounds, and can it be widened without a doubt?

What the decoder cannot enforce is not asked here: the engine answers that, by path and keyword.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote

from jsonschema import Draft202012Validator

from tools_server.calls.arguments import errors_in
from tools_server.calls.complaints import complaint_about, shortened
from tools_server.calls.nullable import SUBSCHEMA, SUBSCHEMA_LISTS, SUBSCHEMA_MAPS
from tools_server.errors import InvalidArguments

MAX_BYTES = 64 * 1024
"""Largest schema, as JSON: a few hundred properties."""

Node = Mapping[str, Any]

_METASCHEMA = cast("Any", Draft202012Validator)(Draft202012Validator.META_SCHEMA)
_DEFS = ("$defs", "definitions")
_OBJECT_KEYWORDS = frozenset({"properties", "required", "additionalProperties", "patternProperties"})
_IN_PLACE = ("anyOf", "oneOf", "allOf")


def check_schema(schema: Node, path: str) -> None:
    """Check the schema that stands at JSON path `path` of the arguments.

    Raises:
        InvalidArguments: with the JSON path of what is wrong.
    """
    size = len(json.dumps(schema, ensure_ascii=False).encode())
    if size > MAX_BYTES:
        raise InvalidArguments(
            f"The schema at {path} is {size:,} bytes; at most {MAX_BYTES:,} are taken.",
            "Ask for fewer fields per call, or shorten the descriptions.",
        )
    if errors := errors_in(schema, _METASCHEMA):
        complaint = complaint_about(errors[0], path)
        raise InvalidArguments(f"{path} is no JSON Schema (Draft 2020-12): {complaint.what}.", complaint.mend)
    for at, node in _walk(schema, path):
        _check_reference(schema, node, at)
        _check_composition(node, at)
    _check_cycles(schema, path)
    _check_top(schema, path)


def _walk(schema: Any, path: str) -> Iterator[tuple[str, Node]]:
    if not isinstance(schema, Mapping):
        return
    node = cast("Node", schema)
    yield path, node
    for keyword in SUBSCHEMA:
        yield from _walk(node.get(keyword), f"{path}.{keyword}")
    for keyword in SUBSCHEMA_LISTS:
        for index, item in enumerate(node.get(keyword, ())):
            yield from _walk(item, f"{path}.{keyword}[{index}]")
    for keyword in SUBSCHEMA_MAPS:
        for name, item in cast("Node", node.get(keyword, {})).items():
            yield from _walk(item, f"{path}.{keyword}.{name}")


def _target(root: Node, reference: str) -> Any:
    """Find what `#` or `#/$defs/NAME` refers to; KeyError for anything else."""
    if reference == "#":
        return root
    start, _, name = reference.removeprefix("#/").partition("/")
    if not reference.startswith("#/") or start not in _DEFS or "/" in name:
        raise KeyError(reference)
    return root[start][unquote(name).replace("~1", "/").replace("~0", "~")]


def _check_reference(root: Node, node: Node, path: str) -> None:
    if "$ref" not in node:
        return
    try:
        _target(root, node["$ref"])
    except KeyError:
        known = ", ".join(f"`#/{defs}/{name}`" for defs in _DEFS for name in root.get(defs, {})) or "none"
        raise InvalidArguments(
            f"{path}.$ref: {shortened(node['$ref'])} cannot be followed.",
            f"A reference is `#` or `#/$defs/NAME` with NAME on the schema's top level (there: {known}).",
        ) from None


def _check_composition(node: Node, path: str) -> None:
    """Refuse an object that is put together from several schemas: which property is required is then anyone's guess."""
    mine = sorted(_OBJECT_KEYWORDS & set(node))
    keyword = next((keyword for keyword in ("$ref", *_IN_PLACE) if keyword in node), None)
    if mine and keyword is not None:
        what = f"{path} has `{keyword}` beside `{mine[0]}`"
    elif len(node.get("allOf", ())) > 1 and any(_may_be_object(branch) for branch in node["allOf"]):
        what = f"{path}.allOf has several branches that describe an object"
    else:
        return
    raise InvalidArguments(
        f"{what}: an object put together from several schemas is not supported.",
        "Write all of its properties into one schema.",
    )


def _may_be_object(branch: Any) -> bool:
    return isinstance(branch, Mapping) and bool({"$ref", *_IN_PLACE, *_OBJECT_KEYWORDS} & set(cast("Node", branch)))


def _same_place(root: Node, node: Node) -> Iterator[Node]:
    """Give the schemas that apply to the very value that `node` applies to."""
    targets: list[Any] = [_target(root, node["$ref"])] if "$ref" in node else []
    for keyword in _IN_PLACE:
        targets += node.get(keyword, [])
    yield from (cast("Node", target) for target in targets if isinstance(target, Mapping))


def _check_cycles(root: Node, path: str) -> None:
    """Refuse a schema that is defined by itself alone; one that contains itself deeper inside is fine."""
    done: set[int] = set()
    for at, start in _walk(root, path):
        trail: list[tuple[int, Iterator[Node]]] = [(id(start), _same_place(root, start))]
        while trail:
            following = next(trail[-1][1], None)
            if following is None:
                done.add(trail.pop()[0])
            elif any(id(following) == seen for seen, _ in trail):
                raise InvalidArguments(
                    f"{at} refers to itself and to nothing else.", "Let one `$ref` end at a real schema."
                )
            elif id(following) not in done:
                trail.append((id(following), _same_place(root, following)))


def _check_top(schema: Node, path: str) -> None:
    top = schema
    while "$ref" in top and isinstance(target := _target(schema, top["$ref"]), Mapping):
        top = cast("Node", target)
    if top.get("type") != "object":
        raise InvalidArguments(
            f"{path}.type is {shortened(top.get('type'))}: the answer is an object.",
            'Give {"type": "object", "properties": {…}}; a list goes into a property of it.',
        )
