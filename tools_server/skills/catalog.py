"""The catalog: which skills there are at this moment. A change replaces the whole snapshot at once.

A call keeps the `Skill` that it got from a snapshot, so it finishes on the version that it began with.
"""

import difflib
import itertools
import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools_server.bundled import bundled_dir
from tools_server.errors import ManifestInvalid, SkillNotFound
from tools_server.settings import Settings
from tools_server.skills.adapters import overlay
from tools_server.skills.calibration import calibration_path, own_calibrations
from tools_server.skills.folder import fingerprint, skill_folders
from tools_server.skills.interface import Common
from tools_server.skills.loader import load_skill
from tools_server.skills.types import BrokenSkill, Skill, Snapshot

_log = logging.getLogger(__name__)


def standard_dirs(settings: Settings) -> tuple[Path, ...]:
    """Give the skills directories of an installation: bundled, the user's, then the further ones; later ones win."""
    return (bundled_dir("skills"), settings.config_dir / "skills", *settings.skills_dirs)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at the disk found, not yet published."""

    snapshot: Snapshot
    fingerprint: Hashable


class Catalog:
    """The skills in some directories. Of two with one name, that of the later directory is served.

    A broken folder hides nothing: an earlier working skill of its name stays, and the broken one is reported.
    With `model`, skills that need an adapter are served only where they have one for it. A directory that does not
    exist holds no skills (see `missing`); it may appear later.
    """

    def __init__(
        self,
        dirs: Sequence[Path],
        *,
        adapters_dir: Path | None = None,
        model: str | None = None,
        common: Common | None = None,
    ) -> None:
        self.dirs = tuple(dict.fromkeys(path.expanduser().absolute() for path in dirs))
        self.adapters_dir = None if adapters_dir is None else adapters_dir.expanduser().absolute()
        self._model = model
        self._common = common or Common()
        self._subscribers: dict[int, Callable[[Snapshot], None]] = {}
        self._numbers = itertools.count()
        self._reading = self.read()
        _log_warnings((), self.snapshot.warnings)

    @property
    def followed(self) -> tuple[Path, ...]:
        """Every directory whose changes matter: those of the skills, and that of promoted adapters."""
        return self.dirs if self.adapters_dir is None else (*self.dirs, self.adapters_dir)

    @property
    def snapshot(self) -> Snapshot:
        """All skills as of the last reading; it never changes, a reload makes another one."""
        return self._reading.snapshot

    @property
    def missing(self) -> tuple[Path, ...]:
        """The directories that do not exist at this moment."""
        return tuple(path for path in self.dirs if not path.is_dir())

    def get(self, name: str) -> Skill:
        """Give a skill by name.

        Raises:
            SkillNotFound: there is none of that name, or it lacks its adapter; the hint names near ones, or the way.
            ManifestInvalid: there is a folder of that name, and it is broken.
        """
        snapshot = self.snapshot
        if name in snapshot.skills:
            return snapshot.skills[name]
        for broken in snapshot.broken:
            if broken.name == name:
                raise ManifestInvalid(
                    f"Skill {broken}.", f"Mend it; `tools-server skills check {name}` tells when it is good."
                )
        if name in snapshot.unserved:
            others = ", ".join(snapshot.unserved[name].adapters) or "no model"
            raise SkillNotFound(
                f"Skill `{name}` needs an adapter, and has none for {self._model} (it has for: {others}).",
                f"Serve a model that it has one for (`--model`), or train one: `tools-server train {name}`.",
            )
        near = difflib.get_close_matches(name, snapshot.skills, n=3, cutoff=0.5)
        raise SkillNotFound(
            f"There is no skill {name!r}.",
            f"Did you mean {' or '.join(f'`{n}`' for n in near)}?"
            if near
            else f"There are: {', '.join(snapshot.skills) or 'none'}.",
        )

    def reload(self) -> Snapshot:
        """Read every folder again and publish what was found; give the snapshot that is served from now on."""
        return self.publish(self.read())

    def read(self) -> Reading:
        """Look at the disk and publish nothing. Safe in any thread."""
        seen = fingerprint(self.followed)  # before reading: what changes meanwhile is then seen as changed
        skills: dict[str, Skill] = {}
        broken: list[BrokenSkill] = []
        shadowed: dict[str, tuple[Path, ...]] = {}
        for directory in self.dirs:
            try:
                folders = skill_folders(directory)
            except OSError as error:
                reason = f"cannot be listed: {error.strerror or error}"
                broken.append(BrokenSkill(directory.name, directory, "", "", reason))
                continue
            for folder in folders:
                outcome = load_skill(folder, self._common)
                if isinstance(outcome, BrokenSkill):
                    broken.append(outcome)
                    continue
                if outcome.name in skills:
                    shadowed[outcome.name] = (*shadowed.get(outcome.name, ()), skills[outcome.name].folder)
                skills[outcome.name] = outcome
        warnings: list[str] = []
        if self.adapters_dir is not None:
            for name, skill in skills.items():
                adapted, said = overlay(skill, self.adapters_dir)
                skills[name], more = _with_own_calibrations(adapted, self.adapters_dir)
                warnings += (*said, *more)
        unserved = {name: skill for name, skill in sorted(skills.items()) if self._lacks_adapter(skill)}
        served = {name: skill for name, skill in sorted(skills.items()) if name not in unserved}
        return Reading(Snapshot(served, tuple(broken), shadowed, tuple(warnings), unserved), seen)

    def _lacks_adapter(self, skill: Skill) -> bool:
        return self._model is not None and skill.manifest.needs_adapter and self._model not in skill.adapters

    def is_stale(self) -> bool:
        """Tell from names, sizes and times whether the disk differs from the last reading. Safe in any thread."""
        return fingerprint(self.followed) != self._reading.fingerprint

    def publish(self, reading: Reading) -> Snapshot:
        """Serve what a reading found, and tell the subscribers when it differs from what was served."""
        before = self._reading.snapshot
        if _identity(reading.snapshot) == _identity(before):
            self._reading = Reading(before, reading.fingerprint)
            return before
        self._reading = reading
        _log_difference(before, reading.snapshot)
        for callback in tuple(self._subscribers.values()):
            callback(reading.snapshot)
        return reading.snapshot

    def subscribe(self, callback: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Call `callback` with each new snapshot, in the thread that publishes it; give the way to stop that."""
        number = next(self._numbers)
        self._subscribers[number] = callback

        def unsubscribe() -> None:
            self._subscribers.pop(number, None)

        return unsubscribe


