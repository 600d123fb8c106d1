"""Plots: well-formed, without a network, and every mark at the place that its value has on the scale."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from itkit.process.evaluation import Evaluation
from itkit.report.evaluation import distributions, worst_classes
from itkit.report.plots import (
    Curve,
    Dot,
    Group,
    Line,
    bars,
    bland_altman,
    box_plot,
    curves,
    heat_map,
    histogram,
    quantile,
    scatter,
)
from itkit.report.scales import Scale, scale_of, tick_text, tick_texts
from itkit.report.text_plot import text_plot

NASTY = "<script>&\"' {case} %s"


def svg(plot):
    """The SVG of a plot, parsed strictly."""
    return ET.fromstring(re.search(r"<svg.*</svg>", plot.text)[0])


def texts(plot):
    return [node.text for node in svg(plot).iter("text")]


def ticks(plot):
    """Ticks of the axis across, and their places."""
    nodes = [node for node in svg(plot).iter("text") if node.get("class") == "muted"]
    return [
        (float(node.text), float(node.get("x")))
        for node in nodes
        if node.get("text-anchor") == "middle" and re.fullmatch(r"-?[\d.]+", node.text)
    ]


PLOTS = [
    histogram([0, 1, 2], [3, 4], title=NASTY, x=NASTY, y=NASTY, marks=[Line(NASTY, x=1)]),
    box_plot([Group(NASTY, [1, 2, 3], (1, 2, 3), [NASTY] * 3), Group("empty", [])], title=NASTY, x=NASTY),
    scatter([Dot(1, 2, NASTY), Dot(2, float("nan"))], title=NASTY, x=NASTY, y=NASTY, lines=[Line(NASTY, y=1)]),
    scatter([], title="none", x="x", y="y"),
    bland_altman([1.0, 2.0], [1.5, float("inf")], title=NASTY, unit=NASTY),
    bars([NASTY], [1.0], title=NASTY, x=NASTY, colours=[(1, 2, 3)]),
    bars(["none"], [float("nan")], title="t", x="x"),
    heat_map([NASTY], [NASTY, "b"], [[0.5, None]], title=NASTY, note=NASTY),
    heat_map([], [], [], title="none", note="none"),
]


@pytest.mark.parametrize("plot", PLOTS)
def test_plots_are_well_formed_and_say_what_they_are(plot):
    tree = svg(plot)
    assert tree.get("role") == "img"
    assert tree.get("aria-label")
    assert "<script" not in plot.text
    assert "nan" not in "".join(value for node in tree.iter() for name, value in node.items() if name != "aria-label")


def test_axes_have_their_names():
    plot = scatter([Dot(1, 2), Dot(3, 4)], title="t", x="age, years", y="volume, ml")
    assert {"age, years", "volume, ml"} <= set(texts(plot))


def test_bars_of_a_histogram_lie_between_their_edges():
    plot = histogram([0, 10, 20], [1, 3], title="t", x="HU")
    left, right = svg(plot).findall("rect")
    scale = dict(ticks(plot))
    assert float(left.get("x")) + float(left.get("width")) == pytest.approx(scale[10.0], abs=1)
    assert float(right.get("x")) == pytest.approx(scale[10.0], abs=1)
    assert float(right.get("height")) == pytest.approx(3 * float(left.get("height")), abs=0.5)


def test_a_box_has_the_quartiles_of_numpy():
    values = np.random.default_rng(0).lognormal(3, 0.5, 41)
    plot = box_plot([Group("a", values.tolist())], title="t", x="ml")
    box = svg(plot).find("rect")
    (low, low_place), *_, (high, high_place) = ticks(plot)
    scale = Scale(low, high, low_place, high_place)
    q1, q3 = np.percentile(values, (25, 75))
    assert float(box.get("x")) == pytest.approx(scale.place(q1), abs=0.2)
    assert float(box.get("x")) + float(box.get("width")) == pytest.approx(scale.place(q3), abs=0.3)
    far = values > q3 + 1.5 * (q3 - q1)
    assert sum(node.get("class") == "far" for node in svg(plot).iter("circle")) == far.sum()
    assert quantile(sorted(values), 0.3) == pytest.approx(np.quantile(values, 0.3))


def test_values_without_a_place_are_counted():
    assert "liver (+2 ∞)" in texts(box_plot([Group("liver", [1.0, float("inf"), float("nan")])], title="t", x="mm"))


def test_bland_altman_has_bias_and_limits():
    first, second = np.random.default_rng(1).normal(100, 10, (2, 30))
    plot = bland_altman(first.tolist(), second.tolist(), title="t", unit="ml")
    difference = second - first
    bias, reach = difference.mean(), 1.96 * difference.std(ddof=1)
    expected = {f"bias {bias:.3g}", f"+1.96 sd {bias + reach:.3g}", f"-1.96 sd {bias - reach:.3g}"}
    assert expected <= set(texts(plot))


def test_a_heat_map_shows_rows_down_and_columns_across():
    plot = heat_map(["r0", "r1"], ["c0", "c1", "c2"], [[0.1, 0.2, None], [0.3, 0.0, 0.4]], title="t", note="n")
    places = {
        node.text: (float(node.get("x")), float(node.get("y"))) for node in svg(plot).iter("text") if node.get("x")
    }
    assert places["0.10"][0] < places["0.20"][0]
    assert places["0.10"][1] == places["0.20"][1] == places["r0"][1] < places["0.30"][1]
    assert len(svg(plot).findall("rect")) == 4


def test_scales_hold_all_values_and_have_round_ticks():
    for values in ([3.0, 97.0], [-0.013, 0.002], [5.0, 5.0], [0.0, 0.0], [1e6, 9e6], [], [float("nan")]):
        scale = scale_of(values, 0, 100)
        assert all(0 <= scale.place(value) <= 100 for value in values if value == value)
        assert 2 <= len(scale.ticks()) <= 8
    assert tick_text(-0.0) == "0"


@pytest.mark.parametrize(
    "values",
    [
        [40.0, math.nextafter(40.0, 41.0)], [0.3, 0.1 + 0.2], [0.0, 2.5e-323], [5e-324], [-1.7e308, 1.7e308], [-1e307],
        [1e305, 1e307], [1e-20, 3e-20], [999999.8, 1000000.05], [123456000.0, 123464000.0],
    ],
)  # fmt: skip
def test_values_that_rounding_alone_tells_apart_and_the_ends_of_floats_have_a_scale(values):
    scale = scale_of(values, 0, 100)
    assert scale.low < scale.high
    assert 2 <= len(scale.ticks()) <= 8
    assert len({text for _, text in tick_texts(scale)}) == len(scale.ticks())


_ODD = [
    [], [0.0], [5e-324, 2.5e-323], [1e-300, 1e307], [-1.7e308, 40.0], [1.7e308, -1.7e308, 1.0], [1e17, 1e17 + 16],
    [math.nan, math.inf, -math.inf], [math.inf, 3.0], [40.0, math.nextafter(40.0, 41.0)], [1e200, -1e200, 3.0],
]  # fmt: skip


@pytest.mark.parametrize("values", _ODD)
def test_no_number_ends_a_plot_or_stands_far_outside_it(values):
    finite = sorted(value for value in values if math.isfinite(value)) or [0.0]
    pairs = list(zip(values, values[::-1], strict=True))
    plots = [
        histogram([*finite, finite[-1]], [1.0] * len(finite), title="t", x="x"),
        box_plot([Group("", values)], title="t", x="x"),
        box_plot([Group("", values)], title="t", x="x", is_logarithmic=True),
        scatter([Dot(x, y) for x, y in pairs], title="t", x="x", y="y"),
        curves([Curve("", pairs)], title="t", x="x", y="y", most=1.0),
        bland_altman(values, values[::-1], title="t", unit="ml"),
        bars([""] * len(values), values, title="t", x="x"),
    ]
    text_plot([pairs], title="t", x="x")
    for plot in plots:
        for node in svg(plot).iter():
            places = " ".join(node.get(name, "") for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "points"))
            assert all(abs(float(place)) < 1e4 for place in places.replace(",", " ").split())


def test_texts_of_ticks_fit_their_margin():
    plot = svg(scatter([Dot(1, 1234567.0), Dot(2, 1234567.5)], title="t", x="x", y="y"))
    assert any(node.get("textLength") for node in plot.iter("text"))


def test_of_thousands_of_values_a_box_plot_draws_the_far_ones_alone():
    values = [float(n % 100) for n in range(6000)] + [1e4]
    few = box_plot([Group("a", values[:50])], title="t", x="mm").text
    many = box_plot([Group("a", values)], title="t", x="mm").text
    assert (few.count("<circle"), many.count("<circle")) == (50, 1)


def test_a_name_with_its_missing_values_stands_inside_the_plot():
    name = "a name of 24 letters....."[:24]
    plot = svg(box_plot([Group(name, [1.0, float("inf")])], title="t", x="mm"))
    (node,) = [node for node in plot.iter("text") if "".join(node.itertext()).startswith(name)]
    text = "".join(node.itertext())
    assert text == f"{name} (+1 ∞)"
    assert float(node.get("x")) >= 7 * len(text)


def test_of_many_classes_the_worst_are_plotted():
    names = {str(value): str(value) for value in range(1, 31)}
    evaluation = Evaluation({}, names, ("dice",))
    summary = {label: {"dice": {"mean": None if label == "7" else int(label) / 30}} for label in names}
    drawn = worst_classes(evaluation, summary)
    assert drawn == [str(value) for value in range(1, 26) if value != 7]
    rows = {"case": {label: {"dice": int(label) / 30, "flag": None} for label in names}}
    shown, note, folded = distributions(Evaluation(rows, names, ("dice",)), summary)
    assert {"1", "25"} <= {*texts(shown)}
    assert "24 of 30 classes" in note.text
    assert folded.text.startswith("<details><summary>All others (6)</summary>")
    few = Evaluation({}, {"2": "2", "1": "1"}, ("nsd",))
    assert worst_classes(few, {"2": {}, "1": {}}) == ["2", "1"]
