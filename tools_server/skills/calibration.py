"""Calibrations: how a skill's raw confidence becomes the share of answers that are right, and when to defer.

    <skill folder>/calibration.json            shipped with the skill
    <adapters_dir>/<skill>/calibration.json    fitted here; the same adapter's entry here comes before the shipped one

Each entry holds for one model, adapter and prompt, and is used for no other. Here they are only read and applied,
without any package for fitting; `evals.calibration` makes them.
"""

import bisect
import json
import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tools_server.skills.folder import SIZE_CAPS, Problem, SkillFolder
from tools_server.skills.manifest import Sha256

__all__ = [
    "FILE",
    "Calibration",
    "CalibrationFile",
    "Figures",
    "FittedOn",
    "NewTask",
    "Threshold",
    "calibration_path",
    "calibrations_of",
    "own_calibrations",
    "tempered",
]

FILE = "calibration.json"

Share = float
"""Between 0 and 1."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FittedOn(_Strict):
    """Samples that a calibration rests on. `sha256` is of exactly these samples."""

    dataset: str
    split: str
    licence: str
    samples: int = Field(ge=1)
    sha256: Sha256


class Figures(_Strict):
    """How good confidences are, on samples that nothing was fitted on.

    `ece` is the expected calibration error, `auroc` how well confidence tells right answers from wrong ones (None where
    all are right, or none is), `brier` the mean squared difference from 1 (right) or 0 (wrong).
    """

    ece: float = Field(ge=0, le=1)
    auroc: float | None = Field(ge=0, le=1)
    brier: float = Field(ge=0, le=1)


class NewTask(_Strict):
    """How good confidences are on one set of samples whose map was fitted on the other sets alone.

    What a task may expect that no calibration has seen. `right` is the share of right answers, and `by_chance` the
    calibration error that so few answers show on average where every confidence is true.
    """

    dataset: str
    split: str
    samples: int = Field(ge=1)
    right: float = Field(ge=0, le=1)
    before: Figures
    after: Figures
    by_chance: float = Field(ge=0, le=1)


class Threshold(_Strict):
    """A confidence below which answers are deferred, so that those kept are right as often as was asked.

    `confidence` None: no threshold shows it with these samples. Else, at the given `level`, the accuracy of what is
    kept is at least `target`; `kept` is the share of answers that is kept, and `accuracy` what these came to.
    """

    target: float = Field(gt=0, lt=1)
    level: float = Field(gt=0, lt=1)
    confidence: float | None = Field(ge=0, le=1)
    kept: float = Field(ge=0, le=1)
    accuracy: float | None = Field(ge=0, le=1)


class Calibration(_Strict):
    """One fitted map from raw to calibrated confidence.

    `temperature` divides the logits of the labels (Guo et al., ICML 2017). `knots` are points (confidence, share
    that is right), ascending in both, between which lines are drawn; empty where the temperature is all. `tasks` says
    that the samples have several sets of labels or fields: figures are a mean over such tasks, not about a caller's.
    `new_tasks` says how one does that is none of them, where several data sets were given.
    """

    model: str
    base_sha256: Sha256
    adapter_sha256: Sha256 | None
    prompt_digest: Sha256
    method: Literal["temperature", "logistic", "isotonic"]
    temperature: float = Field(default=1.0, gt=0)
    knots: tuple[tuple[float, float], ...] = ()
    tasks: bool = False
    fitted: int = Field(ge=1)  # samples that the map was fitted on
    checked: int = Field(ge=1)  # other samples, that the figures and the threshold are from
    data: tuple[FittedOn, ...]
    before: Figures
    after: Figures
    new_tasks: tuple[NewTask, ...] = ()
    threshold: Threshold | None = None
    made: date
    commit: str | None = None

    @model_validator(mode="after")
    def _ascending(self) -> "Calibration":
        for (x, y), (next_x, next_y) in zip(self.knots, self.knots[1:], strict=False):
            if next_x <= x or next_y < y:
                raise ValueError(f"knots must ascend: ({next_x}, {next_y}) follows ({x}, {y})")
        if any(not 0 <= part <= 1 for knot in self.knots for part in knot):
            raise ValueError("knots lie between 0 and 1")
        return self

    @property
    def key(self) -> tuple[str, str, str | None, str]:
        """What it holds for: model, base, adapter and prompt."""
        return self.model, self.base_sha256, self.adapter_sha256, self.prompt_digest

    def probability(self, confidence: Share) -> Share:
        """How often an answer of this confidence is right; `confidence` is after the temperature."""
        if not self.knots:
            return confidence
        right = bisect.bisect_left(self.knots, confidence, key=lambda knot: knot[0])
        if right == 0:
            return self.knots[0][1]
        if right == len(self.knots):
            return self.knots[-1][1]
        (low, below), (high, above) = self.knots[right - 1], self.knots[right]
        return below + (above - below) * (confidence - low) / (high - low)

    @property
    def least(self) -> Share | None:
        """The confidence below which answers are deferred, if any."""
        return None if self.threshold is None else self.threshold.confidence

    def brief(self) -> dict[str, Any]:
        """What a caller may want to know: method, samples, error before and after, and on tasks that are new."""
        new = [each.after.ece for each in self.new_tasks]
        return {
            "method": self.method,
            "samples": self.fitted + self.checked,
            "tasks": "several" if self.tasks else "one",
            "ece_before": self.before.ece,
            "ece": self.after.ece,
            **({"ece_new_tasks": round(sum(new) / len(new), 4)} if new else {}),
        }


class CalibrationFile(_Strict):
    """`calibration.json`: at most one entry for each model, adapter and prompt."""

    calibrations: tuple[Calibration, ...] = ()

    def with_entry(self, entry: Calibration) -> "CalibrationFile":
        """The same with an entry, in the place of the one for the same model, adapter and prompt."""
        others = [each for each in self.calibrations if each.key != entry.key]
        return CalibrationFile(calibrations=tuple(sorted((*others, entry), key=lambda each: str(each.key))))

    def without(self, adapter_sha256: Sha256) -> "CalibrationFile":
        """The same without the entries of an adapter."""
        return CalibrationFile(
            calibrations=tuple(each for each in self.calibrations if each.adapter_sha256 != adapter_sha256)
        )

    def as_json(self) -> str:
        """Give the file's content."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def tempered(probabilities: Sequence[Share], temperature: float) -> list[Share]:
    """Divide the logarithms by a temperature and normalise again: the order stays, certainty shrinks or grows."""
    if temperature == 1:
        return list(probabilities)
    # Relative to the likeliest one, which keeps the sum away from zero.
    top = max(probabilities)
    powers = [(each / top) ** (1 / temperature) for each in probabilities]
    total = math.fsum(powers)
    return [power / total for power in powers]


def calibrations_of(folder: SkillFolder) -> tuple[Calibration, ...]:
    """Read the file in a skill's folder.

    Raises:
        Problem: it breaks its contract.
    """
    content = folder.json_object(FILE)
    if content is None:
        return ()
    try:
        # From JSON as JSON: lists are tuples and strings are dates there.
        return CalibrationFile.model_validate(content).calibrations
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Problem(FILE, ".".join(str(step) for step in first["loc"]), first["msg"]) from error


def calibration_path(root: Path, skill: str) -> Path:
    """Where what is fitted here lies."""
    return root / skill / FILE


def own_calibrations(root: Path, skill: str) -> CalibrationFile:
    """Read what was fitted here; an empty file when there is none.

    Raises:
        ValueError: the file breaks its contract (pydantic's error is one), or is larger than any calibration.
        OSError: it cannot be read.
    """
    path = calibration_path(root, skill)
    if not path.is_file():
        return CalibrationFile()
    if path.stat().st_size > SIZE_CAPS[FILE]:
        raise ValueError(f"it is larger than {SIZE_CAPS[FILE]:,} bytes")
    return CalibrationFile.model_validate_json(path.read_text("utf-8"))
