"""RTSTRUCT contours as label maps (PS3.3 C.8.8.6).

A voxel belongs to a region when its centre is inside the contours of the nearest contour plane. Inside follows the
even-odd rule over all closed contours of the region in that plane, so holes may be drawn as a contour of their own or
through a keyhole. A centre on an edge is inside when the region lies in the direction of growing indices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import ReadError
from itkit.core.geometry import Geometry
from itkit.core.params import OverlapRule
from itkit.core.volume import Volume
from itkit.io.dicom.header import number, numbers, parse_errors, read_dataset, short, text, warnings_as_notes
from itkit.io.dicom.labels import LabelMap, Region, label_map, numbered
from itkit.kernels.paint import Canvas

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
#: Contours are flat, and in the plane of a slice, when their points deviate by less than this part of a voxel.
_FLAT = 0.05
_PLANE_MERGE = 0.02


@dataclass(frozen=True)
class _Roi:
    region: Region
    contours_xyz: tuple[NDArray[np.float64], ...]


def read_rtstruct(
    path: Path, reference: Volume | Geometry, *, overlap: OverlapRule = "error", frame_of_reference_uid: str = ""
) -> LabelMap:
    """Rasterise the closed contours of a structure set onto a grid.

    Parameters
    ----------
    path
        An RTSTRUCT file.
    reference
        Grid of the result, in any orientation. Contours are followed exactly in its slices where they are drawn along
        one of its axes, and in their own planes otherwise.
    overlap
        What becomes of voxels in several regions: ``"error"`` refuses, ``"first"`` and ``"last"`` keep one in the
        file's order, ``"multi"`` gives a channel a region.
    frame_of_reference_uid
        Frame of reference of the grid, where it is known; a region of another is refused.

    Returns
    -------
    LabelMap
        Values are ROI numbers. ``facts`` counts contours of other types (points, open ones), contours that aren't flat
        and such as are outside the grid.

    Raises
    ------
    ReadError
        When the file is no structure set, damaged, or in another frame of reference.
    LabelError
        When regions overlap and ``overlap`` is ``"error"``.

    Notes
    -----
    A contour between two slices goes to the nearest one, the lower one when both are as near; slices without a contour
    within half a slice distance stay empty, also between two planes with contours.
    """
    geometry = reference.geometry if isinstance(reference, Volume) else reference
    notes: list[str] = []
    dataset = read_dataset(path, pixels=False, notes=notes)
    skipped: Counter[str] = Counter()
    try:
        with warnings_as_notes(notes):
            rois = _read_rois(dataset, path, frame_of_reference_uid, skipped)
    except parse_errors() as error:
        raise ReadError(f"{path}: damaged structure set: {short(error)}") from error
    regions = [roi.region for roi in rois]
    canvas = Canvas(geometry.size_zyx, [region.number for region in regions], overlap)
    for roi in rois:
        for index_zyx in rasterise(roi.contours_xyz, geometry, skipped):
            canvas.paint(roi.region.number, index_zyx)
    facts = {name: str(count) for name, count in skipped.items() if count}
    if notes:
        facts["warnings"] = "; ".join(notes)
    return label_map(str(path), geometry, regions, canvas, facts)


def rasterise(
    contours_xyz: Iterable[NDArray[np.float64]], grid: Geometry, skipped: Counter[str]
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Give the voxels inside a region's contours, plane by plane.

    Parameters
    ----------
    contours_xyz
        Closed contours, each ``(N, 3)``, mm.
    grid
        The grid.
    skipped
        Counts contours that aren't flat, and planes outside the grid.

    Yields
    ------
    tuple
        Voxel indices Z, Y, X.
    """
    along_axis: dict[int, list[NDArray[np.float64]]] = {}
    oblique: list[NDArray[np.float64]] = []
    for contour in contours_xyz:
        index = np.round(_to_index(contour, grid), 6)
        flat = np.ptp(index, axis=0)
        if flat.min() <= _FLAT:
            along_axis.setdefault(int(flat.argmin()), []).append(index)
        else:
            oblique.append(contour)
    for axis, contours in along_axis.items():
        yield from _fill_slices(contours, axis, grid, skipped)
    if oblique:
        yield from _fill_oblique(oblique, grid, skipped)


