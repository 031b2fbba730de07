"""A bar chart with intervals as SVG text, readable on light and on dark pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from tools_server.evals.statistics import Estimate

__all__ = ["Group", "bar_chart"]

_WIDTH, _LEFT, _SCALE = 760, 190, 460  # pixels: in all, to the bars, of a bar from 0 to 1
_ROW, _BAR, _HEAD, _MARGIN = 22, 14, 34, 16  # pixels
_COLOURS = ("#4c8dd6", "#d98324", "#4fa36b", "#a06cc4", "#c25b6a", "#5aa7a7", "#9a8f3c", "#8c7b6b")
_GREY = "#7d8590"


@dataclass(frozen=True, slots=True)
class Group:
    """The bars of one metric, by the variants' names. Values lie between 0 and 1; NaN is shown as undefined."""

    title: str
    bars: Mapping[str, Estimate]


def bar_chart(title: str, groups: Sequence[Group]) -> str:
    """Draw one group of horizontal bars below the other; whiskers are 95 % intervals."""
    variants = list(dict.fromkeys(name for group in groups for name in group.bars))
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(variants)}
    parts = [_text(_MARGIN, _MARGIN + 10, title, size=15, weight=600)]
    top = _MARGIN + 22
    for group in groups:
        parts.append(_text(_MARGIN, top + _HEAD - 12, group.title, size=13, weight=600))
        top += _HEAD
        bottom = top + _ROW * len(group.bars)
        parts += [_line(_x(share), top - 4, _x(share), bottom, opacity=0.3) for share in (0, 0.25, 0.5, 0.75, 1)]
        for name, bar in group.bars.items():
            parts += _bar(name, bar, top, colours[name])
            top += _ROW
    height = top + _MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}" font-family="system-ui, sans-serif">'
    )
    return "\n".join([head, *parts, "</svg>", ""])


def _bar(name: str, bar: Estimate, top: int, colour: str) -> list[str]:
    middle = top + _BAR / 2
    parts = [_text(_LEFT - 10, middle + 4, name, anchor="end")]
    if bar.value != bar.value:  # NaN
        return [*parts, _text(_LEFT + 6, middle + 4, "undefined")]
    width = max(1.0, bar.value * _SCALE)
    parts.append(f'<rect x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2" fill="{colour}"/>')
    end = bar.value
    if bar.low == bar.low:
        low, high = _x(bar.low), _x(bar.high)
        ticks = ((low, middle, high, middle), (low, middle - 3, low, middle + 3), (high, middle - 3, high, middle + 3))
        parts += [_line(*tick, width=1.5) for tick in ticks]
        end = max(end, bar.high)
    parts.append(_text(_x(end) + 8, middle + 4, f"{bar.value:.3f}"))
    return parts


def _x(share: float) -> float:
    return _LEFT + share * _SCALE


def _text(x: float, y: float, content: str, *, size: int = 12, weight: int = 400, anchor: str = "start") -> str:
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{_GREY}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(content)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, *, width: float = 1, opacity: float = 1) -> str:
    stroke = f'stroke="{_GREY}" stroke-width="{width}" stroke-opacity="{opacity}"'
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" {stroke}/>'
