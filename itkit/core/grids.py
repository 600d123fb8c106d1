"""Grids made from grids, and grids compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from itkit.core.axes import to_xyz
from itkit.core.errors import GeometryMismatchError, ResourceError
from itkit.core.geometry import GRID_TOLERANCE_MM, Geometry, orientation_steps
from itkit.core.volume import Case

_LONGEST_AXIS = 2**31


def resampled_grid(
    grid: Geometry, spacing_zyx: Sequence[float] = (-1, -1, -1), size_zyx: Sequence[int] = (-1, -1, -1)
) -> Geometry:
    """Return the grid of a given spacing or size that covers the same box.

    Parameters
    ----------
    grid
        The grid to replace.
    spacing_zyx
        Target spacing, mm; -1 leaves an axis. The size becomes ``extent / spacing``, rounded half up, at least 1.
    size_zyx
        Target size, voxels; -1 leaves an axis. The spacing becomes ``extent / size``.

    Raises
    ------
    ValueError
        When a value is neither -1 nor greater than 0, or both set one axis.
    ResourceError
        When an axis becomes too long.

    Examples
    --------
    >>> resampled_grid(Geometry((64, 10, 10), (0.6, 1.0, 1.0)), spacing_zyx=(0.2, -1, 2.0)).size_zyx
    (192, 10, 5)
    """
    for name, values in (("spacing_zyx", spacing_zyx), ("size_zyx", size_zyx)):
        if len(values) != 3 or not all(value == -1 or 0 < value < math.inf for value in values):
            raise ValueError(f"{name}: expected three numbers > 0, or -1 to leave an axis; got {values}")
    if any(size != int(size) for size in size_zyx):
        raise ValueError(f"size_zyx: expected whole numbers of voxels; got {size_zyx}")
    if any(spacing != -1 and size != -1 for spacing, size in zip(spacing_zyx, size_zyx, strict=True)):
        raise ValueError("spacing_zyx and size_zyx both set an axis; keep one of them")
    sizes, spacings, shifts = [], [], []
    for axis in range(3):
        old_size, old_spacing = grid.size_zyx[axis], grid.spacing_zyx[axis]
        size, spacing = old_size, old_spacing
        if spacing_zyx[axis] > 0:
            spacing = float(spacing_zyx[axis])
            size = max(1, math.floor(round(min(old_size * old_spacing / spacing, 2.0**62), 6) + 0.5))
            if size >= _LONGEST_AXIS:
                raise ResourceError(
                    f"spacing {spacing:g} mm gives {size:.2g} voxels along axis {'ZYX'[axis]}; choose a coarser one"
                )
        elif size_zyx[axis] > 0:
            size = int(size_zyx[axis])
            spacing = old_spacing if size == old_size else old_size * old_spacing / size
        sizes.append(size)
        spacings.append(spacing)
        shifts.append(0.5 * (old_size - 1) - 0.5 * (size - 1) * spacing / old_spacing)
    (z, y, x), (dz, dy, dx), (sz, sy, sx) = sizes, spacings, shifts
    return replace(grid, size_zyx=(z, y, x), spacing_zyx=(dz, dy, dx), origin_xyz=grid.point_xyz((sz, sy, sx)))


def oriented_grid(grid: Geometry, code: str) -> Geometry:
    """Return a grid whose axes point to the given directions; every voxel keeps its physical point."""
    axes_zyx, flips_zyx = orientation_steps(grid, code)
    corner = [0.0, 0.0, 0.0]
    for axis, flip in zip(axes_zyx, flips_zyx, strict=True):
        corner[axis] = grid.size_zyx[axis] - 1 if flip else 0
    columns = [[grid.direction_xyz[3 * row + column] for row in range(3)] for column in range(3)]
    new_columns = [
        [-value if flip else value for value in columns[2 - axis]]
        for axis, flip in zip(to_xyz(axes_zyx), to_xyz(flips_zyx), strict=True)
    ]
    z, y, x = corner
    a, b, c = axes_zyx
    return Geometry(
        (grid.size_zyx[a], grid.size_zyx[b], grid.size_zyx[c]),
        (grid.spacing_zyx[a], grid.spacing_zyx[b], grid.spacing_zyx[c]),
        grid.point_xyz((z, y, x)),
        tuple(new_columns[column][row] + 0.0 for row in range(3) for column in range(3)),
    )


def require_one_grid(case: Case, first: str = "image", second: str = "label") -> None:
    """Refuse a case whose two volumes lie on different grids.

    Raises
    ------
    GeometryMismatchError
        When sizes differ, or voxels of equal index lie more than 1e-3 mm apart.
    """
    a, b = case.grid(first), case.grid(second)
    reason = grid_difference(a, b, first, second)
    if reason:
        raise GeometryMismatchError(f"{case.id}: {reason}; resample the {second} with itk_resample --target-folder")


def grid_difference(a: Geometry, b: Geometry, first: str = "image", second: str = "label") -> str:
    """Say how two grids differ; empty when they agree within 1e-3 mm."""
    if a.size_zyx != b.size_zyx:
        return f"{first} and {second} differ in size: {a.size_zyx} and {b.size_zyx} voxels ZYX"
    distance = a.grid_distance_mm(b)
    if distance <= GRID_TOLERANCE_MM:
        return ""
    for name, unit in (("spacing_zyx", " mm ZYX"), ("origin_xyz", " mm XYZ"), ("direction_xyz", "")):
        left, right = getattr(a, name), getattr(b, name)
        if max(abs(p - q) for p, q in zip(left, right, strict=True)) > 1e-6:
            values = f"{_short(left)} and {_short(right)}{unit}"
            return f"{first} and {second} differ in {name.split('_')[0]}: {values} (up to {distance:.3g} mm apart)"
    return f"{first} and {second} grids lie up to {distance:.3g} mm apart"


def _short(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
