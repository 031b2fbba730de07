"""What an evaluation must show before an adapter version is served.

The rule: on samples that the version was not trained on, the primary metric is better than that of what is served now
(binary metrics: exact McNemar test, one-sided, p < 0.05; others: the paired bootstrap's 95 % interval of the difference
lies above zero), and no other metric is worse (95 % interval of the difference wholly on the wrong side of zero).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tools_server.engine.types import Adapter
from tools_server.errors import PromotionRefused
from tools_server.skills.manifest import Sha256

__all__ = ["SIGNIFICANCE", "Candidate", "Decision", "Evidence", "decide", "read_evidence", "summary_of"]

SIGNIFICANCE = 0.05
"""How easily chance alone may look like the win of a binary metric."""

_TRAINING_SPLITS = frozenset({"train", "training"})


class _Part(BaseModel):
    # An evaluation says more than is needed here.
    model_config = ConfigDict(frozen=True, extra="ignore")


class EvidenceData(_Part):
    """The samples that both variants answered."""

    name: str
    split: str
    sha256: Sha256
    samples: int = Field(ge=1)


class EvidenceVariant(_Part):
    """What answered: a base, with an adapter or bare."""

    adapter_sha256: Sha256 | None
    scale: float = 1.0


class EvidenceMetric(_Part):
    """One metric of both variants. `difference` bounds candidate - baseline (95 %, two-sided, paired bootstrap).

    `p` is one-sided: how easily chance alone makes the candidate look this much better.
    """

    primary: bool
    better: Literal["higher", "lower"]
    kind: Literal["binary", "mean", "ratio"]
    baseline: float
    candidate: float
    difference: tuple[float, float]
    p: Annotated[float, Field(ge=0, le=1)]

    @property
    def gain(self) -> tuple[float, float]:
        """The interval of the difference, turned so that above zero is better."""
        low, high = self.difference
        return (low, high) if self.better == "higher" else (-high, -low)

    @property
    def wins(self) -> bool:
        """Whether the candidate is better beyond what chance explains."""
        return self.p < SIGNIFICANCE if self.kind == "binary" else self.gain[0] > 0

    @property
    def loses(self) -> bool:
        """Whether the candidate is worse beyond what chance explains."""
        return self.gain[1] < 0


class Evidence(_Part):
    """`evaluation.json`: two variants, `baseline` and `candidate`, on the same samples."""

    skill: str
    skill_digest: str
    model: str
    base_sha256: Sha256
    data: EvidenceData
    variants: Mapping[str, EvidenceVariant]
    metrics: Mapping[str, EvidenceMetric]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the evidence must be about: the adapter that is to be served, and what is served now (None: bare base)."""

    skill: str
    skill_digest: str
    model: str
    base_sha256: str
    adapter: Adapter | None
    served: Adapter | None
    trained_on: frozenset[str] = frozenset()  # SHA-256 of each set of samples


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether evidence speaks for a promotion: what it says in one line, and every reason against it."""

    summary: str
    objections: tuple[str, ...]

    @property
    def favourable(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.objections


def read_evidence(path: Path) -> tuple[Evidence, str]:
    """Read the JSON that `skills eval --compare` writes; gives its text as well.

    Raises:
        PromotionRefused: the file cannot be read, or is no comparison of two variants.
    """
    hint = "`tools-server skills eval SKILL --compare` writes such a file."
    try:
        text = path.read_text("utf-8")
        return Evidence.model_validate_json(text), text
    except (OSError, UnicodeDecodeError) as error:
        raise PromotionRefused(f"The evidence {path} cannot be read: {error}.", hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "document"
        raise PromotionRefused(f"{path} is no comparison of two variants: {where}: {first['msg']}.", hint) from error


def decide(evidence: Evidence, candidate: Candidate) -> Decision:
    """Hold evidence against the rule; every objection is given, not the first one alone."""
    objections = [*_about_something_else(evidence, candidate), *_not_held_out(evidence.data, candidate)]
    primary = sum(metric.primary for metric in evidence.metrics.values())
    if primary != 1:
        objections.append(f"it has {primary} primary metrics, not one")
    for name, metric in evidence.metrics.items():
        if metric.primary and not metric.wins:
            objections.append(f"no win is shown: {_told(name, metric)}")
        elif not metric.primary and metric.loses:
            objections.append(f"it is worse: {_told(name, metric)}")
    return Decision(summary_of(evidence), tuple(objections))


def summary_of(evidence: Evidence) -> str:
    """Say in one line what the primary metrics were, and on which samples."""
    data = evidence.data
    told = "; ".join(_told(name, metric) for name, metric in evidence.metrics.items() if metric.primary)
    return f"{told}, on {data.samples} samples of {data.name}/{data.split} ({data.sha256[:12]}…)"


def _about_something_else(evidence: Evidence, candidate: Candidate) -> list[str]:
    found: list[str] = []

    def compare(what: str, theirs: str | None, ours: str | None) -> None:
        if theirs != ours:
            found.append(f"it is about {what} {_short(theirs)}, not {_short(ours)}")

    compare("the skill", evidence.skill, candidate.skill)
    compare("the skill's digest", evidence.skill_digest, candidate.skill_digest)
    compare("the model", evidence.model, candidate.model)
    compare("the base", evidence.base_sha256, candidate.base_sha256)
    for name, ours in (("candidate", candidate.adapter), ("baseline", candidate.served)):
        variant = evidence.variants.get(name)
        if variant is None:
            found.append(f"it has no variant `{name}`")
            continue
        role = "the candidate's adapter" if name == "candidate" else "a baseline, which must be what is served now,"
        compare(role, _identity(variant.adapter_sha256, variant.scale), ours and _identity(ours.sha256, ours.scale))
    return found


def _identity(sha256: str | None, scale: float) -> str | None:
    return sha256 if sha256 is None or scale == 1 else f"{scale:g} × {sha256}"


def _not_held_out(data: EvidenceData, candidate: Candidate) -> list[str]:
    if data.split.lower() in _TRAINING_SPLITS:
        return [f"its samples are the split {data.split!r}, which is for training"]
    if data.sha256 in candidate.trained_on:
        return [f"its samples ({data.sha256[:12]}…) are among those that the version was trained on"]
    return []


def _told(name: str, metric: EvidenceMetric) -> str:
    low, high = metric.difference
    p = f", p = {metric.p:.2g}" if metric.kind == "binary" else ""
    return f"{name} {metric.baseline:.4g} → {metric.candidate:.4g} (difference {low:+.3g} to {high:+.3g}{p})"


def _short(value: str | None) -> str:
    if value is None:
        return "the bare base"
    return re.sub(r"([0-9a-f]{12})[0-9a-f]{52}$", r"\1…", value) if len(value) >= 64 else repr(value)
