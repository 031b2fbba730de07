from typing import Any, cast

import pytest

from bench.classify import LABELS, TEXTS, OutlinesSide
from bench.tokens import decode_shapes, prefill_shapes


def test_both_sides_get_the_same_prompts_and_every_round_new_ones():
    shape = prefill_shapes()[1]
    first, again, next_round = (shape.make_prompts(number, 49_152) for number in (0, 0, 1))
    assert first == again
    assert [len(prompt) for prompt in first] == [64] * 8
    assert all(mine != other for mine in first for other in next_round)


def test_prefill_counts_prompt_tokens_and_decode_generated_ones():
    assert [shape.units(shape.answer_in(0)) for shape in prefill_shapes()] == [512, 512]
    assert [shape.units(shape.answer_in(0)) for shape in decode_shapes()] == [64, 256, 1024]


def test_the_warm_up_is_short():
    assert all(shape.answer_in(-1) <= 8 for shape in (*prefill_shapes(), *decode_shapes()))


def test_no_two_texts_are_alike():
    assert len(set(TEXTS)) == len(TEXTS) == 64


def side(answer: str, ignored: list[str]) -> OutlinesSide:
    found = OutlinesSide("outlines_core", cast(Any, None), cast(Any, None), 0.5, {"text": answer}, [], ignored)
    found.astray += [answer] * (answer not in LABELS)
    return found


@pytest.mark.parametrize(("answer", "ignored"), [("I think it is a bug.", []), ("praise", ["ImportError: numba"])])
def test_a_baseline_that_does_not_constrain_is_named_first(answer: str, ignored: list[str]):
    assert side(answer, ignored).remarks({"text": "praise"})[0].startswith("**unconstrained!**")


def test_a_baseline_that_constrains_is_compared_by_its_labels():
    remarks = side("praise", []).remarks({"text": "praise"})
    assert remarks[0] == "same label for 1 of 1 texts"
    assert "0.5 s, not counted" in remarks[1]
