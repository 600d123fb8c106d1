"""Map grids to continuous indices, with the same order of arithmetic as ITK's resampler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from itkit.core.axes import IDENTITY_XYZ, to_xyz, to_zyx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from itkit.core.geometry import Geometry

IndicesZyx = tuple["NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"]
ALIGNED_TOLERANCE = 1e-6


def _index_to_point(grid: Geometry) -> NDArray[np.float64]:
    direction = np.array(grid.direction_xyz, dtype=np.float64).reshape(3, 3)
    return np.asarray(direction * np.array(to_xyz(grid.spacing_zyx)), dtype=np.float64)


def axis_aligned_indices(source: Geometry, target: Geometry) -> IndicesZyx | None:
    """Return, for each axis, the source's continuous index at which each target voxel lies.

    Parameters
    ----------
    source
        Grid that holds the voxels.
    target
        Grid to sample it on.

    Returns
    -------
    tuple of three arrays or None
        Indices along Z, Y, X, one for each target voxel along that axis. ``None`` if corresponding axes are not
        parallel (voxels more than 1e-6 voxels apart at a corner of the target): use :func:`index_affine` then.

    Notes
    -----
    ITK maps the ends of a row along X and interpolates between them, and maps Y and Z point by point with the inverse
    of (direction times spacing). Doing the same here returns identical indices, to the last bit, when the axes run
    along the patient's (in any order and sign). On oblique grids the indices differ by about 1e-13, which can change
    the nearest neighbour of a sample half way between two voxels: see :func:`near_ties`.

    Examples
    --------
    >>> from itkit.core.geometry import Geometry
    >>> source, target = Geometry((1, 1, 4), (1, 1, 1)), Geometry((1, 1, 2), (1, 1, 2), (0.5, 0, 0))
    >>> axis_aligned_indices(source, target)[2]
    array([0.5, 2.5])
    """
    to_point = _index_to_point(target)
    to_index = np.linalg.inv(_index_to_point(source))
    drift = (to_index @ to_point) * np.array(to_xyz(target.size_zyx))
    np.fill_diagonal(drift, 0.0)
    if np.abs(drift).sum(axis=1).max() > ALIGNED_TOLERANCE:
        return None
    indices = []
    for axis, size in enumerate(to_xyz(target.size_zyx)):
        steps = np.array([0.0, size]) if axis == 0 else np.arange(size, dtype=np.float64)
        index = np.zeros(len(steps))
        for row in range(3):
            point = target.origin_xyz[row] + to_point[row, axis] * steps
            index = index + to_index[axis, row] * (point - source.origin_xyz[row])
        if axis == 0:
            index = index[0] + (np.arange(size) / float(size)) * (index[1] - index[0])
        indices.append(index)
    return to_zyx(indices)


def near_ties(indices_zyx: Sequence[NDArray[np.float64]], *, tolerance: float = 1e-9) -> bool:
    """Return whether a sample lies half way between two voxels, so that rounding errors decide its neighbour.

    Examples
    --------
    >>> near_ties([np.array([0.25, 1.25]), np.array([0.0]), np.array([0.5])])
    True
    """
    return any(bool((np.abs(index - np.floor(index) - 0.5) < tolerance).any()) for index in indices_zyx)


def index_affine(
    source: Geometry,
    target: Geometry,
    matrix_xyz: Sequence[float] = IDENTITY_XYZ,
    center_xyz: Sequence[float] = (0, 0, 0),
    shift_xyz: Sequence[float] = (0, 0, 0),
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the matrix and offset that map a target index to the source's continuous index.

    Parameters
    ----------
    source
        Grid that holds the voxels.
    target
        Grid to sample it on.
    matrix_xyz
        Nine numbers, row by row; maps output points (LPS, mm) to input points, as ITK's transforms do.
    center_xyz
        Point that the matrix leaves fixed, mm.
    shift_xyz
        Translation applied after the matrix, mm.

    Returns
    -------
    matrix_zyx, offset_zyx
        ``(3, 3)`` and ``(3,)``; source index = matrix_zyx @ target index + offset_zyx, all ZYX.

    Examples
    --------
    >>> from itkit.core.geometry import Geometry
    >>> grid = Geometry((4, 4, 4), (2, 1, 1))
    >>> index_affine(grid, grid, shift_xyz=(0, 0, 3))[1]
    array([1.5, 0. , 0. ])
    """
    transform = np.array(matrix_xyz, dtype=np.float64).reshape(3, 3)
    center = np.array(center_xyz, dtype=np.float64)
    to_index = np.linalg.inv(_index_to_point(source))
    start = transform @ (np.array(target.origin_xyz) - center) + center + np.array(shift_xyz, dtype=np.float64)
    matrix = to_index @ transform @ _index_to_point(target)
    offset = to_index @ (start - np.array(source.origin_xyz))
    reverse = list(to_zyx((0, 1, 2)))
    return np.ascontiguousarray(matrix[np.ix_(reverse, reverse)]), np.ascontiguousarray(offset[reverse])
