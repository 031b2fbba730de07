import pytest

from tools_server.engine.prefix import DOCUMENT_CELLS, DOCUMENT_IDLE_S, KvBudget, PrefixCache, PrefixKey
from tools_server.engine.types import Adapter, Prompt

A = Adapter(sha256="a" * 64, base_sha256="0" * 64)
B = Adapter(sha256="b" * 64, base_sha256="0" * 64)
PROMPT = Prompt(tuple(range(20)), prefixes=(5, 12))


def keys(adapter: Adapter | None = None, prompt: Prompt = PROMPT) -> list[PrefixKey]:
    return PrefixCache.keys(adapter, prompt)


@pytest.fixture
def budget() -> KvBudget:
    return KvBudget(100)


@pytest.fixture
def cache(budget: KvBudget) -> PrefixCache:
    return PrefixCache(budget, limit=2)


def keep(budget: KvBudget, cache: PrefixCache, key: PrefixKey, slot: int) -> None:
    budget.reserve(len(key.tokens))
    segment = budget.grow(None, len(key.tokens))
    cache.add(key, slot, segment)
    budget.drop(segment)


def test_the_longest_cached_prefix_is_found(budget: KvBudget, cache: PrefixCache):
    short, long = keys()
    keep(budget, cache, short, 1)
    assert (entry := cache.longest([short, long])) is not None
    assert entry.key == short
    keep(budget, cache, long, 2)
    assert (entry := cache.longest([short, long])) is not None
    assert entry.key == long


def test_another_adapter_another_scale_or_other_tokens_never_hit(budget: KvBudget, cache: PrefixCache):
    keep(budget, cache, keys(A)[0], 1)
    assert cache.longest(keys(A)) is not None
    assert cache.longest(keys(B)) is None
    assert cache.longest(keys(None)) is None
    assert cache.longest(keys(Adapter(A.sha256, A.base_sha256, scale=0.5))) is None
    assert cache.longest(keys(A, Prompt((9, *range(1, 20)), prefixes=(5,)))) is None


def test_the_least_recently_used_goes_first(budget: KvBudget, cache: PrefixCache):
    first, second = keys(A)[0], keys(B)[0]
    keep(budget, cache, first, 1)
    keep(budget, cache, second, 2)
    cache.longest([first])
    assert cache.full
    assert (gone := cache.evict()) is not None
    assert gone.key == second
    assert first in cache


def test_an_entry_whose_cells_somebody_uses_is_not_idle(budget: KvBudget, cache: PrefixCache):
    keep(budget, cache, keys()[0], 1)
    entry = cache.longest(keys())
    assert entry is not None
    budget.hold(entry.segment)
    assert cache.evict(idle=True) is None
    budget.drop(entry.segment)
    assert cache.evict(idle=True) is entry
    assert budget.used == 0


def test_cells_shared_by_a_longer_prefix_are_counted_once_and_freed_last(budget: KvBudget):
    budget.reserve(12)
    short = budget.grow(None, 5)
    long = budget.grow(short, 12)
    assert budget.used == 12
    budget.drop(short)
    assert budget.used == 12
    budget.drop(long)
    assert budget.used == 0


def test_a_prefix_that_is_being_built_is_known_until_its_builder_adds_it_or_gives_up(
    budget: KvBudget, cache: PrefixCache
):
    builder = object()
    cache.announce(keys(), builder)
    assert cache.being_built(keys())
    keep(budget, cache, keys()[0], 1)
    assert cache.being_built(keys())
    cache.withdraw(builder)
    assert not cache.being_built(keys())


def test_forgetting_an_adapter_drops_its_entries_alone(budget: KvBudget, cache: PrefixCache):
    keep(budget, cache, keys(A)[0], 1)
    keep(budget, cache, keys(B)[0], 2)
    assert [entry.sequence for entry in cache.forget(A)] == [1]
    assert len(cache) == 1


def test_a_document_that_nobody_asked_about_for_a_while_goes_and_instructions_stay():
    budget = KvBudget(5000)
    cache = PrefixCache(budget, limit=4)
    document = PrefixKey(None, tuple(range(DOCUMENT_CELLS)))
    asked = PrefixKey(None, tuple(range(1, DOCUMENT_CELLS + 2)))
    instructions = PrefixKey(None, tuple(range(DOCUMENT_CELLS - 1)))
    for slot, key in enumerate((document, asked, instructions)):
        keep(budget, cache, key, slot)
    cache.now = DOCUMENT_IDLE_S / 2
    cache.longest([asked])
    cache.now = DOCUMENT_IDLE_S
    assert cache.expire() == []
    cache.now = DOCUMENT_IDLE_S * 1.2
    assert [entry.key for entry in cache.expire()] == [document]
    assert budget.used == len(asked.tokens) + len(instructions.tokens)
    assert instructions in cache
