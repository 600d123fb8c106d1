"""Resampling by SimpleITK, for grids and transforms that the kernels can't do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from itkit.core.axes import to_xyz
from itkit.io.sitk_toolkit import itk_threads, to_sitk
from itkit.kernels.arrays import to_dtype
from itkit.kernels.padding import outside_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.core.geometry import Geometry
    from itkit.core.volume import Volume

Interpolation = Literal["linear", "nearest", "bspline"]
_METHODS = {"linear": "sitkLinear", "nearest": "sitkNearestNeighbor", "bspline": "sitkBSpline"}


def default_fill(volume: Volume) -> float:
    """Return the default value for voxels outside a volume: the minimum of an image, 0 for a label map."""
    return float(outside_value(volume.array_zyx, volume.kind).min())


def resample_by_itk(
    volume: Volume,
    grid: Geometry,
    interpolation: Interpolation,
    *,
    fill: float | None = None,
    threads: int = 1,
    transform: Any = None,
) -> Volume:
    """Resample a volume by ``SimpleITK.Resample``, then round integers to nearest and clamp them.

    Parameters
    ----------
    volume
        Image or label map.
    grid
        Grid of the result.
    interpolation
        ``linear`` and ``bspline`` compute in double precision. With ``bspline``, a voxel that is not finite makes the
        result nan within a voxel of it, and changes nothing else.
    fill
        Value outside the source; by default `default_fill`.
    threads
        Threads to use; the result does not depend on it.
    transform
        ``SimpleITK.Transform`` from points of the result to points of the source; by default the identity.
    """
    value = default_fill(volume) if fill is None else fill
    holes = _holes(volume) if interpolation == "bspline" else None
    source = volume if holes is None else volume.with_array(_without_holes(volume.array_zyx, holes))
    array = _resampled(source, grid, interpolation, value, threads, transform)
    if holes is not None:  # a spline's coefficients depend on every voxel of a line
        reach = _resampled(volume.with_array(holes.astype(np.float32)), grid, "linear", 0.0, threads, transform)
        array[reach > 0] = np.nan
    return volume.with_array(to_dtype(array, volume.dtype), grid)


def _resampled(
    volume: Volume, grid: Geometry, interpolation: Interpolation, fill: float, threads: int, transform: Any
) -> NDArray[Any]:
    """Return the voxels that SimpleITK computes; a function of its own, so that its images are freed on return."""
    source = volume if interpolation == "nearest" else volume.with_array(volume.array_zyx.astype(np.float64))
    with itk_threads(threads) as sitk:
        image = sitk.Resample(
            to_sitk(source),
            to_xyz(grid.size_zyx),
            transform or sitk.Transform(),
            getattr(sitk, _METHODS[interpolation]),
            grid.origin_xyz,
            to_xyz(grid.spacing_zyx),
            grid.direction_xyz,
            fill,
        )
        return np.asarray(sitk.GetArrayFromImage(image))


def _holes(volume: Volume) -> NDArray[np.bool_] | None:
    """Return a mask of the voxels that are not finite; ``None`` if all are finite."""
    if volume.dtype.kind != "f":
        return None
    holes = ~np.isfinite(volume.array_zyx)
    return holes if holes.any() else None


def _without_holes(array_zyx: NDArray[Any], holes: NDArray[np.bool_]) -> NDArray[Any]:
    """Fill holes with the value before them, so that a spline does not oscillate there."""
    found = holes.ravel()
    last = np.where(found, 0, np.arange(found.size))
    np.maximum.accumulate(last, out=last)
    filled = array_zyx.ravel()[last]
    return np.where(np.isfinite(filled), filled, 0).astype(array_zyx.dtype).reshape(array_zyx.shape)
