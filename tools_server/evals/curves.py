"""Pictures of trust as SVG text: what a confidence means, what leaving answers out gains, which labels are confused.

Lengths are pixels. The text depends on nothing but the arguments. Tooltips add full names and exact numbers; a page
that embeds a picture as an image does not show them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools_server.evals.confidence import Bin, RiskCoverage, error_of_bins
from tools_server.evals.svg import COLOURS, MARGIN, WIDTH, circle, document, line, rect, shortened, text, width_of

__all__ = ["SHOWN_LABELS", "confusion_matrix", "reliability_diagram", "risk_coverage_curve"]

SHOWN_LABELS = 20
"""Labels that a confusion matrix has room for."""

_LEFT, _TOP, _SIDE = 56, 68, 400  # of the square plot
_RIGHT, _BOTTOM = _LEFT + _SIDE, _TOP + _SIDE
_HISTOGRAM, _GAP = 64, 16  # its height, and what is between it and the plot
_LEGEND, _ENTRY = _RIGHT + 24, 17  # where the legend begins, and how high a line of it is

_ROWS, _SPAN, _LARGEST = 184, 460, 40  # a matrix: where its cells begin, how wide they get together, and one at most
_DIAGONAL = math.sqrt(2)  # the labels of columns are turned by 45°

# Cells are opaque, so that their numbers read alike on every page; from a small share of the row to all of it.
_RIGHT_SHADES = ((168, 200, 236), (28, 88, 158))
_WRONG_SHADES = ((242, 196, 148), (168, 76, 12))


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the legend says of a series; without a colour, of the dashed line."""

    colour: str | None
    name: str
    facts: Sequence[str]


def reliability_diagram(title: str, series: Mapping[str, Sequence[Bin]]) -> str:
    """Draw the share that is right against the share that was claimed, with 95 % whiskers; below, how many answers.

    A point on the dashed diagonal means what it says; below it, answers are too confident. Bins are those of
    `confidence.reliability`. The calibration error in the legend is that of the bins that are drawn.
    """
    base = _BOTTOM + _GAP + _HISTOGRAM
    most = max((each.count for bins in series.values() for each in bins), default=1)
    parts = _frame(title, "share that is right", "confidence", base)
    parts += [line(_LEFT, base, _RIGHT, base, opacity=0.6), line(_x(0), _y(0), _x(1), _y(1), dashed=True)]
    parts += [text(_LEFT - 8, base + 4, "0", anchor="end"), text(_LEFT, base + 38, "bars: answers in each bin")]
    parts += [text(_LEFT - 8, base - _HISTOGRAM + 8, f"{most:,}", anchor="end")]
    entries = [_Entry(None, "", ["confidence = share that is right"])]
    for place, (name, bins) in enumerate(series.items()):
        colour = COLOURS[place % len(COLOURS)]
        for each in bins:
            tip = f"{name}: {_told(each)}"
            room = (each.high - each.low) * _SIDE
            width, height = 0.9 * room / len(series), max(1.0, each.count / most * _HISTOGRAM)
            left = _x(each.low) + 0.05 * room + place * width
            parts.append(rect(left, base - height, width, height, colour, tip=tip))
            parts += _point(each, colour, tip)
        entries.append(_Entry(colour, name, [_calibration_of(bins)]))
    legend, end = _legend(entries)
    return document(title, max(base + 54, end), [*parts, *legend])


