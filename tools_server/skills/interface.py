"""What a skill looks like as a tool: the schema of its input and of its answers.

The input schema has no `anyOf`, `oneOf` or `allOf` on its top level, because model APIs refuse tools that have; that
exactly one of `text`, `items` and `paths` is given is checked in code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from tools_server.skills.manifest import Manifest
from tools_server.skills.schemas import (
    DETAIL,
    EVIDENCE,
    FULL,
    LINES,
    MIN_CONFIDENCE,
    PLACE,
    QUOTES,
    REDACTED,
    UNSUPPORTED,
    fixed_labels,
)
from tools_server.skills.types import Skill


@dataclass(frozen=True, slots=True)
class Common:
    """Bounds of the inputs that every tool has: characters of one text, texts and files of one call."""

    text_chars: int = 200_000
    items: int = 256
    paths: int = 64


FULL_DETAIL: Mapping[str, Any] = {
    "signals": {"type": ["object", "null"], "description": "With `detail` full: what `confidence` comes from."},
    "calibration": {
        "type": ["object", "null"],
        "description": "With `detail` full: how `confidence` was calibrated, null when it is the model's own.",
    },
}
"""What every answer has on request."""

DEFERRAL: Mapping[str, Any] = {
    "deferred": {"const": True, "description": "There when the answer is too unsure to use: look yourself."},
    "reason": {"type": "string", "description": "Why it is deferred."},
}
"""What an unsure answer has besides."""

CLAIMS: Mapping[str, Any] = {
    "type": "array",
    "description": "There when the answer says what the text does not have: numbers, dates, names, and sentences that "
    "rest on nothing in it.",
    "items": {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "claim": {"type": "string"},
            "kind": {"enum": ["number", "date", "name", "sentence", "value"]},
        },
        "required": ["path", "claim", "kind"],
    },
}
"""What `trust.evidence = "claims"` adds."""

PROBABILITY: Mapping[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}


def input_schema(manifest: Manifest, arguments: Mapping[str, Any], common: Common) -> dict[str, Any]:
    """Merge a skill's own arguments with the common inputs that it accepts."""
    accepts = manifest.inputs.accepts
    required: list[str] = list(arguments.get("required", []))
    if len(accepts) == 1:
        required.append(accepts[0])
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {**arguments["properties"], **_common_inputs(manifest, common)},
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    if "$defs" in arguments:
        schema["$defs"] = arguments["$defs"]
    return schema


