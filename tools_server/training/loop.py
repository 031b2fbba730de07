"""The training loop: steps of AdamW with warm-up and cosine decay, evaluations on dev, checkpoints, an early end.

Everything random comes from the seed and the step, so that a run that was killed and resumed gives the same
weights as one that was not (on the same machine, with the same number of threads).
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools_server.errors import TrainingDiverged, TrainingFailed, TrainingInterrupted
from tools_server.training.base import library
from tools_server.training.checkpoint import State, write
from tools_server.training.lora import adapter_state, load_adapter_state, trainable
from tools_server.training.objective import Objective
from tools_server.training.pace import Pace
from tools_server.training.packing import Row, batches, collate, pack
from tools_server.training.types import Example, Hyperparameters, Progress, Told

__all__ = ["CHECKPOINT", "Clock", "Result", "Trainer", "first_passes", "plan_steps"]

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_S = 120.0
"""Seconds between checkpoints: what a kill may cost."""

CLIP = 1.0
"""Norm to which gradients are clipped."""

SMOOTH = 0.95
"""Of the exponential mean of the loss that is shown."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run: the adapter of the best step on dev, and how it got there."""

    adapter: dict[str, Any]
    steps: int
    best_step: int
    best_loss: float
    tokens: int
    seconds: float
    stopped_early: bool
    history: list[dict[str, float]]


def plan_steps(examples: Sequence[Example], hyper: Hyperparameters) -> int:
    """How many steps the epochs have."""
    return max(1, round(len(_plan(examples, hyper, 0)) * hyper.epochs))


def first_passes(train: Sequence[Example], dev: Sequence[Example], hyper: Hyperparameters) -> Iterator[list[Row]]:
    """Give the forward passes of the first epoch and of an evaluation, which hold every sample once."""
    for step in _plan(train, hyper, 0):
        yield from step
    yield from _dev_passes(dev, hyper)


