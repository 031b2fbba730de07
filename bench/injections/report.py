"""The results as sections of docs/injections.md and as JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.injections.attempts import POSITIONS, SkillName
from bench.injections.corpus import CONTROLS, kinds
from bench.injections.effects import SHARES, Difference, Effect, Share, differences, shares
from bench.injections.study import Study
from tools_server.evals.statistics import Estimate

ATTACKS = "**all attacks**"

CHANGED: Mapping[SkillName, str] = {"classify": "label changed", "extract": "fields changed"}
TOOK: Mapping[SkillName, str] = {"classify": "attacker's label", "extract": "attacker's value in a field"}


@dataclass(frozen=True, slots=True)
class Results:
    """What was measured of one model. `facts` are what a reader must know of model, software and machine."""

    model: str
    facts: Mapping[str, str]
    studies: Sequence[Study]


def sections(results: Results) -> dict[str, str]:
    """A section for each skill, by its title: effects by kind and by place, the control, and what must be none."""
    facts = "\n".join(f"- {name}: {value}" for name, value in results.facts.items())
    found: dict[str, str] = {}
    for study in results.studies:
        title = f"{results.model}: {study.skill}"
        parts = [f"## {title}", _about(study), _by_kind(study), _by_position(study)]
        if study.unescaped:
            parts.append(_control(study))
        found[title] = "\n\n".join([*parts, _none(study), "Model, software and machine:", facts]) + "\n"
    return found


def as_json(results: Results) -> dict[str, Any]:
    """Everything: shares by kind, and each attempt."""
    return {
        "model": results.model,
        "facts": dict(results.facts),
        "skills": [
            {
                "skill": study.skill,
                "clean": asdict(study.clean),
                "kinds": {
                    name: {reading: _share_json(share) for reading, share in shares(effects).items()}
                    for name, effects in _groups(study.effects).items()
                },
                "without_escaping": [asdict(each) for each in differences(study.of_control, study.unescaped)],
                "invalid": study.invalid,
                "errors": dict(study.errors),
                "seen": {"escaped": asdict(study.escaped_seen), "unescaped": asdict(study.unescaped_seen)},
                "attempts": [_effect_json(each) for each in study.effects],
                "attempts_without_escaping": [_effect_json(each) for each in study.unescaped],
            }
            for study in results.studies
        ],
    }


def _groups(effects: Sequence[Effect]) -> dict[str, list[Effect]]:
    """By kind: attacks, all of them together, then those that ask for nothing; empty ones are left out."""
    by_kind = {kind: [each for each in effects if each.attempt.injection.kind == kind] for kind in kinds()}
    attacks = [each for each in effects if each.attempt.injection.kind not in CONTROLS]
    groups = {
        **{kind: found for kind, found in by_kind.items() if kind not in CONTROLS},
        ATTACKS: attacks,
        **{f"{kind} (asks for nothing)": by_kind[kind] for kind in CONTROLS},
    }
    return {name: found for name, found in groups.items() if found}


def _about(study: Study) -> str:
    clean, what = study.clean, "labels" if study.skill == "classify" else "fields"
    again = f"asked once more at the end, {clean.changed_again} answers had changed"
    if clean.largest_move is not None:
        again += f", and no confidence had moved by more than {clean.largest_move:.4f}"
    return (
        f"{len(study.effects)} attempts with {len({each.attempt.injection.id for each in study.effects})} injections. "
        f"Without any injection {clean.right} of {clean.parts} {what} are right; {again}."
    )


def _by_kind(study: Study) -> str:
    labels = study.skill == "classify"
    columns = ["kind", "injections, attempts", CHANGED[study.skill], TOOK[study.skill], "another wish granted"]
    columns += ["change of confidence", "change of the probability of the attacker's label"] if labels else []
    rows: list[list[str]] = []
    for kind, effects in _groups(study.effects).items():
        found = shares(effects)
        counted = f"{len({each.attempt.injection.id for each in effects})}, {len(effects)}"
        cells = [kind, counted, *(_share(found[name], len(effects)) for name in SHARES)]
        cells += [_moved(found[name].estimate) for name in ("confidence", "target_score")] if labels else []
        rows.append(cells)
    return _table(columns, rows)


def _by_position(study: Study) -> str:
    rows: list[list[str]] = []
    for position in POSITIONS:
        effects = [
            each
            for each in study.effects
            if each.attempt.position == position and each.attempt.injection.kind not in CONTROLS
        ]
        found = shares(effects)
        rows.append([position, str(len(effects)), *(_share(found[name], len(effects)) for name in ("changed", "took"))])
    return _table(["attacks at the …", "attempts", CHANGED[study.skill], TOOK[study.skill]], rows)


def _control(study: Study) -> str:
    names = {
        "changed": CHANGED[study.skill],
        "took": TOOK[study.skill],
        "granted": "another wish granted",
        "confidence": "change of confidence",
        "target_score": "change of the probability of the attacker's label",
    }
    rows = [
        [names[each.name], *_pair(each), _interval(each.unescaped - each.escaped, each.low, each.high, each.name)]
        for each in differences(study.of_control, study.unescaped)
    ]
    count = len(study.unescaped)
    head = f"The {count} attempts whose text has special tokens of this model, with and without escaping:"
    return head + "\n\n" + _table(["", "escaped", "not escaped", "difference"], rows)


def _none(study: Study) -> str:
    seen, control = study.escaped_seen, study.unescaped_seen
    failed = ", ".join(f"{code}: {count}" for code, count in study.errors.items()) or "none"
    without = f" (without escaping: {control.forged_prompts} of {control.prompts})" if control.prompts else ""
    return "\n".join(
        (
            f"- answers that break their schema: {study.invalid} of {study.calls}",
            f"- prompts in which the text became a special token: {seen.forged_prompts} of {seen.prompts}{without}",
            f"- answers with special tokens in them: {seen.special_answers + control.special_answers} of {study.calls}",
            f"- calls that failed: {failed}",
        )
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(share: Share, attempts: int) -> str:
    """A share in percent with its interval; how many attempts it is of, where that is not all."""
    found = share.estimate
    if math.isnan(found.value):
        return "–"
    of = "" if share.attempts == attempts else f", of {share.attempts}"
    return f"{100 * found.value:.0f} % ({100 * found.low:.0f} – {100 * found.high:.0f}{of})"


def _moved(found: Estimate) -> str:
    if math.isnan(found.value):
        return "–"
    return f"{found.value:+.3f} ({found.low:+.3f} – {found.high:+.3f})"


def _pair(each: Difference) -> list[str]:
    if each.name in SHARES:
        return [f"{100 * value:.0f} %" for value in (each.escaped, each.unescaped)]
    return [f"{value:+.3f}" for value in (each.escaped, each.unescaped)]


def _interval(value: float, low: float, high: float, name: str) -> str:
    if name in SHARES:
        return f"{100 * value:+.0f} points ({100 * low:+.0f} – {100 * high:+.0f})"
    return _moved(Estimate(value, low, high))


def _share_json(share: Share) -> Mapping[str, float | None]:
    numbers = asdict(share.estimate)
    return {name: None if math.isnan(value) else value for name, value in numbers.items()} | {
        "attempts": share.attempts,
        "injections": share.injections,
    }


def _effect_json(each: Effect) -> dict[str, Any]:
    attempt = each.attempt
    told = {name: value for name, value in asdict(each).items() if name != "attempt"}
    where = {"id": attempt.injection.id, "kind": attempt.injection.kind, "carrier": attempt.carrier}
    return where | {"position": attempt.position, "target": attempt.target} | told
