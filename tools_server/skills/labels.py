"""The closed set of a `choose` skill: from the caller's argument, or fixed in output.schema.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from tools_server.errors import InvalidArguments
from tools_server.skills.interface import filled
from tools_server.skills.schemas import fixed_labels
from tools_server.skills.types import Skill


@dataclass(frozen=True, slots=True)
class Label:
    """One label: `name` is what is scored and answered, `description` says when it fits (may be empty).

    Of `NONE_OF_THESE` the answer is null.
    """

    name: str
    description: str = ""


NONE_OF_THESE = Label("none of these", "no other label fits the text")
"""What a caller who allows it adds to the labels."""


def labels_of(skill: Skill, arguments: Mapping[str, Any]) -> tuple[Label, ...]:
    """Give the labels of one call, in the caller's order, names without blanks around them.

    Raises:
        InvalidArguments: fewer than two labels, an empty name, two labels that are alike, no label at all, or one that
            is named like the answer that none fits, where that is allowed.
    """
    argument = skill.manifest.choose.labels
    if argument is None:
        properties = cast("Mapping[str, Any]", skill.output_schema["properties"])
        return tuple(Label(name, description) for name, description in fixed_labels(properties["label"]))
    given: object = filled(skill, arguments)[argument]
    if not isinstance(given, list | tuple):
        raise InvalidArguments(
            f"`{argument}` must be an array of labels, not {type(given).__name__}.",
            f'Pass for example {{"{argument}": ["question", "complaint"]}}.',
        )
    labels: list[Label] = []
    places: dict[str, int] = {}
    for index, value in enumerate(cast("list[Any]", given)):
        label = _label(value, f"{argument}[{index}]")
        if label.name in places:
            raise InvalidArguments(
                f"`{argument}[{index}]` is {label.name!r}, and so is `{argument}[{places[label.name]}]`.",
                "Give each label once; differences in the blanks around a name do not count.",
            )
        places[label.name] = index
        labels.append(label)
    if len(labels) < 2:
        raise InvalidArguments(f"`{argument}` holds {len(labels)} label(s).", "Give at least two to choose from.")
    if not allows_none(skill, arguments) or is_multi_label(skill, arguments):
        return tuple(labels)
    if NONE_OF_THESE.name in places:
        place = f"{argument}[{places[NONE_OF_THESE.name]}]"
        raise InvalidArguments(
            f"`{place}` is {NONE_OF_THESE.name!r}, which `{skill.manifest.choose.none}` adds by itself.",
            "Leave the label out, or the argument.",
        )
    return (*labels, NONE_OF_THESE)


def is_multi_label(skill: Skill, arguments: Mapping[str, Any]) -> bool:
    """Tell whether this call asks for every label that fits instead of the best one."""
    argument = skill.manifest.choose.multi_label
    return argument is not None and filled(skill, arguments)[argument] is True


def allows_none(skill: Skill, arguments: Mapping[str, Any]) -> bool:
    """Tell whether no label may be the answer of this call; with several labels on, that is so anyway."""
    argument = skill.manifest.choose.none
    return argument is not None and filled(skill, arguments)[argument] is True


def _label(value: object, place: str) -> Label:
    if isinstance(value, str):
        name, description = value.strip(), ""
    elif isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        name, description = str(fields.get("name", "")).strip(), str(fields.get("description") or "").strip()
    else:
        raise InvalidArguments(
            f"`{place}` is {value!r}, which is no label.", 'Give a string or {"name": …, "description": …}.'
        )
    if not name:
        raise InvalidArguments(f"`{place}` has an empty name.", "Name every label; the name is what you get back.")
    return Label(name, description)
