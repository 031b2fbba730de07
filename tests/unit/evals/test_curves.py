"""Pictures of trust: XML that parses, with everything where its number says."""

import math
import re
from collections.abc import Callable
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools_server.evals.confidence import Bin, RiskCoverage, reliability, risk_coverage
from tools_server.evals.curves import SHOWN_LABELS, confusion_matrix, reliability_diagram, risk_coverage_curve
from tools_server.evals.svg import WIDTH, shortened, text, width_of

Element = ElementTree.Element

CONFIDENCES = [0.95, 0.9, 0.85, 0.7, 0.7, 0.35]
RIGHT = [True, True, True, True, False, False]
BINS = reliability(CONFIDENCES, RIGHT)
CURVE = risk_coverage(CONFIDENCES, RIGHT)

PICTURES: list[Callable[[str, str], str]] = [
    lambda title, name: reliability_diagram(title, {name: BINS}),
    lambda title, name: risk_coverage_curve(title, {name: CURVE}, target=0.9, threshold=0.8),
    lambda title, name: confusion_matrix(title, [name, "other"], [[3, 1], [0, 2]]),
]
EVERY_PICTURE = pytest.mark.parametrize("picture", PICTURES, ids=["reliability", "risk", "confusion"])


def parsed(svg: str) -> Element:
    return ElementTree.fromstring(svg)


def drawn(root: Element, kind: str) -> list[Element]:
    return root.findall(f"{{http://www.w3.org/2000/svg}}{kind}")


def tip(element: Element) -> str:
    return element.findtext("{http://www.w3.org/2000/svg}title") or ""


def said(root: Element) -> list[str]:
    """What is written in the picture, without tooltips."""
    return ["".join([each.text or "", *(child.tail or "" for child in each)]) for each in drawn(root, "text")]


def number(element: Element, name: str) -> float:
    return float(element.get(name, ""))


def cells(root: Element) -> list[Element]:
    return [each for each in drawn(root, "rect") if tip(each)]


