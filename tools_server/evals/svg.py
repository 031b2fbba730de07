"""Pieces of SVG that read well on light and on dark pages: no background, mid-grey text, colours of middle brightness.

Places and lengths are pixels from the top left. Every text and tooltip is escaped; what XML cannot hold (control
characters, half a surrogate pair) becomes U+FFFD, so that any label gives a picture that parses.
"""

import re
from collections.abc import Iterable
from html import escape
from unicodedata import east_asian_width

__all__ = ["COLOURS", "GREY", "MARGIN", "WIDTH", "circle", "document", "line", "rect", "shortened", "text", "width_of"]

WIDTH = 760
"""Pixels: the width of every picture."""

MARGIN = 16
"""Pixels between the edge of a picture and its title."""

COLOURS = ("#4c8dd6", "#d98324", "#4fa36b", "#a06cc4", "#c25b6a", "#5aa7a7", "#9a8f3c", "#8c7b6b")
"""One for each series; more series begin again with the first."""

GREY = "#7d8590"

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(title: str, height: int, parts: Iterable[str]) -> str:
    """Put a picture's parts together. The title is what a screen reader says."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{_escaped(title)}" font-family="system-ui, sans-serif">'
    )
    return "\n".join([head, *parts, "</svg>", ""])


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: int = 12,
    weight: int = 400,
    anchor: str = "start",
    colour: str = GREY,
    turned: int = 0,
    tip: str = "",
) -> str:
    """Write a line of text on the baseline at `y`, turned clockwise by so many degrees, with a tooltip if given one."""
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{colour}"'
    turn = f' transform="rotate({turned} {x:.1f} {y:.1f})"' if turned else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}{turn}>{_title(tip)}{_escaped(content)}</text>'


def line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    *,
    width: float = 1,
    opacity: float = 1,
    colour: str = GREY,
    dashed: bool = False,
) -> str:
    """Draw a straight line."""
    stroke = f'stroke="{colour}" stroke-width="{width}" stroke-opacity="{opacity}"'
    dashes = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" {stroke}{dashes}/>'


def rect(x: float, y: float, width: float, height: float, colour: str, *, tip: str = "") -> str:
    """Fill a rectangle, with a tooltip if there is one."""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {place} fill="{colour}">{_title(tip)}</rect>'


def circle(x: float, y: float, radius: float, colour: str, *, tip: str = "") -> str:
    """Fill a circle around (x, y), with a tooltip if there is one."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}">{_title(tip)}</circle>'


def shortened(content: str, room: float, *, size: int = 12, bold: bool = False) -> str:
    """Leave out the middle of what is wider than `room` pixels: names that begin alike are told apart by their ends."""
    short = content
    for kept in range(len(content) - 1, -1, -1):
        if width_of(short, size=size, bold=bold) <= room:
            break
        short = f"{content[: (kept + 1) // 2]}…{content[len(content) - kept // 2 :]}"
    return short


def width_of(content: str, *, size: int = 12, bold: bool = False) -> float:
    """Estimate a text's width in pixels. Which font the reader has is not known, so this is that of a wide one."""
    return size * sum(map(_ems, content)) * (1.1 if bold else 1)


def _ems(character: str) -> float:
    if east_asian_width(character) in "WF" or character in "mwMW@%…":
        return 1.0
    return 0.75 if character.isupper() else 0.62


def _title(tip: str) -> str:
    return f"<title>{_escaped(tip)}</title>" if tip else ""


def _escaped(content: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", content))
