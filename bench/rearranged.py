"""What rearranging a model's weights at load brings, beside weights that stay as they lie in the file.

`python -m bench.rearranged`. CPU seconds of one thread; both forms are loaded in one process and take turns.
A library with kernels for AMX is refused: rearranged for these, the first prompt would end the process.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import typer

from bench import machine
from bench.command import run
from bench.measure import Spread
from tools_server.cli import output
from tools_server.engine import llama_vocabulary
from tools_server.engine.backend import Batch
from tools_server.engine.llama import LlamaBackend
from tools_server.engine.llama_library import built_with_amx, llama
from tools_server.errors import EngineError
from tools_server.models import ModelStore
from tools_server.settings import load_settings

__all__ = ["Timed", "table"]

FORMS = ("rearranged", "as they lie")
LENGTHS = (16, 64, 256, 480)
"""Tokens of a prompt."""
STEPS = 8
"""Tokens decoded one at a time after each prompt."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Timed:
    """Tokens per CPU second of one form, one value a round: of a prompt, and one at a time after it."""

    form: str
    length: int
    prompt: tuple[float, ...]
    one_at_a_time: tuple[float, ...]


@app.command(epilog='Example: make bench-rearranged ARGS="--model smollm2-135m-instruct"')
def rearranged(
    model: Annotated[str | None, typer.Option("--model", help="Default: the model of your settings.")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Each form is timed so often, in turn.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of Markdown.")] = False,
) -> None:
    """Time prompts of several lengths, and single tokens behind them."""
    settings = load_settings({"model": model})
    if built_with_amx():
        raise EngineError(
            "This llama.cpp has kernels for AMX, which would end the process.",
            'Compile it without: CFLAGS and CXXFLAGS "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16".',
        )
    found = _measure(ModelStore.from_settings(settings).path(settings.model), rounds)
    if as_json:
        output.print_json({"machine": machine.facts(settings), "forms": [asdict(each) for each in found]})
    else:
        output.out.print(table(found, settings.model), soft_wrap=True)


def _measure(weights: Path, rounds: int) -> list[Timed]:
    backends: dict[str, LlamaBackend] = {}
    for form in FORMS:
        with patch.object(llama_vocabulary, "built_with_amx", lambda form=form: form != FORMS[0]):
            backends[form] = LlamaBackend(
                weights, model_id=form, sha256="", context_tokens=1024, max_sequences=1, batch_tokens=512, threads=1
            )
    found: list[Timed] = []
    for length in LENGTHS:
        rates: dict[str, list[tuple[float, float]]] = {form: [] for form in FORMS}
        for each in range(-1, rounds):  # the first one warms up
            for form, backend in backends.items():
                llama.llama_memory_clear(backend._memory, True)
                prompt = length / _seconds(backend, 0, length)
                single = STEPS / sum(_seconds(backend, length + step, 1) for step in range(STEPS))
                if each >= 0:
                    rates[form].append((prompt, single))
        for form, pairs in rates.items():
            prompts, singles = zip(*pairs, strict=True)
            found.append(Timed(form, length, prompts, singles))
    for backend in backends.values():
        backend.close()
    return found


def _seconds(backend: LlamaBackend, begin: int, count: int) -> float:
    batch = Batch()
    for position in range(begin, begin + count):
        batch.add(100 + position * 7, position, (0,), output=position == begin + count - 1)
    started = time.process_time()
    backend.decode(batch)
    return time.process_time() - started


def table(found: list[Timed], caption: str) -> str:
    """Write medians as Markdown, one column for each length, and those of single tokens over all of them."""
    lengths = list(dict.fromkeys(each.length for each in found))
    lines = [
        f"| {caption} | {' | '.join(f'{length} tokens' for length in lengths)} | one at a time |",
        f"|---|{'---|' * len(lengths)}---|",
    ]
    for form in dict.fromkeys(each.form for each in found):
        own = [each for each in found if each.form == form]
        cells = [f"{Spread.of(each.prompt).median:.0f}" for each in own]
        singles = Spread.of([rate for each in own for rate in each.one_at_a_time]).median
        lines.append(f"| {form} | {' | '.join(cells)} | {singles:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(app, "bench.rearranged")
