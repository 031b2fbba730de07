"""A finished evaluation as JSON, Markdown and SVG. Every number comes with where it is from."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools_server.evals.chart import Group, bar_chart
from tools_server.evals.pictures import pictures
from tools_server.evals.provenance import Provenance
from tools_server.evals.results import SEED, Evidence, Paired, Result, evidence
from tools_server.evals.runner import tokens_per_call
from tools_server.evals.samples import EvaluationData
from tools_server.evals.scoring import MetricName
from tools_server.evals.statistics import RESAMPLES, Comparison, Estimate
from tools_server.models.files import write_aside
from tools_server.skills.types import Skill

__all__ = ["EVIDENCE_FILE", "TITLES", "Report", "shown_difference", "shown_estimate", "shown_p"]

TITLES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "micro_precision": "micro precision",
    "micro_recall": "micro recall",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "exact_match": "exact match",
    "nothing_wrong": "nothing wrong",
    "covered": "characters covered",
    "covered_rightly": "covered rightly",
    "unsupported": "values not in the text",
    "rouge_l": "ROUGE-L",
    "unsupported_numbers": "numbers not in the text",
    "unsupported_names": "names not in the text",
    "words": "words",
    "validity": "valid answers",
    "ece": "calibration error",
    "ece_by_chance": "of it by chance",
    "auroc": "AUROC of confidence",
    "kept": "not deferred",
    "accuracy_kept": "accuracy of these",
}
"""Metrics as people read them."""

EVIDENCE_FILE = "evaluation.json"

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Report:
    """One evaluation of a skill on a model: every variant, and a comparison of two of them if one was asked for."""

    skill: Skill
    model: str
    base_sha256: str
    weights: str
    metric: MetricName
    data: EvaluationData
    results: Sequence[Result]
    comparison: Paired | None
    provenance: Provenance
    min_confidence: float | None = None
    """What a caller was taken to ask for; None: the skill's own thresholds hold."""

    @property
    def evidence(self) -> Evidence | None:
        """What a promotion rests on; None when nothing was compared."""
        if self.comparison is None:
            return None
        return evidence(
            self.comparison, skill=self.skill, model=self.model, base_sha256=self.base_sha256, data=self.data
        )

    def as_json(self) -> dict[str, Any]:
        """All numbers. What is undefined is null."""
        found: dict[str, Any] = {
            "format": FORMAT,
            "skill": self.skill.name,
            "skill_version": self.skill.manifest.version,
            "skill_digest": self.skill.digest,
            "model": self.model,
            "base_sha256": self.base_sha256,
            "weights": self.weights,
            "metric": self.metric,
            "min_confidence": self.min_confidence,
            "data": {**self.data_facts(), "licence": self.data.licence},
            "variants": {each.name: _variant_facts(each) for each in self.results},
            "bootstrap": {"resamples": RESAMPLES, "seed": SEED},
            "provenance": self.provenance.model_dump(mode="json"),
        }
        if self.comparison is not None:
            found["compared"] = {"baseline": self.comparison.baseline.name, "candidate": self.comparison.candidate.name}
            found["evaluation"] = self.evidence
        return found

    def data_facts(self) -> dict[str, Any]:
        """Which samples: name, split, hash, how many."""
        data = self.data
        return {"name": data.name, "split": data.split, "sha256": data.sha256, "samples": len(data.samples)}

    def as_markdown(self) -> str:
        """Tables for people: scores, comparison, cost, origin."""
        data, provenance = self.data, self.provenance
        titles = ["Scores", *(["Comparison"] if self.comparison else ()), "Cost"]
        lines = [
            f"# {self.skill.name} on {self.model}",
            "",
            f"{len(data.samples):,} samples of {data.name}, split {data.split}. In brackets: 95 % intervals."
            + (f" Deferred: below {self.min_confidence:g}." if self.min_confidence is not None else ""),
        ]
        for (columns, rows), title in zip(self.tables(), titles, strict=False):
            lines += ["", f"## {title}", "", *_table(columns, rows)]
        lines += ["", "## Origin", ""]
        lines += [
            f"- data: {data.name}/{data.split}, SHA-256 `{data.sha256}`, licence: {data.licence}",
            f"- skill: `{self.skill.name}` {self.skill.manifest.version}, digest `{self.skill.digest}`",
            f"- base: `{self.model}`, SHA-256 `{self.base_sha256}`, loaded from `{self.weights}`",
            *(
                f"- {each.name}: adapter `{each.evaluation.adapter.sha256}`"
                for each in self.results
                if each.evaluation.adapter
            ),
            f"- machine: {provenance.machine.cpu}, {provenance.machine.cores} cores, {provenance.machine.system}",
            f"- code: {provenance.commit or 'no git tree'}; "
            + ", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
            f"- {provenance.date.isoformat()}; bootstrap with {RESAMPLES:,} resamples, seed {SEED}",
        ]
        return "\n".join(lines) + "\n"

    def tables(self) -> list[tuple[Sequence[str], Sequence[Sequence[str]]]]:
        """Columns and rows as people read them: scores; the comparison, if there is one; what the calls cost."""
        scores = [
            [each.name, *(shown_estimate(each.estimates.get(name)) for name in self.metrics)] for each in self.results
        ]
        found: list[tuple[Sequence[str], Sequence[Sequence[str]]]] = [(("variant", *map(_title, self.metrics)), scores)]
        if self.comparison is not None:
            columns = (self._compared, "baseline", "candidate", "difference", "p, one-sided")
            found.append((columns, [_comparison_row(*item) for item in self.comparison.metrics.items()]))
        answered = [_cost_row(each) for each in self.results if each.evaluation.by_model]
        columns = ("variant", "p50 of a call alone", "p95", "calls/s together", "tokens read", "written", "failed")
        return [*found, *([(columns, answered)] if answered else ())]

    def as_svg(self) -> str:
        """A bar for each variant and each metric between 0 and 1."""
        shares = [name for name in self.metrics if name not in ("words", "unsupported_numbers", "unsupported_names")]
        groups = [
            Group(_title(name), {each.name: each.estimates[name] for each in self.results if name in each.estimates})
            for name in shares
        ]
        return bar_chart(self._title, groups)

    def write(self, folder: Path) -> None:
        """Write `report.json`, `report.md`, `report.svg`, `pictures`, and the evidence where two were compared."""
        write_aside(folder / "report.json", _json(self.as_json()))
        write_aside(folder / "report.md", self.as_markdown())
        write_aside(folder / "report.svg", self.as_svg())
        shown = self.comparison.candidate.name if self.comparison else self.results[0].name
        for name, picture in pictures(self._title, self.data.samples, self.results, shown).items():
            write_aside(folder / name, picture)
        if self.evidence is not None:
            write_aside(folder / EVIDENCE_FILE, _json(self.evidence))

    @property
    def metrics(self) -> list[str]:
        """The metrics that any variant has, the primary one first."""
        return list(dict.fromkeys(name for each in self.results for name in each.estimates))

    @property
    def _title(self) -> str:
        return f"{self.skill.name} on {self.model}: {self.data.name}/{self.data.split}"

    @property
    def _compared(self) -> str:
        return f"{self.comparison.candidate.name} beside {self.comparison.baseline.name}" if self.comparison else ""


