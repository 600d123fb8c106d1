"""Distances between the surfaces of two masks: between border voxels, and between surface elements."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from itertools import permutations, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import ArgumentError
from itkit.core.geometry import Triple
from itkit.kernels.arrays import plain
from itkit.kernels.surfaces import Points, border_points, distances_mm, surface_elements, with_rim
from itkit.metrics.definitions import DISTANCES, ELEMENTS, POOLED

SLACK = 1e-5
"""A distance that equals the tolerance but for rounding lies within it: the tolerance is raised by this share."""

_CASES: dict[int, tuple[tuple[int, int, int], ...]] = {
    0b00000001: ((1, 1, 1),),
    0b00000011: ((2, 2, 0), (2, 2, 0)),
    0b00000110: ((1, 1, 1), (1, 1, 1)),
    0b00000111: ((1, 1, 1), (2, 2, 2), (4, 0, 0)),
    0b00001111: ((4, 0, 0), (4, 0, 0)),
    0b00010110: ((1, 1, 1), (1, 1, 1), (1, 1, 1)),
    0b00010111: ((1, 1, 1), (1, 1, 1), (2, 2, 2), (2, 2, 2)),
    0b00011000: ((1, 1, 1), (1, 1, 1)),
    0b00011001: ((0, 2, 2), (0, 2, 2), (1, 1, 1)),
    0b00011011: ((0, 2, 2), (1, 1, 1), (2, 0, 2), (3, 3, 3)),
    0b00011110: ((1, 1, 1), (1, 1, 1), (2, 2, 2), (4, 0, 0)),
    0b00111100: ((2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0)),
    0b01101001: ((1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
}
"""Triangles of the surface between eight voxels, for one arrangement of each kind (the others are turned, mirrored or
inverted): area of each triangle projected along Z, Y, X, in eighths of a voxel's face. Bit ``4 z + 2 y + x`` of the key
is set if the voxel is in the mask. The triangles are those of marching cubes with vertices in the middle of edges."""


class ElementDistances(NamedTuple):
    """Distances of surface elements and their areas, in either direction.

    Attributes
    ----------
    gt_mm, pred_mm
        Distance of each element of the reference to the prediction's surface, and the other way round, mm.
    gt_mm2, pred_mm2
        Area of each element, square mm.
    """

    gt_mm: NDArray[np.float64]
    pred_mm: NDArray[np.float64]
    gt_mm2: NDArray[np.float64]
    pred_mm2: NDArray[np.float64]


def border_distances(
    gt: NDArray[Any], pred: NDArray[Any], spacing_zyx: Triple
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distance from each border voxel of one mask to the nearest border voxel of the other.

    Parameters
    ----------
    gt, pred
        Masks ``(Z, Y, X)`` on one grid; everything but 0 is foreground.
    spacing_zyx
        Distance between voxel centres, mm.

    Returns
    -------
    tuple of arrays
        Distances of the reference's border voxels to the prediction's, and the other way round, mm; infinite if the
        other mask is empty.

    Notes
    -----
    A border voxel is a foreground voxel with at least one of six face neighbours outside the mask; outside the volume
    counts as background. This is what MONAI and MetricsReloaded measure.

    Examples
    --------
    >>> mask = np.zeros((1, 1, 6), bool); mask[..., 1:3] = True
    >>> [found.tolist() for found in border_distances(mask, np.roll(mask, 2), (1.0, 1.0, 0.5))]
    [[1.0, 0.5], [0.5, 1.0]]
    """
    a, b = (border_points(with_rim(mask)) for mask in _masks(gt, pred))
    return distances_mm(a, b, spacing_zyx), distances_mm(b, a, spacing_zyx)


def element_distances(gt: NDArray[Any], pred: NDArray[Any], spacing_zyx: Triple) -> ElementDistances:
    """Return the distances between the surface elements of two masks, and the areas of the elements.

    Parameters
    ----------
    gt, pred
        Masks ``(Z, Y, X)`` on one grid; everything but 0 is foreground.
    spacing_zyx
        Distance between voxel centres, mm.

    Notes
    -----
    Elements lie at the corners between voxels where the eight voxels around are not all alike; each stands for the area
    of the surface that marching cubes puts there. This is the definition of DeepMind's surface-distance [1]_
    (https://github.com/google-deepmind/surface-distance, Apache-2.0).

    References
    ----------
    .. [1] S. Nikolov et al., "Deep learning to achieve clinically applicable segmentation of head and neck anatomy for
       radiotherapy", arXiv:1809.04430
    """
    a, b = (surface_elements(with_rim(mask)) for mask in _masks(gt, pred))
    return _between_elements(a, b, spacing_zyx)


def _between_elements(a: Points, b: Points, spacing_zyx: Triple) -> ElementDistances:
    areas = element_areas(spacing_zyx)
    return ElementDistances(
        distances_mm(a, b, spacing_zyx), distances_mm(b, a, spacing_zyx), areas[a.codes], areas[b.codes]
    )


