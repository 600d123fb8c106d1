"""The voxel grid: where each voxel of an array lies in physical space."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import Any

from itkit.core.axes import IDENTITY_XYZ, opposite, to_xyz, to_zyx
from itkit.core.errors import GeometryError

Triple = tuple[float, float, float]
GRID_TOLERANCE_MM = 1e-3
LONGEST_AXIS = 2**31 - 1
"""Most voxels along an axis: kernels and formats count them in 32 bits."""
_LEAST_DETERMINANT = 1e-6
_LETTERS = ("LR", "PA", "SI")


@dataclass(frozen=True)
class Geometry:
    """A voxel grid in physical space (LPS, mm).

    Parameters
    ----------
    size_zyx
        Number of voxels along each array axis.
    spacing_zyx
        Distance between voxel centres along each array axis, mm.
    origin_xyz
        Centre of voxel (0, 0, 0), mm.
    direction_xyz
        3x3 direction cosines, row by row as in SimpleITK; the columns are the directions of index axes x, y, z.

    Raises
    ------
    GeometryError
        When a size is not a whole number of at least 1, a spacing is not greater than 0, a number is not finite, or the
        direction matrix is singular.

    Examples
    --------
    >>> grid = Geometry((4, 5, 6), (2.0, 1.0, 1.0), origin_xyz=(10.0, 0.0, 0.0))
    >>> grid.point_xyz((1, 0, 3))
    (13.0, 0.0, 2.0)
    >>> grid.orientation
    'LPS'
    >>> grid
    Geometry(4 x 5 x 6 voxels ZYX, spacing 2 x 1 x 1 mm ZYX, origin (10, 0, 0) mm XYZ, LPS)
    """

    size_zyx: tuple[int, int, int]
    spacing_zyx: Triple
    origin_xyz: Triple = (0.0, 0.0, 0.0)
    direction_xyz: tuple[float, ...] = field(default=IDENTITY_XYZ)

    def __post_init__(self) -> None:
        try:  # almost every grid is valid: one quick check of all values
            (z, y, x), (dz, dy, dx), (a, b, c) = self.size_zyx, self.spacing_zyx, self.origin_xyz
            if (
                type(z) is type(y) is type(x) is int
                and min(z, y, x) >= 1
                and min(dz, dy, dx) > 0
                and type(total := dz + dy + dx + a + b + c) is float
                and math.isfinite(total)
                and abs(_determinant(self.direction_xyz)) > _LEAST_DETERMINANT
                and type(self.size_zyx) is type(self.spacing_zyx) is type(self.origin_xyz) is tuple
                and type(self.direction_xyz) is tuple
            ):
                return
        except (TypeError, ValueError):
            pass
        for name, value in _checked(self).items():
            object.__setattr__(self, name, value)

    @classmethod
    def as_stated(
        cls,
        size_zyx: tuple[int, int, int],
        spacing_zyx: Triple,
        origin_xyz: Triple = (0.0, 0.0, 0.0),
        direction_xyz: tuple[float, ...] = IDENTITY_XYZ,
    ) -> Geometry:
        """Return the grid that a file's header states, without checks: the reader of the file reports its errors."""
        grid = object.__new__(cls)
        grid.__dict__.update(
            size_zyx=size_zyx, spacing_zyx=spacing_zyx, origin_xyz=origin_xyz, direction_xyz=direction_xyz
        )
        return grid

    def __repr__(self) -> str:
        return (
            f"Geometry({by(self.size_zyx)} voxels ZYX, spacing {by(self.spacing_zyx)} mm ZYX, "
            f"origin ({', '.join(f'{value:g}' for value in self.origin_xyz)}) mm XYZ, {self.orientation})"
        )

    @property
    def extent_zyx(self) -> Triple:
        """Side lengths of the box that the voxels fill, mm."""
        (z, y, x), (dz, dy, dx) = self.size_zyx, self.spacing_zyx
        return (z * dz, y * dy, x * dx)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, ml.

        Examples
        --------
        >>> Geometry((1, 1, 1), (5.0, 2.0, 2.0)).voxel_ml
        0.02
        """
        return voxel_ml(self.spacing_zyx)

    @property
    def orientation(self) -> str:
        """Directions that the index axes x, y, z point to, as three letters (``LPS`` for the identity matrix)."""
        return _orientation(self.direction_xyz)

    def point_xyz(self, index_zyx: tuple[float, float, float]) -> Triple:
        """Return the physical point (mm, LPS) of a voxel index, which may be continuous."""
        steps = [i * s for i, s in zip(to_xyz(index_zyx), to_xyz(self.spacing_zyx), strict=True)]
        d, o = self.direction_xyz, self.origin_xyz
        x, y, z = (o[r] + d[3 * r] * steps[0] + d[3 * r + 1] * steps[1] + d[3 * r + 2] * steps[2] for r in range(3))
        return (x, y, z)

    def index_zyx(self, point_xyz: Triple) -> Triple:
        """Return the continuous voxel index of a physical point (mm, LPS)."""
        delta = [p - o for p, o in zip(point_xyz, self.origin_xyz, strict=True)]
        inverse = _inverse3(self.direction_xyz)
        x, y, z = (sum(inverse[3 * r + c] * delta[c] for c in range(3)) for r in range(3))
        i, j, k = ((v / s) for v, s in zip((x, y, z), to_xyz(self.spacing_zyx), strict=True))
        return to_zyx((i, j, k))

    def grid_distance_mm(self, other: Geometry) -> float:
        """Return the greatest distance between voxels of equal index, mm; ``inf`` if the sizes differ."""
        if self.size_zyx != other.size_zyx:
            return float("inf")
        if (self.spacing_zyx, self.origin_xyz, self.direction_xyz) == (
            other.spacing_zyx, other.origin_xyz, other.direction_xyz,
        ):  # fmt: skip
            return 0.0
        worst = 0.0
        z, y, x = (size - 1 for size in self.size_zyx)
        for corner in product((0, z), (0, y), (0, x)):
            a, b = self.point_xyz(corner), other.point_xyz(corner)
            worst = max(worst, sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5)
        return worst

    def same_grid(self, other: Geometry, *, tol_mm: float = GRID_TOLERANCE_MM) -> bool:
        """Return whether each voxel of one grid lies within ``tol_mm`` of the same voxel of the other."""
        return self.grid_distance_mm(other) <= tol_mm

    def crop(self, start_zyx: tuple[int, int, int], size_zyx: tuple[int, int, int]) -> Geometry:
        """Return the grid of a box within this grid; every voxel keeps its physical point. A negative start pads."""
        return replace(self, size_zyx=size_zyx, origin_xyz=self.point_xyz(start_zyx))


def voxel_ml(spacing_zyx: Iterable[float]) -> float:
    """Return the volume of a voxel, ml, from its spacing, mm."""
    return math.prod(spacing_zyx) / 1000


def by(values: Iterable[float]) -> str:
    """Return sizes or spacings as text, joined by ``x``.

    Examples
    --------
    >>> by((40, 512, 512)), by((2.5, 0.7, 0.70000005))
    ('40 x 512 x 512', '2.5 x 0.7 x 0.7')
    """
    return " x ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


_FIELDS = ("size_zyx", "spacing_zyx", "origin_xyz", "direction_xyz")


def _checked(grid: Geometry) -> dict[str, Any]:
    """Return a grid's values as tuples of Python numbers.

    Raises
    ------
    GeometryError
        When a value is wrong; the message names the first one.
    """
    size = _numbers(grid.size_zyx, 3, "size_zyx", "three whole numbers of voxels of at least 1 (Z Y X)", whole=True)
    spacing = _numbers(grid.spacing_zyx, 3, "spacing_zyx", "three finite distances > 0, mm (Z Y X)")
    origin = _numbers(grid.origin_xyz, 3, "origin_xyz", "three finite numbers, mm (X Y Z)")
    direction = _numbers(grid.direction_xyz, 9, "direction_xyz", "nine finite cosines, 3x3 row by row")
    for axis, n, step in zip("ZYX", size, spacing, strict=True):
        if n < 1:
            raise GeometryError(f"size_zyx: axis {axis} has {n} voxels; expected at least 1")
        if step <= 0:
            raise GeometryError(f"spacing_zyx: axis {axis} has {step:g} mm; expected more than 0")
    if abs(_determinant(direction)) <= _LEAST_DETERMINANT:
        raise GeometryError(f"direction_xyz: the axes do not span space (singular matrix): {direction}")
    return dict(zip(_FIELDS, (size, spacing, origin, direction), strict=True))


def _numbers(values: Any, count: int, name: str, expected: str, *, whole: bool = False) -> tuple[Any, ...]:
    try:
        numbers = tuple(operator.index(value) if whole else float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)) or isinstance(values, (str, bytes)):
        raise GeometryError(f"{name}: expected {expected}; got {values!r}")
    return numbers


def _determinant(m: tuple[float, ...]) -> float:
    a, b, c, d, e, f, g, h, i = m
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


@lru_cache(maxsize=256)
def _orientation(direction_xyz: tuple[float, ...]) -> str:
    columns = [[direction_xyz[3 * row + column] for row in range(3)] for column in range(3)]
    letters = ["", "", ""]
    free_rows, free_columns = {0, 1, 2}, {0, 1, 2}
    while free_columns:  # the best aligned axis chooses first, so that no letter is used twice
        column, row = max(
            ((c, r) for c in sorted(free_columns) for r in sorted(free_rows)),
            key=lambda cr: abs(columns[cr[0]][cr[1]]),
        )
        letters[column] = _LETTERS[row][0 if columns[column][row] >= 0 else 1]
        free_columns.discard(column)
        free_rows.discard(row)
    return "".join(letters)


@lru_cache(maxsize=256)
def _inverse3(m: tuple[float, ...]) -> tuple[float, ...]:
    a, b, c, d, e, f, g, h, i = m
    det = _determinant(m)
    adjugate = (
        e * i - f * h, c * h - b * i, b * f - c * e,
        f * g - d * i, a * i - c * g, c * d - a * f,
        d * h - e * g, b * g - a * h, a * e - b * d,
    )  # fmt: skip
    return tuple(v / det for v in adjugate)


@lru_cache(maxsize=256)
def orientation_steps(grid: Geometry, code: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return, for each new array axis, the old array axis that it comes from, and whether it is reversed.

    Parameters
    ----------
    grid
        The grid to reorient.
    code
        Directions that the new index axes x, y, z point to, e.g. ``"LPI"``.
    """
    old = grid.orientation
    axes_xyz, flips_xyz = [], []
    for letter in code:
        kept = letter in old
        axes_xyz.append(old.index(letter if kept else opposite(letter)))
        flips_xyz.append(not kept)
    axes_zyx = to_zyx([2 - axis for axis in axes_xyz])
    return axes_zyx, to_zyx(flips_xyz)
