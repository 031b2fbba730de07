"""Which tokens of an answer make which of its values."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools_server.calls.signals import answer_confidence, shown_signals, value_signals
from tools_server.engine.types import FinishReason, Generation, Timings, Token, Usage


def generation(*pieces: tuple[str, float | None]) -> Generation:
    """A generation out of (text, log-probability) pieces; None was forced."""
    tokens = [
        Token(index, logprob, None if logprob is None else 1.0, len(text.encode()))
        for index, (text, logprob) in enumerate(pieces)
    ]
    text = "".join(text for text, _ in pieces)
    return Generation(text, tuple(tokens), FinishReason.STOP, Usage(), Timings())


def test_a_value_has_the_tokens_that_make_any_byte_of_it_and_no_name_or_comma():
    signals = value_signals(
        generation(
            ('{"who":', None), ('"', -0.1), ("Zoë", -0.2), ('",', -0.3), ('"at":', -9.0), ("null", -0.5), ("}", None)
        )
    )
    assert {path: each.tokens for path, each in signals.items()} == {"who": 3, "at": 1}
    assert signals["who"].total == pytest.approx(-0.6)
    assert signals["who"].least == pytest.approx(-0.3)
    assert signals["who"].probability == pytest.approx(math.exp(-0.6))
    assert [each.filled for each in signals.values()] == [True, False]
    assert answer_confidence(signals) == pytest.approx(math.exp(-0.6)), "a null says nothing"
    assert answer_confidence({}) == 1


def test_nested_values_have_paths_and_what_the_schema_forced_is_certain():
    signals = value_signals(
        generation(('{"a": [ {"b": 1', -0.25), ("}, ", None), ('"x"', None), ('], "c": {}, "d" : [] }', None))
    )
    assert list(signals) == ["a[0].b", "a[1]", "c", "d"]
    assert (signals["a[1]"].total, signals["a[1]"].tokens) == (0.0, 0)
    assert signals["a[0].b"].total == -0.25


def test_a_log_probability_is_taken_among_what_was_allowed():
    made = Generation("true", (Token(0, math.log(0.1), 0.2, 4),), FinishReason.STOP, Usage(), Timings())
    assert value_signals(made)[""].probability == pytest.approx(0.5)
    assert shown_signals(value_signals(made)) == {"": {"logprob": -0.693147, "least": -0.693147, "tokens": 1}}
    assert shown_signals(None) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, st.sampled_from([None, 1]), st.booleans())
def test_every_value_is_found_however_the_json_is_written(value: object, indent: int | None, escaped: bool):
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    signals = value_signals(generation(*((character, -1.0) for character in text)))

    def leaves(each: object) -> int:
        if isinstance(each, dict):
            return sum(map(leaves, each.values())) or (not each)
        if isinstance(each, list):
            return sum(map(leaves, each)) or (not each)
        return 1

    # Two paths may read alike (`a.b` and `a` with `b` inside), so there can be fewer of them than values.
    assert 1 <= len(signals) <= leaves(value)
    if not isinstance(value, dict | list):
        assert signals[""].tokens == len(text)
