"""Tune one installed model: make the plan, run it, and keep what won beside the published weights."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from tools_server.data.types import Sample
from tools_server.errors import TuningFailed
from tools_server.models import EngineChoice, Gain, Machine, ModelStore, TunedFile, TunedRecord, available_memory
from tools_server.models.files import place, sha256_of
from tools_server.models.report import silent
from tools_server.settings import Settings
from tools_server.tuning.ranking import PREFILL_SHARE, gain, ratio, seconds, spreads, written_rate
from tools_server.tuning.tuner import Outcome, Plan, Tuner
from tools_server.tuning.types import Told, Workload

if TYPE_CHECKING:
    from tools_server.engine.llama_weights import Format
    from tools_server.tuning.lab import Lab

__all__ = ["Options", "run_tuning"]

LabMaker = Callable[[], AbstractContextManager["Lab"]]


@dataclass(frozen=True, slots=True)
class Options:
    """What the user decides. `quick`: two short rounds, and the engine's settings stay. `dry_run` keeps nothing."""

    formats: tuple["Format", ...]
    quick: bool = False
    dry_run: bool = False


def run_tuning(
    store: ModelStore,
    settings: Settings,
    *,
    samples: Sequence[Sample],
    options: Options,
    make_lab: LabMaker,
    told: Told,
) -> TunedRecord:
    """Find the fastest weights and settings for `settings.model` and, unless it is a dry run, keep and serve them.

    Blocks for minutes. A server that runs meanwhile keeps the weights that it has loaded.

    Raises:
        ModelNotFound, ChecksumMismatch: the published weights are not here, or are others.
        TuningFailed: another run is tuning this model, or the published weights cannot be measured.
    """
    source = store.path(settings.model)
    kept = store.tuned(settings.model)
    work = source.parent / "tuning"
    lock = FileLock(source.parent / ".tuning.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TuningFailed(
            f"Another run is tuning {settings.model} at this moment.", "Wait for it: two would slow each other down."
        ) from error
    try:
        shutil.rmtree(work, ignore_errors=True)  # left by a run that was killed
        with make_lab() as lab:
            outcome = Tuner(lab, _plan(settings, source, work, samples, options), told).run()
        record = _record(settings.model, store.manifest(settings.model).sha256, outcome)
        if not options.dry_run:
            if record.file is not None:
                place(outcome.chosen.path, kept.file_path(record.file))
            kept.write(record)
        return record
    finally:
        shutil.rmtree(work, ignore_errors=True)
        lock.release()


def _plan(settings: Settings, source: Path, work: Path, samples: Sequence[Sample], options: Options) -> Plan:
    fields = EngineChoice.model_fields
    limit_mb = settings.memory_limit_mb
    free = available_memory()
    return Plan(
        source=source,
        work=work,
        formats=options.formats,
        base=EngineChoice(**{key: getattr(settings, key) for key in fields}),
        free=frozenset(fields) - settings.model_fields_set,
        context_tokens=settings.context_tokens,
        memory=free if limit_mb is None else min(free, limit_mb * 1_000_000),
        samples=tuple(samples),
        workload=Workload(prompts=1, steps=12) if options.quick else Workload(),
        rounds=2 if options.quick else 3,
        settings_too=not options.quick,
    )


def _record(model: str, source_sha256: str, outcome: Outcome) -> TunedRecord:
    chosen, published = outcome.chosen, outcome.published
    ours, base = outcome.last
    own = chosen.path != published.path
    stem = published.path.stem
    return TunedRecord(
        model=model,
        source_sha256=source_sha256,
        machine=Machine.here(),
        format=chosen.format,
        file=TunedFile(
            name=f"{stem}.tuned-{chosen.format}.gguf",
            sha256=sha256_of(chosen.path, silent, "hashing the tuned weights"),
            size_bytes=chosen.path.stat().st_size,
        )
        if own
        else None,
        engine=chosen.engine,
        gain=Gain(
            prefill=gain([each.prefill for each in ours], [each.prefill for each in base]),
            decode=gain([written_rate(each) for each in ours], [written_rate(each) for each in base]),
            call=ratio(ours, base).median,
        ),
        why=_why(outcome),
        report=_report(outcome),
    )


def _why(outcome: Outcome) -> str:
    chosen = outcome.chosen
    if chosen == outcome.published:
        return "nothing that answers as well is more than 3 % faster than the published weights"
    ours, base = outcome.last
    quality = outcome.quality[chosen]
    spread = ratio(ours, base)
    return (
        f"{chosen.name} takes {1 / spread.median:.2f} of the time of {outcome.published.name} for a mix of "
        f"{PREFILL_SHARE:.0%} prefill; {quality.agreement:.1%} of {quality.labels} labels are the same, and of "
        f"{quality.decisions} decisions {quality.accuracy:.1%} are right, not {quality.published_accuracy:.1%} "
        f"(one-sided exact McNemar p {quality.p:.2f})"
    )


def _report(outcome: Outcome) -> dict[str, Any]:
    """Every measurement, for JSON; `seconds` are predicted ones for 1,000 tokens of the mix."""
    return {
        "prefill_share": PREFILL_SHARE,
        "published": outcome.published.name,
        "chosen": outcome.chosen.name,
        "runs": [
            [
                {
                    "candidate": candidate.name,
                    "memory_bytes": candidate.memory,
                    "rounds": len(rounds),
                    **{name: asdict(spread) for name, spread in spreads(rounds).items()},
                    "seconds": min(seconds(each) for each in rounds),
                    "ratio": asdict(ratio(rounds, run[outcome.published])),
                }
                for candidate, rounds in run.items()
            ]
            for run in outcome.runs
        ],
        "quality": [
            {**asdict(quality), "candidate": candidate.name, "objection": quality.objection}
            for candidate, quality in outcome.quality.items()
        ],
        "left_out": dict(outcome.left_out),
    }
