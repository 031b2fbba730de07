"""What a skill is evaluated on: its own samples, a split of a data set, or a file of the user's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tools_server.data.own import read_samples
from tools_server.data.reading import data_folder, load
from tools_server.data.recipe import Recipe, Recipes
from tools_server.data.splits import folded, hash_of
from tools_server.data.types import Sample
from tools_server.errors import EvaluationImpossible, SamplesInvalid
from tools_server.evals.scoring import MetricName
from tools_server.settings import Settings
from tools_server.skills.types import Skill
from tools_server.toml_file import read_toml

__all__ = [
    "DESCRIPTION",
    "EvaluationData",
    "find_samples",
    "metric_of",
    "own_samples",
    "samples_of",
    "spread",
    "together",
    "user_samples",
]

DESCRIPTION = Path("evals") / "eval.toml"
"""Inside a skill folder: how its answers are scored, and on which samples of its own."""

TRAIN = "train"
"""The split that baselines learn from."""


class _Description(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: MetricName
    samples: str


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """The samples of one evaluation. `train` gives those that baselines may learn from; it may take seconds."""

    name: str
    split: str
    licence: str
    samples: Sequence[Sample]
    train: Callable[[], Sequence[Sample]]

    @property
    def sha256(self) -> str:
        """Of exactly these samples, in any order."""
        return hash_of(self.samples)

    def limited(self, samples: int | None) -> "EvaluationData":
        """The same with at most so many samples, evenly out of all; None: as it is."""
        return self if samples is None else replace(self, samples=spread(self.samples, samples))


def metric_of(skill: Skill) -> MetricName:
    """How a skill is scored: as its `evals/eval.toml` says, else by its kind.

    Raises:
        SamplesInvalid: the file breaks its contract.
        EvaluationImpossible: a skill that writes says nothing; there are several ways to score that.
    """
    if (description := _description(skill)) is not None:
        return description.metric
    if skill.manifest.kind == "choose":
        return "accuracy"
    if skill.manifest.generate.schema_from is not None:
        return "field_accuracy"
    raise EvaluationImpossible(
        f"Skill `{skill.name}` does not say how its answers are scored: there is no {skill.folder / DESCRIPTION}.",
        'Write it, with metric = "field_accuracy", "entities" or "rouge_l", and samples = "samples.jsonl".',
    )


def own_samples(skill: Skill) -> EvaluationData:
    """The samples in a skill's own `evals/` folder.

    Raises:
        EvaluationImpossible: it has none.
        SamplesInvalid: naming file, line and reason.
    """
    description = _description(skill)
    if description is None:
        raise EvaluationImpossible(
            f"Skill `{skill.name}` has no samples of its own: there is no {skill.folder / DESCRIPTION}.",
            "Name a data set or a file with --data.",
        )
    samples = read_samples(skill.folder / DESCRIPTION.parent / description.samples, skill)
    return EvaluationData(skill.name, "samples", "that of the skill", samples, _nothing)


def user_samples(path: Path, skill: Skill, train: Path | None = None) -> EvaluationData:
    """The samples of a user's own file; `train` is another one, for baselines. The split is the file's name.

    Raises:
        SamplesInvalid: naming file, line and reason.
    """
    samples = read_samples(path, skill)
    learnt = partial(_apart, samples, partial(read_samples, train, skill)) if train else _nothing
    return EvaluationData(path.name, path.stem, "the user's own", samples, learnt)


def samples_of(recipe: Recipe, split: str, skill: Skill, *, settings: Settings) -> EvaluationData:
    """The samples that a recipe makes of a split for a skill. Baselines learn from its split `train`.

    Texts that stand in both are not learnt from.

    Raises:
        DataNotFound, DataInvalid: see `data.reading.load`.
    """
    folder = data_folder(settings)
    samples = load(recipe, split, skill.name, folder=folder)
    if not samples:
        raise EvaluationImpossible(f"Split {split!r} of {recipe.name!r} has no samples for `{skill.name}`.", "")
    if split == TRAIN or TRAIN not in recipe.files:
        return EvaluationData(recipe.name, split, recipe.licence, samples, _nothing)
    # The same labels and fields as in the split that is evaluated: training varies their names, to no baseline's use.
    alike = recipe.mapping(split, skill.name).model_copy(update={"splits": (TRAIN,)})
    reading = partial(load, recipe.model_copy(update={"samples": (alike,)}), TRAIN, skill.name, folder=folder)
    return EvaluationData(recipe.name, split, recipe.licence, samples, partial(_apart, samples, reading))


def find_samples(
    data: str | None, split: str, skill: Skill, *, settings: Settings, train: Path | None = None
) -> EvaluationData:
    """Samples as `--data` names them: None for the skill's own, the name of a data set, or a file.

    Raises:
        EvaluationImpossible, SamplesInvalid, DataNotFound, DataInvalid: see the functions above.
    """
    if data is None:
        return own_samples(skill)
    path = Path(data).expanduser()
    if path.suffix or path.is_file():
        return user_samples(path, skill, train)
    return samples_of(Recipes.from_settings(settings).get(data), split, skill, settings=settings)


def together(data: Sequence[EvaluationData]) -> EvaluationData:
    """Several sets as one, scored together; one alone stays as it is. Names and splits are joined by `+`.

    Raises:
        EvaluationImpossible: one of them was named twice, so that its samples would count twice.
    """
    if len(data) == 1:
        return data[0]
    named = [f"{each.name}:{each.split}" for each in data]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise EvaluationImpossible(f"{twice} was named twice.", "Name each set of samples once.")
    samples = [sample for each in data for sample in each.samples]
    learnt = partial(_apart, samples, partial(_joined, [each.train for each in data]))
    facts = zip(*((each.name, each.split, each.licence) for each in data), strict=True)
    name, split, licence = ("+".join(dict.fromkeys(values)) for values in facts)
    return EvaluationData(name, split, licence, samples, learnt)


def spread(samples: Sequence[Sample], wanted: int) -> list[Sample]:
    """At most so many samples, evenly from the first to the last."""
    if wanted >= len(samples):
        return list(samples)
    return [samples[index * len(samples) // wanted] for index in range(wanted)]


def _description(skill: Skill) -> _Description | None:
    path = skill.folder / DESCRIPTION
    if not path.is_file():
        return None
    hint = "It has `metric` and `samples`; docs/evaluation.md tells."
    return read_toml(path, _Description, lambda message: SamplesInvalid(message, hint))


def _apart(samples: Sequence[Sample], read: Callable[[], Sequence[Sample]]) -> Sequence[Sample]:
    """What `read` gives, less the texts that are evaluated."""
    seen = {folded(sample.arguments["text"]) for sample in samples}
    return [sample for sample in read() if folded(sample.arguments["text"]) not in seen]


def _joined(reads: Sequence[Callable[[], Sequence[Sample]]]) -> Sequence[Sample]:
    return [sample for read in reads for sample in read()]


def _nothing() -> Sequence[Sample]:
    return ()