def _with_own_calibrations(skill: Skill, root: Path) -> tuple[Skill, tuple[str, ...]]:
    """Put what was fitted here before what came with the skill; a broken file is told of in words, and left out."""
    try:
        own = own_calibrations(root, skill.name)
    except (OSError, ValueError) as error:
        return skill, (f"{calibration_path(root, skill.name)} is not used: {str(error).splitlines()[0]}.",)
    return replace(skill, calibrations=(*own.calibrations, *skill.calibrations)), ()


def _identity(snapshot: Snapshot) -> Hashable:
    """What makes two snapshots the same: content, not objects."""
    skills = tuple(
        (skill.folder, skill.digest, skill.prose, repr(skill.card), skill.calibrations, _adapters(skill))
        for skill in (*snapshot.skills.values(), *snapshot.unserved.values())
    )
    return skills, tuple(snapshot.unserved), snapshot.broken, tuple(snapshot.shadowed.items()), snapshot.warnings


def _adapters(skill: Skill) -> Hashable:
    # An adapter is equal to another one of the same bytes; that it lies elsewhere now, under another name, counts too.
    return tuple((model, adapter, adapter.path) for model, adapter in sorted(skill.adapters.items()))


def _log_difference(before: Snapshot, after: Snapshot) -> None:
    for name in after.skills.keys() - before.skills.keys():
        _log.info("skill added: %s (%s)", name, after.skills[name].folder)
    for name in before.skills.keys() - after.skills.keys():
        _log.info("skill removed: %s", name)
    for name in after.skills.keys() & before.skills.keys():
        if after.skills[name].digest != before.skills[name].digest:
            _log.info("skill changed: %s (%s)", name, after.skills[name].folder)
        if _adapters(before.skills[name]) != _adapters(after.skills[name]):
            now = ", ".join(adapter.name for adapter in after.skills[name].adapters.values())
            _log.info("adapters of %s changed: %s", name, now or "none")
    for broken in set(after.broken) - set(before.broken):
        _log.warning("skill broken: %s", broken)
    _log_warnings(before.warnings, after.warnings)


def _log_warnings(before: Sequence[str], after: Sequence[str]) -> None:
    for warning in after:
        if warning not in before:
            _log.warning(warning)