def risk_coverage_curve(
    title: str,
    series: Mapping[str, RiskCoverage],
    *,
    target: float | None = None,
    threshold: float | Mapping[str, float] | None = None,
) -> str:
    """Draw the accuracy of the answers kept against their share, from the most confident ones alone to all.

    `target` is an accuracy wished for, a dashed line. `threshold` is a confidence: the point of every curve that keeps
    the answers from there on is marked; a mapping, by the names of series, marks only those. The scale of accuracy
    begins at the tenth below everything that is drawn, not at 0. ValueError on a target outside [0, 1].
    """
    if target is not None and not 0 <= target <= 1:
        raise ValueError(f"an accuracy lies between 0 and 1, not at {target}")
    thresholds = threshold if isinstance(threshold, Mapping) else dict.fromkeys(series, threshold)
    drawn = [float(each.accuracy.min()) for each in series.values()] + [1.0 if target is None else target]
    low = min(0.9, math.floor(min(drawn) * 10) / 10)
    parts = _frame(title, "share of the kept answers that is right", "share of answers kept", _BOTTOM, low)
    entries: list[_Entry] = []
    if target is not None:
        parts.append(line(_LEFT, _y(target, low), _RIGHT, _y(target, low), dashed=True))
        entries.append(_Entry(None, "", [f"target: {_percent(target)} right"]))
    for place, (name, curve) in enumerate(series.items()):
        colour, chosen = COLOURS[place % len(COLOURS)], thresholds.get(name)
        facts = [f"n {curve.count:,} · AURC {curve.area:.4f}"]
        parts.append(f'<path d="{_steps(curve, low)}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        if chosen is not None:
            coverage, accuracy = curve.kept(chosen)
            right = f", {_percent(accuracy)} right" if coverage else ""
            facts.append(f"≥ {chosen:.3g}: {_percent(coverage)} kept{right}")
            if coverage:
                x, y = _x(coverage), _y(accuracy, low)
                parts.append(line(x, y, x, _BOTTOM, colour=colour, dashed=True))
                parts.append(circle(x, y, 4.5, colour, tip=f"{name}: {facts[-1]}"))
        entries.append(_Entry(colour, name, facts))
    legend, end = _legend(entries)
    return document(title, max(_BOTTOM + 54, end), [*parts, *legend])


def confusion_matrix(title: str, labels: Sequence[str], counts: Sequence[Sequence[int]] | NDArray[np.int64]) -> str:
    """Draw how often `labels[i]` was answered as `labels[j]`: `counts[i][j]`, of shape (labels, labels).

    A cell's shade is its share of the row, over all labels. Of more than `SHOWN_LABELS` labels, those with most
    confusions, as truth or as answer, are shown, in the order given; the picture says so and how much it leaves out.
    ValueError on another shape, on negative counts and on no labels.
    """
    table = np.asarray(counts, dtype=np.int64)
    if not labels or table.shape != (len(labels), len(labels)) or (table < 0).any():
        raise ValueError(f"{len(labels)} labels need as many rows and columns of counts from 0 up; got {table.shape}")
    wrong = table - np.diag(table.diagonal())
    mistakes = int(wrong.sum())
    notes = [f"Rows: the truth. Columns: the answer. Blue is right, orange is wrong: {mistakes:,} of {table.sum():,}."]
    shown = list(range(len(labels)))
    if len(labels) > SHOWN_LABELS:
        confused = wrong.sum(axis=0) + wrong.sum(axis=1)
        shown = sorted(int(place) for place in np.argsort(-confused, kind="stable")[:SHOWN_LABELS])
        among = int(wrong[np.ix_(shown, shown)].sum())
        notes.append(
            f"Shown are the {SHOWN_LABELS} of {len(labels)} labels with most confusions; "
            f"{among:,} of the {mistakes:,} wrong answers are among them."
        )
    cell = min(_LARGEST, _SPAN // len(shown))
    end = _ROWS + cell * len(shown)
    room = min(_ROWS - 8 - MARGIN, (WIDTH - MARGIN - end + cell / 2) * _DIAGONAL)  # of a row's and a column's label
    names = [shortened(labels[place], room) for place in shown]
    notes_end = MARGIN + 12 + 18 * len(notes)
    top = notes_end + 22 + math.ceil(max(map(width_of, names)) / _DIAGONAL)
    bottom = top + cell * len(shown)
    parts = [_heading(title), *(text(MARGIN, MARGIN + 30 + 18 * row, note) for row, note in enumerate(notes))]
    totals = table.sum(axis=1)
    for row, (truth, name) in enumerate(zip(shown, names, strict=True)):
        y = top + row * cell
        parts.append(text(_ROWS - 8, y + cell / 2 + 4, name, anchor="end", tip=labels[truth]))
        parts.append(text(_ROWS + (row + 0.5) * cell + 3, top - 6, name, turned=-45, tip=labels[truth]))
        for column, answer in enumerate(shown):
            count, total = int(table[truth, answer]), int(totals[truth])
            if not count:
                continue
            tip = f"{labels[truth]}, answered as {labels[answer]}: {count:,} of {total:,}"
            colour, ink = _shade(count / total, right=truth == answer)
            x, middle = _ROWS + column * cell, y + cell / 2 + 4
            parts.append(rect(x, y, cell, cell, colour, tip=tip))
            if width_of(str(count), size=11) <= cell - 2:
                parts.append(text(x + cell / 2, middle, str(count), size=11, anchor="middle", colour=ink))
    for edge in range(len(shown) + 1):
        x, y = _ROWS + edge * cell, top + edge * cell
        parts += [line(_ROWS, y, end, y, opacity=0.25), line(x, top, x, bottom, opacity=0.25)]
    return document(title, bottom + MARGIN, parts)


def _frame(title: str, upwards: str, rightwards: str, base: int, low: float = 0.0) -> list[str]:
    """Title, grid and scales of a plot over accuracies from `low` to 1; what lies along its x axis ends at `base`."""
    parts = [_heading(title), text(MARGIN, _TOP - 14, upwards), text(_RIGHT, base + 38, rightwards, anchor="end")]
    for share in _ticks(0.0):
        parts += [line(_x(share), _TOP, _x(share), base, opacity=0.25)]
        parts += [text(_x(share), base + 18, f"{share:g}", anchor="middle")]
    for share in _ticks(low):
        parts += [line(_LEFT, _y(share, low), _RIGHT, _y(share, low), opacity=0.25)]
        parts += [text(_LEFT - 8, _y(share, low) + 4, f"{share:g}", anchor="end")]
    return [*parts, line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, opacity=0.6)]


def _ticks(low: float) -> list[float]:
    """Round numbers from 1 down to `low`, few enough to be labelled."""
    step = next(step for step in (0.02, 0.05, 0.1, 0.2) if (1 - low) / step < 6.5)
    return [round(1 - step * number, 2) for number in range(int((1 - low) / step + 1e-6) + 1)]


def _legend(entries: Sequence[_Entry]) -> tuple[list[str], int]:
    """Write the entries to the right of the plot, and say how far down they and the margin reach."""
    parts: list[str] = []
    x, y = _LEGEND + 18, _TOP + 12
    for entry in entries:
        if entry.colour is None:
            parts.append(line(_LEGEND - 4, y - 4, x - 6, y - 4, dashed=True))
        else:
            parts.append(rect(_LEGEND, y - 10, 10, 10, entry.colour))
            parts.append(text(x, y, shortened(entry.name, WIDTH - MARGIN - x, bold=True), weight=600, tip=entry.name))
            y += _ENTRY
        parts += [text(x, y + _ENTRY * row, fact) for row, fact in enumerate(entry.facts)]
        y += _ENTRY * len(entry.facts) + 8
    return parts, y - _ENTRY + MARGIN


def _point(each: Bin, colour: str, tip: str) -> list[str]:
    x, low, high = _x(each.mean_confidence), _y(each.accuracy_low), _y(each.accuracy_high)
    ticks = ((x, low, x, high), (x - 3, low, x + 3, low), (x - 3, high, x + 3, high))
    whisker = [line(*tick, width=1.5, opacity=0.7, colour=colour) for tick in ticks]
    return [*whisker, circle(x, _y(each.accuracy), 4, colour, tip=tip)]


def _told(each: Bin) -> str:
    return (
        f"{each.count:,} of confidence {each.low:g} to {each.high:g}, {each.mean_confidence:.3f} on average; "
        f"{each.accuracy:.3f} [{each.accuracy_low:.3f}, {each.accuracy_high:.3f}] right"
    )


def _calibration_of(bins: Sequence[Bin]) -> str:
    if not bins:
        return "n 0"
    divided = round(1 / (bins[0].high - bins[0].low))
    return f"n {sum(each.count for each in bins):,} · ECE {error_of_bins(bins):.3f} ({divided} bins)"


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _steps(curve: RiskCoverage, low: float) -> str:
    """A step for each point. Of points that share a place to a tenth of a pixel, the last is drawn."""
    points = zip(curve.coverage, curve.accuracy, strict=True)
    ends = {f"{_x(coverage):.1f}": f"{_y(accuracy, low):.1f}" for coverage, accuracy in points}
    return f"M{_LEFT} " + "V".join(f"{y}H{x}" for x, y in ends.items())


def _shade(share: float, *, right: bool) -> tuple[str, str]:
    """The colour of a cell, and that of the number on it."""
    light, deep = _RIGHT_SHADES if right else _WRONG_SHADES
    tones = [round(start + (end - start) * share) for start, end in zip(light, deep, strict=True)]
    # Relative luminance (WCAG 2): at 0.2, black and white read about equally well.
    bright = sum(part * (tone / 255) ** 2.2 for part, tone in zip((0.2126, 0.7152, 0.0722), tones, strict=True))
    return "#" + bytes(tones).hex(), "#111111" if bright > 0.2 else "#ffffff"


def _heading(title: str) -> str:
    short = shortened(title, WIDTH - 2 * MARGIN, size=15, bold=True)
    return text(MARGIN, MARGIN + 10, short, size=15, weight=600, tip=title)


def _x(share: float) -> float:
    return _LEFT + share * _SIDE


def _y(share: float, low: float = 0.0) -> float:
    return _TOP + (1 - share) / (1 - low) * _SIDE
