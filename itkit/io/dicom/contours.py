"""Turn the closed contours of a region, drawn in parallel planes, into voxels of a grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.geometry import Geometry
from itkit.io.dicom.polygons import fill_even_odd, joined, points_inside
from itkit.io.formats.inspect import sitk_module

#: Contours count as flat, and as lying in a slice, if their points deviate by less than this fraction of a voxel.
_FLAT = 0.05
_PLANE_MERGE = 0.02
_EMPTY = "slices without contours between slices with contours"
_BRIDGED = "slices filled between slices with contours"


@dataclass(frozen=True, eq=False)
class Contour:
    """A closed contour: its points ``(N, 3)``, mm or voxel indices, and whether it is combined by exclusive or."""

    points: NDArray[np.float64]
    is_xor: bool = False

    def at(self, points: NDArray[np.float64]) -> Contour:
        """Return the contour with other points, e.g. in other coordinates."""
        return replace(self, points=points)


def rasterise(
    contours: Iterable[Contour], grid: Geometry, noted: Counter[str], *, bridge: bool = False
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield the voxels inside a region's contours, plane by plane.

    Parameters
    ----------
    contours
        Closed contours, points in mm.
    grid
        The grid.
    noted
        Receives counts of contours that aren't flat, of planes outside the grid, and of slices without contours between
        slices with contours.
    bridge
        Whether slices without contours between slices with contours are filled, by the mean signed distance to the
        contours on both sides.

    Yields
    ------
    tuple
        Voxel indices Z, Y, X.
    """
    along_axis: dict[int, list[Contour]] = {}
    oblique: list[Contour] = []
    for contour in contours:
        index = np.round(_to_index(contour.points, grid), 6)
        flat = np.ptp(index, axis=0)
        if flat.min() <= _FLAT:
            along_axis.setdefault(int(flat.argmin()), []).append(contour.at(index))
        else:
            oblique.append(contour)
    for axis, flat_contours in along_axis.items():
        yield from _fill_slices(flat_contours, axis, grid, noted, bridge=bridge)
    if oblique:
        yield from _fill_oblique(oblique, grid, noted)


