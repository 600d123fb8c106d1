"""Fill and combine polygons on a pixel grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def fill_even_odd(polygons: Iterable[NDArray[np.float64]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill polygons on a pixel grid by the even-odd rule, row by row.

    Parameters
    ----------
    polygons
        Closed polygons ``(N, 2)``: continuous row and column indices; pixel centres are at integers.
    size
        Rows and columns.

    Returns
    -------
    NDArray
        Pixels whose centre is inside an odd number of polygons.

    Examples
    --------
    >>> square = np.array([[0.5, 0.5], [0.5, 3.5], [2.5, 3.5], [2.5, 0.5]])
    >>> fill_even_odd([square], (4, 5)).astype(int).tolist()
    [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    polygons = list(polygons)
    inside = np.zeros(size, bool)
    if not polygons:
        return inside
    corners = np.array([(*polygon.min(0), *polygon.max(0)) for polygon in polygons])
    top, left = (int(max(0, np.ceil(corners[:, axis].min()))) for axis in (0, 1))
    bottom, right = (int(min(size[axis], np.floor(corners[:, axis + 2].max()) + 1)) for axis in (0, 1))
    if bottom <= top or right <= left:
        return inside
    rows, width = bottom - top, right - left + 1
    toggles = np.zeros(rows * width, np.int64)
    for polygon in polygons:
        lower, upper = _upward_edges(polygon - (top, left))
        first = np.clip(np.ceil(lower[:, 0]), 0, rows).astype(int)
        last = np.clip(np.ceil(upper[:, 0]), 0, rows).astype(int)  # rows first..last-1: without the upper end
        edge, row = _ranges(first, last)
        part = (row - lower[edge, 0]) / (upper[edge, 0] - lower[edge, 0])
        crossing = np.round(lower[edge, 1] + part * (upper[edge, 1] - lower[edge, 1]), 6)
        column = np.clip(np.ceil(crossing), 0, width - 1).astype(int)
        toggles += np.bincount(row * width + column, minlength=len(toggles))
    inside[top:bottom, left:right] = np.cumsum(toggles.reshape(rows, width), axis=1)[:, :-1] % 2 == 1
    return inside


def points_inside(polygons: Iterable[NDArray[np.float64]], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points ``(M, 2)`` are inside an odd number of polygons ``(N, 2)``."""
    order = np.argsort(points[:, 0], kind="stable")
    v, u = points[order].T
    crossings = np.zeros(len(points), np.int64)
    for polygon in polygons:
        lower, upper = _upward_edges(polygon)
        edge, point = _ranges(np.searchsorted(v, lower[:, 0]), np.searchsorted(v, upper[:, 0]))
        part = (v[point] - lower[edge, 0]) / (upper[edge, 0] - lower[edge, 0])
        at = lower[edge, 1] + part * (upper[edge, 1] - lower[edge, 1])
        crossings += np.bincount(point[at <= u[point]], minlength=len(points))
    inside = np.zeros(len(points), bool)
    inside[order] = crossings % 2 == 1
    return inside


def joined(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Join shapes: equal shapes count once, overlapping shapes are united, a shape inside another is a hole.

    Parameters
    ----------
    masks
        For each shape, which pixels or points are inside; all arrays have the same size.

    Returns
    -------
    NDArray
        The joined shape: a shape inside another is cut out of it, one inside such a hole is filled again, and so on.

    Examples
    --------
    >>> line = np.arange(8)
    >>> outer, inner, beside = (line < 6), (line > 1) & (line < 4), line > 4
    >>> joined([outer, inner, outer, beside]).astype(int).tolist()
    [1, 1, 0, 0, 1, 1, 1, 1]
    """
    shapes: list[NDArray[np.bool_]] = []
    for mask in sorted(masks, key=np.count_nonzero, reverse=True):
        if mask.any() and not any(np.array_equal(mask, other) for other in shapes):
            shapes.append(mask)
    depths: list[int] = []
    for at, mask in enumerate(shapes):
        around = [depths[other] for other in range(at) if not (mask & ~shapes[other]).any()]
        depths.append(max(around, default=-1) + 1)
    result = np.zeros_like(masks[0])
    for depth in range(max(depths, default=-1) + 1):
        for mask, own in zip(shapes, depths, strict=True):
            if own == depth:
                result[mask] = depth % 2 == 0
    return result


def _upward_edges(polygon: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and the upper end of every edge, as ordered by the first coordinate."""
    start, stop = polygon, np.roll(polygon, -1, axis=0)
    is_up = (start[:, 0] <= stop[:, 0])[:, None]
    return np.where(is_up, start, stop), np.where(is_up, stop, start)


def _ranges(first: NDArray[Any], last: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return all integers of the ranges ``first`` to ``last - 1``, and for each the index of its range."""
    counts = np.maximum(last - first, 0)
    place = np.repeat(np.arange(len(counts)), counts)
    return place, first[place] + np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
