"""How fast a run is and how long it will take, told from its latest steps.

Steps are not alike: the first epoch of an adapter in the upper blocks pays for the lower ones, a machine gets busy or
idle, and a resumed run may go on in another hour than the one it began in. A mean over the whole run tells it late.
"""

import math
from collections import deque

__all__ = ["Pace"]

LATEST = 20
"""Steps whose mean is told."""


class Pace:
    """Times of steps and evaluations of one run, in seconds. `every` are the steps from one evaluation to the next."""

    def __init__(self, steps: int, every: int) -> None:
        self._steps = steps
        self._every = every
        self._latest: deque[tuple[float, int]] = deque(maxlen=LATEST)
        self._evaluation = 0.0

    def add_step(self, seconds: float, tokens: int) -> None:
        """Count a step, without the evaluation that may follow it."""
        self._latest.append((seconds, tokens))

    def add_evaluation(self, seconds: float) -> None:
        """Count an evaluation on dev; the next ones are thought to take as long."""
        self._evaluation = seconds

    @property
    def tokens_per_s(self) -> float:
        """Tokens of the latest steps by the time that they took."""
        return sum(tokens for _, tokens in self._latest) / max(sum(seconds for seconds, _ in self._latest), 1e-9)

    def seconds_left(self, step: int) -> float:
        """What the steps and evaluations after `step` will take. Before the first evaluation, none is counted."""
        if step >= self._steps:
            return 0.0
        mean = sum(seconds for seconds, _ in self._latest) / max(1, len(self._latest))
        evaluations = math.ceil(self._steps / self._every) - step // self._every
        return mean * (self._steps - step) + self._evaluation * evaluations
