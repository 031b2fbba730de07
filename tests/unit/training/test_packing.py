import pytest

from tools_server.training.packing import batches, collate, pack
from tools_server.training.types import Example, Target

SHARED = tuple(range(100, 120))


def example(own: tuple[int, ...], answer: tuple[int, ...] = (7,), *, shared=SHARED, invocation: int = 0) -> Example:
    prompt = (*shared, *own)
    targets = tuple(Target(len(prompt) + at, token, (token, token + 1)) for at, token in enumerate(answer))
    return Example((*prompt, *answer[:-1]), len(prompt), targets, invocation)


def some(count: int, **options) -> list[Example]:
    return [example((index + 1, index + 2, index + 3)[: 1 + index % 3], **options) for index in range(count)]


def test_samples_that_begin_alike_pay_for_the_beginning_once_a_row():
    rows = pack(some(30), row_tokens=40, seed="0")
    assert sum(len(row.examples) for row in rows) == 30
    assert {row.shared for row in rows} == {len(SHARED)}
    assert all(row.tokens <= 40 for row in rows)
    assert sum(row.tokens for row in rows) < sum(len(each.tokens) for each in some(30)) / 2


def test_samples_of_different_beginnings_never_share_a_row():
    other = tuple(range(200, 230))
    mixed = [*some(8), *some(8, shared=other), *some(8)]
    for row in pack(mixed, row_tokens=1000, seed="0"):
        assert len({each.tokens[: row.shared] for each in row.examples}) == 1
        assert row.shared in (len(SHARED), len(other))


def test_samples_of_different_schemas_share_their_schema_and_not_the_instructions_alone():
    schemas = [(*SHARED, *range(base, base + 15)) for base in (200, 300, 400)]
    runs = [some(8, shared=schemas[0]), some(1, shared=schemas[1]), some(8, shared=schemas[2])]
    rows = pack([each for run in runs for each in run], row_tokens=1000, seed="0")
    assert sorted((len(row.examples), row.shared) for row in rows) == [(1, 0), (8, 35), (8, 35)]


def test_samples_of_a_fixed_task_stay_together_though_some_of_their_texts_begin_alike():
    alike = [example((1, 2, own)) for own in range(10, 14)]
    (row,) = pack([*some(4), *alike, *some(4)], row_tokens=1000, seed="0")
    assert (len(row.examples), row.shared) == (12, len(SHARED))


def test_a_sample_longer_than_a_row_has_one_of_its_own():
    long = example(tuple(range(300, 400)))
    rows = pack([*some(4), long], row_tokens=50, seed="0")
    assert [row.examples for row in rows if long in row.examples] == [(long,)]


def test_the_same_seed_gives_the_same_rows_and_another_one_others():
    assert pack(some(50), 60, "1-0") == pack(some(50), 60, "1-0")
    assert pack(some(50), 60, "1-0") != pack(some(50), 60, "1-1")


def test_every_sample_is_in_exactly_one_step():
    rows = pack(some(40), 60, "0")
    steps = list(batches(rows, per_batch=2, samples_a_step=10))
    seen = [each for step in steps for rows in step for row in rows for each in row.examples]
    assert sorted(each.tokens for each in seen) == sorted(each.tokens for each in some(40))
    assert all(len(rows) <= 2 for step in steps for rows in step)


def test_positions_go_on_from_the_shared_beginning_for_each_sample():
    (row,) = pack([example((1, 2)), example((3, 4, 5))], 1000, "0")
    batch = collate([row])
    wanted = [*range(row.shared), *(at for each in row.examples for at in range(row.shared, len(each.tokens)))]
    assert list(batch.positions[0, : row.tokens]) == wanted
    assert list(batch.tokens[0, row.shared : row.tokens]) == [
        token for each in row.examples for token in each.tokens[row.shared :]
    ]


def test_a_decision_is_read_where_its_last_token_before_it_stands():
    (row,) = pack([example((1,), (7, 8)), example((2,), (7, 8))], 1000, "0")
    batch = collate([row])
    read = [int(batch.tokens[r, c]) for r, c in zip(batch.row, batch.column, strict=True)]
    assert read == [row.examples[0].tokens[-2], 7, row.examples[1].tokens[-2], 7]
    assert batch.samples == 2
    assert list(batch.sample) == [0, 0, 1, 1]
    assert [int(batch.among[k, batch.choice[k]]) for k in range(4)] == [7, 8, 7, 8]


def test_padding_decides_nothing():
    rows = [*pack([example((1,))], 99, "0"), *pack([example((2, 3, 4, 5))], 99, "0")]
    batch = collate(rows)
    short = min(row.tokens for row in rows)
    at = [row.tokens for row in rows].index(short)
    assert max(batch.column[batch.row == at]) < short


def test_forward_passes_come_in_few_lengths():
    lengths = {collate(pack(some(count), 1000, "0")).tokens.shape[1] for count in range(2, 40)}
    assert lengths == {64, 128}


@pytest.mark.parametrize("prefix", [SHARED, ()])
def test_an_activated_adapter_acts_from_the_invocation_of_each_sample_on(prefix: tuple[int, ...]):
    one = example((1, 2, 3, 4), shared=prefix, invocation=len(prefix) + 2)
    two = example((5, 6, 7), shared=prefix, invocation=len(prefix) + 1)
    batch = collate(pack([one, two], 1000, "0"))
    acting = sorted(int(token) for token, active in zip(batch.tokens.flat, batch.active.flat, strict=True) if active)
    assert [token for token in acting if token] == [3, 4, 6, 7]