def shown_estimate(estimate: Estimate | None) -> str:
    """`0.812 [0.790, 0.834]`."""
    if estimate is None or math.isnan(estimate.value):
        return "–"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def shown_difference(comparison: Comparison) -> str:
    """`+0.120 [+0.090, +0.150]`."""
    difference = comparison.candidate - comparison.baseline
    return "–" if math.isnan(difference) else f"{difference:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}]"


def shown_p(p: float) -> str:
    """`0.013`, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _comparison_row(name: str, each: Comparison) -> list[str]:
    return [_title(name), f"{each.baseline:.3f}", f"{each.candidate:.3f}", shown_difference(each), shown_p(each.p)]


def _cost_row(each: Result) -> list[str]:
    evaluation, tokens = each.evaluation, tokens_per_call(each.evaluation)
    speed = evaluation.calls_per_second
    return [
        each.name,
        *(f"{evaluation.latency(share):.2f} s" if evaluation.latencies else "–" for share in (0.5, 0.95)),
        f"{speed:.2f}" if speed else "–",
        f"{tokens['prompt']:,.0f} ({tokens['cached']:,.0f} cached)",
        f"{tokens['completion']:,.0f}",
        ", ".join(f"{count} × {code}" for code, count in evaluation.errors.items()) or "none",
    ]


def variant_scores(each: Result) -> dict[str, Any]:
    """A variant's metrics with their intervals, as JSON."""
    return {name: _numbers(estimate) for name, estimate in each.estimates.items()}


def _variant_facts(each: Result) -> dict[str, Any]:
    evaluation = each.evaluation
    facts: dict[str, Any] = {
        "adapter_sha256": evaluation.adapter.sha256 if evaluation.adapter else None,
        "adapter": evaluation.adapter.name if evaluation.adapter else None,
        "metrics": variant_scores(each),
        "details": dict(each.scored.details),
    }
    if evaluation.by_model:
        facts |= {"errors": dict(evaluation.errors), **cost_of(each)}
    return facts


def cost_of(each: Result) -> dict[str, Any]:
    """Latency, throughput and tokens of a variant that a model answered."""
    evaluation = each.evaluation
    p50, p95 = (_number(evaluation.latency(share)) for share in (0.5, 0.95))
    speed = evaluation.calls_per_second
    return {
        "latency_s": {"p50": p50, "p95": p95, "calls": len(evaluation.latencies)},
        "calls_per_second": None if speed is None else _number(speed),
        "tokens_per_call": tokens_per_call(evaluation),
    }


def _numbers(estimate: Estimate) -> dict[str, float | None]:
    return {"value": _number(estimate.value), "low": _number(estimate.low), "high": _number(estimate.high)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _title(name: str) -> str:
    return TITLES.get(name, name)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return [
        f"| {' | '.join(columns)} |",
        f"|{'|'.join('---' for _ in columns)}|",
        *(f"| {' | '.join(row)} |" for row in escaped),
    ]


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
