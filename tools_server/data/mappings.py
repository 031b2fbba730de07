"""How records become samples, said as data: the `[[samples]]` tables of a recipe.

Every mapping serves one skill on some splits. What is drawn at random is drawn from the mapping's seed, the recipe's
name and the split, so that it is the same each time.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "SLOT",
    "EntityMapping",
    "LabelMapping",
    "LabelSampling",
    "RecordLabelMapping",
    "SampleMapping",
    "SchemaMapping",
    "Slot",
    "SummaryMapping",
    "Templates",
]

SLOT = re.compile(r"\{([^{}]+)\}")
"""A slot of a template."""

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Mapping(_Section):
    """What all mappings have.

    `limit` keeps that many records, drawn at random; `group` is how many samples share their arguments but for the
    text. `vary` is for training: records come in random order, and whatever in a call means the same another way
    (order of labels and properties, spelling of names) is drawn anew for each group. Without it everything stays as
    the file has it, as an evaluation wants it.
    """

    skill: Name
    splits: Annotated[tuple[str, ...], Field(min_length=1)]
    limit: int | None = Field(None, ge=1)
    seed: int = 0
    group: int = Field(8, ge=1, le=256)
    vary: bool = False


class LabelSampling(_Section):
    """Label sets that are drawn out of all labels of a data set, one set per group.

    A set has between `least` and `most` labels. In a share `none` of the samples the right label is left out, and the
    answer is an added label that says so; sets with such a label come in samples where it is wrong, too. A share
    `similar` of the sets is made of labels whose names have most words in common, which are the ones that get mistaken.
    """

    least: int = Field(2, ge=2, le=99)
    most: int = Field(10, ge=2, le=99)  # with the added one 100, which is what `classify` takes
    none: float = Field(0.0, ge=0, le=0.5)
    similar: Share = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> "LabelSampling":
        if self.least > self.most:
            raise ValueError(f"least ({self.least}) is more than most ({self.most})")
        return self


class _Labels(_Mapping):
    """`descriptions` is the share of groups whose labels come with descriptions, where the data set has any.

    `none_label` is the data set's own name for "none of the others".
    """

    descriptions: Share = 1.0
    none_label: Name | None = None


class LabelMapping(_Labels):
    """Records with one `label` out of the recipe's file of labels.

    `labels = "fixed"` is for a skill with a fixed set: the call is the text alone. `"all"` gives the call every label
    of the data set, in the file's order; a table draws sets (see `LabelSampling`). `names` maps the data set's labels
    to the skill's; a record whose label is not in it is left out.
    """

    kind: Literal["label"]
    labels: Literal["fixed", "all"] | LabelSampling = "all"
    names: Mapping[str, Name] = Field(default_factory=dict)


class RecordLabelMapping(_Labels):
    """Records that carry the labels to choose from: `labels`, a list of `{"name", "description"}`, and `label`."""

    kind: Literal["record_labels"]


class SchemaMapping(_Mapping):
    """Records with a JSON `schema` of properties that may be null, and the wanted object in `fields`.

    A property that may be null is given to the skill as an optional one, which means the same there. `subset` is the
    share of groups from whose schema some properties are left out, `descriptions` the share with the properties'
    descriptions.
    """

    kind: Literal["schema"]
    subset: Share = 0.0
    descriptions: Share = 1.0


class Slot(_Section):
    """What a slot of a template is filled with.

    That is the values that records have of the skill's type `type`, those that match the regular expression `like` as a
    whole, and `values`, in which `#` stands for any digit and `?` for any capital letter.
    """

    type: Name
    like: re.Pattern[str] = re.compile("(?s).+")
    values: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class Templates(_Section):
    """Sentences with slots in braces: `"{person} lives in {location}."`

    A slot is one of `slots` or a type of the skill's. Each text is filled `each` times, in a share `lower` of them in
    small letters.
    """

    texts: Annotated[tuple[str, ...], Field(min_length=1)]
    slots: Mapping[str, Slot] = Field(default_factory=dict)
    each: int = Field(4, ge=1, le=100)
    lower: Share = 0.0


class EntityMapping(_Mapping):
    """Records with `entities`, a list of `{"type", "value", "start"}`.

    `types` maps the data set's types to the skill's; entities of other types are left out. `join` names types of the
    skill's whose pieces are one entity, with the types that go on them, as `generate.join` of a skill does; then every
    entity needs its `start`. `templates` are further sentences, filled with values that the records have.
    """

    kind: Literal["entities"]
    types: Annotated[Mapping[str, Name], Field(min_length=1)]
    join: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    templates: Templates | None = None

    @model_validator(mode="after")
    def _types_are_known(self) -> "EntityMapping":
        kinds = set(self.types.values())
        named = {kind for head, tail in self.join.items() for kind in (head, *tail)}
        if strange := sorted(named - kinds):
            raise ValueError(f"join: {strange[0]!r} is none of `types`: {', '.join(sorted(kinds))}")
        if self.templates is None:
            return self
        if strange := next((name for name, slot in self.templates.slots.items() if slot.type not in kinds), None):
            raise ValueError(f"templates.slots.{strange}.type is none of `types`: {', '.join(sorted(kinds))}")
        for number, text in enumerate(self.templates.texts, 1):
            for name in SLOT.findall(text):
                if name not in kinds and name not in self.templates.slots:
                    raise ValueError(f"templates.texts: text {number} has the slot {{{name}}}, which nothing fills")
        return self


class SummaryMapping(_Mapping):
    """Records with a `summary`, and `references` where several are good.

    `focus` names the field that says what the summary is about. `max_words` is the same for every call, or "fit": the
    next round number above the length of the record's own summary.
    """

    kind: Literal["summary"]
    focus: Name | None = None
    max_words: Literal["fit"] | Annotated[int, Field(ge=10, le=400)] = "fit"


SampleMapping = Annotated[
    LabelMapping | RecordLabelMapping | SchemaMapping | EntityMapping | SummaryMapping, Field(discriminator="kind")
]
"""One `[[samples]]` table; `kind` says which."""
