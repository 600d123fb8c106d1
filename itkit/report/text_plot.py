"""Plots as plain text, for terminals: curves in dots of Braille letters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from itkit.report.scales import GREATEST, Scale, scale_of, tick_text

Points = Sequence[tuple[float, float]]
_MARGIN = 9
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of the eight dots of a Braille letter (Unicode from U+2800 on), by row and column."""


def text_plot(
    curves: Sequence[Points], *, title: str, x: str, width: int = 72, height: int = 10, most: float | None = None
) -> str:
    """Draw curves over one another.

    Parameters
    ----------
    curves
        Points of each curve; those that are not finite are left out.
    title
        Line above the plot.
    x
        Name of the horizontal axis.
    width, height
        Letters of a line, and lines, of the plot with its axis.
    most
        End of the vertical axis, which then begins at 0; by default the values decide.

    Examples
    --------
    >>> print(text_plot([[(0, 0), (10, 1)]], title="up", x="step", width=19, height=3, most=1.0))
    up
          1 ┤      ⢀⡠⠔⠊
            │   ⢀⠤⠒⠁
          0 ┤⡠⠔⠊⠁
             0 step  10
    """
    points = [[point for point in curve if all(map(math.isfinite, point))] for curve in curves]
    flat = [point for curve in points for point in curve]
    columns = max(4, width - _MARGIN)
    low_x = max(min((a for a, _ in flat), default=0.0), -GREATEST)
    high_x = min(max((a for a, _ in flat), default=1.0), GREATEST)
    right, bottom = 2 * columns - 1, 4 * height - 1
    across = Scale(low_x, high_x if high_x > low_x else low_x + max(1.0, abs(low_x)), 0, right)
    up = scale_of([b for _, b in flat], bottom, 0) if most is None else Scale(0.0, most, bottom, 0)
    letters = [[0] * columns for _ in range(height)]
    for curve in points:
        places = [(min(max(across.place(a), 0), right), min(max(up.place(b), 0), bottom)) for a, b in curve]
        for place in _joined(places):
            column, row = round(place[0]), round(place[1])
            letters[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    lines = [title]
    for number, bits in enumerate(letters):
        text = "".join(chr(0x2800 + dots) if dots else " " for dots in bits).rstrip()
        tick = up.high if number == 0 else up.low if number == height - 1 else None
        lines.append(f"{'' if tick is None else tick_text(tick):>{_MARGIN - 2}} {'│' if tick is None else '┤'}{text}")
    ends = f"{tick_text(low_x)} ", f" {tick_text(high_x)}"
    lines.append(" " * _MARGIN + ends[0] + f"{x:^{max(1, columns - sum(map(len, ends)))}}" + ends[1])
    return "\n".join(lines)


def _joined(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return dots along the lines between places."""
    found = list(places[:1])
    for (x1, y1), (x2, y2) in pairwise(places):
        count = max(1, round(max(abs(x2 - x1), abs(y2 - y1))))
        found += [(x1 + (x2 - x1) * n / count, y1 + (y2 - y1) * n / count) for n in range(1, count + 1)]
    return found
