"""Resample the slices of a tilted gantry, which are displaced in their planes, onto a rectangular grid.

The scanner's table moves along a line that is not perpendicular to the slices, so that every slice is displaced from
the previous one. Each slice is interpolated only in its own plane, by its own displacement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.geometry import Geometry


def rectangular_grid(grid: Geometry, shift_yx: NDArray[np.float64]) -> Geometry:
    """Return the grid that has the axes of the slices and contains every displaced slice.

    Parameters
    ----------
    grid
        The grid as it would be if no slice were displaced.
    shift_yx
        Displacement of each slice from the first, ``(Z, 2)``, pixels.

    Examples
    --------
    >>> grid = Geometry((3, 4, 5), (2.0, 1.0, 1.0))
    >>> rectangular_grid(grid, np.array([[0.0, 0.0], [-0.5, 0.0], [-1.0, 0.0]])).size_zyx
    (3, 5, 5)
    """
    before, after = _margins(shift_yx)
    z, y, x = grid.size_zyx
    down, right = (int(low) for low in before)
    below, beside = (int(high) for high in after)
    return grid.crop((0, -down, -right), (z, y + down + below, x + right + beside))


def untilted(array_zyx: NDArray[Any], shift_yx: Sequence[tuple[float, float]]) -> NDArray[Any]:
    """Interpolate displaced slices onto the grid of `rectangular_grid`.

    Parameters
    ----------
    array_zyx
        Slices as they were scanned, ``(Z, Y, X)``.
    shift_yx
        Displacement of each slice from the first, pixels.

    Returns
    -------
    NDArray
        Voxels of the same type; voxels outside the slices get the array's lowest value.
    """
    shifts = np.asarray(shift_yx, float)
    before, after = _margins(shifts)
    z, y, x = array_zyx.shape
    size_y, size_x = y + int(before[0] + after[0]), x + int(before[1] + after[1])
    result = np.full((z, size_y, size_x), array_zyx.min(), array_zyx.dtype)
    is_integer = array_zyx.dtype.kind in "iu"
    for at, (down, right) in enumerate(shifts):
        rows, inside_y = _samples(np.arange(size_y) - before[0] - down, y)
        columns, inside_x = _samples(np.arange(size_x) - before[1] - right, x)
        values = _interpolated(_interpolated(array_zyx[at].astype(np.float64), rows, 0), columns, 1)
        values = np.rint(values) if is_integer else values  # interpolated values stay within the type's range
        inside = np.ix_(inside_y, inside_x)
        result[at][inside] = values[inside].astype(array_zyx.dtype)
    return result


def _margins(shift_yx: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixels to add before and after rows and columns; rounding noise adds none."""
    shifts = np.round(shift_yx, 3)
    return np.ceil(np.maximum(-shifts.min(0), 0)), np.ceil(np.maximum(shifts.max(0), 0))


def _samples(index: NDArray[np.float64], size: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return continuous indices clamped to the pixel centres, and which of them lie within the area of a pixel."""
    return np.clip(index, 0, size - 1), (index >= -0.5) & (index <= size - 0.5)


def _interpolated(array: NDArray[np.float64], index: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Interpolate linearly along an axis."""
    low = np.floor(index).astype(int)
    high = np.minimum(low + 1, array.shape[axis] - 1)
    part = (index - low).reshape((-1, 1) if axis == 0 else (1, -1))
    first = array.take(low, axis)
    values: NDArray[np.float64] = first + (array.take(high, axis) - first) * part
    return values