def result_schema(manifest: Manifest, output: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the answer: one result flattened, or `results` when the call had `items` or `paths`."""
    one, shapes = _one_result(manifest, output)
    several = {
        "type": "array",
        "description": "One entry per input, in order; an input that failed has `error` instead of an answer.",
        "items": {
            "type": "object",
            "properties": {
                "index": {"type": "integer", "minimum": 0},
                "path": {"type": "string"},
                **one,
                "error": {
                    "type": "object",
                    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
                    "required": ["code", "message"],
                },
            },
            "required": ["index"],
        },
    }
    warnings = {"type": "array", "items": {"type": "string"}, "description": "What to know before using the answer."}
    accepts = manifest.inputs.accepts
    properties: dict[str, Any] = {}
    required: list[list[str]] = []
    if "text" in accepts:
        properties |= one
        required += shapes
    if "items" in accepts or "paths" in accepts:
        properties["results"] = several
        required.append(["results"])
    properties["warnings"] = warnings
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if len(required) == 1:
        schema["required"] = required[0]
    else:
        schema["oneOf"] = [{"required": names} for names in required]
    if "$defs" in output:
        schema["$defs"] = output["$defs"]
    return schema


def filled(skill: Skill, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Give the skill's own arguments by name: as called, else the schema's default, else None."""
    properties = cast("Mapping[str, Any]", skill.arguments_schema["properties"])
    return {name: arguments[name] if name in arguments else _default(schema) for name, schema in properties.items()}


def _default(schema: Any) -> Any:
    return cast("Mapping[str, Any]", schema).get("default") if isinstance(schema, Mapping) else None


def _common_inputs(manifest: Manifest, bounds: Common) -> dict[str, Any]:
    accepts = manifest.inputs.accepts
    names = [f"`{name}`" for name in accepts]
    rule = f" Give exactly one of {', '.join(names[:-1])} and {names[-1]}." if len(names) > 1 else ""
    text = {"type": "string", "minLength": 1, "maxLength": bounds.text_chars}
    known: dict[str, dict[str, Any]] = {
        "text": {**text, "description": f"The text to work on.{rule}"},
        "items": {
            "type": "array",
            "minItems": 1,
            "maxItems": bounds.items,
            "items": text,
            "description": f"Several texts; each gets its own entry in `results`.{rule}",
        },
        "paths": {
            "type": "array",
            "minItems": 1,
            "maxItems": bounds.paths,
            "items": {"type": "string", "minLength": 1, "maxLength": 4096},
            "description": "Absolute paths of UTF-8 text files inside the allowed folders, each read and answered for "
            f"itself. Prefer this for files: you need not read them.{rule}",
        },
    }
    common = {name: schema for name, schema in known.items() if name in accepts}
    if manifest.has_confidence:
        common[MIN_CONFIDENCE] = {
            **PROBABILITY,
            "description": "Answers less sure than this are marked `deferred`: look at those inputs yourself.",
        }
    common[DETAIL] = {"enum": ["brief", FULL], "description": "`full`: also everything that the answer rests on."}
    return common


def _one_result(manifest: Manifest, output: Mapping[str, Any]) -> tuple[dict[str, Any], list[list[str]]]:
    """Give the properties of one answer, and each set of names that an answer may come as."""
    properties = cast("dict[str, Any]", output["properties"])
    if manifest.kind == "generate":
        return _generated(manifest, output)
    label_schema = properties["label"]
    names = [] if manifest.choose.labels else [name for name, _ in fixed_labels(label_schema)]
    label: dict[str, Any] = {"type": ["string", "null"], "description": "The label that fits best."}
    if isinstance(label_schema, Mapping) and "description" in label_schema:
        label["description"] = label_schema["description"]
    each: dict[str, Any] = {"type": "string"}
    if names:
        label["enum"] = [*names, None]
        each["enum"] = names
    one = {
        "label": label,
        "confidence": {
            **PROBABILITY,
            "description": "Probability that `label` is right; with several on, of the least certain decision.",
        },
        "scores": {"type": "object", "additionalProperties": PROBABILITY, "description": "Share of each label."},
        **DEFERRAL,
        **FULL_DETAIL,
    }
    one |= {name: properties[name] for name in manifest.choose.write}
    shapes = [["label", "confidence", "scores", *manifest.choose.write]]
    if manifest.choose.multi_label:
        one["labels"] = {
            "type": "array",
            "items": each,
            "description": "With several labels on: every label that fits.",
        }
        shapes.append(["labels", "confidence", "scores"])
    return one, shapes


def _generated(manifest: Manifest, output: Mapping[str, Any]) -> tuple[dict[str, Any], list[list[str]]]:
    """Give what the model writes, and what code adds to it: the places of entities, and the text without them."""
    one, required = dict(output["properties"]), list(output["required"])
    if (name := manifest.generate.locate) is not None:
        # A text that is read in parts has the entities of all of them, so the bound of one part is none of the answer.
        entities = {keyword: value for keyword, value in one[name].items() if keyword != "maxItems"}
        place = {"type": "integer", "minimum": 0, "description": "In characters of the text."}
        properties = {**entities["items"]["properties"], **dict.fromkeys(PLACE, place)}
        if manifest.generate.join and properties["value"] not in (True, False):  # nor is a piece's bound the whole's
            properties["value"] = {key: value for key, value in properties["value"].items() if key != "maxLength"}
        one[name] = {**entities, "items": {**entities["items"], "properties": properties}}
    if manifest.trust.evidence == "spans":
        one[EVIDENCE] = {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "description": "Where each value stands: [start, end] in characters of the text, by its path.",
        }
        required.append(EVIDENCE)
        one[QUOTES] = {"type": "object", "description": "With `detail` full: the text at these places."}
        one[LINES] = {"type": "object", "description": "With `detail` full: the line that each begins on, from 1."}
    if manifest.trust.evidence == "claims":
        one[UNSUPPORTED] = CLAIMS
    if manifest.generate.redact:
        one[REDACTED] = {"type": "string", "description": "The text with marks in the place of entities."}
        required.append(REDACTED)
    if manifest.trust.confidence:
        one["confidence"] = {
            **PROBABILITY,
            "type": ["number", "null"],
            "description": "Probability that all filled values are right; null when the text was read in parts.",
        }
        one |= DEFERRAL
        required.append("confidence")
    return {**one, **FULL_DETAIL}, [required]
