"""What the training benchmark times, and how it tells it."""

from bench.training import SHAPES, Timed, samples, table


def test_samples_have_the_shape_that_they_are_named_for_and_the_same_tokens_each_time():
    for shape in SHAPES:
        drawn = samples(shape, 1000)
        assert len(drawn) == shape.count
        assert {each.tokens[: shape.shared] for each in drawn} == {drawn[0].tokens[: shape.shared]}
        assert all(shape.least <= len(each.tokens) - shape.shared <= shape.most for each in drawn)
        assert drawn == samples(shape, 1000)


def test_ways_are_told_as_multiples_of_the_mask():
    found = [Timed("short", "one by one", (10.0, 30.0, 20.0)), Timed("short", "under a mask", (40.0, 50.0, 30.0))]
    text = table(found, "a model")
    assert "median of 3 rounds" in text
    assert text.endswith("| short | 20 (0.50 ×) | 40 (1.00 ×) |\n")
