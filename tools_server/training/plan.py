"""`training.toml` of a skill folder: what its adapters are trained on, and how. Flags of the command come before it."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tools_server.errors import TrainingFailed
from tools_server.skills.types import Skill
from tools_server.toml_file import read_toml
from tools_server.training.types import Hyperparameters

__all__ = ["FILE", "Plan", "read_plan"]

FILE = "training.toml"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Plan(_Section):
    """Sources as `tools_server.training.sources.parse_source` reads them, and hyper-parameters by model id.

    `test` is what `skills eval` measures; training never reads it.
    """

    train: tuple[str, ...] = Field(default=(), min_length=0)
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    models: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def hyper(self, model: str, given: dict[str, Any]) -> Hyperparameters:
        """Merge what was given, what the plan says of the model, and the defaults.

        Raises:
            TrainingFailed: the plan names a hyper-parameter that there is not, or a value that it cannot have.
        """
        planned = self.models.get(model, {})
        known = Hyperparameters.__dataclass_fields__
        for name in planned:
            if name not in known:
                raise TrainingFailed(
                    f"{FILE}: models.{model}.{name} is no hyper-parameter.", f"Known: {', '.join(known)}."
                )
        values = {**planned, **{name: value for name, value in given.items() if value is not None}}
        try:
            return TypeAdapter(Hyperparameters).validate_python(values)
        except ValidationError as error:
            wrong = error.errors()[0]
            raise TrainingFailed(
                f"{FILE}: models.{model}.{wrong['loc'][0]} is {wrong['input']!r}: {wrong['msg']}.",
                "docs/training.md says what it may be.",
            ) from error


def read_plan(skill: Skill) -> Plan:
    """Read a skill's plan; without a file it is empty.

    Raises:
        TrainingFailed: the file breaks its contract; names the key.
    """
    path: Path = skill.folder / FILE
    if not path.is_file():
        return Plan()
    return read_toml(path, Plan, lambda message: TrainingFailed(message, "docs/training.md lists the keys."))