def _fill_slices(
    contours: list[Contour], axis: int, grid: Geometry, noted: Counter[str], *, bridge: bool
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Fill contours that lie in the slices of one index axis."""
    others = [other for other in range(3) if other != axis]
    planes = _planes(contours, np.array([contour.points[:, axis].mean() for contour in contours]), _PLANE_MERGE)
    nearest: dict[int, tuple[float, list[Contour]]] = {}
    for position, members in planes:
        index = int(np.ceil(position - 0.5))
        distance = abs(position - index)
        if not 0 <= index < grid.size_zyx[axis]:
            noted["contour planes outside the grid"] += 1
        elif index not in nearest or distance < nearest[index][0]:
            noted["contour planes with a nearer one to the same slice"] += int(index in nearest)
            nearest[index] = (distance, members)
        else:
            noted["contour planes with a nearer one to the same slice"] += 1
    size = (grid.size_zyx[others[0]], grid.size_zyx[others[1]])
    spacing = (grid.spacing_zyx[others[0]], grid.spacing_zyx[others[1]])
    slices: dict[int, NDArray[np.bool_]] = {}
    for index, (_, members) in sorted(nearest.items()):
        slices[index] = inside_of([contour.at(contour.points[:, others]) for contour in members],
                                  lambda polygon: fill_even_odd([polygon], size))  # fmt: skip
    for below, above in _sparse_neighbours(sorted(slices)):
        between = range(below + 1, above)
        noted[_BRIDGED if bridge else _EMPTY] += len(between)
        if bridge:
            parts = [(index - below) / (above - below) for index in between]
            filled = between_shapes(slices[below], slices[above], parts, spacing)
            slices |= dict(zip(between, filled, strict=True))
    for index, mask in sorted(slices.items()):
        found = np.nonzero(mask)
        result: list[NDArray[Any]] = [np.full(len(found[0]), index)] * 3
        result[others[0]], result[others[1]] = found
        yield tuple(result)


def inside_of(
    contours: Sequence[Contour], fill: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """Return the mask of what lies inside the contours of one plane; ``fill`` returns it for a single polygon."""
    masks = [fill(contour.points) for contour in contours]
    if any(contour.is_xor for contour in contours):
        return np.asarray(np.logical_xor.reduce(masks))
    return masks[0] if len(masks) == 1 else joined(masks)


def _sparse_neighbours(indices: list[int]) -> Iterator[tuple[int, int]]:
    """Yield pairs of neighbouring slices with contours that have slices without contours between them.

    Pairs much further apart than usual for the region are left out: there, the region has several parts.
    """
    gaps = np.diff(indices)
    most = 1.5 * max(2.0, float(np.median(gaps))) if len(gaps) else 0.0
    yield from ((low, high) for low, high in pairwise(indices) if 1 < high - low <= most)


def between_shapes(
    first: NDArray[np.bool_], second: NDArray[np.bool_], parts: Sequence[float], spacing_yx: tuple[float, float]
) -> list[NDArray[np.bool_]]:
    """Interpolate between two shapes by their signed distances.

    Parameters
    ----------
    first, second
        Shapes ``(Y, X)``.
    parts
        Positions of the wanted shapes: 0 at the first, 1 at the second.
    spacing_yx
        Distance between pixels, mm.

    References
    ----------
    .. [1] Raya S. P., Udupa J. K., "Shape-based interpolation of multidimensional objects", IEEE Transactions on
       Medical Imaging 9(1), 1990
    """
    if not (first.any() and second.any()):
        return [np.zeros_like(first) for _ in parts]
    near, far = _signed_distance(first, spacing_yx), _signed_distance(second, spacing_yx)
    return [(1 - part) * near + part * far > 0 for part in parts]


def _signed_distance(mask: NDArray[np.bool_], spacing_yx: tuple[float, float]) -> NDArray[np.float64]:
    """Return the distance to the border of a shape, mm, positive inside; the border lies half way between pixels."""
    sitk = sitk_module()
    sides = []
    for side in (np.pad(mask, 1), np.pad(~mask, 1, constant_values=True)):
        image = sitk.GetImageFromArray(side.astype(np.uint8))
        image.SetSpacing((spacing_yx[1], spacing_yx[0]))
        options = {"insideIsPositive": True, "squaredDistance": False, "useImageSpacing": True}
        sides.append(sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, **options))[1:-1, 1:-1])
    inside, outside = sides
    return np.asarray((inside - outside) / 2, np.float64)


def _to_index(points_xyz: NDArray[np.float64], grid: Geometry) -> NDArray[np.float64]:
    """Return the continuous voxel indices ZYX of points ``(N, 3)``."""
    zero = np.array(grid.index_zyx((0.0, 0.0, 0.0)))
    units = np.array([grid.index_zyx(axis) for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))]) - zero
    index: NDArray[np.float64] = points_xyz @ units + zero
    return index


def _planes(contours: list[Contour], positions: NDArray[np.float64], merge: float) -> list[tuple[float, list[Contour]]]:
    """Group contours by plane; return the planes' positions, ascending, each with its contours."""
    order = np.argsort(positions, kind="stable")
    breaks = np.flatnonzero(np.diff(positions[order]) > merge) + 1
    return [(float(positions[part].mean()), [contours[at] for at in part]) for part in np.split(order, breaks)]


def _fill_oblique(contours: list[Contour], grid: Geometry, noted: Counter[str]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Fill contours in planes that are not slices: test every voxel centre near a plane in that plane."""
    normal = max((_area_vector(contour.points) for contour in contours), key=lambda vector: float(vector @ vector))
    normal = normal / (np.linalg.norm(normal) or 1.0)
    across = np.eye(3)[int(np.abs(normal).argmin())]
    first = np.cross(normal, across)
    first /= np.linalg.norm(first) or 1.0
    frame = np.stack([normal, first, np.cross(normal, first)])
    thinnest = min(grid.spacing_zyx)
    turned = [contour.at(contour.points @ frame.T) for contour in contours]
    flat = [contour for contour in turned if np.ptp(contour.points[:, 0]) <= _FLAT * thinnest]
    if len(flat) < len(contours):
        noted["contours that aren't flat, or in a plane of another direction"] += len(contours) - len(flat)
    if not flat:
        return
    planes = _planes(flat, np.array([contour.points[:, 0].mean() for contour in flat]), _PLANE_MERGE * thinnest)
    heights = np.array([height for height, _ in planes])
    reach = _reach(heights, normal, grid)
    box = _index_box([contour.points for contour in contours], reach, normal, grid)
    rows, columns = np.meshgrid(np.arange(*box[1]), np.arange(*box[2]), indexing="ij")
    y, x = rows.ravel(), columns.ravel()
    for z in range(*box[0]):
        points = _points(grid, z, y, x) @ frame.T
        place = _nearest(heights, points[:, 0])
        is_near = np.abs(points[:, 0] - heights[place]) <= reach
        hit = np.zeros(len(points), bool)
        for plane in np.unique(place[is_near]):
            at = np.flatnonzero(is_near & (place == plane))
            members = [contour.at(contour.points[:, 1:]) for contour in planes[plane][1]]
            hit[at] = inside_of(members, partial(_points_inside, points[at, 1:]))
        inside = np.flatnonzero(hit)
        yield np.full(len(inside), z), y[inside], x[inside]


def _reach(heights: NDArray[np.float64], normal: NDArray[np.float64], grid: Geometry) -> float:
    """Return half the usual distance between contour planes or, for a single plane, half a voxel's extent across it."""
    if len(heights) > 1:
        return float(np.median(np.diff(heights))) / 2
    steps = np.reshape(grid.direction_xyz, (3, 3)).T * np.array(grid.spacing_zyx)[[2, 1, 0], None]
    return float(np.abs(steps @ normal).max()) / 2


def _nearest(heights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[Any]:
    """Return the index of the nearest height; of two equally near ones, that of the lower."""
    middles = (heights[1:] + heights[:-1]) / 2
    return np.searchsorted(middles, values)


def _index_box(
    contours: list[NDArray[np.float64]], reach: float, normal: NDArray[np.float64], grid: Geometry
) -> list[tuple[int, int]]:
    """Return start and stop of the voxels near contours, for each index axis."""
    points = np.concatenate(contours)
    index = np.concatenate([_to_index(points + side * reach * normal, grid) for side in (-1, 1)])
    low = np.clip(np.floor(index.min(0)), 0, grid.size_zyx).astype(int)
    high = np.clip(np.ceil(index.max(0)) + 1, 0, grid.size_zyx).astype(int)
    return [(int(start), int(stop)) for start, stop in zip(low, high, strict=True)]


def _points(grid: Geometry, z: int, y: NDArray[Any], x: NDArray[Any]) -> NDArray[np.float64]:
    """Return the voxel centres ``(N, 3)`` of one slice, mm."""
    corner = np.array(grid.point_xyz((z, 0, 0)))
    down, right = (np.array(grid.point_xyz(step)) - corner for step in ((z, 1, 0), (z, 0, 1)))
    points: NDArray[np.float64] = corner + y[:, None] * down + x[:, None] * right
    return points


def _area_vector(contour: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal vector of a contour, whose length is the contour's area (Newell's method)."""
    centred = contour - contour.mean(0)
    vector: NDArray[np.float64] = np.cross(centred, np.roll(centred, -1, axis=0)).sum(0) / 2
    return vector


def _points_inside(points: NDArray[np.float64], polygon: NDArray[np.float64]) -> NDArray[np.bool_]:
    return points_inside([polygon], points)
