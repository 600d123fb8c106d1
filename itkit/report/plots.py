"""Plots as inline SVG: distributions, boxes, points, tables of colours and bars; colours follow the page's theme.

Every plot names its axes with units, has a text for screen readers, and is a pure function of its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from itkit.report.pages import Cell, Html, Rgb, element, markup
from itkit.report.pages import number as number_text
from itkit.report.scales import GREATEST, Scale, log_scale_of, scale_of, tick_text, tick_texts

WIDTH = 440
_LEFT, _RIGHT, _BOTTOM, _TOP = 62, 26, 40, 8
_ROOM = 50  # for the text of a tick: its ends stand in the margins
_LETTER = 7.0  # width of a letter of 12 px
_MOST_POINTS = 5000
_LONGEST_NAME = 24


@dataclass(frozen=True)
class Dot:
    """A point of a scatter plot; its name is shown when the pointer rests on it."""

    x: float
    y: float
    name: str = ""
    is_marked: bool = False
    colour: Rgb | None = None


@dataclass(frozen=True)
class Curve:
    """Points that a line joins; its name is shown when the pointer rests on it."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: Rgb | None = None
    width: float = 1.5
    opacity: float = 1.0


@dataclass(frozen=True)
class Line:
    """A horizontal (``y``) or vertical (``x``) line with a text; exactly one of the two is given."""

    text: str
    x: float | None = None
    y: float | None = None
    is_dashed: bool = False


@dataclass(frozen=True)
class Group:
    """Values of one box: its name, its colour, and the names of the values."""

    name: str
    values: Sequence[float]
    colour: Rgb | None = None
    names: Sequence[str] = field(default=())


def histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    title: str,
    x: str,
    y: str = "voxels",
    marks: Sequence[Line] = (),
) -> Html:
    """Return a histogram.

    Parameters
    ----------
    edges, counts
        Borders of the bins, ascending, one more than there are counts.
    title
        Text above the plot.
    x, y
        Names of the axes, with units.
    marks
        Vertical lines, e.g. a median.
    """
    across = _across(edges, with_zero=False, exact=True)
    up = scale_of(counts, 220 - _BOTTOM, _TOP, with_zero=True)
    bars = []
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count > 0:
            left, right, top = across.place(low), across.place(high), up.place(count)
            bars.append(_rect(left, top, max(0.6, right - left - 0.4), up.start - top, "fill"))
    said = f"histogram of {x}: {tick_text(sum(counts))} {y} from {tick_text(edges[0])} to {tick_text(edges[-1])}"
    return _plot(title, said, WIDTH, 220, [*_axes(across, up, x, y), *bars, *_lines(marks, across, up)])


def box_plot(
    groups: Sequence[Group], *, title: str, x: str, marks: Sequence[Line] = (), is_logarithmic: bool = False
) -> Html:
    """Return a box for each group: quartiles, median, whiskers to 1.5 times the box, and every value as a point.

    Of thousands of values, only those beyond the whiskers are drawn as points, so that a browser can show the page.
    Values that have no place on the axis (not finite, or on a logarithmic axis not greater than 0) are left out and
    counted beside the group's name.
    """
    if is_logarithmic:
        groups = [
            replace(group, values=[value if value > 0 else math.nan for value in group.values]) for group in groups
        ]
    height = _TOP + 34 * len(groups) + _BOTTOM
    shown = [_with_missing(group) for group in groups]
    left = _margin(shown)
    finite = [value for group in groups for value in group.values if math.isfinite(value)]
    finite += [line.x for line in marks if line.x is not None]
    across = (log_scale_of if is_logarithmic else scale_of)(finite, left, WIDTH - _RIGHT)
    down = Scale(0, len(groups), _TOP, height - _BOTTOM)
    parts = _axes(across, None, x, "", bottom=height - _BOTTOM)
    for number, (group, name) in enumerate(zip(groups, shown, strict=True)):
        middle = down.place(number + 0.5)
        parts.append(_text(left - 8, middle + 4, name, "end"))
        parts += _box(group, across, middle, far_only=len(finite) > _MOST_POINTS)
    said = f"box plot of {x} for {len(groups)} groups"
    return _plot(title, said, WIDTH, height, [*parts, *_lines(marks, across, down)])


def _with_missing(group: Group) -> str:
    lost = sum(not math.isfinite(value) for value in group.values)
    return _short(group.name) + (f" (+{lost} \u221e)" if lost else "")


