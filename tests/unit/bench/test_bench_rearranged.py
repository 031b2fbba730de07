from bench.rearranged import Timed, table


def test_the_table_has_a_column_for_each_length_and_the_median_of_single_tokens():
    found = [
        Timed("rearranged", 16, (30.0, 37.0, 90.0), (5.0, 6.0, 7.0)),
        Timed("rearranged", 64, (40.0, 41.0, 42.0), (5.0, 6.0, 7.0)),
        Timed("as they lie", 16, (29.0, 29.0, 29.0), (4.0, 4.0, 4.0)),
        Timed("as they lie", 64, (51.0, 51.0, 51.0), (4.0, 4.0, 4.0)),
    ]
    assert table(found, "a model").splitlines() == [
        "| a model | 16 tokens | 64 tokens | one at a time |",
        "|---|---|---|---|",
        "| rearranged | 37 | 41 | 6.0 |",
        "| as they lie | 29 | 51 | 4.0 |",
    ]
