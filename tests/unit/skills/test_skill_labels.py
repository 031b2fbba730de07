from collections.abc import Callable
from typing import Any

import pytest

from tools_server.errors import InvalidArguments
from tools_server.skills.labels import NONE_OF_THESE, Label, allows_none, is_multi_label, labels_of
from tools_server.skills.types import Skill

Good = Callable[..., Skill]


def test_labels_come_from_the_argument_that_the_manifest_names(good: Good):
    skill = good(kind="own-labels")
    given = ["bug ", {"name": " wish", "description": " wants more "}, {"name": "other", "description": None}]
    assert labels_of(skill, {"labels": given}) == (Label("bug"), Label("wish", "wants more"), Label("other"))


def test_fixed_labels_come_from_the_output_schema(good: Good):
    assert labels_of(good(kind="choose"), {}) == (Label("cat"), Label("dog"))


def test_fixed_labels_may_carry_descriptions(good: Good):
    label = {"oneOf": [{"const": "cat", "description": "meows"}, {"const": "dog"}]}
    output = {"type": "object", "properties": {"label": label}, "required": ["label"]}
    skill = good(kind="choose", **{"output.schema.json": output})
    assert labels_of(skill, {}) == (Label("cat", "meows"), Label("dog"))
    assert skill.result_schema["properties"]["label"]["enum"] == ["cat", "dog", None]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "holds 0 label"),
        (["one"], "holds 1 label"),
        (["a", "b", " a "], "`labels[2]` is 'a', and so is `labels[0]`"),
        (["a", {"name": "a"}], "`labels[1]` is 'a'"),
        (["a", "  "], "`labels[1]` has an empty name"),
        (["a", {"description": "x"}], "`labels[1]` has an empty name"),
        (["a", 3], "`labels[1]` is 3"),
        ("a,b", "must be an array of labels, not str"),
        (None, "must be an array of labels, not NoneType"),
    ],
)
def test_an_unusable_set_is_refused_with_its_place(good: Good, given: Any, message: str):
    with pytest.raises(InvalidArguments) as caught:
        labels_of(good(kind="own-labels"), {"labels": given})
    assert message in caught.value.message
    assert caught.value.hint


def test_labels_that_differ_in_case_are_two(good: Good):
    assert len(labels_of(good(kind="own-labels"), {"labels": ["Bug", "bug"]})) == 2


def test_several_labels_are_asked_for_by_the_argument_that_the_manifest_names(good: Good):
    skill = good(kind="own-labels")
    assert is_multi_label(skill, {"labels": ["a", "b"], "several": True})
    assert not is_multi_label(skill, {"labels": ["a", "b"]})
    assert not is_multi_label(good(kind="choose"), {"several": True})


NONE_ALLOWED = {
    "skill.toml": 'name = "@"\nversion = "1.0.0"\ndescription = "Pick one of them."\nkind = "choose"\n'
    '[choose]\nlabels = "labels"\nmulti_label = "several"\nnone = "none_too"\n',
    "input.schema.json": {
        "type": "object",
        "properties": {
            "labels": {"type": "array"},
            "several": {"type": "boolean", "default": False},
            "none_too": {"type": "boolean", "default": False},
        },
        "required": ["labels"],
    },
}


def test_a_caller_may_allow_that_no_label_fits_where_one_is_asked_for(good: Good):
    skill = good(kind="own-labels", **NONE_ALLOWED)
    labels = {"labels": ["a", "b"]}
    assert not allows_none(skill, labels)
    assert labels_of(skill, labels) == (Label("a"), Label("b"))
    assert labels_of(skill, {**labels, "none_too": True}) == (Label("a"), Label("b"), NONE_OF_THESE)
    assert labels_of(skill, {**labels, "none_too": True, "several": True}) == (Label("a"), Label("b"))
    with pytest.raises(InvalidArguments, match=r"`labels\[1\]` is 'none of these', which `none_too` adds by itself"):
        labels_of(skill, {"labels": ["a", "none of these"], "none_too": True})