def _box(group: Group, across: Scale, middle: float, *, far_only: bool) -> list[str]:
    values = sorted(value for value in group.values if math.isfinite(value))
    if not values:
        return []
    q1, q2, q3 = (quantile(values, share) for share in (0.25, 0.5, 0.75))
    reach = 1.5 * (q3 - q1)
    low, high = min(v for v in values if v >= q1 - reach), max(v for v in values if v <= q3 + reach)
    left, right = across.place(q1), across.place(q3)
    colour = _fill(group.colour)
    parts = [
        _stroke(across.place(low), middle, left, middle, "whisker"),
        _stroke(right, middle, across.place(high), middle, "whisker"),
        f'<rect class="box{"" if colour else " fill"}"{colour} x="{left:.1f}" y="{middle - 9:.1f}" '
        f'width="{max(1.0, right - left):.1f}" height="18"/>',
        _stroke(across.place(q2), middle - 9, across.place(q2), middle + 9, "whisker", width=2),
    ]
    names = group.names or [""] * len(group.values)
    for number, (value, name) in enumerate(zip(group.values, names, strict=True)):
        is_far = not low <= value <= high
        if math.isfinite(value) and (is_far or not far_only):
            shift = (number * 0.61803398875) % 1 * 12 - 6  # spread evenly, the same in every run
            parts.append(_dot(Dot(across.place(value), middle + shift, f"{name}: {value:.4g}", is_far), 2.2))
    return parts


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values, by linear interpolation as numpy's default.

    Examples
    --------
    >>> quantile([1.0, 2.0, 4.0], 0.75)
    3.0
    """
    at = share * (len(ascending) - 1)
    first = int(at)
    last = min(first + 1, len(ascending) - 1)
    rise = ascending[last] - ascending[first]
    if math.isinf(rise):  # from one end of the floats to the other
        return ascending[first] * (1 - (at - first)) + ascending[last] * (at - first)
    return ascending[first] + (at - first) * rise


def scatter(
    dots: Sequence[Dot], *, title: str, x: str, y: str, lines: Sequence[Line] = (), with_zero: bool = False
) -> Html:
    """Return points and lines; points that are not finite are left out."""
    finite = [dot for dot in dots if math.isfinite(dot.x) and math.isfinite(dot.y)]
    heights = [dot.y for dot in finite] + [line.y for line in lines if line.y is not None]
    up = scale_of(heights, 260 - _BOTTOM, _TOP, with_zero=with_zero)
    across = _across([dot.x for dot in finite], with_zero=with_zero)
    places = [
        _dot(Dot(across.place(dot.x), up.place(dot.y), dot.name, dot.is_marked, dot.colour), 3.2) for dot in finite
    ]
    said = f"{len(finite)} points of {y} against {x}"
    return _plot(title, said, WIDTH, 260, [*_axes(across, up, x, y), *_lines(lines, across, up), *places])


def curves(
    drawn: Sequence[Curve], *, title: str, x: str, y: str, lines: Sequence[Line] = (), most: float | None = None
) -> Html:
    """Return curves; points that are not finite are left out.

    Parameters
    ----------
    drawn
        The curves, the last one on top.
    title
        Text above the plot.
    x, y
        Names of the axes, with units.
    lines
        Lines with texts.
    most
        End of the vertical axis, which then begins at 0; by default the values decide.
    """
    points = [[point for point in curve.points if all(map(math.isfinite, point))] for curve in drawn]
    heights = [height for found in points for _, height in found]
    up = scale_of(heights, 260 - _BOTTOM, _TOP) if most is None else Scale(0.0, most, 260 - _BOTTOM, _TOP)
    across = _across([place for found in points for place, _ in found], with_zero=True)
    parts = []
    for curve, found in zip(drawn, points, strict=True):
        places = " ".join(f"{across.place(a):.1f},{up.place(b):.1f}" for a, b in found)
        stroke = "" if curve.colour is None else f" stroke:rgb({curve.colour[0]},{curve.colour[1]},{curve.colour[2]});"
        style = f"{stroke} stroke-width:{curve.width:g}; stroke-opacity:{curve.opacity:g}"
        said = f"<title>{markup(curve.name)}</title>" if curve.name else ""
        parts.append(f'<polyline class="line" style="{style.strip()}" points="{places}">{said}</polyline>')
    said = f"{y} against {x}: {', '.join(curve.name for curve in drawn if curve.name)}"
    return _plot(title, said, WIDTH, 260, [*_axes(across, up, x, y), *_lines(lines, across, up), *parts])


def bland_altman(
    first: Sequence[float], second: Sequence[float], *, title: str, unit: str, names: Sequence[str] = ()
) -> Html:
    """Return differences (second minus first) against means, with the bias and the limits of agreement.

    The limits are the mean difference plus and minus 1.96 standard deviations (n - 1), after Bland and Altman,
    Lancet 1986, 327:307-310.
    """
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if math.isfinite(a) and math.isfinite(b)]
    differences = [b - a for a, b in pairs]
    lines: list[Line] = []
    if differences:
        bias = sum(differences) / len(differences)
        lines.append(Line(f"bias {bias:.3g}", y=bias))
        if len(differences) > 1:
            deviation = math.hypot(*(d - bias for d in differences)) / math.sqrt(len(differences) - 1)
            for sign, reach in (("+", 1.96 * deviation), ("-", -1.96 * deviation)):
                lines.append(Line(f"{sign}1.96 sd {bias + reach:.3g}", y=bias + reach, is_dashed=True))
        lines = [line for line in lines if line.y is not None and math.isfinite(line.y)]
    said = names or [""] * len(first)
    dots = [Dot((a + b) / 2, b - a, name) for a, b, name in zip(first, second, said, strict=True)]
    return scatter(dots, title=title, x=f"mean of both, {unit}", y=f"difference, {unit}", lines=lines)


def heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], *, title: str, note: str,
    digits: int = 2,
) -> Html:  # fmt: skip
    """Return a table of colours, the deeper the greater; each field shows its value.

    Parameters
    ----------
    rows, columns
        Names.
    values
        A row of values of at least 0 for each row; ``None`` leaves the field empty.
    title
        Text above the plot.
    note
        What rows, columns and values are, e.g. ``rows: reference, columns: prediction, share of voxels``.
    digits
        Decimal places of the values.
    """
    field_width = max(30.0, (digits + 3) * _LETTER)
    left = _margin(map(_short, rows))
    top = 12 + max((len(_short(name)) for name in columns), default=0) * _LETTER * 0.75
    ends = [field_width * (n + 0.5) + len(_short(name)) * _LETTER * 0.75 for n, name in enumerate(columns)]
    width, height = left + max([field_width * len(columns), *ends]) + 10, top + 24 * len(rows) + 6
    greatest = max((value for row in values for value in row if value is not None), default=0.0) or 1.0
    parts = []
    for number, name in enumerate(columns):
        x = left + field_width * (number + 0.5)
        parts.append(f'<text transform="translate({x:.1f} {top - 6:.1f}) rotate(-45)">{markup(_short(name))}</text>')
    for row, (name, line) in enumerate(zip(rows, values, strict=True)):
        y = top + 24 * row
        parts.append(_text(left - 8, y + 16, _short(name), "end"))
        for column, value in enumerate(line):
            if value is not None:
                parts += _field(value, greatest, (left + field_width * column, y), field_width, digits)
    return _plot(title, f"{title}; {note}", max(width, 200), height, parts, note=note, scrolls=width > WIDTH)


def _field(value: float, greatest: float, place: tuple[float, float], width: float, digits: int) -> list[str]:
    x, y = place
    share = value / greatest
    text = number_text(value, digits)
    return [
        f'<rect x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{width - 1:.1f}" height="23" '
        f'style="fill:rgb(var(--heat) / {0.08 + 0.6 * share:.3f})"/>' if value else "",
        _text(x + width / 2, y + 16, text, "middle", "" if value else "muted"),
    ]  # fmt: skip


def bars(
    names: Sequence[str], values: Sequence[float], *, title: str, x: str, colours: Sequence[Rgb | None] = (),
    digits: int = 1,
) -> Html:  # fmt: skip
    """Return a horizontal bar for each value, with its number beside it."""
    height = _TOP + 24 * len(names) + _BOTTOM
    left = _margin(map(_short, names))
    texts = [number_text(value, digits) for value in values]
    room = max(map(len, texts), default=0) * _LETTER + 10
    across = scale_of(values, left, WIDTH - _RIGHT - room, with_zero=True)
    parts = _axes(across, None, x, "", bottom=height - _BOTTOM)
    zero = across.place(0)
    for number, (name, value, text) in enumerate(zip(names, values, texts, strict=True)):
        y = _TOP + 24 * number
        colour = _fill(colours[number] if colours else None)
        end = across.place(value) if math.isfinite(value) else zero
        parts.append(_text(left - 8, y + 16, _short(name), "end"))
        parts.append(
            f'<rect class="{"" if colour else "fill"}"{colour} x="{min(zero, end):.1f}" y="{y + 4:.1f}" '
            f'width="{max(0.6, abs(end - zero)):.1f}" height="16"/>'
        )
        parts.append(_text(max(zero, end) + 5, y + 16, text))
    return _plot(title, f"bars of {x} for {len(names)} names", WIDTH, height, parts)


def _across(values: Sequence[float], *, with_zero: bool, exact: bool = False) -> Scale:
    if exact and len(values) > 1 and 0 < values[-1] - values[0] <= GREATEST:
        return Scale(values[0], values[-1], _LEFT, WIDTH - _RIGHT)
    return scale_of(values, _LEFT, WIDTH - _RIGHT, with_zero=with_zero)


def _axes(across: Scale, up: Scale | None, x: str, y: str, *, bottom: float = 0.0) -> list[str]:
    """Return grid lines, ticks and names of the axes."""
    floor = bottom if up is None else up.start
    parts = []
    for value, text in tick_texts(across):
        place = across.place(value)
        parts.append(_stroke(place, _TOP, place, floor, "grid"))
        parts.append(_text(place, floor + 16, text, "middle", "muted", room=_ROOM))
    if up is not None:
        for value, text in tick_texts(up):
            place = up.place(value)
            parts.append(_stroke(across.start, place, across.end, place, "grid"))
            parts.append(_text(across.start - 6, place + 4, text, "end", "muted", room=_LEFT - 24))
        middle = (up.start + up.end) / 2
        parts.append(
            f'<text class="muted" text-anchor="middle" transform="translate(13 {middle:.1f}) rotate(-90)">'
            f"{markup(y)}</text>"
        )
    parts.append(_stroke(across.start, floor, across.end, floor, "axis"))
    parts.append(_text((across.start + across.end) / 2, floor + 33, x, "middle", "muted"))
    return parts


def _lines(lines: Sequence[Line], across: Scale, up: Scale) -> list[str]:
    parts = []
    low, high = min(up.start, up.end), max(up.start, up.end)
    for line in lines:
        kind = "mark dash" if line.is_dashed else "mark"
        if line.x is not None:
            place = across.place(line.x)
            parts.append(_stroke(place, low, place, high, kind))
            is_right = place > (across.start + across.end) / 2
            parts.append(
                _text(place + (-4 if is_right else 4), low + 12, line.text, "end" if is_right else "start", "halo")
            )
        elif line.y is not None:
            place = up.place(line.y)
            parts.append(_stroke(across.start, place, across.end, place, kind))
            parts.append(_text(across.end - 2, place - 4, line.text, "end", "halo"))
    return parts


def _plot(
    title: str, said: str, width: float, height: float, parts: Sequence[str], *, note: str = "", scrolls: bool = False
) -> Html:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    style = f' style="width:{width:.0f}px"' if scrolls else f' style="max-width:{1.2 * width:.0f}px"'
    svg = f'<svg {size}{style} role="img" aria-label="{markup(said)}">{"".join(parts)}</svg>'
    inner: Cell = Html(f'<div class="scroll" role="region" tabindex="0" aria-label="{markup(title)}">{svg}</div>')
    body = element("figcaption", element("b", title)), inner if scrolls else Html(svg)
    return element("figure", *body, *([element("figcaption", note)] if note else []), kind="plot")


def _margin(shown: Iterable[str]) -> float:
    return 18 + max(map(len, shown), default=0) * _LETTER


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}\u2026"


def _fill(colour: Rgb | None) -> str:
    return "" if colour is None else f' fill="rgb({colour[0]},{colour[1]},{colour[2]})"'


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _stroke(x1: float, y1: float, x2: float, y2: float, kind: str, width: float = 0) -> str:
    wide = f' style="stroke-width:{width:g}"' if width else ""
    return f'<line class="{kind}"{wide} x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "", *, room: float = math.inf) -> str:
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    where += f' textLength="{room:.0f}" lengthAdjust="spacingAndGlyphs"' if len(text) * _LETTER > room else ""
    looks = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{where}{looks}>{markup(text)}</text>'


def _dot(dot: Dot, radius: float) -> str:
    colour = "" if dot.is_marked else _fill(dot.colour)
    kind = "far" if dot.is_marked else "" if colour else "dot"
    said = f"<title>{markup(dot.name)}</title>" if dot.name else ""
    return f'<circle class="{kind}"{colour} cx="{dot.x:.1f}" cy="{dot.y:.1f}" r="{radius:g}">{said}</circle>'
