"""Functions of grids: derive one grid from another, compare two, and match two that share the same voxel lattice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations
from typing import Any

from itkit.core.arguments import expect
from itkit.core.axes import to_xyz
from itkit.core.errors import ArgumentError, GeometryMismatchError, ResourceError
from itkit.core.geometry import GRID_TOLERANCE_MM, LONGEST_AXIS, Geometry, orientation_steps
from itkit.core.volume import Case


def resampled_grid(
    grid: Geometry, spacing_zyx: Sequence[float] = (-1, -1, -1), size_zyx: Sequence[int] = (-1, -1, -1)
) -> Geometry:
    """Return the grid that covers the same box with another spacing or size.

    Parameters
    ----------
    grid
        The grid to replace.
    spacing_zyx
        Target spacing, mm; -1 leaves an axis unchanged. The size becomes ``extent / spacing``, rounded half up, at
        least 1.
    size_zyx
        Target size, voxels; -1 leaves an axis unchanged. The spacing becomes ``extent / size``.

    Raises
    ------
    ArgumentError
        When a value is neither -1 nor greater than 0, or spacing and size both set the same axis.
    ResourceError
        When an axis would become too long.

    Examples
    --------
    >>> resampled_grid(Geometry((64, 10, 10), (0.6, 1.0, 1.0)), spacing_zyx=(0.2, -1, 2.0)).size_zyx
    (192, 10, 5)
    """
    expect(grid, Geometry, "resampled_grid: grid", "an itkit.Geometry")
    for name, values in (("spacing_zyx", spacing_zyx), ("size_zyx", size_zyx)):
        if not _are_three(values) or not all(value == -1 or 0 < value < math.inf for value in values):
            raise ArgumentError(
                f"resampled_grid: {name}: expected three numbers > 0, or -1 to leave an axis; got {values}"
            )
    if any(size != int(size) for size in size_zyx):
        raise ArgumentError(f"resampled_grid: size_zyx: expected whole numbers of voxels; got {size_zyx}")
    if any(spacing != -1 and size != -1 for spacing, size in zip(spacing_zyx, size_zyx, strict=True)):
        raise ArgumentError("resampled_grid: spacing_zyx and size_zyx both set an axis; keep one of them")
    sizes, spacings, shifts = [], [], []
    for axis in range(3):
        old_size, old_spacing = grid.size_zyx[axis], grid.spacing_zyx[axis]
        size, spacing = old_size, old_spacing
        if spacing_zyx[axis] > 0:
            spacing = float(spacing_zyx[axis])
            size = max(1, math.floor(round(min(old_size * old_spacing / spacing, 2.0**62), 6) + 0.5))
            if size > LONGEST_AXIS:
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


def _are_three(values: Any) -> bool:
    try:
        return len(values) == 3 and not isinstance(values, str) and all(value >= -1 for value in values)
    except TypeError:
        return False


def oriented_grid(grid: Geometry, code: str) -> Geometry:
    """Return a grid whose axes point to the given directions; every voxel keeps its physical point."""
    return turned_grid(grid, *orientation_steps(grid, code))


@lru_cache(maxsize=256)
def turned_grid(grid: Geometry, axes_zyx: tuple[int, int, int], flips_zyx: tuple[bool, bool, bool]) -> Geometry:
    """Return a grid with its axes in another order or reversed; every voxel keeps its physical point.

    Parameters
    ----------
    grid
        The grid to turn.
    axes_zyx
        For each new array axis, the old array axis that it comes from.
    flips_zyx
        Whether each new axis is reversed.
    """
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
    x, y, z = grid.point_xyz((z, y, x))
    return Geometry(
        (grid.size_zyx[a], grid.size_zyx[b], grid.size_zyx[c]),
        (grid.spacing_zyx[a], grid.spacing_zyx[b], grid.spacing_zyx[c]),
        (x + 0.0, y + 0.0, z + 0.0),  # no -0.0, here and below: grids that are equal give the same bytes
        tuple(new_columns[column][row] + 0.0 for row in range(3) for column in range(3)),
    )


@dataclass(frozen=True)
class Match:
    """How one grid becomes another without interpolation: permute and flip its axes, then crop or pad to a box.

    Parameters
    ----------
    axes_zyx, flips_zyx
        For each new array axis, the old one that it comes from, and whether it is reversed.
    start_zyx
        Index of the box's first voxel in the turned grid; negative if the box begins before the grid.
    """

    axes_zyx: tuple[int, int, int]
    flips_zyx: tuple[bool, bool, bool]
    start_zyx: tuple[int, int, int]


def match(grid: Geometry, target: Geometry, *, tol_mm: float = GRID_TOLERANCE_MM) -> Match:
    """Find how one grid becomes another by permuting and flipping axes, cropping and padding alone.

    Parameters
    ----------
    grid
        The grid to change.
    target
        The grid to reach; it may be smaller, larger, or lie elsewhere.
    tol_mm
        Greatest distance of a voxel from the target's voxel.

    Raises
    ------
    GeometryMismatchError
        When the voxels do not coincide: spacings or directions differ, or the shift is not a whole number of voxels.

    Notes
    -----
    Does the same as ``match_geometry`` of highdicom's volumes.

    Examples
    --------
    >>> grid = Geometry((4, 5, 6), (2.0, 1.0, 1.0))
    >>> match(grid, Geometry((2, 5, 9), (2.0, 1.0, 1.0), (-1.0, 0.0, 4.0)))
    Match(axes_zyx=(0, 1, 2), flips_zyx=(False, False, False), start_zyx=(2, 0, -1))
    """
    axes_zyx, flips_zyx = _closest_axes(grid, target)
    turned = turned_grid(grid, axes_zyx, flips_zyx)
    z, y, x = (round(index) for index in turned.index_zyx(target.origin_xyz))
    reached = turned.crop((z, y, x), target.size_zyx)
    if reached.grid_distance_mm(target) > tol_mm:
        reason = grid_difference(reached, target, "voxels", "those of the target grid")
        raise GeometryMismatchError(f"{reason}; resample to that grid instead")
    return Match(axes_zyx, flips_zyx, (z, y, x))


def _closest_axes(grid: Geometry, target: Geometry) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return, for each array axis of the target, the axis of the grid closest to it, and whether it runs backwards."""

    def cosine(old: int, new: int) -> float:
        return sum(grid.direction_xyz[3 * row + 2 - old] * target.direction_xyz[3 * row + 2 - new] for row in range(3))

    a, b, c = max(permutations(range(3)), key=lambda axes: sum(abs(cosine(old, new)) for new, old in enumerate(axes)))
    return (a, b, c), (cosine(a, 0) < 0, cosine(b, 1) < 0, cosine(c, 2) < 0)


