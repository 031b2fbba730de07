"""What a measurement decodes: whole prompts in full batches, then one token per sequence and step."""

from tools_server.engine.scripted import ScriptedBackend
from tools_server.tuning.speed import measure
from tools_server.tuning.types import Workload


def test_every_size_is_measured_and_the_cache_is_empty_afterwards():
    backend = ScriptedBackend(n_batch=96)
    rates = measure(backend, Workload(prompts=2, prompt_tokens=128, steps=3, depth=16))
    assert rates.prefill > 0
    assert rates.decode.keys() == {1, 4, 16}
    assert all(rate > 0 for rate in rates.decode.values())
    sizes = [size for _, size in backend.decodes]
    assert sizes[-9:] == [1] * 3 + [4] * 3 + [16] * 3
    assert sizes[-12:-9] == [96, 96, 64]
    assert not any(backend._cache.values())
