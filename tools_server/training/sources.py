"""What a run is trained on: splits of data sets, users' own files, and the samples held back to choose by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools_server.data.own import read_samples
from tools_server.data.reading import data_folder, load_all
from tools_server.data.recipe import Recipes
from tools_server.data.records import canonical
from tools_server.data.splits import check_disjoint, folded, hash_of, missing_labels, split
from tools_server.data.types import Sample
from tools_server.errors import DataInvalid, TrainingFailed
from tools_server.settings import Settings
from tools_server.skills.adapters import DataUse
from tools_server.skills.labels import labels_of
from tools_server.skills.types import Skill

__all__ = ["DEV_SHARE", "Source", "TrainingData", "gather_data", "parse_source"]

DEV_SHARE = 0.1
"""Share of the training samples that is held back where no dev data are given."""

OWN_LICENCE = "the user's own"


@dataclass(frozen=True, slots=True)
class Source:
    """A split of a data set, or a file of the user's; at most `limit` samples of it."""

    name: str  # of the data set, or the path
    split: str = "train"
    limit: int | None = None
    own: bool = False

    def __str__(self) -> str:
        return self.name if self.own else f"{self.name}:{self.split}"


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Samples to learn from and samples to choose by, and where they are from.

    `held_back` says that those to choose by were taken from those to learn from.
    """

    train: tuple[Sample, ...]
    dev: tuple[Sample, ...]
    uses: tuple[DataUse, ...]
    held_back: bool = False

    @property
    def sha256(self) -> str:
        """Hash of all that the run may look at."""
        return hash_of([*self.train, *self.dev])


def parse_source(text: str) -> Source:
    """Read `NAME`, `NAME:SPLIT`, `NAME:SPLIT:LIMIT`, or a path that ends in `.jsonl` or `.csv`.

    Raises:
        TrainingFailed: the limit is no number.
    """
    if Path(text).suffix in (".jsonl", ".csv", ".json"):
        return Source(text, own=True)
    name, _, rest = text.partition(":")
    part, _, limit = rest.partition(":")
    if limit and not limit.isdecimal():
        raise TrainingFailed(f"{text!r} ends in {limit!r}, which is no number.", "Write NAME:SPLIT:LIMIT.")
    return Source(name, part or "train", int(limit) if limit else None)


def gather_data(
    skill: Skill, train: Sequence[Source], dev: Sequence[Source], settings: Settings, *, seed: int
) -> TrainingData:
    """Read all samples. Without `dev`, a share of `train` is held back.

    A text of the training samples that occurs among the others is refused, not dropped: whoever made the split wants to
    know.

    Raises:
        DataError: a data set or split is not there, is broken, is a test split, or shares a text with another one.
        SamplesInvalid: a file of the user's is broken; lists places.
        TrainingFailed: no samples, or a label of a fixed set that no sample has.
    """
    learnt, uses = _read(skill, train, settings, seed)
    if dev:
        chosen_by, _ = _read(skill, dev, settings, seed)
        check_disjoint({"train": learnt, "dev": chosen_by})
    else:
        learnt, chosen_by = split(learnt, seed=seed, dev_share=DEV_SHARE)
    if not learnt or not chosen_by:
        raise TrainingFailed(
            f"There are {len(learnt)} samples to learn from and {len(chosen_by)} to choose by.",
            "Give at least some dozens; a tenth is held back unless --dev names others.",
        )
    if skill.manifest.kind == "choose" and skill.manifest.choose.labels is None:
        names = [label.name for label in labels_of(skill, {})]
        if missing := missing_labels(learnt, names):
            shown = ", ".join(repr(name) for name in missing[:5])
            raise TrainingFailed(
                f"{len(missing)} of the {len(names)} labels of `{skill.name}` have no training sample: {shown}"
                f"{', …' if len(missing) > 5 else ''}.",
                "Add samples of them, or take them out of output.schema.json.",
            )
    return TrainingData(tuple(learnt), tuple(chosen_by), tuple(uses), held_back=not dev)


def _read(skill: Skill, sources: Sequence[Source], settings: Settings, seed: int) -> tuple[list[Sample], list[DataUse]]:
    recipes, folder = Recipes.from_settings(settings), data_folder(settings)
    samples: list[Sample] = []
    uses: list[DataUse] = []
    for source in sources:
        if source.own:
            found, licence = read_samples(Path(source.name), skill), OWN_LICENCE
        else:
            recipe = recipes.get(source.name)
            found, licence = load_all([(recipe, source.split)], skill.name, folder=folder, seed=seed), recipe.licence
        if source.limit is not None:
            found = found[: source.limit]
        uses.append(
            DataUse(dataset=source.name, split=source.split, licence=licence, records=len(found), sha256=hash_of(found))
        )
        samples += found
    return _without_repeats(samples), uses


def _without_repeats(samples: Sequence[Sample]) -> list[Sample]:
    """Drop what is the same sample twice; the same text with two answers is a fault.

    Raises:
        DataInvalid: with both places.
    """
    seen: dict[str, Sample] = {}
    kept: list[Sample] = []
    for sample in samples:
        own = {name: value for name, value in sample.arguments.items() if name != "text"}
        key = folded(str(sample.arguments["text"])) + canonical(own)
        before = seen.get(key)
        if before is None:
            seen[key] = sample
            kept.append(sample)
        elif before.expected != sample.expected:
            raise DataInvalid(
                f"{sample.place}: the text of {before.place} again, with another answer.", "Decide for one of them."
            )
    return kept
