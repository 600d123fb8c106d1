"""Cubic B-spline transforms: how many control points there are, and the same transform with twice as many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mesh_of(extent_mm: Sequence[float], grid_mm: float) -> list[int]:
    """Return the number of spans between control points along each axis.

    Examples
    --------
    >>> mesh_of((366.0, 303.0, 20.0), 100.0)
    [4, 3, 1]
    """
    return [max(1, round(length / grid_mm)) for length in extent_mm]


def refined(sitk: Any, spline: Any) -> Any:
    """Return the same transform with control points half as far apart.

    Parameters
    ----------
    sitk
        SimpleITK's module.
    spline
        A cubic ``SimpleITK.BSplineTransform`` of three axes.

    Notes
    -----
    A cubic spline on a grid is one on the grid of half the step, too. Its coefficients are averages of the old ones,
    with the weights (1, 6, 1) / 8 at an old point and (1, 1) / 2 between two [1]_. ITK puts one control point before
    and two behind the spans of an axis.

    References
    ----------
    .. [1] Forsey D. R. and Bartels R. H., "Hierarchical B-spline refinement", Computer Graphics 22(4), 1988
    """
    mesh = spline.GetTransformDomainMeshSize()
    fine = sitk.BSplineTransform(3, 3)
    fine.SetTransformDomainOrigin(spline.GetTransformDomainOrigin())
    fine.SetTransformDomainDirection(spline.GetTransformDomainDirection())
    fine.SetTransformDomainPhysicalDimensions(spline.GetTransformDomainPhysicalDimensions())
    fine.SetTransformDomainMeshSize([2 * spans for spans in mesh])
    coefficients = np.reshape(spline.GetParameters(), (3, *(spans + 3 for spans in reversed(mesh))))
    for axis in (1, 2, 3):
        coefficients = np.moveaxis(_halved(np.moveaxis(coefficients, axis, 0)), 0, axis)
    fine.SetParameters(coefficients.ravel().tolist())
    return fine


def _halved(coarse: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coefficients at half the step along the first axis: n + 3 become 2 n + 3."""
    fine = np.empty((2 * len(coarse) - 3, *coarse.shape[1:]))
    fine[0::2] = (coarse[:-1] + coarse[1:]) / 2
    fine[1::2] = (coarse[:-2] + 6 * coarse[1:-1] + coarse[2:]) / 8
    return fine
