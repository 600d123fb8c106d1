"""Label maps on another grid by volume: the class that fills most of a voxel, so that small structures survive."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.kernels.arrays import Box, foreground_box, plain
from itkit.kernels.labels import label_counts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_NOISE = 1e-6
"""Shares that differ by less are equal: they come from float32 sums."""


@dataclass(frozen=True, eq=False)
class _Overlap:
    """Parts of each output voxel that source voxels fill, along one axis: ``weights[i, t]`` is of ``first[i] + t``."""

    first: NDArray[np.int64]
    weights: NDArray[np.float32]


def _overlap(index: NDArray[np.float64], step: float, length: int, *, clamp: bool) -> _Overlap:
    low, high = index - step / 2, index + step / 2
    first = np.floor(low + 0.5).astype(np.int64)
    places = first[:, None] + np.arange(math.ceil(step - _NOISE) + 1)
    weights = np.minimum(high[:, None], places + 0.5) - np.maximum(low[:, None], places - 0.5)
    weights = np.where((places >= 0) & (places < length), weights.clip(0), 0) / step
    if clamp:  # what lies beyond the edge looks like the edge
        total = weights.sum(axis=1, keepdims=True)
        weights = weights / np.where(total > _NOISE, total, 1)
    return _Overlap(first, weights.astype(np.float32))


@dataclass(frozen=True, eq=False)
class _Shares:
    """The shares of one class in the output voxels of a box; it has none elsewhere."""

    box: Box
    values: NDArray[np.float32]


def _shares(source: NDArray[Any], value: int, overlaps: Sequence[_Overlap]) -> _Shares | None:
    """Return how much of each output voxel a class fills; ``None`` where it fills nothing of any."""
    mask = source == value
    bounds = foreground_box(mask)
    if bounds is None:
        return None
    part: NDArray[Any] = mask[bounds]
    box = []
    for axis, (overlap, side) in enumerate(zip(overlaps, bounds, strict=True)):
        reach = overlap.weights.shape[1]
        touched = np.flatnonzero((overlap.first < side.stop) & (overlap.first + reach > side.start))
        if len(touched) == 0:
            return None
        outs = slice(int(touched[0]), int(touched[-1]) + 1)
        first, weights = overlap.first[outs] - side.start, overlap.weights[outs]
        shape = [1, 1, 1]
        shape[axis] = len(first)
        total: NDArray[Any] | float = 0.0
        for offset in range(reach):
            places = first + offset
            weight = np.where((places >= 0) & (places < side.stop - side.start), weights[:, offset], np.float32(0))
            total = total + part.take(places.clip(0, side.stop - side.start - 1), axis=axis) * weight.reshape(shape)
        part = np.asarray(total, dtype=np.float32)
        box.append(outs)
    return _Shares((box[0], box[1], box[2]), part)


def largest_share(
    array_zyx: NDArray[Any],
    indices_zyx: Sequence[NDArray[np.float64]],
    steps_zyx: Sequence[float],
    *,
    clamp: bool = True,
) -> NDArray[Any]:
    """Return a label map whose voxels have the class that fills most of them, and whose classes keep their volumes.

    Parameters
    ----------
    array_zyx
        Classes ``(Z, Y, X)``; 0 is the background.
    indices_zyx
        Continuous source indices of the output's voxel centres along Z, Y, X.
    steps_zyx
        Extent of an output voxel along Z, Y, X, in source voxels.
    clamp
        Whether what lies beyond the source's edge looks like the edge; otherwise it is background.

    Returns
    -------
    numpy.ndarray
        Of the input's type.

    Notes
    -----
    Shares are products of overlaps along the three axes. A class that then has fewer voxels than its volume asks for
    (at least one) takes background voxels in which its share is largest, the smallest class first. So a structure
    that fills less than half of any voxel survives, and the sum of a class's voxels is its volume.

    Examples
    --------
    >>> label = np.array([[[1, 1, 1, 0, 7, 0, 0, 0, 0]]], np.uint8)
    >>> largest_share(label, [np.array([0.0]), np.array([0.0]), np.array([1.0, 4.0, 7.0])], (1, 1, 3)).tolist()
    [[[1, 7, 0]]]
    """
    source = plain(array_zyx)
    overlaps = [
        _overlap(np.asarray(index, dtype=np.float64), float(step), length, clamp=clamp)
        for index, step, length in zip(indices_zyx, steps_zyx, source.shape, strict=True)
    ]
    shape = tuple(len(index) for index in indices_zyx)
    result = np.zeros(shape, source.dtype)
    best, background = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    volumes: dict[int, float] = {}
    for value in label_counts(source):
        shares = _shares(source, value, overlaps) if value != 0 else None
        if shares is None:
            continue
        volumes[value] = float(shares.values.sum(dtype=np.float64))
        background[shares.box] -= shares.values
        wins = shares.values > best[shares.box] + _NOISE
        best[shares.box][wins] = shares.values[wins]
        result[shares.box][wins] = value
    result[background > best + _NOISE] = 0
    _make_up(result, source, overlaps, volumes)
    return result.view(np.bool_) if array_zyx.dtype == np.bool_ else result


def _make_up(
    result: NDArray[Any], source: NDArray[Any], overlaps: Sequence[_Overlap], volumes: Mapping[int, float]
) -> None:
    """Give classes that have too few voxels those in which their share is largest."""
    counts = label_counts(result)
    for value, volume in sorted(volumes.items(), key=lambda item: (item[1], item[0])):
        missing = max(1, round(volume)) - counts.get(value, 0)
        shares = _shares(source, value, overlaps) if missing > 0 and volume > _NOISE else None
        if shares is None:
            continue
        part = result[shares.box]
        taken = _best_places(shares.values, part == 0, missing)
        if len(taken) == 0 and counts.get(value, 0) == 0:  # it lies wholly inside other classes
            may_lose = np.isin(part, [other for other, count in counts.items() if other == 0 or count > 1])
            taken = _best_places(shares.values, may_lose, 1)
        places = np.unravel_index(taken, part.shape)
        for old, count in label_counts(part[places]).items():
            counts[old] -= count
        counts[value] = counts.get(value, 0) + len(taken)
        part[places] = value


def _best_places(shares: NDArray[np.float32], allowed: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Return the flat places of the largest shares, in falling order."""
    places = np.flatnonzero(allowed & (shares > _NOISE))
    order = np.argsort(-shares.ravel()[places], kind="stable")
    return places[order[:most]]
