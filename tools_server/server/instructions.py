"""The server's `instructions`: the rule by which an agent decides what to hand over.

Agents that defer tools see only this and the tools' names, so the rule and the skills must both be here. One client
cuts at 4096 characters, so the text stays below that, and says so when skills had to be left out of it.
"""

from collections.abc import Sequence
from pathlib import Path

from tools_server.server.tools import RUN_SKILL
from tools_server.skills.types import Skill, Snapshot

LIMIT = 4096
"""Characters; the shortest limit among known clients."""

_LINE_LENGTHS = (1200, 480, 240, 120)
"""Characters of one skill's description, tried in this order until every skill fits."""

_MOST_FOLDERS = 5

_RULE = """\
A small language model ({model}) on this machine does narrow text work, so that the text need not pass through you.

Hand over when one of the skills below fits and you need the result, not the text: many items or files, or a long \
text that you have not read yet.
Do it yourself when the task needs reasoning over several sources, knowledge of the world, or judgement that must not \
be wrong, or when the text is a few lines that you already have.

How:
- {paths}
- Put many inputs into one call (`items` or `paths`) instead of many calls; calls may also run in parallel.
- Where an answer has a `confidence` (0 to 1), treat a low one as "look yourself"; with `min_confidence` such answers \
are marked `deferred`. `warnings` say what was left out or doubtful.
- An error says what to change. Change that and call again; do not repeat the same call.
- `{run_skill}` runs a skill by name, also one that was added later. The resource tools-server://skills lists them.

Skills:
"""


def instructions(snapshot: Snapshot, *, model: str, allow_paths: Sequence[Path] = ()) -> str:
    """Write the instructions for these skills; always shorter than `LIMIT` characters."""
    text = _RULE.format(model=model[:100], paths=_paths(allow_paths), run_skill=RUN_SKILL)
    skills = [skill for _, skill in sorted(snapshot.skills.items())]
    for length in _LINE_LENGTHS:
        listed = "\n".join(_line(skill, length) for skill in skills) or "- none yet"
        if len(text) + len(listed) < LIMIT:
            return text + listed
    for index, skill in enumerate(skills):
        line = _line(skill, _LINE_LENGTHS[-1]) + "\n"
        rest = f"- {len(skills) - index} more: see tools-server://skills"
        if len(text) + len(line) + len(rest) >= LIMIT:
            return text + rest
        text += line
    return text


def _paths(allowed: Sequence[Path]) -> str:
    if not allowed:
        return "Pass the text as `text` or `items`. No folder is open to `paths`; the user may open one (--allow-path)."
    shown = ", ".join(str(path)[:200] for path in allowed[:_MOST_FOLDERS])
    more = f" and {len(allowed) - _MOST_FOLDERS} more folders" if len(allowed) > _MOST_FOLDERS else ""
    return f"Prefer `paths` (absolute) to `text`: the file then costs you no tokens. Open: {shown}{more}."


def _line(skill: Skill, length: int) -> str:
    description = " ".join(skill.manifest.description.split())
    if len(description) > length:
        description = description[: length - 1].rstrip() + "…"
    return f"- {skill.name}: {description}"
