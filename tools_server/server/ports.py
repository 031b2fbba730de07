"""What the server needs from the rooms below it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tools_server.calls.types import Progress, SkillResult
from tools_server.skills.types import Skill, Snapshot


class Skills(Protocol):
    """The skills at this moment, and word of their changing."""

    @property
    def snapshot(self) -> Snapshot:
        """All skills, and the folders that are broken."""
        ...

    def get(self, name: str) -> Skill:
        """Find one skill.

        Raises:
            SkillNotFound: no skill has that name; the hint names near ones.
            ManifestInvalid: a folder has that name, and it is broken.
        """
        ...

    def subscribe(self, callback: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Call back, from any thread, after each reload; the returned function ends it."""
        ...


class Verifies(Protocol):
    """Holding an answer against its source text."""

    async def run(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer one call of `verify`.

        Raises:
            ToolsServerError: and nothing else, unless there is a bug.
        """
        ...


class Runs(Protocol):
    """The one use case: run a skill."""

    async def run(self, skill: Skill, arguments: Mapping[str, Any], *, progress: Progress | None = None) -> SkillResult:
        """Run `skill`.

        Raises:
            ToolsServerError: and nothing else, unless there is a bug.
        """
        ...
