"""Elastic fields for augmentation: cubic B-splines over control points in the physical frame, drawn and applied."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.axes import IDENTITY_XYZ, to_xyz
from itkit.core.errors import ResourceError
from itkit.io.formats.inspect import sitk_module
from itkit.process.by_itk import Interpolation, resample_by_itk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from itkit.core.geometry import Geometry, Triple
    from itkit.core.operation import CaseInput
    from itkit.core.volume import Volume

LARGEST_FRACTION = 0.4
"""Of the control points' spacing: displacements up to here never fold the map (see `ElasticField`)."""
MOST_CONTROL_POINTS = 100_000
_ORDER = 3


@dataclass(frozen=True)
class ElasticField:
    """A displacement of every point of a box: a uniform cubic B-spline, as ``SimpleITK.BSplineTransform`` has it.

    Parameters
    ----------
    origin_xyz
        Corner of the box with the least coordinates, mm. Its sides run along the physical axes, whatever the grid's.
    dimensions_xyz
        Lengths of its sides, mm.
    mesh_size_xyz
        Cells along each side; there are 3 more control points than cells.
    displacements
        Of the control points, mm: all along X, then all along Y, then along Z; in each, X runs fastest.

    Notes
    -----
    The map from a point to the point plus its displacement folds nowhere when no control point moves further than
    1 / 2.4795 = 0.4033 of the control points' spacing along any axis (Choi and Lee [1]_).

    Rebuilt by SimpleITK alone, from these values::

        field = SimpleITK.BSplineTransform(3, 3)
        field.SetTransformDomainOrigin(origin_xyz)
        field.SetTransformDomainDirection(direction_xyz)
        field.SetTransformDomainPhysicalDimensions(dimensions_xyz)
        field.SetTransformDomainMeshSize(mesh_size_xyz)
        field.SetParameters(displacements)

    References
    ----------
    .. [1] Choi Y., Lee S., "Injectivity conditions of 2D and 3D uniform cubic B-spline functions",
       Graphical Models 62 (2000) 411-427, doi:10.1006/gmod.2000.0531
    """

    origin_xyz: Triple
    dimensions_xyz: Triple
    mesh_size_xyz: tuple[int, int, int]
    displacements: tuple[float, ...]

    def facts(self) -> dict[str, Any]:
        """Return the field as JSON values."""
        return {
            "origin_xyz": list(self.origin_xyz),
            "dimensions_xyz": list(self.dimensions_xyz),
            "mesh_size_xyz": list(self.mesh_size_xyz),
            "direction_xyz": list(IDENTITY_XYZ),
            "displacements": list(self.displacements),
        }


def sample_elastic(
    grid: Geometry, limit_zyx: Sequence[float], spacing_mm: float, rng: np.random.Generator
) -> ElasticField:
    """Draw a field over the box that a grid's voxels fill.

    Parameters
    ----------
    grid
        The grid; its box is enlarged to whole cells, and to one along the physical axes.
    limit_zyx
        Greatest displacement of a control point along each physical axis, mm; drawn evenly from ± this range.
    spacing_mm
        Distance between control points.
    rng
        Random source.

    Raises
    ------
    ResourceError
        When there were more than 100,000 control points.
    """
    ends = [(-0.5, size - 0.5) for size in grid.size_zyx]
    corners = np.array([grid.point_xyz((z, y, x)) for z, y, x in product(*ends)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    cells = np.maximum(np.ceil(np.round((high - low) / spacing_mm, 6)), 1)
    points = float(np.prod(cells + _ORDER))
    if points > MOST_CONTROL_POINTS:
        raise ResourceError(
            f"--elastic-spacing {spacing_mm:g} mm gives {points:.2g} control points, more than {MOST_CONTROL_POINTS}; "
            "choose a wider one"
        )
    lengths = cells * spacing_mm
    draws = rng.uniform(-1, 1, size=(3, round(points))) * np.array(to_xyz(limit_zyx))[:, None] + 0.0
    (x, y, z), (dx, dy, dz), (nx, ny, nz) = ((low + high - lengths) / 2).tolist(), lengths.tolist(), cells.tolist()
    displacements = tuple(float(f"{value:.6g}") for value in draws.ravel())  # short in JSON, and exactly what is used
    return ElasticField((x, y, z), (dx, dy, dz), (round(nx), round(ny), round(nz)), displacements)


def warp(
    volume: Volume,
    field: ElasticField,
    matrix_xyz: Sequence[float],
    center_xyz: Sequence[float],
    shift_xyz: Sequence[float],
    *,
    fill: float,
    threads: int = 1,
) -> Volume:
    """Sample a volume on its own grid at M (p + u(p) - center) + center + shift, u being the field: once, by SimpleITK.

    Parameters
    ----------
    volume
        An image is interpolated linearly in double precision (integers are then rounded to nearest and clamped), a
        label map takes the nearest voxel.
    field
        Moves a point of the output first; the affine part maps it to the input's point.
    matrix_xyz, center_xyz, shift_xyz
        The affine part, as `Augmentation` has it.
    fill
        Value outside the source.
    threads
        Threads to use; the result does not depend on it.
    """
    sitk = sitk_module()
    elastic = sitk.BSplineTransform(3, _ORDER)
    elastic.SetTransformDomainOrigin(field.origin_xyz)
    elastic.SetTransformDomainDirection(IDENTITY_XYZ)
    elastic.SetTransformDomainPhysicalDimensions(field.dimensions_xyz)
    elastic.SetTransformDomainMeshSize(field.mesh_size_xyz)
    elastic.SetParameters(field.displacements)
    affine = sitk.AffineTransform(matrix_xyz, shift_xyz, center_xyz)
    both = sitk.CompositeTransform([affine, elastic])  # the last one acts first
    method: Interpolation = "nearest" if volume.kind == "label" else "linear"
    return resample_by_itk(volume, volume.geometry, method, fill=fill, threads=threads, transform=both)


def extra_bytes(item: CaseInput, *, is_label: bool) -> int:
    """Estimate what `warp` holds at once beside its input and its result: copies of labels, doubles of an image."""
    return 2 * item.nbytes if is_label else 32 * math.prod(item.geometry.size_zyx)


def folding_message(limit_zyx: Sequence[float], spacing_mm: float) -> str:
    """Say which displacement is so large that the map could fold; empty when none is."""
    most = round(LARGEST_FRACTION * spacing_mm, 9)
    for axis, value in zip("ZYX", limit_zyx, strict=True):
        if value > most:
            return (
                f"--elastic {axis}: expected at most {most:g} mm, {LARGEST_FRACTION} of --elastic-spacing, so that the "
                f"map can't fold; got {value:g}"
            )
    return ""
