"""Convert grids to and from affines: 4x4 matrices from voxel indices to points, as NIfTI and nibabel use them.

NIfTI uses RAS coordinates, ITKIT uses LPS: x and y change sign.
"""

from __future__ import annotations

import math

from itkit.core.axes import to_xyz, to_zyx
from itkit.core.errors import GeometryError
from itkit.core.geometry import Geometry

Row = tuple[float, float, float, float]
Affine = tuple[Row, Row, Row, Row]
ORTHOGONAL_TOLERANCE = 1e-3
"""Two axes count as perpendicular up to this cosine."""


def affine_ras(geometry: Geometry) -> Affine:
    """Return the matrix that maps voxel indices x, y, z to RAS points in mm, as NIfTI and nibabel define it.

    Examples
    --------
    >>> affine_ras(Geometry((4, 5, 6), (2.0, 1.0, 1.0), origin_xyz=(10.0, 0.0, 3.0)))[0]
    (-1.0, 0.0, 0.0, -10.0)
    """
    steps, d = to_xyz(geometry.spacing_zyx), geometry.direction_xyz
    rows: list[Row] = []
    for row, sign in enumerate((-1.0, -1.0, 1.0)):
        x, y, z = (sign * d[3 * row + axis] * steps[axis] + 0.0 for axis in range(3))  # + 0.0 turns -0.0 into 0.0
        rows.append((x, y, z, sign * geometry.origin_xyz[row] + 0.0))
    return (rows[0], rows[1], rows[2], (0.0, 0.0, 0.0, 1.0))


def geometry_from_affine(affine: Affine, size_zyx: tuple[int, int, int]) -> Geometry:
    """Return the grid that a RAS matrix describes.

    Raises
    ------
    GeometryError
        When an axis has length 0, or two axes are not perpendicular (cosine above 1e-3).
    """
    (a, b, c, x), (d, e, f, y), (g, h, i, z), _ = affine
    n, m, k = lengths = (math.hypot(a, d, g), math.hypot(b, e, h), math.hypot(c, f, i))
    if min(lengths) <= 0:
        raise GeometryError(f"axis {'xyz'[lengths.index(min(lengths))]} has length 0")
    for axes, cosine in (
        ("x and y", (a * b + d * e + g * h) / (n * m)),
        ("x and z", (a * c + d * f + g * i) / (n * k)),
        ("y and z", (b * c + e * f + h * i) / (m * k)),
    ):
        if abs(cosine) > ORTHOGONAL_TOLERANCE:
            raise GeometryError(
                f"the grid is sheared: axes {axes} should be at right angles, their cosine is {cosine:.4g}"
            )
    direction = (
        0.0 - a / n, 0.0 - b / m, 0.0 - c / k,
        0.0 - d / n, 0.0 - e / m, 0.0 - f / k,
        0.0 + g / n, 0.0 + h / m, 0.0 + i / k,
    )  # fmt: skip
    return Geometry.as_stated(size_zyx, to_zyx(lengths), (0.0 - x, 0.0 - y, 0.0 + z), direction)
