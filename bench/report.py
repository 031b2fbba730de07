"""The results as tables, as JSON, and as sections of a Markdown page."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.measure import Comparison, Spread

SLOW = 0.9
"""A ratio below this is worth a look."""


@dataclass(frozen=True, slots=True)
class Section:
    """What ran together: rows, and what must be known of the machine. `sides` head the two columns of values."""

    title: str
    rounds: int
    comparisons: Sequence[Comparison]
    facts: Mapping[str, str]
    sides: tuple[str, str] = ("tools-server", "baseline's")

    @property
    def columns(self) -> tuple[str, ...]:
        return ("what", "baseline", "unit", *self.sides, "ratio", "lowest – highest ratio")

    @property
    def notes(self) -> list[str]:
        """One line for each remark, the same one only once."""
        return list(dict.fromkeys(f"{each.name}: {remark}" for each in self.comparisons for remark in each.remarks))


def as_json(sections: Sequence[Section]) -> dict[str, Any]:
    """Everything, round by round."""
    return {
        "sections": [
            {
                "title": section.title,
                "rounds": section.rounds,
                "machine": dict(section.facts),
                "sides": list(section.sides),
                "comparisons": [
                    {
                        "name": each.name,
                        "baseline": each.baseline_name,
                        "unit": each.unit,
                        "lower_is_better": each.lower_is_better,
                        "ratio": each.ratio.median,
                        "ratios": list(each.ratios),
                        "tools_server": list(each.ours),
                        "baseline_values": list(each.baseline),
                        "remarks": list(each.remarks),
                    }
                    for each in section.comparisons
                ],
            }
            for section in sections
        ]
    }


def as_table(section: Section) -> Table:
    """For the terminal; ratios below `SLOW` stand out."""
    title = f"{section.title}, {_rounds(section)}; a ratio above 1: {section.sides[0]} is better"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(section.columns):
        table.add_column(column, overflow="fold", justify="left" if place < 3 else "right")
    for each in section.comparisons:
        values = [_number(Spread.of(side).median) for side in (each.ours, each.baseline)]
        style = "bold red" if each.ratio.median < SLOW else "bold"
        table.add_row(
            *map(Text, (each.name, each.baseline_name, each.unit, *values)),
            Text(_number(each.ratio.median), style),
            Text(_span(each.ratio), style="dim"),
        )
    return table


def as_markdown(section: Section) -> str:
    """A section for docs/benchmarks.md."""
    rows = "\n".join(f"| {' | '.join(_cells(each))} |" for each in section.comparisons)
    notes = "\n".join(f"- {line}" for line in section.notes)
    about = "\n".join(f"- {name}: {value}" for name, value in section.facts.items())
    parts = [
        f"## {section.title}",
        f"{_rounds(section)}; values are medians (lowest – highest).",
        f"| {' | '.join(section.columns)} |\n|---|---|---|---|---|---:|---|\n{rows}",
        *([notes] if notes else []),
        "Machine and software:",
        about,
    ]
    return "\n\n".join(parts) + "\n"


def write_section(page: Path, title: str, section: str) -> None:
    """Put a section into a page, in the place of its last one or at the end."""
    begin, end = f"<!-- bench: {title} -->", f"<!-- end: {title} -->"
    block = f"{begin}\n{section}{end}\n"
    text = page.read_text("utf-8") if page.exists() else "# Benchmarks\n"
    place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}\n", re.DOTALL)
    # A function as the replacement: a string would be searched for group references.
    text = place.sub(lambda _: block, text, count=1) if place.search(text) else f"{text.rstrip()}\n\n{block}"
    page.write_text(text, "utf-8")


def _rounds(section: Section) -> str:
    return "1 round" if section.rounds == 1 else f"{section.rounds} rounds"


def _cells(each: Comparison) -> tuple[str, ...]:
    ours, baseline = Spread.of(each.ours), Spread.of(each.baseline)
    values = [f"{_number(spread.median)} ({_span(spread)})" for spread in (ours, baseline)]
    return (each.name, each.baseline_name, each.unit, *values, _number(each.ratio.median), _span(each.ratio))


def _span(spread: Spread) -> str:
    return f"{_number(spread.low)} – {_number(spread.high)}"


def _number(value: float) -> str:
    """Three digits that count, two after the point at most, and no fraction from a hundred on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
