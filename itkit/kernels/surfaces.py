"""The surface of a mask as points of a lattice, and exact distances between two sets of points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.kernels.dispatch import native, numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_SLICES = 65534
_NEAR = 2048
"""About how many columns around a point are tried one by one."""


@dataclass(frozen=True, eq=False)
class Points:
    """Points of a lattice.

    Attributes
    ----------
    shape
        Number of places of the lattice along Z, Y, X.
    places
        Index of each point's place in the flattened lattice, ascending.
    codes
        For surface elements, which of the eight voxels around the point are in the mask: bit ``4 z + 2 y + x``.
    """

    shape: tuple[int, int, int]
    places: NDArray[np.int64]
    codes: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.places)


def with_rim(mask_zyx: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a mask as 0 and 1, with one voxel of 0 around it."""
    padded = np.zeros([size + 2 for size in mask_zyx.shape], np.uint8)
    padded[1:-1, 1:-1, 1:-1] = mask_zyx
    return padded


def border_points(rimmed: NDArray[np.uint8]) -> Points:
    """Return the voxels of a mask that have a face neighbour (of six) outside it; beyond the array all is outside.

    Parameters
    ----------
    rimmed
        The mask, from `with_rim`.

    Examples
    --------
    >>> cube = np.ones((3, 3, 3), bool)
    >>> points = border_points(with_rim(cube))
    >>> points.shape, len(points), 13 in points.places
    ((3, 3, 3), 26, False)
    """
    z, y, x = (size - 2 for size in rimmed.shape)
    if native() is not None:
        return Points((z, y, x), _found_native(rimmed, elements=False)[0])
    inner = slice(1, -1)
    whole = rimmed[inner, inner, inner].astype(bool)
    inside = whole.copy()
    for axis in range(3):
        for step in (slice(0, -2), slice(2, None)):
            inside &= rimmed[tuple(step if axis == other else inner for other in range(3))] != 0
    return Points((z, y, x), np.flatnonzero(whole & ~inside))


def surface_elements(rimmed: NDArray[np.uint8]) -> Points:
    """Return the corners between voxels where the eight voxels around are not all alike, with their codes.

    Parameters
    ----------
    rimmed
        The mask, from `with_rim`.

    Examples
    --------
    >>> points = surface_elements(with_rim(np.ones((1, 1, 1), bool)))
    >>> points.shape, points.codes.tolist()
    ((2, 2, 2), [128, 64, 32, 16, 8, 4, 2, 1])
    """
    z, y, x = (size - 1 for size in rimmed.shape)
    if native() is not None:
        return Points((z, y, x), *_found_native(rimmed, elements=True))
    codes = np.zeros((z, y, x), np.uint8)
    for bit in range(8):
        dz, dy, dx = bit // 4, bit // 2 % 2, bit % 2
        codes |= rimmed[dz : dz + z, dy : dy + y, dx : dx + x] << bit
    places = np.flatnonzero((codes != 0) & (codes != 255))
    return Points((z, y, x), places, codes.ravel()[places])


def _found_native(rimmed: NDArray[np.uint8], *, elements: bool) -> tuple[NDArray[np.int64], NDArray[np.uint8] | None]:
    library = native()
    assert library is not None
    buffer, shape = np.empty(rimmed.shape[2], np.uint8), numbers(rimmed.shape)
    count = library.itkit_surface(rimmed.ctypes.data, shape, int(elements), buffer.ctypes.data, None, None)
    places, codes = np.empty(count, np.int64), np.empty(count if elements else 0, np.uint8)
    pointers = (buffer.ctypes.data, places.ctypes.data, codes.ctypes.data)
    library.itkit_surface(rimmed.ctypes.data, shape, int(elements), *pointers)
    return places, codes if elements else None


