"""Which adapter version is served: changed on the evidence of a held-out win, or by force with a reason; and back."""

from datetime import UTC, datetime
from pathlib import Path

from tools_server.errors import AdapterMismatch, PromotionRefused
from tools_server.models.files import write_aside
from tools_server.skills.adapters import (
    BARE,
    EVALUATION_FILE,
    SHIPPED,
    Active,
    AdapterVersion,
    Change,
    active_of,
    adapter_of,
    find_version,
    overlay,
)
from tools_server.skills.types import Skill
from tools_server.training.evidence import Candidate, Decision, decide, read_evidence
from tools_server.training.versions import check_bytes, write_active

__all__ = ["promote", "rollback"]


def promote(
    root: Path,
    skill: Skill,
    model: str,
    version: str,
    *,
    base_sha256: str,
    evidence: Path | None = None,
    reason: str = "",
    force: bool = False,
) -> Active:
    """Serve a version from now on, in running servers as well. Calls in flight keep the version they began with.

    `skill` is as its folder gives it, without promoted versions; `base_sha256` is that of the model's weights. Without
    `evidence` the `evaluation.json` beside the version counts, if there is one. `force` promotes whatever the evidence
    says; the reason and the objections are recorded.

    Raises:
        AdapterVersionNotFound: there is no such version.
        AdapterMismatch: it was trained for another base, or its file is not what was written. Force does not help.
        PromotionRefused: no held-out win is shown; or it is forced without a reason; or it is served already.
    """
    if force and not reason.strip():
        raise PromotionRefused(f"{version!r} is to be promoted by force without a reason.", 'Add --reason "…".')
    found = None if version in (SHIPPED, BARE) else find_version(root, skill.name, model, version)
    if found is not None:
        _check_fits(found, base_sha256)
        beside = found.folder / EVALUATION_FILE
        evidence = evidence or (beside if beside.is_file() else None)
    before = active_of(root, skill.name, model)
    if (before.version if before else SHIPPED) == version:
        raise PromotionRefused(f"`{skill.name}` on {model} is served by {version!r} already.")
    candidate = Candidate(
        skill=skill.name,
        skill_digest=skill.digest,
        model=model,
        base_sha256=base_sha256,
        adapter=adapter_of(skill, root, model, version),
        # Not what active.toml says: a version that is damaged is not the one that answers.
        served=overlay(skill, root)[0].adapters.get(model),
        trained_on=frozenset(used.sha256 for used in found.provenance.data) if found else frozenset(),
    )
    decision, document = _weigh(evidence, candidate)
    if not decision.favourable and not force:
        raise PromotionRefused(
            f"{version!r} is not promoted for `{skill.name}` on {model}: {'; '.join(decision.objections)}.",
            "Compare it with what is served on held-out samples (`tools-server skills eval`), "
            'or give --force --reason "…".',
        )
    if found is not None and document is not None:
        write_aside(found.folder / EVALUATION_FILE, document)
    active = Active(
        version=version,
        since=_now(),
        how="promoted",
        reason=": ".join(part for part in (reason.strip(), decision.summary) if part),
        forced=not decision.favourable,
        objections=decision.objections,
        previous=_history(before),
    )
    write_active(root, skill.name, model, active)
    return active


def rollback(root: Path, skill: Skill, model: str, *, base_sha256: str, reason: str = "") -> Active:
    """Serve again what was served before the last promotion that was not rolled back yet.

    Raises:
        PromotionRefused: nothing was promoted that could be rolled back.
        AdapterVersionNotFound, AdapterMismatch: the version to go back to is gone or damaged, or the base is another.
    """
    before = active_of(root, skill.name, model)
    stack = _stack(before)
    if before is None or len(stack) < 2:
        raise PromotionRefused(
            f"There is nothing to go back to for `{skill.name}` on {model}.",
            f"`tools-server skills adapters list {skill.name}` shows what there is.",
        )
    version = stack[-2]
    if version not in (SHIPPED, BARE):
        _check_fits(find_version(root, skill.name, model, version), base_sha256)
    reason = reason.strip() or f"back from {before.version}"
    active = Active(version=version, since=_now(), how="rolled back", reason=reason, previous=_history(before))
    write_active(root, skill.name, model, active)
    return active


def _weigh(path: Path | None, candidate: Candidate) -> tuple[Decision, str | None]:
    """Decide on what evidence there is; gives its text as well, to be kept with the version."""
    if path is None:
        return Decision("", ("there is no evidence",)), None
    evidence, document = read_evidence(path)
    return decide(evidence, candidate), document


def _check_fits(version: AdapterVersion, base_sha256: str) -> None:
    if version.provenance.base_sha256 != base_sha256:
        raise AdapterMismatch(
            f"Adapter {version.adapter.name} was trained for the base with SHA-256 "
            f"{version.provenance.base_sha256[:12]}…, but the weights of {version.model} are {base_sha256[:12]}….",
            "Train one for these weights, or serve the weights that it was trained for.",
        )
    check_bytes(version)


def _stack(active: Active | None) -> list[str]:
    """Promotions that were not rolled back, the earliest first: the last one is served, a rollback drops it."""
    stack = [SHIPPED]
    for change in reversed(_history(active)):
        if change.how == "promoted":
            stack.append(change.version)
        else:
            stack.pop()
    return stack


def _history(active: Active | None) -> tuple[Change, ...]:
    if active is None:
        return ()
    return (Change(**active.model_dump(exclude={"previous"})), *active.previous)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
