"""`card.json` of a skill folder: what was measured of it, model by model, generated and never written by hand."""

import json
from pathlib import Path
from typing import Any, cast

from tools_server.errors import EvaluationImpossible
from tools_server.evals.report import Report, cost_of, variant_scores
from tools_server.models.files import write_aside

__all__ = ["FILE", "card_entry", "write_card"]

FILE = "card.json"


def card_entry(report: Report) -> dict[str, Any]:
    """What a card says of one model on one split: scores with intervals, cost, and where all of it comes from."""
    provenance = report.provenance
    variants: dict[str, Any] = {}
    for each in report.results:
        evaluation = each.evaluation
        variants[each.name] = {"metrics": variant_scores(each)}
        if evaluation.by_model:
            variants[each.name] |= {
                "adapter_sha256": evaluation.adapter.sha256 if evaluation.adapter else None,
                **cost_of(each),
            }
    return {
        "dataset": report.data.name,
        "split": report.data.split,
        "licence": report.data.licence,
        "samples": len(report.data.samples),
        "data_sha256": report.data.sha256,
        "skill_version": report.skill.manifest.version,
        "skill_digest": report.skill.digest,
        "base_sha256": report.base_sha256,
        "weights": report.weights,
        "variants": variants,
        "commit": provenance.commit,
        "hardware": provenance.machine.model_dump(mode="json"),
        "date": provenance.date.date().isoformat(),
    }


def write_card(report: Report) -> Path:
    """Put a report into the skill's card. Entries of other models, and of other splits of this one, stay.

    Raises:
        EvaluationImpossible: there is a card.json that was not written so.
    """
    path = report.skill.folder / FILE
    card = _read(path)
    entries = [
        entry
        for entry in card.get(report.model, [])
        if (entry["dataset"], entry["split"]) != (report.data.name, report.data.split)
    ]
    card[report.model] = [*entries, card_entry(report)]
    content = json.dumps({"models": dict(sorted(card.items()))}, indent=2, ensure_ascii=False, allow_nan=False)
    write_aside(path, content + "\n")
    return path


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    if not path.exists():
        return {}
    try:
        models = json.loads(path.read_text("utf-8"))["models"]
        if all(isinstance(entry["dataset"] + entry["split"], str) for entries in models.values() for entry in entries):
            return cast("dict[str, list[dict[str, Any]]]", models)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _foreign(path) from error
    raise _foreign(path)


def _foreign(path: Path) -> EvaluationImpossible:
    return EvaluationImpossible(
        f"{path} is no card that an evaluation wrote, and is left as it is.", "Move it away, and write the card again."
    )
