"""Curves of a training as a picture: losses, learning rate, Dice. A pure function of what was logged."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from itkit.core.extras import require
from itkit.core.thumbnail import class_colour
from itkit.training.history import History, dice_of

_MOST_POINTS = 2000
_MOST_NAMES = 12
_INK, _LINE, _ACCENT, _SOFT = "#1b2330", "#dbe1ea", "#1d62a8", "#9dbfe2"


def thinned(points: Sequence[tuple[float, float]], most: int = _MOST_POINTS) -> list[tuple[float, float]]:
    """Return at most so many points: means of neighbours.

    Examples
    --------
    >>> thinned([(1, 2.0), (2, 4.0), (3, 6.0), (4, 8.0)], most=2)
    [(1.5, 3.0), (3.5, 7.0)]
    """
    group = -(-len(points) // most)
    if group <= 1:
        return [(float(x), y) for x, y in points]
    parts = [points[first : first + group] for first in range(0, len(points), group)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def losses(history: History) -> list[tuple[float, float]]:
    """Return the loss of each step; of very many the means of neighbours."""
    return thinned([(one.step, one.train_loss) for one in history.steps])


def smooth_losses(history: History) -> list[tuple[float, float]]:
    """Return the mean loss of each epoch, in its middle."""
    rows = list(history.epochs())
    begins = [0, *(row.step for row in rows)]
    return [((begin + 1 + row.step) / 2, row.train_loss) for begin, row in zip(begins, rows, strict=False)]


def draw_curves(history: History, names: Sequence[str]) -> bytes:
    """Draw losses and learning rate, and beside them the Dice of each class and their mean.

    Parameters
    ----------
    history
        What was logged.
    names
        Names of the classes from 1 on.

    Returns
    -------
    bytes
        A PNG.
    """
    figures = require("matplotlib.figure", extra="train", why="curves.png")
    figure: Any = figures.Figure(figsize=(11, 4), dpi=110, layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.grid(color=_LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=_INK, labelsize=9)
        axes.set_xlabel("step")
    left.set_title("training loss", loc="left", fontsize=11, color=_INK)
    left.plot(*_columns(losses(history)), color=_SOFT, linewidth=0.9, label="step")
    left.plot(*_columns(smooth_losses(history)), color=_ACCENT, linewidth=1.8, label="epoch")
    rates = left.twinx()
    rates.spines[["top"]].set_visible(False)
    rates.tick_params(colors="#8a6d1f", labelsize=8)
    drawn = thinned([(one.step, one.learning_rate) for one in history.steps])
    rates.plot(*_columns(drawn), color="#c9a227", linewidth=1.0, linestyle="--", label="learning rate")
    rates.set_ylim(bottom=0)
    left.legend(handles=[*left.get_lines(), *rates.get_lines()], loc="upper right", fontsize=8, frameon=False, ncols=1)
    right.set_title("Dice of whole validation volumes", loc="left", fontsize=11, color=_INK)
    for number, name in enumerate(names, 1):
        colour = tuple(part / 255 * 0.85 for part in class_colour(number))
        label = name if number <= _MOST_NAMES else None
        right.plot(
            *_columns(dice_of(history, name)), color=colour, linewidth=1.1, marker=".", markersize=4, label=label
        )
    right.plot(*_columns(dice_of(history)), color=_INK, linewidth=2.2, marker="o", markersize=4, label="mean")
    right.set_ylim(0, 1)
    right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