def distances_mm(points: Points, targets: Points, spacing_zyx: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the Euclidean distance from each point to the nearest target, mm; ``inf`` if there is no target.

    Parameters
    ----------
    points, targets
        Points of one lattice.
    spacing_zyx
        Distance between neighbouring places of the lattice, mm.

    Notes
    -----
    The distances are exact: the least of ``sqrt(z * z + (y * y + x * x))`` in double. Columns of the lattice are tried
    from the nearest on; the compiled form passes to lower envelopes of parabolas [1]_ where targets are far.

    References
    ----------
    .. [1] P. F. Felzenszwalb, D. P. Huttenlocher, "Distance transforms of sampled functions", Theory of Computing 8
       (2012), 415-428
    """
    if len(points) == 0 or len(targets) == 0:
        return np.full(len(points), np.inf)
    library = native()
    if library is not None and points.shape[0] <= _MOST_SLICES:
        offsets, squares = _columns_around(points.shape[1:], spacing_zyx[1:], _NEAR)
        steps, result = np.array(spacing_zyx, np.float64), np.empty(len(points))
        is_done = library.itkit_distances(
            points.places.ctypes.data, len(points), targets.places.ctypes.data, len(targets),
            numbers(points.shape), steps.ctypes.data,
            offsets.ctypes.data, squares.ctypes.data, len(squares), result.ctypes.data,
        )  # fmt: skip
        if not is_done:
            raise MemoryError
    else:
        result = _squares_numpy(points, targets, spacing_zyx)
    return np.sqrt(result, out=result)


@lru_cache(maxsize=16)
def _columns_around(
    shape_yx: tuple[int, int], spacing_yx: tuple[float, float], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the columns (y, x) in a circle of about ``count`` columns, nearest first, and their squared distances.

    Columns that no point of a lattice of this shape can reach are left out.
    """
    step_y, step_x = map(float, spacing_yx)  # whole numbers would make squares that are not doubles
    limit = count * step_y * step_x / math.pi
    reach_y, reach_x = (
        min(size - 1, int(math.sqrt(limit) / step)) for size, step in zip(shape_yx, spacing_yx, strict=True)
    )
    y, x = np.meshgrid(np.arange(-reach_y, reach_y + 1), np.arange(-reach_x, reach_x + 1), indexing="ij")
    squares = (y * step_y) ** 2 + (x * step_x) ** 2
    places = np.flatnonzero(squares <= limit)
    order = places[np.argsort(squares.ravel()[places], kind="stable")]
    offsets = np.stack([y.ravel()[order], x.ravel()[order]], axis=1).astype(np.int64)
    return offsets, squares.ravel()[order]


def _squares_numpy(points: Points, targets: Points, spacing_zyx: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return squared distances: columns are tried nearest first, for all points that a nearer target may exist for."""
    (_, ny, nx), (step_z, step_y, step_x) = points.shape, spacing_zyx
    heights = _column_squares(targets, step_z)
    z, y, x = np.unravel_index(points.places, points.shape)
    best = np.full(len(points), np.inf)
    open_points = np.arange(len(points))
    for count in (_NEAR, None):
        if count is None:  # every column of the lattice
            dy, dx = (a.ravel() for a in np.meshgrid(np.arange(1 - ny, ny), np.arange(1 - nx, nx), indexing="ij"))
            squares = (dy * step_y) ** 2 + (dx * step_x) ** 2
            order = np.argsort(squares, kind="stable")
            offsets, squares = np.stack([dy, dx], axis=1)[order], squares[order]
        else:
            offsets, squares = _columns_around((ny, nx), (step_y, step_x), count)
        for (dy, dx), square in zip(offsets.tolist(), squares.tolist(), strict=True):
            open_points = open_points[best[open_points] > square]
            if len(open_points) == 0:
                return best
            to_y, to_x = y[open_points] + dy, x[open_points] + dx
            there = (to_y >= 0) & (to_y < ny) & (to_x >= 0) & (to_x < nx)
            chosen = open_points[there]
            found = heights[z[chosen], to_y[there], to_x[there]] + square
            best[chosen] = np.minimum(best[chosen], found)
    return best


def _column_squares(targets: Points, step_z: float) -> NDArray[np.float64]:
    """Return each place's squared distance along Z to the nearest target in its column; ``inf`` without one."""
    steps = np.full(targets.shape, np.inf)
    steps.ravel()[targets.places] = 0
    for z in range(1, len(steps)):
        np.minimum(steps[z], steps[z - 1] + 1, out=steps[z])
    for z in range(len(steps) - 2, -1, -1):
        np.minimum(steps[z], steps[z + 1] + 1, out=steps[z])
    steps *= step_z
    steps *= steps
    return steps
