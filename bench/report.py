"""The results as a table, as JSON, and as a section of a Markdown page."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.measure import Comparison, Spread

SLOW = 0.9
"""A ratio below this is worth a look."""

COLUMNS = ("what", "baseline", "unit", "tools-server", "baseline's", "ratio", "lowest – highest ratio")
TERMINAL_COLUMNS = ("what", "baseline", "unit", "tools-server", "baseline's", "ratio", "lowest – highest")
LEFT = ("what", "baseline", "unit")


def as_json(model: str, rounds: int, facts: Mapping[str, str], comparisons: Iterable[Comparison]) -> dict[str, Any]:
    """Everything, round by round."""
    return {
        "model": model,
        "rounds": rounds,
        "machine": dict(facts),
        "comparisons": [
            {
                "name": each.name,
                "baseline": each.baseline_name,
                "unit": each.unit,
                "ratio": each.ratio.median,
                "ratios": list(each.ratios),
                "tools_server": list(each.ours),
                "baseline_values": list(each.baseline),
                "remarks": list(each.remarks),
            }
            for each in comparisons
        ],
    }


def as_table(model: str, rounds: int, comparisons: Iterable[Comparison]) -> Table:
    """For the terminal; ratios below `SLOW` stand out."""
    title = f"{model}, {rounds} rounds; a ratio above 1: tools-server is faster"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in TERMINAL_COLUMNS:
        table.add_column(column, overflow="fold", justify="left" if column in LEFT else "right")
    for each in comparisons:
        rates = [_number(Spread.of(values).median) for values in (each.ours, each.baseline)]
        style = "bold red" if each.ratio.median < SLOW else "bold"
        table.add_row(
            *map(Text, (each.name, each.baseline_name, each.unit, *rates)),
            Text(_number(each.ratio.median), style),
            Text(_span(each.ratio), style="dim"),
        )
    return table


def remarks(comparisons: Sequence[Comparison]) -> list[str]:
    """One line for each remark, the same one only once."""
    return list(dict.fromkeys(f"{each.baseline_name}: {remark}" for each in comparisons for remark in each.remarks))


def as_markdown(model: str, rounds: int, facts: Mapping[str, str], comparisons: Sequence[Comparison]) -> str:
    """A section for docs/benchmarks.md."""
    rows = "\n".join(f"| {' | '.join(_cells(each))} |" for each in comparisons)
    notes = "\n".join(f"- {line}" for line in remarks(comparisons))
    about = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    parts = [
        f"## {model}",
        f"{rounds} rounds; rates are medians (lowest – highest).",
        f"| {' | '.join(COLUMNS)} |\n|---|---|---|---|---|---:|---|\n{rows}",
        *([notes] if notes else []),
        "Machine and software:",
        about,
    ]
    return "\n\n".join(parts) + "\n"


def write_section(page: Path, model: str, section: str) -> None:
    """Put a model's section into a page, in the place of its last one or at the end."""
    begin, end = f"<!-- bench: {model} -->", f"<!-- end: {model} -->"
    block = f"{begin}\n{section}{end}\n"
    text = page.read_text("utf-8") if page.exists() else "# Benchmarks\n"
    place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}\n", re.DOTALL)
    # A function as the replacement: a string would be searched for group references.
    text = place.sub(lambda _: block, text, count=1) if place.search(text) else f"{text.rstrip()}\n\n{block}"
    page.write_text(text, "utf-8")


def _cells(each: Comparison) -> tuple[str, ...]:
    ours, baseline = Spread.of(each.ours), Spread.of(each.baseline)
    rates = [f"{_number(spread.median)} ({_span(spread)})" for spread in (ours, baseline)]
    return (each.name, each.baseline_name, each.unit, *rates, _number(each.ratio.median), _span(each.ratio))


def _span(spread: Spread) -> str:
    return f"{_number(spread.low)} – {_number(spread.high)}"


def _number(value: float) -> str:
    """Three digits that count, two after the point at most, and no fraction from a hundred on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
