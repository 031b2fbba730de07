"""Skills as MCP resources: the list, each manifest, each measured card. All are JSON, as of one snapshot."""

import difflib
import json
from typing import Any

from mcp import types
from mcp.shared.exceptions import MCPError

from tools_server.skills.types import Skill, Snapshot

LIST_URI = "tools-server://skills"
MIME = "application/json"

TEMPLATES = [
    types.ResourceTemplate(
        name="skill-manifest",
        title="Manifest of a skill",
        uri_template=LIST_URI + "/{name}/manifest",
        description="What a skill takes, gives and is limited to.",
        mime_type=MIME,
    ),
    types.ResourceTemplate(
        name="skill-card",
        title="Measured card of a skill",
        uri_template=LIST_URI + "/{name}/card",
        description="How well a skill does its work: data set, quality, latency, tokens.",
        mime_type=MIME,
    ),
]


def resources_of(snapshot: Snapshot) -> list[types.Resource]:
    """List the resources: the skill list, then manifest and (where there is one) card of each skill by name."""
    resources = [
        types.Resource(
            name="skills",
            title="Skills",
            uri=LIST_URI,
            description="Every skill with what it is for, and every folder that is broken with the reason.",
            mime_type=MIME,
        )
    ]
    for name, skill in sorted(snapshot.skills.items()):
        title = skill.manifest.title or name
        for part in ("manifest", "card") if skill.card is not None else ("manifest",):
            uri = f"{LIST_URI}/{name}/{part}"
            resources.append(types.Resource(name=f"{name}-{part}", title=f"{title}: {part}", uri=uri, mime_type=MIME))
    return resources


def contents_of(snapshot: Snapshot) -> dict[str, str]:
    """Give the text of every resource by its URI."""
    texts = {LIST_URI: _json(_listing(snapshot))}
    for name, skill in snapshot.skills.items():
        texts[f"{LIST_URI}/{name}/manifest"] = _json(_manifest(skill))
        if skill.card is not None:
            texts[f"{LIST_URI}/{name}/card"] = _json(dict(skill.card))
    return texts


def read(snapshot: Snapshot, uri: str) -> types.ReadResourceResult:
    """Read one resource.

    Raises:
        MCPError: INVALID_PARAMS, no resource has that URI; the nearest one is named.
    """
    texts = contents_of(snapshot)
    text = texts.get(uri)
    if text is None:
        near = difflib.get_close_matches(uri[:200], texts, n=1, cutoff=0.0)[0]
        message = f"No resource {uri[:200]!r}. Did you mean {near}? `resources/list` names all of them."
        raise MCPError(types.INVALID_PARAMS, message, {"uri": uri[:200]})
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, mime_type=MIME, text=text)])


def _listing(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "skills": [
            {
                "name": name,
                "version": skill.manifest.version,
                "title": skill.manifest.title,
                "description": skill.manifest.description,
                "manifest": f"{LIST_URI}/{name}/manifest",
                **({"card": f"{LIST_URI}/{name}/card"} if skill.card is not None else {}),
            }
            for name, skill in sorted(snapshot.skills.items())
        ],
        "broken": [
            {"name": broken.name, "file": broken.file, "key": broken.key, "reason": broken.reason}
            for broken in snapshot.broken
        ],
    }


def _manifest(skill: Skill) -> dict[str, Any]:
    return {
        **skill.manifest.model_dump(mode="json", exclude_none=True),
        "digest": skill.digest,
        "input_schema": skill.input_schema,
        "output_schema": skill.result_schema,
    }


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
