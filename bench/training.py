"""How fast an adapter trains: packed rows beside samples one by one, attention by sample beside a mask, fewer blocks,
and the type that this machine computes in beside the other one.

`python -m bench.training`. Tokens are drawn at random, for only their number matters. Seconds are CPU seconds of one
thread, and what is counted are the tokens of the samples one by one, so that all ways do the same work.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import machine
from bench.command import run
from bench.measure import Spread
from bench.report import write_section
from tools_server.cli import output
from tools_server.models import ModelStore
from tools_server.settings import load_settings
from tools_server.training.arithmetic import arithmetic
from tools_server.training.base import BaseFacts, Dtype, base_facts, library, load_base
from tools_server.training.body import Body
from tools_server.training.lora import Activation, attach, lowest_block
from tools_server.training.objective import Objective
from tools_server.training.packing import Batch, Row, batches, collate, pack
from tools_server.training.types import Example, Hyperparameters, Target

__all__ = ["SHAPES", "Shape", "Timed", "samples", "table"]

TITLE = "training speed"
ALONE = 8
"""Samples in a forward pass where they are not packed."""

OTHERS: Mapping[Dtype, Dtype] = {"bfloat16": "float32", "float32": "bfloat16"}
WAYS = ("one by one", "under a mask", "all blocks")
FEWER = ("fewer, first epoch", "fewer, later")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Shape:
    """Samples of a kind of task: tokens that all share, tokens of their own from and to, and how many there are."""

    name: str
    shared: int
    least: int
    most: int
    count: int
    row_tokens: int
    rows: int


SHAPES = (
    Shape("messages, labels not in the prompt", 25, 12, 32, 40, 256, 4),
    Shape("fields by a schema", 130, 120, 210, 5, 1024, 1),
)
"""As `banking_intent` and `extract` have them, about a thousand packed tokens of each."""


@dataclass(frozen=True, slots=True)
class Timed:
    """Samples' tokens per CPU second of one way, one value a round."""

    shape: str
    way: str
    rates: tuple[float, ...]


class _Masked(Body):
    """The same rows under one mask over the whole row, as before attention was by sample."""

    def _run(self, hidden: Any, batch: Batch, blocks: range) -> Any:
        torch = library("torch")
        self._decoder.config._attn_implementation = "sdpa"
        mask = torch.eye(batch.tokens.shape[1], dtype=torch.bool).repeat(len(batch.rows), 1, 1, 1)
        for index, row in enumerate(batch.rows):
            start = row.shared
            mask[index, 0, :start, :start] = torch.ones(start, start).tril()
            for example in row.examples:
                end = start + len(example.tokens) - row.shared
                mask[index, 0, start:end, : row.shared] = True
                mask[index, 0, start:end, start:end] = torch.ones(end - start, end - start).tril()
                start = end
        positions = torch.from_numpy(batch.positions)
        rotation = self._decoder.rotary_emb(hidden, position_ids=positions)
        for index in blocks:
            hidden = self._decoder.layers[index](
                hidden, attention_mask=mask, position_ids=positions, position_embeddings=rotation, use_cache=False
            )
        return hidden


def samples(shape: Shape, vocab: int, seed: int = 0) -> list[Example]:
    """Draw samples of a shape, each with one decision among four tokens at its end."""
    draw = random.Random(seed)
    shared = tuple(draw.randrange(vocab) for _ in range(shape.shared))
    made: list[Example] = []
    for _ in range(shape.count):
        own = tuple(draw.randrange(vocab) for _ in range(draw.randint(shape.least, shape.most)))
        prompt = (*shared, *own)
        among = tuple(range(10, 14))
        made.append(Example(prompt, len(prompt), (Target(len(prompt), draw.choice(among), among),)))
    return made


