"""Slices in the patient's three planes, taken from a volume in any orientation without turning the volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from itkit.core.geometry import Geometry, orientation_steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
LETTERS: dict[Plane, str] = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
"""Directions at the left, right, top and bottom of each plane: the radiological view."""


def shown_channel(count: int) -> str:
    """Say which channel of several a viewer shows: a plane has one value a voxel.

    Examples
    --------
    >>> shown_channel(3)
    'channel 1 of 3 is shown'
    """
    return f"channel 1 of {count} is shown"


class Slice(NamedTuple):
    """Values ``(rows, columns)`` of a slice as the radiological view shows it, and the extent of both axes in mm."""

    values: NDArray[Any]
    extent_mm: tuple[float, float]


def plane_slice(array_zyx: NDArray[Any], grid: Geometry, plane: Plane, index_zyx: tuple[int, int, int]) -> Slice:
    """Return one slice as a view, without a copy.

    Parameters
    ----------
    array_zyx
        Voxels ``(Z, Y, X)`` in any orientation, or ``(Z, Y, X, C)``, of which the first channel is taken.
    grid
        Grid of the voxels; the planes of an oblique grid are those closest to the patient's.
    plane
        Plane of the patient.
    index_zyx
        A voxel in the slice.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Geometry((1, 2, 3), (1.0, 2.0, 0.5))
    >>> plane_slice(np.arange(6).reshape(1, 2, 3), grid, "axial", (0, 0, 0))
    Slice(values=array([[0, 1, 2],
           [3, 4, 5]]), extent_mm=(4.0, 1.5))
    """
    axes, backwards = orientation_steps(grid, "LPS")
    across = PLANES.index(plane)
    rows, columns = (axis for axis in range(3) if axis != across)
    row_axis, column_axis = axes[rows], axes[columns]
    volume = array_zyx if array_zyx.ndim == 3 else array_zyx[..., 0]
    at: list[Any] = [slice(None)] * 3
    at[axes[across]] = index_zyx[axes[across]]
    values = volume[tuple(at)]
    values = values if row_axis < column_axis else values.T
    is_upside_down = backwards[rows] != (rows == 0)  # superior is drawn at the top
    values = values[:: -1 if is_upside_down else 1, :: -1 if backwards[columns] else 1]
    return Slice(values, (grid.extent_zyx[row_axis], grid.extent_zyx[column_axis]))
