"""The engine beside a bare `llama_decode` loop, and a classify call beside Outlines: all in this process."""

from collections.abc import Sequence
from contextlib import closing

from bench import tokens
from bench.backend import BenchBackend
from bench.classify import ClassifyBench
from bench.measure import Comparison
from bench.progress import TakeTurns
from bench.terms import Terms
from bench.texts import Texts
from tools_server.app import build_app
from tools_server.engine.local import LocalEngine


async def compare(terms: Terms, parts: Sequence[str], texts: Texts, take_turns: TakeTurns) -> list[Comparison]:
    """Load the engine once, and Outlines' model while it is compared.

    Prefill and decode come first: the bare loop needs a KV cache in which the engine keeps no prefix.

    Raises:
        ModelError: the weights are unusable.
    """
    settings = terms.settings
    backend = BenchBackend.of(terms)
    engine = LocalEngine(backend, max_sequences=settings.max_sequences, queue_limit=settings.queue_limit)
    application = build_app(settings, engine_factory=lambda: engine)
    await application.gate.get()
    found: list[Comparison] = []
    try:
        shapes = [
            *(tokens.prefill_shapes() if "prefill" in parts else ()),
            *(tokens.decode_shapes() if "decode" in parts else ()),
        ]
        for shape in shapes:
            found.append(tokens.comparison(shape, await take_turns(shape.name, tokens.jobs(shape, engine, backend))))
        if "outlines" in parts:
            with closing(ClassifyBench.prepare(application, terms, texts)) as classify:
                found += classify.comparisons(await take_turns("classify", classify.jobs()))
    finally:
        await application.gate.aclose()
    return found
