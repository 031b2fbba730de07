"""Checkpoints: everything that decides how a run goes on, written so that a kill leaves the last whole one."""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools_server.errors import TrainingFailed
from tools_server.training.base import library
from tools_server.training.types import Hyperparameters

__all__ = ["State", "read", "write"]

VERSION = 2


@dataclass(slots=True)
class State:
    """Where a run stands after `step` steps. Tensors by parameter name; `fingerprint` tells what it was trained on."""

    fingerprint: str
    hyper: Hyperparameters
    steps: int
    step: int = 0
    epoch: int = 0
    at: int = 0  # steps done of this epoch
    seconds: float = 0.0
    tokens: int = 0
    adapter: dict[str, Any] = field(default_factory=dict[str, Any])
    optimiser: dict[str, Any] = field(default_factory=dict[str, Any])
    random: Any = None
    best: dict[str, Any] | None = None
    best_loss: float = float("inf")
    best_right: float = -1.0  # share of dev, at the best step
    best_step: int = 0
    worse: int = 0
    history: list[dict[str, float]] = field(default_factory=list[dict[str, float]])


def write(state: State, path: Path) -> None:
    """Write a checkpoint in the place of the last one, whole or not at all."""
    torch = library("torch")

    content = {name: getattr(state, name) for name in State.__dataclass_fields__}
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save({"version": VERSION, **content, "hyper": asdict(state.hyper)}, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read(path: Path, fingerprint: str) -> State:
    """Read a checkpoint.

    Raises:
        TrainingFailed: it cannot be read, or belongs to other data, another model or other hyper-parameters.
    """
    torch = library("torch")

    try:
        content: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:  # a damaged pickle can fail with anything
        raise TrainingFailed(
            f"The checkpoint {path} cannot be read: {type(error).__name__}: {error}.", "Remove it, and train anew."
        ) from error
    if content.pop("version", None) != VERSION:
        raise TrainingFailed(f"The checkpoint {path} is of another version of tools-server.", "Train anew.")
    if content["fingerprint"] != fingerprint:
        raise TrainingFailed(
            f"The checkpoint {path} belongs to another run: model, skill, data or hyper-parameters differ.",
            "Resume with what it was begun with, or train into another folder.",
        )
    content["hyper"] = Hyperparameters(**content["hyper"])
    return State(**content)
