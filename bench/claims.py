"""How often what `verify` reports of prose is right: summaries by people, held against their own text and another one.

`python -m bench.claims`. On its own text every report is a false alarm, or a mistake of whoever wrote the summary. On
another text, that of the record half a set away (neighbours may be of one meeting), no sentence should rest. No model
takes part.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from bench import machine
from bench.command import run
from bench.report import write_section
from tools_server.cli import output
from tools_server.data.reading import data_folder, load
from tools_server.data.recipe import Recipes
from tools_server.data.types import Sample
from tools_server.evidence.claims import sentences, unsupported
from tools_server.evidence.source import Source
from tools_server.settings import load_settings

__all__ = ["Found", "measure"]

TITLE = "claims"
SETS = ("scitldr", "qmsum")
SPLIT = "test"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What was reported of a set's summaries. `seconds` is CPU time for `characters` of their own texts."""

    name: str
    summaries: int
    reported: int  # summaries with any report on their own text
    kinds: dict[str, int]  # reports on their own texts
    sentences: int
    baseless_own: int  # sentences that rest on nothing in their own text
    baseless_foreign: int
    characters: int
    seconds: float


def measure(name: str, samples: Sequence[Sample]) -> Found:
    """Hold each sample's expected summary against its own text and against that of the sample half of them away."""
    kinds: Counter[str] = Counter()
    reported = total = foreign = characters = 0
    seconds = 0.0
    texts = [str(sample.arguments["text"]) for sample in samples]
    for index, sample in enumerate(samples):
        prose = str(sample.expected["summary"])
        total += len(sentences(prose))
        started = time.thread_time()
        claims = unsupported(prose, Source(texts[index]))
        seconds += time.thread_time() - started
        characters += len(texts[index])
        kinds.update(claim.kind for claim in claims)
        reported += bool(claims)
        other = Source(texts[(index + len(texts) // 2) % len(texts)])
        foreign += sum(claim.kind == "sentence" for claim in unsupported(prose, other))
    return Found(
        name, len(samples), reported, dict(kinds), total, kinds["sentence"], foreign, characters, round(seconds, 4)
    )


@app.command(epilog='Example: make bench-claims ARGS="--write docs/verifying.md"')
def claims(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of Markdown.")] = False,
    write: Annotated[Path | None, typer.Option(help="Markdown page that gets the table.")] = None,
) -> None:
    """Count what is reported of summaries by people; needs the data sets scitldr and qmsum."""
    settings = load_settings({})
    recipes, folder = Recipes.from_settings(settings), data_folder(settings)
    found = [measure(name, load(recipes.get(name), SPLIT, "summarise", folder=folder)) for name in SETS]
    text = _markdown(found)
    if write is not None:
        write_section(write, TITLE, text)
        output.note(f"wrote the section on {TITLE} of {write}")
    if as_json:
        output.print_json({"machine": machine.facts(settings), "sets": [asdict(each) for each in found]})
    else:
        output.out.print(text, soft_wrap=True)


def _markdown(found: Sequence[Found]) -> str:
    lines = [
        "| test split of | summaries | with any report on their own text | dates · numbers · names reported | "
        "sentences | resting on nothing: own text | another text | per 1,000 characters |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        cells = (
            f"`{each.name}`",
            f"{each.summaries:,}",
            f"{each.reported / each.summaries:.0%}",
            " · ".join(str(each.kinds.get(kind, 0)) for kind in ("date", "number", "name")),
            f"{each.sentences:,}",
            str(each.baseless_own),
            f"{each.baseless_foreign / each.sentences:.0%}",
            f"{1e6 * each.seconds / each.characters:.1f} ms",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(app, "bench.claims")