@app.command(epilog='Example: make bench-training ARGS="--model smollm2-135m-instruct --write docs/training.md"')
def training(
    model: Annotated[str | None, typer.Option("--model", help="Default: the model of your settings.")] = None,
    layers: Annotated[int, typer.Option("--layers", min=1, help="Blocks of the last two ways.")] = 10,
    rank: Annotated[int, typer.Option("--rank", min=1, help="Of the adapters.")] = 16,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Each way is timed so often, in turn.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of Markdown.")] = False,
    write: Annotated[Path | None, typer.Option(help="Markdown page that gets the table.")] = None,
) -> None:
    """Time forward and backward passes; needs the extra `train`, and nothing else running."""
    settings = load_settings({"model": model})
    found, facts = _measure(ModelStore.from_settings(settings).path(settings.model), layers, rank, rounds)
    text = table(found, f"{settings.model}, rank {rank}, {layers} of {facts.layers} blocks in the last two columns")
    if write is not None:
        write_section(write, TITLE, text)
        output.note(f"wrote the section on {TITLE} of {write}")
    if as_json:
        output.print_json({"machine": machine.facts(settings), "ways": [asdict(each) for each in found]})
    else:
        output.out.print(text, soft_wrap=True)


def _measure(weights: Path, layers: int, rank: int, rounds: int) -> tuple[list[Timed], BaseFacts]:
    torch = library("torch")
    torch.set_num_threads(1)
    computed_in = arithmetic("cpu")
    base, facts = load_base(weights, dtype=base_facts(weights).held_in(computed_in))
    found: list[Timed] = []
    whole = WAYS if base.dtype == torch.bfloat16 else (*WAYS, OTHERS[computed_in])  # autocast narrows, and never widens
    for blocks, ways in ((None, whole), (layers, FEWER)):
        hyper = Hyperparameters(rank=rank, layers=blocks)
        model, _ = attach(base, hyper)
        found += _timed(model.train(), lowest_block(hyper, facts.layers), facts, rounds, ways)
        base = model.unload()
    return found, facts


def _timed(model: Any, lowest: int, facts: BaseFacts, rounds: int, ways: Sequence[str]) -> list[Timed]:
    found: list[Timed] = []
    for shape in SHAPES:
        drawn = samples(shape, facts.vocab)
        tokens = sum(len(each.tokens) for each in drawn)
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for each in range(-1, rounds):  # the first one warms up
            for way in ways:
                job = _job(model, lowest, shape, drawn, way)
                started = time.process_time()
                job()
                if each >= 0:
                    rates[way].append(tokens / (time.process_time() - started))
        found += [Timed(shape.name, way, tuple(rates[way])) for way in ways]
    return found


def _job(model: Any, lowest: int, shape: Shape, drawn: list[Example], way: str) -> Callable[[], None]:
    """Forward and backward over all samples, one way."""
    if way == "one by one":
        passes = [[Row((each,), 0) for each in drawn[at : at + ALONE]] for at in range(0, len(drawn), ALONE)]
    else:
        (passes,) = batches(pack(drawn, shape.row_tokens, "0"), shape.rows, shape.count)
    body = (_Masked if way == "under a mask" else Body)(model, lowest, passes)
    computed_in = way if way in ("bfloat16", "float32") else arithmetic("cpu")
    objective = Objective(model, body, Activation(), activated=False, computed_in=computed_in)

    def run() -> None:
        for rows in passes:
            objective(collate(rows)).total.backward()

    if way == "fewer, later":
        run()  # what lies below is kept from now on
    return run


def table(found: Sequence[Timed], caption: str) -> str:
    """Write medians, and each as a multiple of the rate under a mask, as Markdown."""
    ways = list(dict.fromkeys(each.way for each in found))
    lines = [
        f"*{caption}; samples' tokens per CPU second of one thread, median of {len(found[0].rates)} rounds.*",
        "",
        f"| samples | {' | '.join(ways)} |",
        f"|---|{'---|' * len(ways)}",
    ]
    for shape in dict.fromkeys(each.shape for each in found):
        medians = {each.way: Spread.of(each.rates).median for each in found if each.shape == shape}
        cells = [f"{rate:,.0f} ({rate / medians['under a mask']:.2f} ×)" for rate in medians.values()]
        lines.append(f"| {shape} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(app, "bench.training")