class Trainer:
    """Trains the adapter of one model. `folder` gets the checkpoints.

    With `begun` the adapter was trained before: it is measured on dev first, and no step counts that is not better,
    unless the last one is asked for.
    """

    def __init__(
        self,
        model: Any,
        objective: Objective,
        *,
        train: Sequence[Example],
        dev: Sequence[Example],
        folder: Path,
        told: Told,
        begun: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        clock: Clock = time.monotonic,
    ) -> None:
        self._torch = library("torch")
        self._model = model
        self._objective = objective
        self._train = train
        self._dev = dev
        self._folder = folder
        self._told = told
        self._begun = begun
        self._should_stop = should_stop
        self._clock = clock

    def run(self, state: State) -> Result:
        """Train from where `state` stands to its end.

        Raises:
            TrainingDiverged: the loss is not a number any more; the last checkpoint is kept.
            TrainingFailed: no step was better on dev than the adapter that training went on from.
        """
        hyper = state.hyper
        parameters = trainable(self._model)
        optimiser = self._torch.optim.AdamW(
            parameters, lr=hyper.learning_rate, betas=(0.9, 0.98), weight_decay=hyper.weight_decay
        )
        if state.adapter:
            load_adapter_state(self._model, state.adapter)
            optimiser.load_state_dict(state.optimiser)
            self._torch.set_rng_state(state.random)
        every = max(1, math.ceil(state.steps / hyper.evaluations))
        pace = Pace(state.steps, every)
        started = saved = self._clock()
        before, smooth = state.seconds, math.nan
        if self._begun and not state.history:
            self._evaluate(state)
        plan = _plan(self._train, hyper, state.epoch)
        while state.step < state.steps:
            if state.at == len(plan):
                state.epoch, state.at = state.epoch + 1, 0
                plan = _plan(self._train, hyper, state.epoch)
            began, tokens = self._clock(), state.tokens
            loss = self._step(plan[state.at], optimiser, parameters, state)
            pace.add_step(self._clock() - began, state.tokens - tokens)
            smooth = loss if math.isnan(smooth) else SMOOTH * smooth + (1 - SMOOTH) * loss
            state.step, state.at = state.step + 1, state.at + 1
            state.seconds = before + self._clock() - started
            if state.step % every == 0 or state.step == state.steps:
                began = self._clock()
                self._evaluate(state)
                pace.add_evaluation(self._clock() - began)
            self._tell(state, smooth, len(plan), pace)
            early, asked = state.worse >= hyper.patience, self._should_stop()
            if early or asked or state.step == state.steps or self._clock() - saved >= CHECKPOINT_S:
                self._save(state, optimiser)
                saved = self._clock()
            if early:
                break
            if asked and state.step < state.steps:
                raise TrainingInterrupted(
                    f"Stopped after step {state.step} of {state.steps}.", "Add --resume to the same command to go on."
                )
        if self._begun and state.best_step == 0:
            raise TrainingFailed(
                f"None of {state.step} steps was better on dev than the adapter that training went on from "
                f"(loss {state.best_loss:.4f}).",
                "Give more samples or other ones, or a lower --learning-rate.",
            )
        return Result(
            adapter=state.best if state.best is not None else adapter_state(self._model),
            steps=state.step,
            best_step=state.best_step or state.step,
            best_loss=state.best_loss,
            tokens=state.tokens,
            seconds=state.seconds,
            stopped_early=state.step < state.steps,
            history=state.history,
        )

    def _step(self, passes: list[list[Row]], optimiser: Any, parameters: list[Any], state: State) -> float:
        """Do one step over some forward passes; give the mean loss of a decision, in nats."""
        rate = _rate(state.hyper, state.step, state.steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        self._model.train()
        decisions = sum(len(example.targets) for rows in passes for row in rows for example in row.examples)
        total = 0.0
        for rows in passes:
            batch = collate(rows)
            losses = self._objective(batch)
            (losses.total / decisions).backward()
            total += float(losses.total.detach())
            state.tokens += batch.useful_tokens
        norm = self._torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        mean = total / decisions
        if not math.isfinite(mean) or not bool(self._torch.isfinite(norm)):
            raise TrainingDiverged(
                f"The loss is {mean} at step {state.step + 1} of {state.steps} (learning rate {rate:.2g}).",
                f"Lower --learning-rate, for example to {(state.hyper.learning_rate or rate) / 3:.1g}.",
            )
        optimiser.step()
        return mean

    def _evaluate(self, state: State) -> None:
        """Measure on dev; keep the weights of the best step so far, or of this one where the last is asked for."""
        if not self._dev:
            return
        loss, accuracy = self.evaluate(state.hyper)
        state.history.append(
            {"step": state.step, "dev_loss": loss, "dev_accuracy": accuracy, "seconds": round(state.seconds, 1)}
        )
        right, best_right = (accuracy, state.best_right) if state.hyper.choose_by == "right" else (0.0, 0.0)
        if state.hyper.choose_by == "last" or (right, -loss) > (best_right, -state.best_loss):
            state.best, state.best_step = adapter_state(self._model), state.step
            state.best_loss, state.best_right, state.worse = loss, accuracy, 0
        else:
            state.worse += 1

    def evaluate(self, hyper: Hyperparameters) -> tuple[float, float]:
        """Give the mean loss of a decision on dev, in nats, and the share of samples with every decision right."""
        self._model.eval()
        total, decisions, samples, right = 0.0, 0, 0, 0
        with self._torch.no_grad():
            for rows in _dev_passes(self._dev, hyper):
                losses = self._objective(collate(rows))
                total += float(losses.total)
                decisions += losses.decisions
                samples += losses.samples
                right += losses.right
        return total / max(1, decisions), right / max(1, samples)

    def _tell(self, state: State, loss: float, per_epoch: int, pace: Pace) -> None:
        last = state.history[-1] if state.history else {}
        self._told(
            Progress(
                step=state.step,
                steps=state.steps,
                epoch=state.epoch + state.at / per_epoch,
                loss=loss,
                tokens_per_s=pace.tokens_per_s,
                seconds_left=pace.seconds_left(state.step),
                dev_loss=last.get("dev_loss"),
                dev_accuracy=last.get("dev_accuracy"),
            )
        )

    def _save(self, state: State, optimiser: Any) -> None:
        state.adapter = adapter_state(self._model)
        state.optimiser = optimiser.state_dict()
        state.random = self._torch.get_rng_state()
        write(state, self._folder / CHECKPOINT)


def _plan(examples: Sequence[Example], hyper: Hyperparameters, epoch: int) -> list[list[list[Row]]]:
    """The steps of an epoch, each a list of forward passes."""
    rows = pack(examples, hyper.row_tokens, f"{hyper.seed}-{epoch}")
    return list(batches(rows, hyper.rows, hyper.batch_samples))


def _dev_passes(dev: Sequence[Example], hyper: Hyperparameters) -> Iterator[list[Row]]:
    for step in batches(pack(dev, hyper.row_tokens, "dev"), hyper.rows, len(dev)):
        yield from step


def _rate(hyper: Hyperparameters, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to a twentieth of the peak."""
    peak = hyper.learning_rate or 0.0
    warm = max(1, round(steps * hyper.warmup))
    if step < warm:
        return peak * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
