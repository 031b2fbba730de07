"""Checking the two JSON Schemas of a skill folder, which the server later merges into those of a tool.

Because they are merged, their top level is plain: an object with named properties. Below that, all of Draft 2020-12
is fine as long as a reference stays in the file (`#/$defs/…`, `#/properties/…`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing.jsonschema import DRAFT202012

from tools_server.skills.folder import Problem
from tools_server.skills.manifest import INPUT_KINDS, Manifest

INPUT_FILE = "input.schema.json"
OUTPUT_FILE = "output.schema.json"
NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TOP_LEVEL = frozenset(
    {"$schema", "$comment", "title", "description", "type", "properties", "required", "additionalProperties", "$defs"}
)
REFUSED = ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef")
"""Keywords that change what a reference means; they would not survive the merge."""

ARGUMENT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
TEMPLATE_WORDS = frozenset(
    [
        "true",
        "false",
        "none",
        "True",
        "False",
        "None",
        "not",
        "and",
        "or",
        "in",
        "is",
        "if",
        "else",
        "self",
        "super",
        "loop",
    ]
)
MIN_CONFIDENCE = "min_confidence"
"""The argument that every `choose` skill takes besides its own."""
DETAIL = "detail"
"""The argument that every skill takes besides its own."""
FULL = "full"
"""The detail that has everything that is known of an answer."""
CHOOSE_NAMES = frozenset({"choices", "label"})
"""Variables that the template of a `choose` skill has besides its arguments."""
SERVER_RESULT_NAMES = frozenset({"warnings", "results", "index", "path", "error", "signals", "calibration"})
REDACTED = "redacted"
"""The property that `generate.redact` adds."""
EVIDENCE, QUOTES, LINES = "evidence", "quotes", "lines"
"""What `trust.evidence = "spans"` adds, the last two with `detail` full."""
UNSUPPORTED = "unsupported"
"""The property that `trust.evidence = "claims"` adds to answers that claim what their text lacks."""
PLACE = ("start", "end")
"""What `generate.locate` adds to each entity: characters of the text, from `start` up to `end`."""
CONFIDENCE_NAMES = frozenset({"confidence", "deferred", "reason"})
CHOOSE_RESULT_NAMES = CONFIDENCE_NAMES | {"label", "labels", "scores"}


def check_arguments(schema: Mapping[str, Any], manifest: Manifest) -> None:
    """Check `input.schema.json` and what the manifest says about the arguments.

    Raises:
        Problem: the first thing that is wrong.
    """
    _check_schema(INPUT_FILE, schema)
    properties = _properties(INPUT_FILE, schema)
    taken = {*INPUT_KINDS, DETAIL, *((MIN_CONFIDENCE,) if manifest.has_confidence else ())}
    taken |= CHOOSE_NAMES if manifest.kind == "choose" else frozenset()
    for name in properties:
        key = f"properties.{name}"
        if name in taken:
            raise Problem(INPUT_FILE, key, f"`{name}` is given by the server; name the argument otherwise")
        if not ARGUMENT_NAME.fullmatch(name) or name in TEMPLATE_WORDS:
            raise Problem(INPUT_FILE, key, f"{name!r} cannot be a variable of the prompt: use letters, digits and `_`")
    if schema.get("additionalProperties", False) is not False:
        raise Problem(INPUT_FILE, "additionalProperties", "must be false or absent: unknown arguments are refused")
    _check_defaults(schema, properties)
    _check_argument(properties, "choose.labels", manifest.choose.labels, "array")
    _check_argument(properties, "choose.multi_label", manifest.choose.multi_label, "boolean")
    _check_argument(properties, "choose.none", manifest.choose.none, "boolean")
    if manifest.choose.none is not None and manifest.choose.labels is None:
        raise Problem("skill.toml", "choose.none", f"needs choose.labels; list a label for none in {OUTPUT_FILE}")
    _check_argument(properties, "generate.schema_from", manifest.generate.schema_from, "object")


def check_output(schema: Mapping[str, Any], manifest: Manifest) -> None:
    """Check `output.schema.json`.

    Raises:
        Problem: the first thing that is wrong.
    """
    _check_schema(OUTPUT_FILE, schema)
    properties = _properties(OUTPUT_FILE, schema)
    required = cast("list[str]", schema.get("required", []))
    if not properties or not required:
        raise Problem(OUTPUT_FILE, "required", "name at least one property that every answer has; else {} is an answer")
    if manifest.kind == "choose":
        for name in properties.keys() - CHOOSE_RESULT_NAMES - set(manifest.choose.write):
            raise Problem(
                OUTPUT_FILE,
                f"properties.{name}",
                'a `kind = "choose"` skill answers with `label`, and what choose.write names',
            )
        _check_written(properties, required, manifest)
        if "label" not in properties:
            raise Problem(OUTPUT_FILE, "properties.label", 'is missing; it is what a `kind = "choose"` skill answers')
        _check_closed_set(properties["label"], manifest)
    if manifest.trust.defer_below is not None and not manifest.has_confidence:
        raise Problem("skill.toml", "trust.defer_below", "needs a confidence: set trust.confidence = true")
    taken = set(SERVER_RESULT_NAMES)
    if manifest.kind != "choose" and manifest.trust.confidence:
        taken |= CONFIDENCE_NAMES
    if manifest.generate.redact:
        taken.add(REDACTED)
    if manifest.trust.evidence != "none":
        taken |= {EVIDENCE, QUOTES, LINES} if manifest.trust.evidence == "spans" else {UNSUPPORTED}
        if manifest.kind != "generate" or manifest.generate.locate is not None:
            reason = 'is for a `kind = "generate"` skill whose entities are not located anyway'
            raise Problem("skill.toml", "trust.evidence", reason)
    for name in properties.keys() & taken:
        raise Problem(
            OUTPUT_FILE, f"properties.{name}", f"`{name}` is given by the server; name the property otherwise"
        )
    _check_located(properties, required, manifest)
    if manifest.generate.schema_from is not None and (set(properties) != {"data"} or required != ["data"]):
        raise Problem(
            OUTPUT_FILE, "properties", "with `generate.schema_from`, `data` is the one property, and required"
        )


def _check_written(properties: Mapping[str, Any], required: list[str], manifest: Manifest) -> None:
    """Check that what is written after the choice is a required property, and that there is one choice."""
    if manifest.choose.write and manifest.choose.multi_label is not None:
        raise Problem("skill.toml", "choose.write", "needs one label; with choose.multi_label there may be several")
    for name in manifest.choose.write:
        if name in CHOOSE_RESULT_NAMES:
            raise Problem("skill.toml", "choose.write", f"`{name}` is computed by the server, not written")
        if name not in properties or name not in required:
            raise Problem("skill.toml", "choose.write", f"{OUTPUT_FILE} has no required property `{name}`")


def written_schema(schema: Mapping[str, Any], manifest: Manifest) -> Mapping[str, Any]:
    """Give the schema of what the model writes: of a skill that chooses, what follows the choice."""
    if manifest.kind == "generate":
        return schema
    names = manifest.choose.write
    kept = {name: value for name, value in schema["properties"].items() if name in names}
    return {**schema, "properties": kept, "required": list(kept), "additionalProperties": False}


def _check_located(properties: Mapping[str, Any], required: list[str], manifest: Manifest) -> None:
    """Check that what the manifest wants located is a required list of `{"type", "value"}`."""
    name = manifest.generate.locate
    if name is None:
        for entry in ("redact", "recognise", "everywhere", "join"):
            if getattr(manifest.generate, entry):
                raise Problem("skill.toml", f"generate.{entry}", "needs generate.locate: it works on what is located")
        return
    if name not in properties or name not in required:
        raise Problem("skill.toml", "generate.locate", f"{OUTPUT_FILE} has no required property `{name}`")
    if len(properties) > 1:
        raise Problem(
            OUTPUT_FILE,
            "properties",
            f"with `generate.locate`, `{name}` is the one property: the rest is added by code",
        )
    key = f"properties.{name}"
    entities: Any = properties[name]
    if entities in (True, False) or entities.get("type") != "array" or not isinstance(entities.get("items"), Mapping):
        raise Problem(OUTPUT_FILE, key, 'must have "type": "array" and "items", for generate.locate')
    entity = cast("Mapping[str, Any]", entities["items"])
    if not {"type", "value"} <= set(entity.get("required", ())) & set(entity.get("properties", ())):
        raise Problem(OUTPUT_FILE, f"{key}.items", "must have `type` and `value`, both required, for generate.locate")
    for added in PLACE:
        if added in entity["properties"]:
            raise Problem(OUTPUT_FILE, f"{key}.items.properties.{added}", f"`{added}` is added by generate.locate")
    types: Any = entity["properties"]["type"]
    known: Any = cast("Mapping[str, Any]", types).get("enum") if isinstance(types, Mapping) else None
    named = {"everywhere": manifest.generate.everywhere}
    named |= {f"recognise.{kind}": (kind,) for kind in manifest.generate.recognise}
    named |= {f"join.{kind}": (kind, *tail) for kind, tail in manifest.generate.join.items()}
    for entry, kinds in named.items():
        for kind in kinds:
            if known is not None and kind not in known:
                raise Problem("skill.toml", f"generate.{entry}", f"`{kind}` is none of the types in {OUTPUT_FILE}")


def fixed_labels(label_schema: Any) -> list[tuple[str, str]]:
    """Give (name, description) of the labels that `properties.label` lists, by `enum` or by `oneOf` of `const`s."""
    if not isinstance(label_schema, Mapping):
        return []
    schema = cast("Mapping[str, Any]", label_schema)
    if "enum" in schema:
        return [(name, "") for name in cast("list[Any]", schema["enum"])]
    branches = [cast("Mapping[str, Any]", branch) for branch in schema.get("oneOf", []) if isinstance(branch, Mapping)]
    return [(branch["const"], str(branch.get("description", ""))) for branch in branches if "const" in branch]


def _check_closed_set(label_schema: Any, manifest: Manifest) -> None:
    if manifest.choose.labels is not None:
        return
    names: list[Any] = [name for name, _ in fixed_labels(label_schema)]
    key = "properties.label.enum"
    if len(names) < 2:
        raise Problem(
            OUTPUT_FILE, key, "list at least two labels here, or name the argument with the labels in choose.labels"
        )
    for name in names:
        if not isinstance(name, str) or not name.strip() or name != name.strip():
            raise Problem(OUTPUT_FILE, key, f"{name!r} is no label: use text without blanks around it")
    for name in names:
        if names.count(name) > 1:
            raise Problem(OUTPUT_FILE, key, f"names {name!r} twice")


def _check_defaults(schema: Mapping[str, Any], properties: Mapping[str, Any]) -> None:
    described = {
        name: cast("Mapping[str, Any]", value) for name, value in properties.items() if value not in (True, False)
    }
    defaults = {name: value["default"] for name, value in described.items() if "default" in value}
    validator = cast("Any", Draft202012Validator({key: value for key, value in schema.items() if key != "required"}))
    for error in cast("Iterator[ValidationError]", validator.iter_errors(defaults)):
        key = ".".join(["properties", *(str(step) for step in list(error.absolute_path)[:1]), "default"])
        raise Problem(INPUT_FILE, key, f"breaks its own schema: {error.message}")


def _check_argument(properties: Mapping[str, Any], key: str, name: str | None, kind: str) -> None:
    """Check that an argument which the manifest names is there and of the kind that its use needs."""
    if name is None:
        return
    if name not in properties:
        known = ", ".join(f"`{known}`" for known in properties) or "none"
        raise Problem("skill.toml", key, f"{INPUT_FILE} has no argument `{name}` (it has: {known})")
    if not isinstance(properties[name], Mapping) or properties[name].get("type") != kind:
        raise Problem("skill.toml", key, f'the argument `{name}` must have "type": "{kind}" in {INPUT_FILE}')


def _check_schema(file: str, schema: Mapping[str, Any]) -> None:
    dialect = schema.get("$schema", DIALECT)
    if dialect != DIALECT:
        raise Problem(file, "$schema", f"only Draft 2020-12 is read ({DIALECT}), not {dialect!r}")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise Problem(file, ".".join(str(step) for step in error.absolute_path), error.message) from error
    except RecursionError as error:
        raise Problem(file, "", "nests too deep") from error
    for key in schema.keys() - TOP_LEVEL:
        raise Problem(file, key, "does not belong on the top level, which the server merges; put it into a property")
    if schema.get("type") != "object":
        raise Problem(file, "type", 'must be "object"')
    for name in cast("list[str]", schema.get("required", [])):
        if name not in schema.get("properties", {}):
            raise Problem(file, "required", f"names {name!r}, which `properties` does not have")
    for subschema in _subschemas(schema):
        for key in REFUSED:
            if key in subschema:
                raise Problem(file, key, "is not supported; refer to `#/$defs/…`")
        reference = subschema.get("$ref")
        if isinstance(reference, str) and not _resolves(reference, schema):
            reason = f"{reference!r} leads nowhere; a reference is `#/$defs/NAME` or `#/properties/NAME` of this file"
            raise Problem(file, "$ref", reason)


def _properties(file: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "properties" not in schema:
        raise Problem(file, "properties", "is missing; {} means none")
    return cast("Mapping[str, Any]", schema["properties"])


def _subschemas(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    for resource in DRAFT202012.create_resource(schema).subresources():
        if isinstance(resource.contents, Mapping):
            yield from _subschemas(resource.contents)


def _resolves(reference: str, schema: Mapping[str, Any]) -> bool:
    if not reference.startswith(("#/$defs/", "#/properties/")):
        return False
    place: Any = schema
    for step in reference.removeprefix("#/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(place, Mapping) and name in place:
            place = cast("Mapping[str, Any]", place)[name]
        elif isinstance(place, list) and name.isdigit() and int(name) < len(cast("list[Any]", place)):
            place = cast("list[Any]", place)[int(name)]
        else:
            return False
    return True
