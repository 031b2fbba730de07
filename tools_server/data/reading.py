"""From the files of a data folder to samples. A file counts only when its bytes are the pinned ones."""

import hashlib
import json
import random
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

from tools_server.data.label_samples import label_groups, record_label_groups
from tools_server.data.mappings import LabelMapping, RecordLabelMapping, SampleMapping, SchemaMapping, SummaryMapping
from tools_server.data.recipe import FilePin, Recipe
from tools_server.data.record_samples import entity_groups, schema_groups, summary_groups
from tools_server.data.records import Group, Label, Record, Source
from tools_server.data.types import Sample
from tools_server.errors import DataInvalid, DataNotFound
from tools_server.settings import Settings

__all__ = ["data_folder", "is_here", "load", "load_all", "read_records"]


def data_folder(settings: Settings) -> Path:
    """Where the files of data sets lie: the setting `data_dir`, else `datasets/` in the cache folder."""
    return settings.data_dir or settings.cache_dir / "datasets"


def is_here(recipe: Recipe, folder: Path) -> bool:
    """Whether all files of a data set lie in the folder or beside the recipe; reads no content."""
    return all(recipe.path_of(pin, folder).is_file() for pin in recipe.pins)


def load(recipe: Recipe, split: str, skill: str, *, folder: Path) -> list[Sample]:
    """Make the samples for a skill of one split, the same ones each time. Groups stand together.

    Raises:
        DataNotFound: no such split, no mapping for the skill, or a file is not in the folder (the hint says where it
            can be had).
        DataInvalid: a file is not the pinned one, or does not fit the mapping.
    """
    return list(chain.from_iterable(_load_groups(recipe, split, skill, folder)))


def load_all(parts: Sequence[tuple[Recipe, str]], skill: str, *, folder: Path, seed: int = 0) -> list[Sample]:
    """Make the samples of several splits for training: groups stay together and come in random order.

    Raises:
        DataNotFound: see `load`.
        DataInvalid: see `load`; or a split has `test` in its name, which is kept for the final score.
    """
    for recipe, split in parts:
        if "test" in split:
            raise DataInvalid(
                f"Split {split!r} of data set {recipe.name!r} is kept for the final score.",
                "Train on another split; what was trained on a test split cannot be measured by it.",
            )
    groups = [group for recipe, split in parts for group in _load_groups(recipe, split, skill, folder)]
    random.Random(seed).shuffle(groups)
    return list(chain.from_iterable(groups))


def read_records(recipe: Recipe, split: str, *, folder: Path) -> list[Record]:
    """Read the records of one split.

    Raises:
        DataNotFound: no such split, or its file is not in the folder.
        DataInvalid: the file is not the pinned one, or holds something else than as many JSON objects as pinned.
    """
    pin = recipe.split(split)
    path = recipe.path_of(pin, folder)
    records: list[Record] = []
    # By line feed alone: what else Python takes for the end of a line may stand inside a JSON string.
    for number, line in enumerate(_read_pinned(recipe, pin, folder).split(b"\n"), 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        values = _parse_json(line, place)
        if not isinstance(values, dict):
            raise DataInvalid(f"{place}: is no JSON object.", "A split is one JSON object per line.")
        records.append(Record(cast("dict[str, Any]", values), place))
    if len(records) != pin.records:
        raise DataInvalid(
            f"{path}: holds {len(records):,} records; the recipe {recipe.name!r} says {pin.records:,}.",
            "Mend `records` in the recipe.",
        )
    return records


def _load_groups(recipe: Recipe, split: str, skill: str, folder: Path) -> list[Group]:
    mapping = recipe.mapping(split, skill)
    records = read_records(recipe, split, folder=folder)
    rng = random.Random(f"{mapping.seed} {recipe.name} {split}")
    if mapping.limit is not None and mapping.limit < len(records):
        records = [records[index] for index in sorted(rng.sample(range(len(records)), mapping.limit))]
    return _groups(mapping, Source(recipe.name, records, _labels(recipe, mapping, folder), rng))


def _groups(mapping: SampleMapping, source: Source) -> list[Group]:
    if isinstance(mapping, LabelMapping):
        return label_groups(mapping, source)
    if isinstance(mapping, RecordLabelMapping):
        return record_label_groups(mapping, source)
    if isinstance(mapping, SchemaMapping):
        return schema_groups(mapping, source)
    if isinstance(mapping, SummaryMapping):
        return summary_groups(mapping, source)
    return entity_groups(mapping, source)


def _labels(recipe: Recipe, mapping: SampleMapping, folder: Path) -> list[Label]:
    """Read the data set's labels, where the mapping needs them."""
    if not isinstance(mapping, LabelMapping) or mapping.labels == "fixed" or recipe.labels is None:
        return []
    place = str(recipe.path_of(recipe.labels, folder))
    entries = _parse_json(_read_pinned(recipe, recipe.labels, folder), place)
    try:
        return [Label(str(entry["name"]), str(entry.get("description") or "")) for entry in entries]
    except (TypeError, KeyError, AttributeError) as error:
        raise DataInvalid(
            f"{place}: is no list of labels: {type(error).__name__}: {error}.",
            'Write [{"name": …, "description": …}, …].',
        ) from error


def _parse_json(source: bytes, place: str) -> Any:
    try:
        return json.loads(source)
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise DataInvalid(f"{place}: is not JSON: {error}.", "Mend the file.") from error


def _read_pinned(recipe: Recipe, pin: FilePin, folder: Path) -> bytes:
    """Read a file whole and check it before anything is taken out of it."""
    path = recipe.path_of(pin, folder)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataNotFound(f"{path}, a file of data set {recipe.name!r}, is not here.", _way_to(recipe, pin)) from error
    except OSError as error:
        raise DataInvalid(f"{path}: cannot be read: {error.strerror or error}.", "Check the file's rights.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != pin.sha256:
        raise DataInvalid(
            f"{path}: has SHA-256 {found}, not {pin.sha256} as the recipe {recipe.name!r} pins it.",
            "The file was changed or is another release. Put the pinned one there, or write a recipe of your own "
            "for this one (docs/data.md).",
        )
    return content


def _way_to(recipe: Recipe, pin: FilePin) -> str:
    if pin.url is not None:
        return f"Run `tools-server data pull {recipe.name}`."
    return f"Put it there, or set `data_dir` to the folder that holds {pin.path}. {recipe.published}"
