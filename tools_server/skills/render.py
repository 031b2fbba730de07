"""From a skill's `prompt.jinja` and one call's values to a `Chat`.

Trust runs along one line: the template's own text is the skill author's; **whatever an expression prints is payload**
(numbers and booleans excepted), and payload can never become a special token of the model. That holds through
filters, macros and `{% set %}` blocks, because it asks where text came from and not what happened to it on the way.
"""

from collections.abc import Mapping
from typing import Any

from tools_server.engine.types import Chat, Message, Span
from tools_server.errors import ManifestInvalid
from tools_server.skills.interface import filled
from tools_server.skills.labels import Label, labels_of
from tools_server.skills.marks import Marks
from tools_server.skills.template import FILE, MARKS
from tools_server.skills.types import Skill


def render(skill: Skill, arguments: Mapping[str, Any], text: str, *, label: Label | None = None) -> Chat:
    """Render the prompt for one input text.

    The template sees the skill's own arguments (defaults filled in, missing ones None) and `text`. That of a
    `choose` skill also sees `choices`, the labels of this call as `Label`s, and `label`: None when the model is to
    choose among all of them, else the one label about which it is asked yes or no.

    Raises:
        InvalidArguments: the labels of a `choose` skill are unusable (see `labels_of`).
        ManifestInvalid: the template failed on these values.
    """
    marks = Marks()
    values: dict[str, Any] = {**filled(skill, arguments), "text": text, MARKS: marks}
    if skill.manifest.kind == "choose":
        values |= {"choices": labels_of(skill, arguments), "label": label}
    blocks = {name: _block(skill, name, values, marks) for name in skill.template.blocks}
    messages = [Message(role, blocks[role]) for role in ("system", "user") if blocks.get(role)]
    return Chat(tuple(messages), "".join(span.text for span in blocks.get("assistant", ())))


def _block(skill: Skill, name: str, values: dict[str, Any], marks: Marks) -> tuple[Span, ...]:
    template = skill.template
    try:
        return marks.spans("".join(template.blocks[name](template.new_context(values))))
    except Exception as error:  # a template can fail with anything that its expressions can raise
        raise ManifestInvalid(
            f"Skill `{skill.name}`: {FILE}: block {name}: cannot be rendered: {type(error).__name__}: {error}.",
            f"Mend {skill.folder / FILE}; it is read again when it changes.",
        ) from error
