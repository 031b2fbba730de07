"""One run from samples to an adapter version: load, train, export, prove, keep."""

import gc
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from tools_server.engine.llama_vocabulary import LlamaVocabulary
from tools_server.errors import SamplesInvalid, TrainingFailed
from tools_server.models import ModelStore, available_memory
from tools_server.settings import Settings
from tools_server.skills.adapters import AdapterVersion, Origin
from tools_server.skills.types import Skill
from tools_server.training.arithmetic import arithmetic
from tools_server.training.base import base_facts, library, load_base
from tools_server.training.body import Body
from tools_server.training.checkpoint import State, read
from tools_server.training.examples import ExampleBuilder, invocation_of
from tools_server.training.export import export_lora, from_peft
from tools_server.training.gate import GateReport, prove
from tools_server.training.loop import CHECKPOINT, Result, Trainer, first_passes, plan_steps
from tools_server.training.lora import attach, load_adapter_state, load_weights, lowest_block
from tools_server.training.memory import memory_estimate, proof_memory_estimate
from tools_server.training.objective import Objective
from tools_server.training.packing import collate, padded
from tools_server.training.sources import TrainingData
from tools_server.training.start import Start, read_start
from tools_server.training.types import Example, Hyperparameters, Told
from tools_server.training.versions import add_version

__all__ = ["Options", "Outcome", "run_training"]

PROOF_PROMPTS = 4
"""Prompts that the exported file is held against torch with: some of dev."""

MOST_REFUSED = 0.1
"""Share of the samples whose answers the skill may be unable to give, such as values that the text does not state."""

TOOLS = ("torch", "transformers", "peft", "gguf", "llama-cpp-python", "tools-server")


@dataclass(frozen=True, slots=True)
class Options:
    """How to run: not what is learnt. `budget_s` shortens the run to what fits into that many seconds; `finish` ends
    an interrupted one with the best step that it had. An adapter to `start` from gives the new one its shape."""

    threads: int = 1
    device: str = "cpu"
    budget_s: float | None = None
    resume: bool = False
    finish: bool = False
    start: str | None = None  # the adapter to go on from: `shipped`, or a version; None: a fresh one
    folder: Path | None = None  # of checkpoints; None: one in the cache folder, named by what is trained


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run and the version that it became."""

    version: AdapterVersion
    result: Result
    proof: GateReport
    hyper: Hyperparameters


def run_training(
    skill: Skill,
    data: TrainingData,
    settings: Settings,
    hyper: Hyperparameters,
    options: Options,
    *,
    told: Told,
    said: Callable[[str], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train an adapter of `settings.model` for a skill, prove the exported file, and keep it as a version.

    Nothing is served by that; `skills adapters promote` does it. Blocks for minutes to hours. When `should_stop` says
    so, it ends after the step under way with its checkpoint kept.

    Raises:
        TrainingError: memory is short, the loss diverged, the checkpoint is another run's, the export is wrong.
        SamplesInvalid: a sample's answer is none that the skill could give.
        ModelError: the weights are missing or wrong.
    """
    torch = library("torch")
    store = ModelStore.from_settings(settings)
    manifest, path = store.manifest(settings.model), store.path(settings.model)
    facts = base_facts(path)
    start = None
    if options.start is not None:
        start = read_start(skill, data, settings, options.start, facts, base_sha256=manifest.sha256)
        if start.uses is None:
            said(f"nothing is recorded of what {start.name} was trained on: the new version lists its own data alone")
    hyper = (hyper if start is None else start.shape(hyper)).resolved(facts.parameters)
    train, dev, prompts, invocation = _examples(skill, data, (path, settings.model), hyper, said)
    lengths = [row.tokens for rows in first_passes(train, dev, hyper) for row in rows]
    fingerprint = _fingerprint(manifest.sha256, skill, data, hyper, start, lengths=lengths)
    folder = options.folder or settings.cache_dir / "training" / f"{skill.name}-{settings.model}-{fingerprint[:12]}"
    lowest = lowest_block(hyper, facts.layers)
    computed_in = arithmetic(options.device)
    needed = memory_estimate(
        facts,
        tokens_per_batch=padded(max(lengths)) * hyper.rows,
        longest=max(len(example.tokens) for example in [*train, *dev]),
        rank=hyper.rank,
        computed_in=computed_in,
        held_in=facts.held_in(computed_in),
        scored_rows=hyper.batch_samples * 4,
        lowest=lowest,
        kept_tokens=sum(lengths),
    )
    _check_memory(max(needed, proof_memory_estimate(facts)), hyper)
    state = _begin(folder, fingerprint, hyper, train, options)
    torch.set_num_threads(options.threads)
    torch.manual_seed(hyper.seed)
    said(f"loading {settings.model} ({facts.parameters / 1e6:,.0f}M parameters, computed in {computed_in})")
    base, _ = load_base(path, dtype=facts.held_in(computed_in))
    model, activation = attach(base.to(options.device), hyper)
    if start is not None:
        load_weights(model, start.weights)
    body = Body(model, lowest, first_passes(train, dev, hyper))
    objective = Objective(model, body, activation, activated=hyper.kind == "alora", computed_in=computed_in)
    if state.step == 0 and options.budget_s is not None:
        state.steps = _within(state.steps, _affordable(objective, body, train, hyper, options.budget_s), said)
    said(f"{_size(train, hyper)}, {len(dev):,} on dev, {state.steps} steps")
    trainer = Trainer(
        model,
        objective,
        train=train,
        dev=dev,
        folder=folder,
        told=told,
        begun=start is not None,
        should_stop=should_stop,
    )
    result = trainer.run(state)
    load_adapter_state(model, result.adapter)
    weights = from_peft(model, invocation_tokens=invocation)
    del base, model, body, objective, trainer, state
    gc.collect()  # peft's wrappers refer to each other, and the proof needs the memory
    file = folder / "adapter.gguf"
    export_lora(weights, facts, file, metadata={"name": f"{skill.name} for {settings.model}"})
    proof = prove(path, weights, file, prompts, scratch=folder, told=said)
    base_of = {"base_model": settings.model, "base_sha256": manifest.sha256}
    origin = _origin(skill, data, hyper, result, proof, start=start, **base_of)
    version = add_version(settings.adapters_dir, skill.name, settings.model, file, origin)
    for done in (file, folder / CHECKPOINT):  # by name: the folder may be the user's own, with other things in it
        done.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
    return Outcome(version, result, proof, hyper)