@EVERY_PICTURE
def test_a_picture_is_xml_with_a_role_and_a_name(picture: Callable[[str, str], str]):
    root = parsed(picture("a title", "a name"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (root.get("role"), root.get("aria-label")) == ("img", "a title")
    assert {"a title", "a name"} <= set(said(root))


@EVERY_PICTURE
@settings(max_examples=60)
@given(title=st.text(max_size=200), name=st.text(max_size=80))
def test_any_text_is_escaped_and_gives_xml_that_can_be_written(
    picture: Callable[[str, str], str], title: str, name: str
):
    for given_title, given_name in ((title, name), (f"<{title}>&\"'", f"</text><script>{name}")):
        svg = picture(given_title, given_name)
        root = parsed(svg)
        svg.encode("utf-8")
        assert drawn(root, "script") == []
        assert "<script" not in svg


@EVERY_PICTURE
def test_names_with_markup_are_shown_as_they_are(picture: Callable[[str, str], str]):
    root = parsed(picture("a < b & c", "<em>"))
    assert root.get("aria-label") == "a < b & c"
    assert {"a < b & c", "<em>"} <= set(said(root))


@EVERY_PICTURE
def test_the_same_arguments_give_the_same_text(picture: Callable[[str, str], str]):
    assert picture("title", "name") == picture("title", "name")


@EVERY_PICTURE
def test_nothing_is_drawn_outside_however_long_the_names(picture: Callable[[str, str], str]):
    root = parsed(picture("long title " * 40, "a_label_that_goes_on_" * 8))
    height = number(root, "height")
    assert number(root, "width") == WIDTH
    for each, content in zip(drawn(root, "text"), said(root), strict=True):
        size = float(each.get("font-size", ""))
        width = width_of(content, size=int(size), bold=each.get("font-weight") == "600")
        start = {"start": 0.0, "middle": 0.5, "end": 1.0}[each.get("text-anchor", "")]
        x, y = number(each, "x"), number(each, "y")
        if each.get("transform"):  # turned by 45°, upwards
            assert each.get("transform") == f"rotate(-45 {each.get('x')} {each.get('y')})"
            assert x + width / math.sqrt(2) <= WIDTH
            assert y - (width + size) / math.sqrt(2) >= 0
        else:
            assert x - start * width >= 0
            assert x + (1 - start) * width <= WIDTH
            assert size <= y <= height
    for each in drawn(root, "rect"):
        assert 0 <= number(each, "x") <= number(each, "x") + number(each, "width") <= WIDTH
        assert 0 <= number(each, "y") <= number(each, "y") + number(each, "height") <= height
    for each in drawn(root, "path"):
        for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", each.get("d", "")):
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= height


def test_what_is_too_wide_loses_its_middle():
    assert shortened("short", 200) == "short"
    short = shortened("balance_not_updated_after_cheque_or_cash_deposit", 150)
    assert re.fullmatch("balance_.+….+_deposit", short)
    assert width_of(short) <= 150 < width_of(short + "mm")
    assert shortened("名" * 30, 60) == "名名…名名"
    assert shortened("x", 1) == "…"
    assert shortened("", 1) == ""


def test_what_xml_cannot_hold_is_replaced():
    assert (
        "".join(ElementTree.fromstring(text(0, 0, "a\x00b\x1b\ud800\uffff")).itertext()) == "a\ufffdb\ufffd\ufffd\ufffd"
    )


def test_every_bin_is_a_point_with_a_whisker_and_a_bar():
    other = reliability([0.2, 0.9], [True, True])
    root = parsed(reliability_diagram("title", {"before": BINS, "after": other}))
    points = drawn(root, "circle")
    assert len(points) == len(BINS) + len(other) == 6
    assert len({point.get("fill") for point in points}) == 2
    assert len(cells(root)) == 6
    whiskers = [each for each in drawn(root, "path") if each.get("stroke") == points[0].get("fill")]
    assert len(whiskers) == 3 * len(BINS)


def test_a_point_lies_at_its_confidence_and_accuracy_within_its_whisker():
    each = Bin(0.5, 0.75, 0.5, 0.25, 0.125, 1.0, 40)
    root = parsed(reliability_diagram("title", {"name": [each]}))
    (point,) = drawn(root, "circle")
    assert (number(point, "cx"), number(point, "cy")) == (56 + 200, 68 + 300)
    assert tip(point) == "name: 40 of confidence 0.5 to 0.75, 0.500 on average; 0.250 [0.125, 1.000] right"
    whisker = next(path for path in drawn(root, "path") if path.get("stroke") == point.get("fill"))
    assert whisker.get("d") == "M256.0 418.0L256.0 68.0"


def test_the_bars_below_are_as_high_as_the_answers_are_many_and_lie_in_their_bins():
    bins = [Bin(0.0, 0.1, 0.05, 0, 0, 1, 1), Bin(0.8, 0.9, 0.85, 1, 0, 1, 50), Bin(0.9, 1.0, 0.95, 1, 0, 1, 100)]
    root = parsed(reliability_diagram("title", {"one": bins, "two": bins}))
    bars = cells(root)
    heights = [number(bar, "height") for bar in bars]
    assert heights == [1.0, 32.0, 64.0] * 2
    assert {number(bar, "y") + number(bar, "height") for bar in bars} == {548.0}
    edges = [(number(bar, "x"), number(bar, "x") + number(bar, "width")) for bar in bars]
    for start, end in (edges[2], edges[5]):
        assert 56 + 360 <= start < end <= 56 + 400
    assert edges[2][1] <= edges[5][0]
    assert "100" in said(root)


def test_the_legend_has_the_number_of_answers_and_the_error_of_the_bins_drawn():
    # Of 0.35 none is right, of both 0.7 a half, of 0.85 and 0.9, which share a bin, all, and of 0.95: 1.05 / 6.
    assert "n 6 · ECE 0.175 (10 bins)" in said(parsed(reliability_diagram("title", {"name": BINS})))


def test_a_series_without_answers_and_no_series_at_all_are_drawn_too():
    assert "n 0" in said(parsed(reliability_diagram("title", {"name": []})))
    assert drawn(parsed(reliability_diagram("title", {})), "circle") == []
    assert parsed(risk_coverage_curve("title", {})) is not None


def steps(root: Element) -> list[str]:
    return [each.get("d", "") for each in drawn(root, "path") if each.get("fill") == "none"]


def test_the_curve_steps_from_point_to_point():
    root = parsed(
        risk_coverage_curve("title", {"name": risk_coverage([0.9, 0.8, 0.7, 0.7], [True, False, True, True])})
    )
    # Accuracies 1, 1/2, 3/4 of the first quarter, the first half and all; the scale begins at 0.5.
    assert steps(root) == ["M56 68.0H156.0V468.0H256.0V268.0H456.0"]
    assert {"0.5", "0.6", "0.7", "0.8", "0.9", "1"} <= set(said(root))
    assert drawn(root, "circle") == []
    assert "n 4 · AURC 0.2500" in said(root)


@pytest.mark.parametrize(
    ("worst", "ticks"),
    [(1.0, ["1", "0.98", "0.96", "0.94", "0.92", "0.9"]), (0.35, ["1", "0.8", "0.6", "0.4"]), (0.0, ["1", "0"])],
)
def test_the_scale_of_accuracy_begins_at_the_tenth_below_the_worst(worst: float, ticks: list[str]):
    curve = RiskCoverage(np.array([1.0]), np.array([worst]), np.array([0.5]), 20)
    written = said(parsed(risk_coverage_curve("title", {"name": curve})))
    assert set(ticks) <= set(written)


def test_the_target_and_the_chosen_threshold_are_marked():
    root = parsed(risk_coverage_curve("title", {"name": CURVE}, target=0.9, threshold=0.85))
    (point,) = drawn(root, "circle")
    assert (number(point, "cx"), number(point, "cy")) == (56 + 200, 68)
    assert tip(point) == "name: ≥ 0.85: 50.0 % kept, 100.0 % right"
    assert {"target: 90.0 % right", "≥ 0.85: 50.0 % kept, 100.0 % right"} <= set(said(root))
    dashed = [each.get("d") for each in drawn(root, "path") if each.get("stroke-dasharray")]
    assert "M56.0 168.0L456.0 168.0" in dashed  # 0.9 on a scale from 0.6
    assert "M256.0 68.0L256.0 468.0" in dashed


def test_a_target_that_no_answer_comes_near_lowers_the_scale():
    root = parsed(risk_coverage_curve("title", {"name": risk_coverage([0.5], [True])}, target=0.62))
    dashed = [each.get("d") for each in drawn(root, "path") if each.get("stroke-dasharray")]
    assert "M56.0 448.0L456.0 448.0" in dashed  # 0.62 on a scale from 0.6


def test_a_threshold_that_keeps_nothing_is_told_and_not_marked():
    root = parsed(risk_coverage_curve("title", {"name": CURVE}, threshold=0.99))
    assert drawn(root, "circle") == []
    assert "≥ 0.99: 0.0 % kept" in said(root)


def test_every_curve_has_the_threshold_or_those_that_are_named():
    series = {"before": CURVE, "after": CURVE}
    assert len(drawn(parsed(risk_coverage_curve("title", series, threshold=0.8)), "circle")) == 2
    (point,) = drawn(parsed(risk_coverage_curve("title", series, threshold={"after": 0.8})), "circle")
    assert tip(point).startswith("after: ")


def test_a_target_that_is_no_accuracy_is_refused():
    with pytest.raises(ValueError, match=r"not at 90"):
        risk_coverage_curve("title", {"name": CURVE}, target=90)


def test_a_curve_of_very_many_answers_stays_small():
    draws = np.random.default_rng(0)
    confidences = draws.random(50_000)
    svg = risk_coverage_curve("title", {"name": risk_coverage(confidences, draws.random(50_000) < confidences)})
    assert len(svg) < 100_000


def test_the_legend_of_many_series_stays_in_the_picture():
    many = {f"series {place}": CURVE for place in range(12)}
    root = parsed(risk_coverage_curve("title", many, target=0.9, threshold=0.8))
    places = [number(each, "y") for each in drawn(root, "text")]
    assert max(places) < number(root, "height")
    legend = [each for each in drawn(root, "text") if number(each, "x") > 480]
    heights = [number(each, "y") for each in legend]
    assert len(legend) == 1 + 3 * 12
    assert all(after - before >= 17 for before, after in pairwise(heights))


def test_every_count_is_a_cell_with_its_number_and_its_share_as_shade():
    root = parsed(confusion_matrix("title", ["bug", "praise"], [[3, 1], [0, 2]]))
    found = cells(root)
    assert [tip(cell) for cell in found] == [
        "bug, answered as bug: 3 of 4",
        "bug, answered as praise: 1 of 4",
        "praise, answered as praise: 2 of 2",
    ]
    assert [(number(cell, "x"), number(cell, "y")) for cell in found] == [
        (184, number(found[0], "y")),
        (224, number(found[0], "y")),
        (224, number(found[0], "y") + 40),
    ]
    assert found[2].get("fill") == "#1c589e"
    assert len({cell.get("fill") for cell in found}) == 3
    assert [each for each in said(root) if each.isdigit()] == ["3", "1", "2"]
    assert said(root).count("praise") == 2
    assert any("orange is wrong: 1 of 6" in each for each in said(root))


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        tones = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [tone / 12.92 if tone <= 0.04045 else ((tone + 0.055) / 1.055) ** 2.4 for tone in tones]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("share", range(1, 100))
def test_numbers_on_cells_can_be_read_at_every_shade(share: int):
    root = parsed(confusion_matrix("title", ["a", "b"], [[share, 100 - share], [100 - share, share]]))
    inks = [each.get("fill", "") for each in drawn(root, "text") if each.get("font-size") == "11"]
    assert len(inks) == 4
    for cell, ink in zip(cells(root), inks, strict=True):
        assert contrast(cell.get("fill", ""), ink) > 4


def test_a_number_without_room_is_left_to_the_tooltip():
    root = parsed(confusion_matrix("title", ["a"], [[1_234_567]]))
    assert tip(cells(root)[0]) == "a, answered as a: 1,234,567 of 1,234,567"
    assert "1234567" not in said(root)


def test_of_many_labels_those_with_most_confusions_are_shown_and_the_picture_says_so():
    labels = [f"label {place}" for place in range(SHOWN_LABELS + 10)]
    counts = np.diag(np.full(len(labels), 9))
    for place in range(5, 5 + SHOWN_LABELS):
        counts[place, place + 1] = 2  # of 5 to 24 as the next: 25 has as many as 5 has
    counts[29, 0] = 1
    root = parsed(confusion_matrix("title", labels, counts))
    written = said(root)
    shown = [each for each in written if each.startswith("label ")]
    assert shown[::2] == shown[1::2] == [f"label {place}" for place in range(5, 25)]
    assert "Shown are the 20 of 30 labels with most confusions; 38 of the 41 wrong answers are among them." in written
    assert any("orange is wrong: 41 of 311" in each for each in written)
    tips = [tip(cell) for cell in cells(root)]
    assert "label 24, answered as label 24: 9 of 11" in tips  # the share is of the whole row
    assert len(tips) == 20 + 19


def test_twenty_labels_are_all_shown():
    labels = [f"label {place}" for place in range(SHOWN_LABELS)]
    root = parsed(confusion_matrix("title", labels, np.eye(SHOWN_LABELS, dtype=np.int64)))
    assert len(cells(root)) == SHOWN_LABELS
    assert not any("Shown are" in each for each in said(root))


def test_a_long_label_is_shortened_and_its_tooltip_has_all_of_it():
    long = "balance_not_updated_after_cheque_or_cash_deposit"
    root = parsed(confusion_matrix("title", [long, "other"], [[1, 0], [0, 1]]))
    texts = [each for each in drawn(root, "text") if tip(each) == long]
    assert len(texts) == 2
    assert long not in said(root)
    assert sum("…" in each for each in said(root)) == 2


def test_labels_without_a_sample_have_empty_rows():
    assert cells(parsed(confusion_matrix("title", ["a", "b"], [[0, 0], [0, 0]]))) == []


@pytest.mark.parametrize(
    ("labels", "counts"),
    [([], []), (["a"], [[1, 2]]), (["a", "b"], [[1, 2]]), (["a"], [[-1]]), (["a", "b"], [[1], [1, 2]])],
)
def test_counts_that_do_not_fit_the_labels_are_refused(labels: list[str], counts: list[list[int]]):
    with pytest.raises(ValueError, match=r"labels need|inhomogeneous"):
        confusion_matrix("title", labels, counts)
