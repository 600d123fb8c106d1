"""Dilation of a mask by a ball, and counts within a ball, on grids with any spacing.

A voxel belongs to a ball if its centre lies within the radius. Along X the ball is a list of rows, so that a dilation
takes one comparison for each row of the ball, whatever the row's length.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import ArgumentError, CaseError
from itkit.kernels.arrays import as_mask
from itkit.kernels.buffers import empty
from itkit.kernels.dispatch import native

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SLACK = 1e-6
"""Relative tolerance of the radius: headers hold spacings as float32."""
_MOST_VOXELS = 256
"""Greatest radius, voxels: time and memory grow with its square."""
_NONE = 65535
"""Distance of a voxel whose row holds no voxel of the mask."""


def ball_rows(spacing_zyx: Sequence[float], radius_mm: float) -> NDArray[np.int64]:
    """Return the rows of a ball: offsets along Z and Y, and the half width along X, ``(n, 3)``, voxels.

    Raises
    ------
    ArgumentError
        When the radius or a spacing is not a finite number, or negative.
    CaseError
        When the ball reaches over too many voxels, as it does on a grid whose spacing is not in mm.

    Examples
    --------
    >>> ball_rows((2.0, 1.0, 1.0), 1.5).tolist()
    [[0, -1, 1], [0, 0, 1], [0, 1, 1]]
    """
    if not (math.isfinite(radius_mm) and radius_mm >= 0 and all(0 < s < math.inf for s in spacing_zyx)):
        raise ArgumentError(f"a ball needs a radius of at least 0 mm and spacings > 0; got {radius_mm}, {spacing_zyx}")
    dz, dy, dx = spacing_zyx
    limit = (radius_mm * (1 + _SLACK)) ** 2
    reach_z, reach_y, reach_x = (int(radius_mm * (1 + _SLACK) / step) for step in (dz, dy, dx))
    longest = max(reach_z, reach_y, reach_x)
    if longest > _MOST_VOXELS:
        raise CaseError(
            f"a radius of {radius_mm:g} mm is {longest} voxels here, and {_MOST_VOXELS} is the most; "
            "is the spacing in mm?"
        )
    rows = []
    for z in range(-reach_z, reach_z + 1):
        for y in range(-reach_y, reach_y + 1):
            rest = limit - (z * dz) ** 2 - (y * dy) ** 2
            if rest >= 0:
                rows.append((z, y, int(math.sqrt(rest) / dx)))
    return np.array(rows, dtype=np.int64)


def reach_zyx(ball: NDArray[np.int64]) -> tuple[int, int, int]:
    """Return how many voxels a ball reaches along each axis.

    Examples
    --------
    >>> reach_zyx(ball_rows((2.0, 1.0, 0.5), 2.0))
    (1, 2, 4)
    """
    z, y, x = ball.max(axis=0).tolist()
    return (z, y, x)


def ball_dilate(mask_zyx: NDArray[Any], ball: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the voxels that have a voxel of the mask within the ball; nothing lies outside the array.

    Parameters
    ----------
    mask_zyx
        Mask ``(Z, Y, X)``: bool or uint8.
    ball
        Rows of the ball, from :func:`ball_rows`.

    Examples
    --------
    >>> ball_dilate(np.array([[[0, 0, 0, 1, 0, 0]]], bool), ball_rows((1.0, 1.0, 1.0), 2.0)).tolist()
    [[[0, 1, 1, 1, 1, 1]]]
    """
    mask = np.ascontiguousarray(as_mask(mask_zyx))
    z, y, n = mask.shape
    rows = _rows_within(ball, mask.shape, _NONE - 2)
    result = np.zeros(mask.shape, dtype=np.uint8)
    library = native()
    if library is not None:
        distances = empty(mask.shape, np.uint16)
        library.itkit_row_distances(mask.ctypes.data, z * y, n, distances.ctypes.data)
        library.itkit_ball_dilate(distances.ctypes.data, z, y, n, len(rows), rows.ctypes.data, result.ctypes.data)
        return result
    distances = _row_distances(mask)
    for dz, dy, width in rows.tolist():
        to, from_ = _shifted(z, dz), _shifted(z, -dz)
        to_y, from_y = _shifted(y, dy), _shifted(y, -dy)
        result[to, to_y] |= distances[from_, from_y] <= width
    return result


def ball_counts(mask_zyx: NDArray[Any], ball: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return how many voxels of the mask lie within the ball around every voxel.

    Parameters
    ----------
    mask_zyx
        Mask ``(Z, Y, X)``: bool or uint8.
    ball
        Rows of the ball, from :func:`ball_rows`.

    Examples
    --------
    >>> ball_counts(np.array([[[0, 1, 1, 0]]], bool), ball_rows((1.0, 1.0, 1.0), 1.0)).tolist()
    [[[1, 2, 2, 1]]]
    """
    mask = np.ascontiguousarray(as_mask(mask_zyx))
    z, y, n = mask.shape
    rows = _rows_within(ball, mask.shape, n)
    margin = int(rows[:, 2].max())
    sums = np.zeros((z, y, n + 1 + 2 * margin), dtype=np.int32)
    np.cumsum(mask, axis=2, dtype=np.int32, out=sums[..., margin + 1 : margin + 1 + n])
    sums[..., margin + 1 + n :] = sums[..., margin + n, np.newaxis]
    result = np.zeros(mask.shape, dtype=np.int32)
    library = native()
    if library is not None:
        given = (z, y, n, margin, len(rows), rows.ctypes.data)
        library.itkit_ball_counts(sums.ctypes.data, *given, result.ctypes.data)
        return result
    for dz, dy, width in rows.tolist():
        from_ = sums[_shifted(z, -dz), _shifted(y, -dy)]
        part = from_[..., margin + width + 1 : margin + width + 1 + n] - from_[..., margin - width : margin - width + n]
        result[_shifted(z, dz), _shifted(y, dy)] += part
    return result


def _rows_within(ball: NDArray[np.int64], shape: tuple[int, ...], widest: int) -> NDArray[np.int64]:
    """Return the rows of a ball that meet an array wherever the ball lies, none of them wider than needed."""
    rows = ball[(abs(ball[:, 0]) < shape[0]) & (abs(ball[:, 1]) < shape[1])]
    rows[:, 2] = np.minimum(rows[:, 2], widest)
    return rows


def _shifted(length: int, step: int) -> slice:
    """Return the voxels of an axis that have a voxel ``step`` further on."""
    return slice(max(0, -step), length - max(0, step))


def _row_distances(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    n = mask.shape[2]
    place = np.arange(n)
    before = np.maximum.accumulate(np.where(mask, place, -2 * _NONE), axis=2)
    after = np.minimum.accumulate(np.where(mask, place, 2 * _NONE)[..., ::-1], axis=2)[..., ::-1]
    found: NDArray[np.int64] = np.minimum(place - before, after - place)
    return found