def _examples(
    skill: Skill, data: TrainingData, base: tuple[Path, str], hyper: Hyperparameters, said: Callable[[str], None]
) -> tuple[list[Example], list[Example], list[tuple[int, ...]], tuple[int, ...]]:
    vocabulary = LlamaVocabulary(base[0], model_id=base[1])
    try:
        activated = hyper.kind == "alora"
        builder = ExampleBuilder(skill, vocabulary, activated=activated)
        train, refused = builder.build_possible(data.train)
        dev, more = builder.build_possible(data.dev)
        _check_refused([*refused, *more], len(data.train) + len(data.dev), said)
        for name, built in (("train", train), ("dev", dev)):
            if not built:
                raise TrainingFailed(f"Nothing is left to {name} on.", "Add samples whose answers the skill can give.")
        invocation = invocation_of(vocabulary) if activated else ()
    finally:
        vocabulary.close()
    return train, dev, [example.tokens for example in dev[:PROOF_PROMPTS]], invocation


def _size(train: Sequence[Example], hyper: Hyperparameters) -> str:
    tokens = sum(len(example.tokens) for example in train)
    packed = sum(row.tokens for rows in first_passes(train, (), hyper) for row in rows)
    return f"{len(train):,} examples ({tokens:,} tokens, packed into {packed:,})"


def _check_refused(refused: Sequence[SamplesInvalid], total: int, said: Callable[[str], None]) -> None:
    """Say how many samples were left out because the skill could never give their answers; refuse if they are many.

    Raises:
        SamplesInvalid: it is more than a tenth: the data are not for this skill.
    """
    if not refused:
        return
    counted = f"{len(refused):,} of {total:,} samples have answers that the skill cannot give; the first: {refused[0]}"
    if len(refused) > MOST_REFUSED * total:
        raise SamplesInvalid(counted, "Mend the samples, or the skill's schema.")
    said(f"left out: {counted}")


