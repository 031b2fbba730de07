"""What was answered, kept line by line, so that an evaluation that was cut off goes on where it stopped."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tools_server.data.types import Sample
from tools_server.engine.types import Usage

__all__ = ["AnswerLog", "Answered", "Pass", "fingerprint"]

Pass = Literal["batched", "alone"]
"""How a call was made: with others beside it, as fast as the machine can, or alone, to time it."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One finished call. `data` is None when it failed, `error` is then the code. `seconds` is the call's own time."""

    data: Mapping[str, Any] | None
    error: str | None
    usage: Usage
    seconds: float


def fingerprint(sample: Sample) -> str:
    """What makes two samples the same call: the SHA-256 of the skill's name and the arguments, shortened."""
    content = json.dumps([sample.skill, sample.arguments], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


class AnswerLog:
    """`answers.jsonl`: every finished call by variant, pass, sample and arguments, appended as it comes.

    A line that was cut off, such as by a full disk, counts as not there: its sample is asked again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[str, ...], Answered] = {}
        self._timed: dict[str, tuple[int, float]] = {}  # by variant: batched calls, and the seconds that they took
        self._read()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def get(self, variant: str, how: Pass, sample: Sample) -> Answered | None:
        """What a variant answered to a sample, None when it was not asked yet."""
        return self._known.get((variant, how, sample.id, fingerprint(sample)))

    def put(self, variant: str, how: Pass, sample: Sample, answered: Answered) -> None:
        """Keep an answer."""
        key = (variant, how, sample.id, fingerprint(sample))
        self._known[key] = answered
        self._append(dict(zip(("variant", "pass", "sample", "arguments"), key, strict=True)) | asdict(answered))

    def add_time(self, variant: str, calls: int, seconds: float) -> None:
        """Note how long a run took for its batched calls, so that throughput can be told after a resumption as well."""
        row = {"variant": variant, "batched_calls": calls, "batched_seconds": round(seconds, 3)}
        self._append(row)
        self._take(row)

    def calls_per_second(self, variant: str) -> float | None:
        """Throughput of a variant's batched calls; None when none were timed.

        Of a run that was killed it has the answers, but not how long they took: those calls are left out.
        """
        calls, seconds = self._timed.get(variant, (0, 0.0))
        return calls / seconds if calls and seconds else None

    def _append(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()

    def _read(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self.path.open("rb+") as file:
                file.truncate(whole)  # so that the next line begins a line
        for line in content[:whole].decode("utf-8", errors="replace").splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue

    def _take(self, row: Mapping[str, Any]) -> None:
        if "batched_seconds" in row:
            calls, seconds = self._timed.get(row["variant"], (0, 0.0))
            timed = calls + int(row["batched_calls"]), seconds + float(row["batched_seconds"])
            self._timed[row["variant"]] = timed
            return
        key = (row["variant"], row["pass"], row["sample"], row["arguments"])
        answered = Answered(row["data"], row["error"], Usage(**row["usage"]), float(row["seconds"]))
        self._known[key] = answered
