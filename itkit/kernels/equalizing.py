"""Contrast-limited adaptive histogram equalization of a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILES = 8
BINS = 256
CLIP_LIMIT = 0.01


def clahe(
    array_zyx: NDArray[Any], tiles: int = TILES, clip_limit: float = CLIP_LIMIT
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Equalize the histogram around each voxel; the image's minimum and maximum stay the limits of the range.

    Parameters
    ----------
    array_zyx
        Voxels, finite and not all equal.
    tiles
        Number of tiles along each axis, as far as it has 8 voxels for each.
    clip_limit
        Greatest share of a tile's voxels in one of 256 bins; what exceeds it is spread over all bins. It limits the
        slope of the mapping, and so how far noise is amplified.

    Returns
    -------
    array, facts
        The new voxels, and the tiles, bins and limit.

    Notes
    -----
    Zuiderveld's method [1]_ in three dimensions: a mapping for each tile, interpolated linearly between tile centres.

    References
    ----------
    .. [1] Zuiderveld K., "Contrast limited adaptive histogram equalization", Graphics Gems IV (1994)

    Examples
    --------
    >>> ramp = np.square(np.arange(64, dtype=np.float32)).reshape(1, 8, 8)
    >>> equal, facts = clahe(ramp, tiles=1, clip_limit=1.0)
    >>> facts["tiles"], bool((np.diff(equal.ravel()) >= 0).all()), float(equal.max())
    ([1, 1, 1], True, 3969.0)
    """
    array = np.asarray(array_zyx, np.float32)
    low, high = float(array.min()), float(array.max())
    bins = np.minimum((array - np.float32(low)) * np.float32(BINS / (high - low)), BINS - 1).astype(np.uint8)
    counts = tuple(max(1, min(tiles, size // 8)) for size in array.shape)
    edges = [
        [size * place // count for place in range(count + 1)] for size, count in zip(array.shape, counts, strict=True)
    ]
    maps = np.empty((*counts, BINS), np.float32)
    for place in np.ndindex(*counts):
        box = tuple(slice(ends[index], ends[index + 1]) for ends, index in zip(edges, place, strict=True))
        maps[place] = _mapping(bins[box], clip_limit)
    result = _interpolated(bins, maps, edges)
    result *= np.float32(high - low)
    result += np.float32(low)
    return result, {"tiles": list(counts), "bins": BINS, "clip_limit": clip_limit}


def _mapping(bins: NDArray[np.uint8], clip_limit: float) -> NDArray[np.float64]:
    """Return the cumulative histogram of a tile from 0 to 1, with no bin above the limit."""
    counts = np.bincount(bins.ravel(), minlength=BINS).astype(np.float64)
    limit = max(clip_limit * bins.size, bins.size / BINS)
    excess = np.maximum(counts - limit, 0).sum()
    for _ in range(BINS):
        if excess < 1e-6 * bins.size:
            break
        counts = np.minimum(counts, limit)
        free = counts < limit
        counts[free] += excess / np.count_nonzero(free)
        excess = np.maximum(counts - limit, 0).sum()
    return np.asarray(np.cumsum(counts) / counts.sum())


def _interpolated(bins: NDArray[np.uint8], maps: NDArray[np.float32], edges: list[list[int]]) -> NDArray[np.float32]:
    lower, weight = zip(*(_neighbours(ends) for ends in edges), strict=True)
    upper = [np.minimum(low + 1, len(ends) - 2) for low, ends in zip(lower, edges, strict=True)]
    result = np.empty(bins.shape, np.float32)
    wy, wx = weight[1][:, None], weight[2][None, :]
    for z in range(bins.shape[0]):
        wz = np.float32(weight[0][z])
        layer = maps[lower[0][z]] * (1 - wz) + maps[upper[0][z]] * wz  # (tiles Y, tiles X, bins)
        flat, own = layer.reshape(-1), bins[z].astype(np.int64)

        def at(rows: NDArray[Any], columns: NDArray[Any], flat: Any = flat, own: Any = own) -> NDArray[np.float32]:
            return np.asarray(np.take(flat, (rows[:, None] * maps.shape[2] + columns[None, :]) * BINS + own))

        first = at(lower[1], lower[2]) * (1 - wx) + at(lower[1], upper[2]) * wx
        second = at(upper[1], lower[2]) * (1 - wx) + at(upper[1], upper[2]) * wx
        result[z] = first * (1 - wy) + second * wy
    return result


def _neighbours(ends: list[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return, for each voxel along an axis, the tile whose centre lies before it, and the weight of the next one."""
    centres = (np.array(ends[:-1]) + np.array(ends[1:]) - 1) / 2
    voxels = np.arange(ends[-1])
    lower = np.clip(np.searchsorted(centres, voxels, side="right") - 1, 0, len(centres) - 1)
    upper = np.minimum(lower + 1, len(centres) - 1)
    gap = np.where(upper > lower, centres[upper] - centres[lower], 1.0)
    return lower, np.clip((voxels - centres[lower]) / gap, 0, 1).astype(np.float32)