def _begin(folder: Path, fingerprint: str, hyper: Hyperparameters, train: Sequence[Example], options: Options) -> State:
    """Give where the run stands: at its start, where it was interrupted, or at its end if that is to be the end."""
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists() and not (options.resume or options.finish):
        raise TrainingFailed(
            f"This run was begun before and did not end: {checkpoint}.",
            "Add --resume to go on with it, or remove that folder to begin anew.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    found = checkpoint.exists()
    state = read(checkpoint, fingerprint) if found else State(fingerprint, hyper, plan_steps(train, hyper))
    if options.finish:
        if state.best is None:
            how_far = (
                f"step {state.step} was reached, and dev not measured yet" if state.step else "no run was interrupted"
            )
            raise TrainingFailed(
                f"There is nothing to finish: {how_far}.", "Train on: leave out --finish, and add --resume."
            )
        state.steps = state.step
    return state


def _check_memory(needed: int, hyper: Hyperparameters) -> None:
    free = available_memory()
    if needed > free:
        raise TrainingFailed(
            f"Training would take about {needed / 1e9:.1f} GB; {free / 1e9:.1f} GB are free.",
            f"Close other programs, lower --rows (now {hyper.rows}) or --row-tokens (now {hyper.row_tokens}), or "
            "train a smaller model.",
        )


def _within(planned: int, affordable: int, said: Callable[[str], None]) -> int:
    """The steps that are made: what is affordable of what is planned. A plan that is cut is told."""
    if affordable < planned:
        said(f"the budget is for {affordable:,} of the {planned:,} steps of all epochs")
    return min(planned, affordable)


def _affordable(
    objective: Objective, body: Body, train: Sequence[Example], hyper: Hyperparameters, budget_s: float
) -> int:
    """Measure one forward and backward pass, and tell how many steps fit into the budget."""
    batch = collate(next(first_passes(train, (), hyper)))
    a_step = hyper.batch_samples / batch.samples * 1.1  # a tenth for evaluations on dev
    started = time.monotonic()
    body.fill(batch)
    once = (time.monotonic() - started) * a_step
    objective(batch).total.backward()  # the first one also allocates memory
    started = time.monotonic()
    objective(batch).total.backward()
    again = (time.monotonic() - started) * a_step
    in_first_epoch = min(plan_steps(train, replace(hyper, epochs=1.0)), budget_s / (once + again))
    later = (budget_s - in_first_epoch * (once + again)) / again
    return max(1, int(in_first_epoch + later))


def _fingerprint(
    base_sha256: str,
    skill: Skill,
    data: TrainingData,
    hyper: Hyperparameters,
    start: Start | None,
    *,
    lengths: Sequence[int],
) -> str:
    """Hash all that decides what a run does, the `lengths` of its packed rows included: a checkpoint counts these."""
    what: list[Any] = [base_sha256, skill.prompt_digest, data.sha256, len(data.dev), asdict(hyper), lengths]
    if start is not None:
        what.append(start.sha256)
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _origin(
    skill: Skill,
    data: TrainingData,
    hyper: Hyperparameters,
    result: Result,
    proof: GateReport,
    *,
    start: Start | None,
    base_model: str,
    base_sha256: str,
) -> Origin:
    best = next((each for each in result.history if each["step"] == result.best_step), dict[str, float]())
    return Origin(
        source="trained here",
        base_model=base_model,
        base_sha256=base_sha256,
        created=datetime.now(UTC),
        prompt_digest=skill.prompt_digest,
        seed=hyper.seed,
        start=None if start is None else start.sha256,
        data=data.uses if start is None else start.all_uses(data.uses),
        recipe={
            **{key: value for key, value in asdict(hyper).items() if value is not None},
            "steps": result.steps,
            "best_step": result.best_step,
            "tokens": result.tokens,
            "seconds": round(result.seconds),
        },
        scores={
            **{f"dev_{name.removeprefix('dev_')}": best[name] for name in ("dev_loss", "dev_accuracy") if name in best},
            "kl_to_torch": proof.adapter.kl_max,
        },
        tools={name: version_of(name) for name in TOOLS},
    )
