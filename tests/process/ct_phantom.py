"""A CT of a trunk whose parts are known: body with two lungs, trachea, bones, bowel gas; a table and cables around."""

import numpy as np

from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.testing.phantoms import points_xyz

GRID = Geometry((48, 72, 90), (5.0, 4.0, 4.0), (-178.0, -142.0, -117.5))


def _ellipsoid(points, centre, radii):
    return (((points - np.array(centre)) / np.array(radii)) ** 2).sum(axis=-1) <= 1


def _tube(points, x, y, radius, low, high):
    return (
        (np.hypot(points[..., 0] - x, points[..., 1] - y) <= radius)
        & (points[..., 2] >= low)
        & (points[..., 2] <= high)
    )


def parts(grid=GRID):
    """Return the mask of each part, by name, at the physical points of a grid (LPS, mm)."""
    p = points_xyz(grid)
    body = ((p[..., 0] / 150) ** 2 + (p[..., 1] / 100) ** 2) <= 1
    right = _ellipsoid(p, (-70, 0, 30), (48, 70, 85))
    left = _ellipsoid(p, (75, 5, 25), (42, 65, 80))
    trachea = _tube(p, 0, 10, 9, 40, 1000)
    slant = np.clip((60 - p[..., 2]) / 30, 0, 1)
    bronchi = [
        (np.hypot(p[..., 0] - side * 40 * slant, p[..., 1] - 10) <= 7) & (p[..., 2] <= 60) & (p[..., 2] >= 30)
        for side in (-1, 1)
    ]
    vessels = [_ellipsoid(p, (-70, 0, 30), (60, 4, 4)) & right, _ellipsoid(p, (75, 5, 40), (4, 60, 4)) & left]
    return {
        "body": body,
        "right": right,
        "left": left,
        "trachea": trachea,
        "bronchi": bronchi[0] | bronchi[1],
        "vessels": vessels[0] | vessels[1],
        "gas": _ellipsoid(p, (30, -60, -80), (30, 15, 25)),
        "spine": _tube(p, 0, 70, 18, -1000, 1000),
        "table": (abs(p[..., 1] - 118) <= 3) & (abs(p[..., 0]) <= 160),
        "cable": np.hypot(p[..., 0] - 165, p[..., 1] + 60) <= 4,
    }


def image(grid=GRID, seed=0, noise=15.0, shapes=None):
    """Return the CT of the parts, with noise."""
    shapes = parts(grid) if shapes is None else shapes
    values = np.full(grid.size_zyx, -1000.0)
    for name, hu in {
        "table": 100, "cable": 800, "body": 30, "spine": 600, "right": -840, "left": -860, "vessels": 40, "gas": -995,
        "bronchi": -990, "trachea": -990,
    }.items():  # fmt: skip
        values[shapes[name]] = hu
    values += np.random.default_rng(seed).normal(0, noise, grid.size_zyx)
    return Volume(np.clip(np.rint(values), -1024, 3000).astype(np.int16), grid)


def dice(a, b):
    """Return the Dice overlap of two masks."""
    a, b = np.asarray(a) != 0, np.asarray(b) != 0
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