def require_one_grid(case: Case) -> None:
    """Raise an error if the images and the label of a case lie on different grids.

    Raises
    ------
    GeometryMismatchError
        When sizes differ, or voxels of equal index lie more than 1e-3 mm apart.
    """
    for name, reason in grid_differences(case):
        help_ = "" if reason.endswith(_TURNED) else f"; resample the {name} with itk_resample --target-folder"
        raise GeometryMismatchError(f"{case.id}: {reason}{help_}")


def grid_differences(case: Case) -> Iterator[tuple[str, str]]:
    """Yield each volume whose grid differs from that of the case's first volume, and the difference in words."""
    first, *others = case.names or ("",)
    for name in others:
        reason = grid_difference(case.grid(first), case.grid(name), first, name)
        if reason:
            yield name, reason + (_TURNED if is_turned(case.grid(first), case.grid(name)) else "")


_TURNED = "; they are one box with axes turned or reversed: bring both to one orientation with itk_orient"


def is_turned(a: Geometry, b: Geometry) -> bool:
    """Whether two grids have the same voxels, in another order or direction of the axes.

    Examples
    --------
    >>> grid = Geometry((2, 3, 4), (3.0, 1.0, 1.0))
    >>> is_turned(grid, oriented_grid(grid, "RAS")), is_turned(grid, grid)
    (True, False)
    """
    return a.orientation != b.orientation and not grid_difference(a, oriented_grid(b, a.orientation))


def grid_difference(a: Geometry, b: Geometry, first: str = "image", second: str = "label") -> str:
    """Return the difference between two grids in words; empty if they agree within 1e-3 mm."""
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
