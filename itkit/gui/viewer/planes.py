"""How a plane of the patient lies in a grid: from pixels to millimetres to voxels and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

from itkit.core.geometry import Geometry, Triple, orientation_steps
from itkit.core.slices import PLANES, Plane

_RIGHT = {"axial": (1.0, 0.0, 0.0), "coronal": (1.0, 0.0, 0.0), "sagittal": (0.0, 1.0, 0.0)}
_DOWN = {"axial": (0.0, 1.0, 0.0), "coronal": (0.0, 0.0, -1.0), "sagittal": (0.0, 0.0, -1.0)}
"""Directions of a plane's columns and rows, LPS: the radiological view."""
_NAMES = ("RL", "AP", "IS")
_LEAST_SHARE = 0.2
_LEAST_DEGREES = 0.05

Uv = tuple[float, float]
"""Millimetres to the right and down in a plane."""


@dataclass(frozen=True)
class PlaneMap:
    """A plane in a grid: which axes its rows and columns follow, and where it lies.

    Of an oblique grid, it is the plane of voxels closest to the patient's.

    Parameters
    ----------
    plane, grid
        The plane and the grid.
    row_axis, column_axis, across
        The array axes along which rows and columns are counted, and the one that is cut.
    flips_rows, flips_columns
        Whether rows and columns are counted backwards along their axes.
    """

    plane: Plane
    grid: Geometry
    row_axis: int
    column_axis: int
    across: int
    flips_rows: bool
    flips_columns: bool

    @classmethod
    def of(cls, grid: Geometry, plane: Plane) -> PlaneMap:
        """Return the plane of a grid.

        Examples
        --------
        >>> found = PlaneMap.of(Geometry((10, 20, 30), (5.0, 1.0, 1.0)), "coronal")
        >>> found.shape, found.extent_mm, found.across, found.flips_rows
        ((10, 30), (50.0, 30.0), 1, True)
        """
        axes, backwards = orientation_steps(grid, "LPS")
        number = PLANES.index(plane)
        rows, columns = (axis for axis in range(3) if axis != number)
        flips_rows = backwards[rows] != (rows == 0)  # superior is drawn at the top
        return cls(plane, grid, axes[rows], axes[columns], axes[number], flips_rows, backwards[columns])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.grid.size_zyx[self.row_axis], self.grid.size_zyx[self.column_axis]

    @property
    def extent_mm(self) -> tuple[float, float]:
        """Height and width, mm."""
        return self.grid.extent_zyx[self.row_axis], self.grid.extent_zyx[self.column_axis]

    @property
    def count(self) -> int:
        """Number of slices."""
        return self.grid.size_zyx[self.across]

    def corner(self, at: int) -> Uv:
        """Return the outer corner of the first pixel of a slice, mm."""
        index = [0.0, 0.0, 0.0]
        index[self.across] = at
        index[self.row_axis] = self.grid.size_zyx[self.row_axis] - 1 if self.flips_rows else 0
        index[self.column_axis] = self.grid.size_zyx[self.column_axis] - 1 if self.flips_columns else 0
        u, v = self.uv((index[0], index[1], index[2]))
        spacing = self.grid.spacing_zyx
        return u - spacing[self.column_axis] / 2, v - spacing[self.row_axis] / 2

    def uv(self, index_zyx: Triple) -> Uv:
        """Return where a voxel stands in the plane, mm."""
        point = self.grid.point_xyz(index_zyx)
        return _dot(point, _RIGHT[self.plane]), _dot(point, _DOWN[self.plane])

    def offset(self, index_zyx: Triple) -> Uv:
        """Return how far right of and below the corner of its slice a voxel is drawn, mm."""
        spacing, size = self.grid.spacing_zyx, self.grid.size_zyx
        column, row = index_zyx[self.column_axis], index_zyx[self.row_axis]
        column = size[self.column_axis] - 1 - column if self.flips_columns else column
        row = size[self.row_axis] - 1 - row if self.flips_rows else row
        return (column + 0.5) * spacing[self.column_axis], (row + 0.5) * spacing[self.row_axis]

    def index(self, right: float, below: float, at: float) -> Triple:
        """Return the voxel, as fractions, so far right of and below the corner of a slice, mm."""
        spacing, size = self.grid.spacing_zyx, self.grid.size_zyx
        column, row = right / spacing[self.column_axis] - 0.5, below / spacing[self.row_axis] - 0.5
        index = [0.0, 0.0, 0.0]
        index[self.across] = at
        index[self.column_axis] = size[self.column_axis] - 1 - column if self.flips_columns else column
        index[self.row_axis] = size[self.row_axis] - 1 - row if self.flips_rows else row
        return index[0], index[1], index[2]

    @cached_property
    def letters(self) -> tuple[str, str, str, str]:
        """The patient's directions at the left, right, top and bottom, from the direction matrix."""
        right = letters_of(self._vector(self.column_axis, backwards=self.flips_columns))
        down = letters_of(self._vector(self.row_axis, backwards=self.flips_rows))
        return _opposite(right), right, _opposite(down), down

    def _vector(self, axis: int, *, backwards: bool) -> Triple:
        x = 2 - axis
        d = self.grid.direction_xyz
        sign = -1.0 if backwards else 1.0
        return sign * d[x], sign * d[3 + x], sign * d[6 + x]


def letters_of(vector_xyz: Triple) -> str:
    """Return the patient's directions that a vector points to, the strongest first.

    Examples
    --------
    >>> letters_of((1.0, 0.0, 0.0)), letters_of((-0.3, 0.9, 0.1))
    ('L', 'PR')
    """
    found = [
        (abs(part), names[part > 0]) for part, names in zip(vector_xyz, _NAMES, strict=True) if abs(part) > _LEAST_SHARE
    ]
    return "".join(letter for _, letter in sorted(found, key=lambda item: -item[0]))


def _opposite(letters: str) -> str:
    return letters.translate(str.maketrans("RLAPIS", "LRPASI"))


def _dot(a: Triple, b: Triple) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def tilt_degrees(grid: Geometry) -> float:
    """Return the largest angle between an axis of a grid and the patient's axis that is closest to it.

    Examples
    --------
    >>> tilt_degrees(Geometry((1, 1, 1), (1.0, 1.0, 1.0)))
    0.0
    """
    columns = [[grid.direction_xyz[3 * row + column] for row in range(3)] for column in range(3)]
    most = [max(abs(part) for part in column) / math.hypot(*column) for column in columns]
    return max(math.degrees(math.acos(min(1.0, share))) for share in most)


@lru_cache(maxsize=64)
def oblique_text(grid: Geometry) -> str:
    """Return a note for a grid that is not parallel to the patient's axes; empty for others."""
    degrees = tilt_degrees(grid)
    return f"oblique by {degrees:.1f}°" if degrees > _LEAST_DEGREES else ""


def inside(index_zyx: Triple, grid: Geometry) -> tuple[int, int, int]:
    """Return the voxel of the grid that is closest to an index."""
    z, y, x = (min(max(math.floor(at + 0.5), 0), size - 1) for at, size in zip(index_zyx, grid.size_zyx, strict=True))
    return z, y, x


def point_text(point_xyz: Triple) -> str:
    """Return a physical point as the status line shows it."""
    x, y, z = point_xyz
    return f"L {x:.1f}  P {y:.1f}  S {z:.1f} mm"


def index_text(index_zyx: tuple[int, int, int]) -> str:
    """Return a voxel's index as the status line shows it, in the order of arrays."""
    return "Z Y X  " + " ".join(map(str, index_zyx))