def fill_even_odd(polygons: Iterable[NDArray[np.float64]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill polygons on a pixel grid by the even-odd rule, row by row.

    Parameters
    ----------
    polygons
        Closed polygons ``(N, 2)``: continuous row and column indices; pixel centres are at integers.
    size
        Rows and columns.

    Returns
    -------
    NDArray
        Pixels whose centre is inside an odd number of polygons.

    Examples
    --------
    >>> square = np.array([[0.5, 0.5], [0.5, 3.5], [2.5, 3.5], [2.5, 0.5]])
    >>> fill_even_odd([square], (4, 5)).astype(int).tolist()
    [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    polygons = list(polygons)
    inside = np.zeros(size, bool)
    if not polygons:
        return inside
    corners = np.array([(*polygon.min(0), *polygon.max(0)) for polygon in polygons])
    top, left = (int(max(0, np.ceil(corners[:, axis].min()))) for axis in (0, 1))
    bottom, right = (int(min(size[axis], np.floor(corners[:, axis + 2].max()) + 1)) for axis in (0, 1))
    if bottom <= top or right <= left:
        return inside
    rows, width = bottom - top, right - left + 1
    toggles = np.zeros(rows * width, np.int64)
    for polygon in polygons:
        lower, upper = _upward_edges(polygon - (top, left))
        first = np.clip(np.ceil(lower[:, 0]), 0, rows).astype(int)
        last = np.clip(np.ceil(upper[:, 0]), 0, rows).astype(int)  # rows first..last-1: lower end in, upper end out
        edge, row = _ranges(first, last)
        part = (row - lower[edge, 0]) / (upper[edge, 0] - lower[edge, 0])
        crossing = np.round(lower[edge, 1] + part * (upper[edge, 1] - lower[edge, 1]), 6)
        column = np.clip(np.ceil(crossing), 0, width - 1).astype(int)
        toggles += np.bincount(row * width + column, minlength=len(toggles))
    inside[top:bottom, left:right] = np.cumsum(toggles.reshape(rows, width), axis=1)[:, :-1] % 2 == 1
    return inside


def points_inside(polygons: Iterable[NDArray[np.float64]], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which points ``(M, 2)`` are inside an odd number of polygons ``(N, 2)``."""
    order = np.argsort(points[:, 0], kind="stable")
    v, u = points[order].T
    crossings = np.zeros(len(points), np.int64)
    for polygon in polygons:
        lower, upper = _upward_edges(polygon)
        edge, point = _ranges(np.searchsorted(v, lower[:, 0]), np.searchsorted(v, upper[:, 0]))
        part = (v[point] - lower[edge, 0]) / (upper[edge, 0] - lower[edge, 0])
        at = lower[edge, 1] + part * (upper[edge, 1] - lower[edge, 1])
        crossings += np.bincount(point[at <= u[point]], minlength=len(points))
    inside = np.zeros(len(points), bool)
    inside[order] = crossings % 2 == 1
    return inside


def _upward_edges(polygon: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and the upper end of every edge, by the first coordinate."""
    start, stop = polygon, np.roll(polygon, -1, axis=0)
    is_up = (start[:, 0] <= stop[:, 0])[:, None]
    return np.where(is_up, start, stop), np.where(is_up, stop, start)


def _ranges(first: NDArray[Any], last: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return every integer of the ranges ``first`` to ``last - 1``, and the place of the range it is from."""
    counts = np.maximum(last - first, 0)
    place = np.repeat(np.arange(len(counts)), counts)
    return place, first[place] + np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)


def _read_rois(dataset: Any, path: Path, frame_of_reference_uid: str, skipped: Counter[str]) -> list[_Roi]:
    if "StructureSetROISequence" not in dataset:
        raise ReadError(f"{path}: no structure set (it lists no regions)")
    drawn = {int(item.ReferencedROINumber): item for item in dataset.get("ROIContourSequence") or []}
    found: list[tuple[Region, tuple[NDArray[np.float64], ...]]] = []
    for item in dataset.StructureSetROISequence:
        frame_of_reference = text(item, "ReferencedFrameOfReferenceUID")
        if frame_of_reference_uid and frame_of_reference and frame_of_reference != frame_of_reference_uid:
            raise ReadError(f"{path}: region {text(item, 'ROIName')!r} is in another frame of reference than the image")
        roi_number = int(item.ROINumber)
        contours = drawn.get(roi_number)
        colour = numbers(contours, "ROIDisplayColor", 3) if contours is not None else None
        red, green, blue = (int(value) for value in colour or (0, 0, 0))
        region = Region(roi_number, text(item, "ROIName"), (red, green, blue) if colour else None)
        found.append((region, tuple(_closed_contours(contours, path, region, skipped))))
    regions = numbered(region for region, _ in found)
    return [_Roi(region, contours) for region, (_, contours) in zip(regions, found, strict=True)]


def _closed_contours(item: Any, path: Path, region: Region, skipped: Counter[str]) -> Iterator[NDArray[np.float64]]:
    for contour in (item.get("ContourSequence") or []) if item is not None else []:
        kind = text(contour, "ContourGeometricType")
        values = _coordinates(contour)
        stated = number(contour, "NumberOfContourPoints")
        if len(values) % 3 or (stated is not None and int(stated) * 3 != len(values)):
            raise ReadError(f"{path}: a contour of region {region.name!r} has {len(values)} coordinates, "
                            f"{'a multiple of 3' if stated is None else int(stated) * 3} expected")  # fmt: skip
        if not np.isfinite(values).all():
            raise ReadError(f"{path}: a contour of region {region.name!r} has coordinates that are no numbers")
        if kind not in _CLOSED:
            skipped[f"{kind or 'untyped'} contours"] += 1
        elif len(values) < 9:
            skipped["contours of less than three points"] += 1
        else:
            yield values.reshape(-1, 3)


def _coordinates(contour: Any) -> NDArray[np.float64]:
    """Parse ContourData at once; pydicom makes an object of every number, which takes ten times as long."""
    element = contour.get_item("ContourData")
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = value.strip(b" \0").split(b"\\") if value.strip(b" \0") else None
    return np.array([] if value is None else value).astype(np.float64)


def _to_index(points_xyz: NDArray[np.float64], grid: Geometry) -> NDArray[np.float64]:
    """Continuous voxel indices ZYX of points ``(N, 3)``."""
    zero = np.array(grid.index_zyx((0.0, 0.0, 0.0)))
    units = np.array([grid.index_zyx(axis) for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))]) - zero
    index: NDArray[np.float64] = points_xyz @ units + zero
    return index


def _fill_slices(
    contours: list[NDArray[np.float64]], axis: int, grid: Geometry, skipped: Counter[str]
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Fill contours that lie in slices across one index axis."""
    others = [other for other in range(3) if other != axis]
    planes = _planes(contours, np.array([contour[:, axis].mean() for contour in contours]), _PLANE_MERGE)
    nearest: dict[int, tuple[float, list[NDArray[np.float64]]]] = {}
    for position, members in planes:
        index = int(np.ceil(position - 0.5))
        distance = abs(position - index)
        if not 0 <= index < grid.size_zyx[axis]:
            skipped["contour planes outside the grid"] += 1
        elif index not in nearest or distance < nearest[index][0]:
            skipped["contour planes with a nearer one to the same slice"] += int(index in nearest)
            nearest[index] = (distance, members)
        else:
            skipped["contour planes with a nearer one to the same slice"] += 1
    size = (grid.size_zyx[others[0]], grid.size_zyx[others[1]])
    for index, (_, members) in nearest.items():
        found = np.nonzero(fill_even_odd([contour[:, others] for contour in members], size))
        result: list[NDArray[Any]] = [np.full(len(found[0]), index)] * 3
        result[others[0]], result[others[1]] = found
        yield tuple(result)


def _planes(
    contours: list[NDArray[np.float64]], positions: NDArray[np.float64], merge: float
) -> list[tuple[float, list[NDArray[np.float64]]]]:
    """Gather contours in one plane; gives the planes' positions, ascending."""
    order = np.argsort(positions, kind="stable")
    breaks = np.flatnonzero(np.diff(positions[order]) > merge) + 1
    return [(float(positions[part].mean()), [contours[at] for at in part]) for part in np.split(order, breaks)]


def _fill_oblique(
    contours: list[NDArray[np.float64]], grid: Geometry, skipped: Counter[str]
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Fill contours in planes of their own: every voxel centre near a plane is tested in it."""
    normal = max((_area_vector(contour) for contour in contours), key=lambda vector: float(vector @ vector))
    normal = normal / (np.linalg.norm(normal) or 1.0)
    across = np.eye(3)[int(np.abs(normal).argmin())]
    first = np.cross(normal, across)
    first /= np.linalg.norm(first) or 1.0
    frame = np.stack([normal, first, np.cross(normal, first)])
    thinnest = min(grid.spacing_zyx)
    turned = [contour @ frame.T for contour in contours]
    flat = [contour for contour in turned if np.ptp(contour[:, 0]) <= _FLAT * thinnest]
    if len(flat) < len(contours):
        skipped["contours that aren't flat, or in a plane of another direction"] += len(contours) - len(flat)
    if not flat:
        return
    planes = _planes(flat, np.array([contour[:, 0].mean() for contour in flat]), _PLANE_MERGE * thinnest)
    heights = np.array([height for height, _ in planes])
    reach = _reach(heights, normal, grid)
    box = _index_box(contours, reach, normal, grid)
    rows, columns = np.meshgrid(np.arange(*box[1]), np.arange(*box[2]), indexing="ij")
    y, x = rows.ravel(), columns.ravel()
    for z in range(*box[0]):
        points = _points(grid, z, y, x) @ frame.T
        place = _nearest(heights, points[:, 0])
        is_near = np.abs(points[:, 0] - heights[place]) <= reach
        hit = np.zeros(len(points), bool)
        for plane in np.unique(place[is_near]):
            at = np.flatnonzero(is_near & (place == plane))
            hit[at] = points_inside([contour[:, 1:] for contour in planes[plane][1]], points[at, 1:])
        inside = np.flatnonzero(hit)
        yield np.full(len(inside), z), y[inside], x[inside]


def _reach(heights: NDArray[np.float64], normal: NDArray[np.float64], grid: Geometry) -> float:
    """Return half the usual distance of contour planes or, with one plane, half a voxel's extent across it."""
    if len(heights) > 1:
        return float(np.median(np.diff(heights))) / 2
    steps = np.reshape(grid.direction_xyz, (3, 3)).T * np.array(grid.spacing_zyx)[[2, 1, 0], None]
    return float(np.abs(steps @ normal).max()) / 2


def _nearest(heights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[Any]:
    """Return the place of the nearest height, the lower one when two are as near."""
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
    """Voxel centres ``(N, 3)`` in one slice, mm."""
    corner = np.array(grid.point_xyz((z, 0, 0)))
    down, right = (np.array(grid.point_xyz(step)) - corner for step in ((z, 1, 0), (z, 0, 1)))
    points: NDArray[np.float64] = corner + y[:, None] * down + x[:, None] * right
    return points


def _area_vector(contour: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vector across a contour, as long as its area (Newell)."""
    centred = contour - contour.mean(0)
    vector: NDArray[np.float64] = np.cross(centred, np.roll(centred, -1, axis=0)).sum(0) / 2
    return vector
