"""How sure an answer is, and whether that is enough: the same for what was chosen and for what was written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tools_server.calls.work import Work
from tools_server.skills.calibration import Calibration, tempered

__all__ = ["DIGITS", "Trust", "rounded"]

DIGITS = 4


@dataclass(frozen=True, slots=True)
class Trust:
    """Of one call: the calibration that holds for its answers, if any, and what they must reach."""

    calibration: Calibration | None
    asked: float | None  # by the caller
    own: float | None  # by the skill

    @classmethod
    def of(cls, work: Work, *, calibrated: bool = True) -> Self:
        """For the answers of a call; `calibrated` False where no calibration was fitted on answers of this kind."""
        call, info = work.call, work.engine.info
        calibration = call.skill.calibration(info.id, info.sha256, work.adapter) if calibrated else None
        return cls(calibration, call.min_confidence, call.skill.manifest.trust.defer_below)

    def tempered(self, probabilities: Sequence[float]) -> list[float]:
        """The shares of labels as they are shown."""
        temperature = 1.0 if self.calibration is None else self.calibration.temperature
        return tempered(probabilities, temperature)

    def confidence(self, share: float) -> float:
        """How often an answer of this share, tempered or the model's own, is right."""
        return rounded(share if self.calibration is None else self.calibration.probability(share))

    def deferral(self, confidence: float | None) -> Mapping[str, Any]:
        """Say that an answer is too unsure to use: below what the caller asks for, or else what the skill does.

        Of an answer of which nothing is known (None) it cannot be told that it is sure enough.
        """
        least, whose = self._least()
        if least is None or (confidence is not None and confidence >= least):
            return {}
        found = "not known, so it may be" if confidence is None else f"{confidence:g},"
        return {"deferred": True, "reason": f"The confidence is {found} below {whose} of {least:g}."}

    def brief(self) -> Mapping[str, Any] | None:
        """What a caller may want to know of the calibration."""
        return None if self.calibration is None else self.calibration.brief()

    def _least(self) -> tuple[float | None, str]:
        if self.asked is not None:
            return self.asked, "`min_confidence`"
        found = self.calibration
        if found is not None and found.threshold is not None and found.threshold.confidence is not None:
            return found.threshold.confidence, f"the threshold for {found.threshold.target:.0%} right answers"
        return self.own, "the skill's `defer_below`"


def rounded(probability: float, digits: int = DIGITS) -> float:
    """As an answer shows it."""
    return min(1.0, round(probability, digits))  # the exponential of a logarithm may exceed 1 by a hair
