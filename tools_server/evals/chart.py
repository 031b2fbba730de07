"""A bar chart with intervals as SVG text, readable on light and on dark pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools_server.evals.statistics import Estimate
from tools_server.evals.svg import COLOURS, MARGIN, document, line, text

__all__ = ["Group", "bar_chart"]

_LEFT, _SCALE = 190, 460  # pixels: to the bars, of a bar from 0 to 1
_ROW, _BAR, _HEAD = 22, 14, 34  # pixels


@dataclass(frozen=True, slots=True)
class Group:
    """The bars of one metric, by the variants' names. Values lie between 0 and 1; NaN is shown as undefined."""

    title: str
    bars: Mapping[str, Estimate]


def bar_chart(title: str, groups: Sequence[Group]) -> str:
    """Draw one group of horizontal bars below the other; whiskers are 95 % intervals."""
    variants = list(dict.fromkeys(name for group in groups for name in group.bars))
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(variants)}
    parts = [text(MARGIN, MARGIN + 10, title, size=15, weight=600)]
    top = MARGIN + 22
    for group in groups:
        parts.append(text(MARGIN, top + _HEAD - 12, group.title, size=13, weight=600))
        top += _HEAD
        bottom = top + _ROW * len(group.bars)
        parts += [line(_x(share), top - 4, _x(share), bottom, opacity=0.3) for share in (0, 0.25, 0.5, 0.75, 1)]
        for name, bar in group.bars.items():
            parts += _bar(name, bar, top, colours[name])
            top += _ROW
    return document(title, top + MARGIN, parts)


def _bar(name: str, bar: Estimate, top: int, colour: str) -> list[str]:
    middle = top + _BAR / 2
    parts = [text(_LEFT - 10, middle + 4, name, anchor="end")]
    if bar.value != bar.value:  # NaN
        return [*parts, text(_LEFT + 6, middle + 4, "undefined")]
    width = max(1.0, bar.value * _SCALE)
    parts.append(f'<rect x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2" fill="{colour}"/>')
    end = bar.value
    if bar.low == bar.low:
        low, high = _x(bar.low), _x(bar.high)
        ticks = ((low, middle, high, middle), (low, middle - 3, low, middle + 3), (high, middle - 3, high, middle + 3))
        parts += [line(*tick, width=1.5) for tick in ticks]
        end = max(end, bar.high)
    parts.append(text(_x(end) + 8, middle + 4, f"{bar.value:.3f}"))
    return parts


def _x(share: float) -> float:
    return _LEFT + share * _SCALE
