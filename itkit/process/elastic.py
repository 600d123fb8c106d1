"""Elastic fields for augmentation: cubic B-splines on control points along the physical axes."""

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
"""Largest displacement as a fraction of the control point spacing; below it, the map never folds (`ElasticField`)."""
MOST_CONTROL_POINTS = 100_000
_ORDER = 3


@dataclass(frozen=True)
class ElasticField:
    """A displacement for every point of a box: a uniform cubic B-spline, defined as in ``SimpleITK.BSplineTransform``.

    Parameters
    ----------
    origin_xyz
        Corner of the box with the smallest coordinates, mm. The sides of the box are parallel to the physical axes,
        also if the grid is oblique.
    dimensions_xyz
        Lengths of its sides, mm.
    mesh_size_xyz
        Cells along each side; there are 3 more control points than cells.
    displacements
        Displacements of the control points, mm: all X components, then all Y, then all Z; in each, X runs fastest.

    Notes
    -----
    The map from a point to the point plus its displacement does not fold if no control point moves further than
    1 / 2.4795 = 0.4033 of the control point spacing along any axis (Choi and Lee [1]_).

    SimpleITK rebuilds the field from these values::

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
    """Draw a random field over the box that a grid's voxels fill.

    Parameters
    ----------
    grid
        The grid. The box of the field is parallel to the physical axes, covers the grid and has whole cells.
    limit_zyx
        Largest displacement of a control point along each physical axis, mm; displacements are drawn uniformly between
        plus and minus this value.
    spacing_mm
        Distance between control points.
    rng
        Random number generator.

    Raises
    ------
    ResourceError
        When the field would have more than 100,000 control points.
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
    displacements = tuple(float(f"{value:.6g}") for value in draws.ravel())  # short in JSON; the same values are used
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
    """Resample a volume on its own grid at M (p + u(p) - center) + center + shift, where u is the field.

    SimpleITK samples the volume once, through the composed transform.

    Parameters
    ----------
    volume
        An image is interpolated linearly in double precision (integers are then rounded to nearest and clamped). A
        label map is resampled by nearest neighbour.
    field
        Displacement of a point of the output; it acts before the affine part.
    matrix_xyz, center_xyz, shift_xyz
        The affine part, as in `Augmentation`.
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
    """Estimate the memory of `warp` beside its input and result: copies of a label map, or an image in doubles."""
    return 2 * item.nbytes if is_label else 32 * math.prod(item.geometry.size_zyx)


def folding_message(limit_zyx: Sequence[float], spacing_mm: float) -> str:
    """Return a message that names a displacement with which the map could fold; empty if there is none."""
    most = round(LARGEST_FRACTION * spacing_mm, 9)
    for axis, value in zip("ZYX", limit_zyx, strict=True):
        if value > most:
            return (
                f"--elastic {axis}: expected at most {most:g} mm, {LARGEST_FRACTION} of --elastic-spacing, so that the "
                f"map can't fold; got {value:g}"
            )
    return ""