def element_areas(spacing_zyx: Triple) -> NDArray[np.float64]:
    """Return the area of the surface between eight voxels for each of their 256 arrangements, square mm.

    Bit ``4 z + 2 y + x`` of an arrangement is set if the voxel is in the mask.

    Examples
    --------
    >>> areas = element_areas((3.0, 1.0, 1.0))
    >>> float(areas[0b00001111]), float(areas[0b00110011])  # a plane across Z, a plane across Y
    (1.0, 3.0)
    """
    z, y, x = spacing_zyx
    faces = np.array([y * x, z * x, z * y]) / 8
    return np.asarray(np.sqrt(((_triangles() * faces) ** 2).sum(axis=2)).sum(axis=1))


@cache
def _triangles() -> NDArray[np.float64]:
    """Return the projected areas of up to four triangles of each arrangement, ``(256, 4, 3)``, axes Z, Y, X."""
    table = np.zeros((256, 4, 3))
    for code, triangles in _CASES.items():
        for order in permutations(range(3)):
            for flips in product((0, 1), repeat=3):
                turned = _turned(code, order, flips)
                for variant in (turned, 255 - turned):
                    table[variant] = 0
                    table[variant, : len(triangles)] = np.array(triangles)[:, order]
    return table


def _turned(code: int, order: tuple[int, ...], flips: tuple[int, ...]) -> int:
    """Return an arrangement whose axis ``k`` is the given one's axis ``order[k]``, mirrored where flips say so."""
    result = 0
    for bit in range(8):
        if code >> bit & 1:
            place = (bit >> 2, bit >> 1 & 1, bit & 1)
            z, y, x = (place[axis] ^ flip for axis, flip in zip(order, flips, strict=True))
            result |= 1 << (4 * z + 2 * y + x)
    return result


def surface_metrics(
    gt: NDArray[Any], pred: NDArray[Any], spacing_zyx: Triple, tolerance_mm: float, wanted: Collection[str]
) -> dict[str, float]:
    """Return the wanted metrics of the surfaces of two masks, of which neither is empty.

    Parameters
    ----------
    gt, pred
        Masks ``(Z, Y, X)`` on one grid; everything but 0 is foreground.
    spacing_zyx
        Distance between voxel centres, mm.
    tolerance_mm
        Distance within which a part of a surface counts as met, mm.
    wanted
        Names of metrics.
    """
    rimmed = [with_rim(mask) for mask in _masks(gt, pred)]
    found: dict[str, float] = {}
    limit = tolerance_mm * (1 + SLACK)
    if any(name in wanted for name in (*DISTANCES, *POOLED)):
        a, b = (border_points(mask) for mask in rimmed)
        found |= _of_borders(distances_mm(a, b, spacing_zyx), distances_mm(b, a, spacing_zyx), limit)
    if any(name in wanted for name in ELEMENTS):
        a, b = (surface_elements(mask) for mask in rimmed)
        found |= _of_elements(_between_elements(a, b, spacing_zyx), limit)
    return {name: value for name, value in found.items() if name in wanted}


def _of_borders(a: NDArray[np.float64], b: NDArray[np.float64], limit: float) -> dict[str, float]:
    total, count = float(a.sum() + b.sum()), len(a) + len(b)
    within = np.count_nonzero(a <= limit) + np.count_nonzero(b <= limit)
    return {
        "hd_mm": float(max(a.max(), b.max())),
        "hd95_mm": float(max(np.percentile(a, 95), np.percentile(b, 95))),
        "assd_mm": total / count,
        "masd_mm": float(a.mean() + b.mean()) / 2,
        "nsd": float(within / count),
        "hd95_pooled": float(np.percentile(np.concatenate([a, b]), 95)),
    }


def _of_elements(found: ElementDistances, limit: float) -> dict[str, float]:
    directions = ((found.gt_mm, found.gt_mm2), (found.pred_mm, found.pred_mm2))
    total = sum(float(areas.sum()) for _, areas in directions)
    within = sum(float(areas[distances <= limit].sum()) for distances, areas in directions)
    means = [float((distances * areas).sum() / areas.sum()) for distances, areas in directions]
    return {
        "nsd_surfels": within / total,
        "asd_surfels": sum(means) / 2,
        "hd95_surfels": max(_quantile_by_area(distances, areas, 0.95) for distances, areas in directions),
    }


def _quantile_by_area(distances: NDArray[np.float64], areas: NDArray[np.float64], share: float) -> float:
    """Return the smallest distance within which a share of the area lies."""
    order = np.lexsort((areas, distances))
    cumulated = np.cumsum(areas[order]) / areas.sum()
    return float(distances[order[min(int(np.searchsorted(cumulated, share)), len(order) - 1)]])


def _masks(*arrays: NDArray[Any]) -> list[NDArray[np.bool_]]:
    masks = [plain(array) != 0 for array in arrays]
    if len({mask.shape for mask in masks}) > 1:
        raise ArgumentError(f"expected masks of one shape; got {' and '.join(str(mask.shape) for mask in masks)}")
    return masks
