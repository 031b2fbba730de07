"""Answers in the form of a JSON Schema some of whose strings are copied from a text.

Such a string can only become words that stand in the text, one after the other, character for character. The schema
becomes a grammar in llguidance's dialect of Lark, made once; a text is put into it for each call. Only what leads to a
copied string is spelt out here (objects, arrays, alternatives, references); everything else is left to llguidance's
own JSON Schema compiler, and so means the same as ever.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from tools_server.engine.schema_support import ANNOTATIONS, SPAN, subschemas, without_marks
from tools_server.engine.words import chunks
from tools_server.errors import InvalidArguments

__all__ = ["SpanGrammar"]

Node = Mapping[str, Any]

# What may stand beside each other on the way to a copied string; annotations always may.
_STRING = frozenset({"type", "minLength", "maxLength"})
_OBJECT = frozenset({"type", "properties", "required", "additionalProperties"})
_ARRAY = frozenset({"type", "items", "minItems", "maxItems"})
_ALTERNATIVES = ("anyOf", "oneOf")

# One character of a JSON string, however it is escaped. A raw U+0000, which JSON never has, stands where the text has
# half a surrogate pair: nothing can be copied across it.
_CHARACTER = r"/[^\\\x00]|\\[^u]|\\u[0-9a-f]{4}/"
# The same without white space: what a copy may begin and end with.
_EDGE = r"/[^\s\\\x00]|\\[^nrtfu]|\\u[0-9a-f]{4}/"
# What parts values from each other. By itself it begins none: `:8080` is a copy, `: 14 April` is not.
_SEPARATORS = ":;,.!?"
_SEPARATOR = f"/[{_SEPARATORS}]/"
_START = rf"/[^\s\\\x00{_SEPARATORS}]|\\[^nrtfu]|\\u[0-9a-f]{{4}}/"

_BROKEN = re.compile("[\ud800-\udfff]")


class SpanGrammar:
    """A schema with copied strings, ready to be joined with texts.

    Copied are strings with `"x-span": true`. With `everywhere` also those that say nothing of their form, unless they
    have `"x-span": false` or stand where this module cannot follow.
    """

    def __init__(self, schema: Node, *, everywhere: bool = False) -> None:
        """Spell the schema out.

        Raises:
            InvalidArguments: a mark stands where it cannot be honoured; names its JSON path.
        """
        self._root = schema
        self._everywhere = everywhere
        self._rules: list[str] = []
        self._of_references: dict[str, str] = {}
        self._lengths: set[int | None] = set()
        self._rules.append(f"start: {self._value(schema, '$')}")

    @property
    def copies(self) -> bool:
        """Whether any string of an answer is a copy."""
        return bool(self._lengths)

    def lark(self, text: str) -> str:
        """Give the grammar of answers whose copied strings are from `text`.

        Where no word of the text fits, there is nothing to copy: the empty string is then the only copy.
        """
        pieces = chunks(text)
        shortest = min((len(it) for it in pieces if _may_stand_alone(it)), default=None)
        copy = {"substring_chunks": ["\0" if _BROKEN.search(it) else _quoted(it)[1:-1] for it in pieces]}
        rules = [*self._rules, f"CHARACTER: {_CHARACTER}", f"EDGE: {_EDGE}", f"COPY: %regex {_quoted(copy)}"]
        rules += [f"START: {_START}", f"SEPARATOR: {_SEPARATOR}"]
        for length in self._lengths:
            name = _terminal(length)
            if shortest is None or (length is not None and length < shortest):
                rules.append(f'{name}: "\\"\\""')
                continue
            rules.append(f'{name}: "\\"" {name}_INSIDE "\\""')
            rules.append(f"{name}_INSIDE: COPY & {name}_FORM")
            after_separator = "" if length == 1 else f" | SEPARATOR EDGE{_rest(length, 2)}"
            rules.append(f"{name}_FORM: START{_rest(length, 1)}{after_separator}")
        return "\n".join(rules)

    def _value(self, node: Any, path: str) -> str:
        """Give an expression for the values of a subschema."""
        if self._find(node, path, self._is_copied) is None:
            return self._by_llguidance(node)
        if self._is_copied(node):
            return self._copied(node, path)
        spelt_out = self._spelt_out(node, path)
        if spelt_out is not None:
            return spelt_out
        marked = self._find(node, path, lambda sub: sub.get(SPAN) is True)
        if marked is not None:
            raise _refused(marked, "only `properties` of closed objects, `items`, `anyOf` and `$ref` may lead there")
        return self._by_llguidance(node)

    def _spelt_out(self, node: Node, path: str) -> str | None:
        """Give an expression for what a copied string is in; None where that is said in too many ways to follow."""
        if "$ref" in node and _has_only(node, frozenset({"$ref"})):
            return self._reference(node["$ref"])
        for keyword in _ALTERNATIVES:
            if keyword in node and _has_only(node, frozenset({keyword})):
                branches = (self._value(branch, f"{path}.{keyword}[{i}]") for i, branch in enumerate(node[keyword]))
                return self._rule(" | ".join(branches))
        if _is_plain_object(node):
            return self._or_other_kinds(self._object(node, path), node, "object")
        if _is_plain_array(node):
            return self._or_other_kinds(self._array(node, path), node, "array")
        return None

    def _is_copied(self, node: Node) -> bool:
        mark = node.get(SPAN)
        return mark is True or (self._everywhere and mark is None and _is_free_string(node))

    def _find(self, node: Any, path: str, wanted: Callable[[Node], bool], seen: set[str] | None = None) -> str | None:
        """Give the JSON path of the first subschema that is wanted, also behind references; None when there is none."""
        seen = set() if seen is None else seen
        for at, sub in subschemas(node, path):
            if wanted(sub):
                return at
            reference = sub.get("$ref")
            if reference is not None and reference not in seen:
                seen.add(reference)
                found = self._find(self._target(reference), _path_of(reference), wanted, seen)
                if found is not None:
                    return found
        return None

    def _copied(self, node: Node, path: str) -> str:
        if not _is_free_string(node):
            raise _refused(path, 'what is copied has "type": "string" and no restriction but `maxLength`')
        length = node.get("maxLength")
        self._lengths.add(length)
        return self._or_other_kinds(_terminal(length), node, "string")

    def _or_other_kinds(self, expression: str, node: Node, kind: str) -> str:
        """Join what is spelt out for one type with the other types that the subschema allows."""
        others = [other for other in _kinds(node) if other != kind]
        return self._rule(f"{expression} | {self._by_llguidance({'type': others})}") if others else expression

    def _object(self, node: Node, path: str) -> str:
        """Give a rule for an object with its properties in order; those that are not required may be left out."""
        required = cast("list[str]", node.get("required", []))
        properties: dict[str, Any] = {name: sub for name, sub in node["properties"].items() if sub is not False}
        properties |= {name: True for name in required if name not in properties}
        # From the last property to the first: what follows one that is there, and what is there if none was so far.
        following = beginning = '""'
        for name, sub in reversed(properties.items()):
            pair = f"{_literal(_quoted(name) + ':')} {self._value(sub, f'{path}.properties.{name}')} {following}"
            left_out = ("", "") if name in required else (f" | {following}", f" | {beginning}")
            following, beginning = self._rule(f'"," {pair}{left_out[0]}'), self._rule(f"{pair}{left_out[1]}")
        return self._rule(f'"{{" {beginning} "}}"')

    def _array(self, node: Node, path: str) -> str:
        least, most = node.get("minItems", 0), node.get("maxItems")
        if most == 0:
            return self._rule('"[]"')
        item = self._rule(self._value(node["items"], f"{path}.items"))
        items = f'{item} ("," {item}){{{max(least - 1, 0)},{"" if most is None else most - 1}}}'
        return self._rule(f'"[" {items} "]"' if least else f'"[" ({items})? "]"')

    def _reference(self, reference: str) -> str:
        if reference not in self._of_references:
            name = self._of_references[reference] = f"reference_{len(self._of_references)}"
            self._rules.append(f"{name}: {self._value(self._target(reference), _path_of(reference))}")
        return self._of_references[reference]

    def _by_llguidance(self, node: Any) -> str:
        schema: dict[str, Any] = dict(cast("Node", node)) if isinstance(node, Mapping) else {"allOf": [node]}
        if any("$ref" in sub for _, sub in subschemas(node)):
            schema |= {keyword: self._root[keyword] for keyword in ("$defs", "definitions") if keyword in self._root}
        compact = {"x-guidance": {"whitespace_flexible": False}}
        return self._rule(f"%json {_quoted(without_marks(schema) | compact)}")

    def _rule(self, body: str) -> str:
        name = f"rule_{len(self._rules)}"
        self._rules.append(f"{name}: {body}")
        return name

    def _target(self, reference: str) -> Any:
        place: Any = self._root
        for step in reference.split("/")[1:]:
            place = place[step.replace("~1", "/").replace("~0", "~")]
        return place


def _kinds(node: Node) -> list[str]:
    kind = node.get("type", [])
    return [kind] if isinstance(kind, str) else list(kind)


def _has_only(node: Node, keywords: frozenset[str]) -> bool:
    return set(node) <= keywords | ANNOTATIONS


def _is_free_string(node: Node) -> bool:
    return "string" in _kinds(node) and _has_only(node, _STRING | {SPAN}) and node.get("minLength", 0) <= 1


def _is_plain_object(node: Node) -> bool:
    closed = node.get("additionalProperties", False) is False
    return "object" in _kinds(node) and "properties" in node and _has_only(node, _OBJECT) and closed


def _is_plain_array(node: Node) -> bool:
    return "array" in _kinds(node) and "items" in node and _has_only(node, _ARRAY)


def _may_stand_alone(piece: str) -> bool:
    return not piece.isspace() and piece not in _SEPARATORS and not _BROKEN.search(piece)


def _rest(length: int | None, done: int) -> str:
    """What may follow the first `done` characters of a copy of at most `length`."""
    if length is None:
        return " (CHARACTER* EDGE)?"
    between = length - done - 1  # llguidance knows no {0,0}
    return "" if between < 0 else " EDGE?" if between == 0 else f" (CHARACTER{{0,{between}}} EDGE)?"


def _terminal(length: int | None) -> str:
    return "SPAN" if length is None else f"SPAN_{length}"


def _path_of(reference: str) -> str:
    return ".".join(["$", *reference.split("/")[1:]])


def _quoted(value: Any) -> str:
    """Write JSON as the prompts have it: in UTF-8, with escapes only where they must be."""
    return json.dumps(value, ensure_ascii=False)


def _literal(text: str) -> str:
    """Write a terminal that is `text` and nothing else."""
    return _quoted(text).replace("\x7f", "\\u007f")


def _refused(path: str, reason: str) -> InvalidArguments:
    return InvalidArguments(
        f"The JSON Schema cannot be enforced at {path}, keyword `{SPAN}`: {reason}.",
        "Move or remove that keyword; docs/schemas.md tells where values can be copied.",
    )
