"""Skills as MCP tools: `run_skill` first, then `verify`, then one tool per skill by name.

`run_skill` never changes, so that a client that ignores `list_changed` can still call a skill that was added after
it listed the tools, and so that a new skill leaves the beginning of the list (and the client's prompt cache) alone.
"""

from collections.abc import Mapping
from typing import Any, cast

from mcp import types

from tools_server.calls.verify import VERIFY_INPUT, VERIFY_OUTPUT
from tools_server.errors import InvalidArguments
from tools_server.skills.types import Skill, Snapshot

RUN_SKILL = "run_skill"
VERIFY = "verify"

ANNOTATIONS = types.ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
"""True of every skill: it reads what it is given and computes. Read-only tools run in parallel and without asking."""

# Clients that defer tools show the model only their names at first. `anthropic/alwaysLoad` costs its whole schema in
# every conversation, so only this one tool has it: it is small, and through it every skill is in reach. The skills'
# own tools are found through `anthropic/searchHint`.
_RUN_SKILL_META: dict[str, Any] = {
    "anthropic/alwaysLoad": True,
    "anthropic/searchHint": "run any local skill by name: summarise, classify, extract and others",
}

RUN_SKILL_TOOL = types.Tool(
    name=RUN_SKILL,
    title="Run a skill",
    description=(
        "Run one of this server's skills by name, also one that was added after the tools were listed. "
        "`arguments` is what the skill's own tool takes; an unknown name is answered with the known ones. "
        "When the skill has a tool of its own, prefer that: it shows the arguments."
    ),
    input_schema={
        "type": "object",
        "properties": {
            "skill": {"type": "string", "maxLength": 30, "description": "name of the skill, e.g. summarise"},
            "arguments": {"type": "object", "description": "the skill's arguments, as an object", "default": {}},
        },
        "required": ["skill"],
        "additionalProperties": False,
    },
    output_schema={"type": "object", "description": "the skill's answer, as its own tool gives it"},
    annotations=ANNOTATIONS,
    _meta=_RUN_SKILL_META,
)

VERIFY_TOOL = types.Tool(
    name=VERIFY,
    title="Verify an answer",
    description=(
        "Look up every value, number, date and name of an answer in the text that it is about: where each one stands, "
        "and what the text does not have. No model takes part, so it costs milliseconds. Use for answers of the skills "
        "or of your own before you rely on them; not for judging whether a conclusion follows."
    ),
    input_schema=dict(VERIFY_INPUT),
    output_schema=dict(VERIFY_OUTPUT),
    annotations=ANNOTATIONS,
    _meta={"anthropic/searchHint": "check values and claims of an answer against its source text, without a model"},
)

_TYPE_NAMES = (
    (type(None), "null"),
    (bool, "a boolean"),  # before int, which a bool is as well
    (int | float, "a number"),
    (str, "a string"),
    (list, "an array"),
)


def tools_of(snapshot: Snapshot, *, verifies: bool = False) -> list[types.Tool]:
    """List the tools: `run_skill`, `verify` where there is a verifier, then the skills in the order of their names."""
    fixed = [RUN_SKILL_TOOL, VERIFY_TOOL] if verifies else [RUN_SKILL_TOOL]
    return [*fixed, *(tool_of(skill) for _, skill in sorted(snapshot.skills.items()))]


def tool_of(skill: Skill) -> types.Tool:
    """Make the tool of one skill."""
    title = skill.manifest.title or skill.name
    return types.Tool(
        name=skill.name,
        title=title,
        description=skill.manifest.description,
        input_schema=dict(skill.input_schema),
        output_schema=dict(skill.result_schema),
        annotations=ANNOTATIONS,
        _meta={"anthropic/searchHint": f"{title}: many texts, items or files at once, on a local model"},
    )


def unwrap_run_skill(arguments: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Read the name of the skill and its arguments out of a call of `run_skill`.

    Raises:
        InvalidArguments: an argument is missing, unknown, or of the wrong type.
    """
    hint = 'Pass {"skill": "NAME", "arguments": {…}}; the resource tools-server://skills lists the names.'
    if unknown := sorted(set(arguments) - {"skill", "arguments"}):
        raise InvalidArguments(f"$: `run_skill` takes `skill` and `arguments`, got also {_shown(unknown)}.", hint)
    name = arguments.get("skill")
    if not isinstance(name, str):
        got = f"got {_type_of(name)}" if "skill" in arguments else "it is missing"
        raise InvalidArguments(f"$.skill: must be a string, {got}.", hint)
    inner = arguments.get("arguments", {})
    if not isinstance(inner, Mapping):
        text = " Pass the object itself, not its JSON text." if isinstance(inner, str) else ""
        raise InvalidArguments(f"$.arguments: must be an object, got {_type_of(inner)}.{text}", hint)
    return name, cast("Mapping[str, Any]", inner)


def _shown(names: list[str]) -> str:
    return ", ".join(f"`{name[:40]}`" for name in names[:5]) + (" and more" if len(names) > 5 else "")


def _type_of(value: object) -> str:
    for kind, name in _TYPE_NAMES:
        if isinstance(value, kind):
            return name
    return "an object"
