"""Filters against noise: a sampled gaussian, and non-local means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRUNCATE = 4.0
_SLAB = 16
_STRENGTH = 0.8


def gaussian(array_zyx: NDArray[Any], sigma_zyx: Sequence[float]) -> NDArray[np.float32]:
    """Smooth an array with a sampled gaussian, cut at 4 standard deviations; beyond the edge, its voxels are repeated.

    Parameters
    ----------
    array_zyx
        Voxels.
    sigma_zyx
        Standard deviation along each axis, voxels; 0 leaves an axis.

    Examples
    --------
    >>> spike = np.zeros((1, 1, 5), np.float32)
    >>> spike[0, 0, 2] = 1
    >>> (gaussian(spike, (0, 0, 0.5)) * 1000).astype(int).tolist()
    [[[0, 106, 786, 106, 0]]]
    """
    result = np.asarray(array_zyx, np.float32)
    for axis, sigma in enumerate(sigma_zyx):
        weights, length = gaussian_weights(sigma), result.shape[axis]
        reach = min(len(weights), length) - 1
        if reach < 1:
            continue
        widths = [(reach, reach) if place == axis else (0, 0) for place in range(3)]
        padded = np.moveaxis(np.pad(result, widths, mode="edge"), axis, 0)
        total = padded[reach : reach + length] * np.float32(weights[0])
        for step in range(1, reach + 1):
            pair = padded[reach - step : reach - step + length] + padded[reach + step : reach + step + length]
            total += pair * np.float32(weights[step])
        if len(weights) > length:  # so far away, all voxels repeat the edges
            total += (padded[:1] + padded[-1:]) * np.float32(weights[length:].sum())
        result = np.moveaxis(total, 0, axis)
    return np.ascontiguousarray(result, np.float32)


def gaussian_weights(sigma: float) -> NDArray[np.float64]:
    """Return a sampled gaussian, cut at 4 standard deviations: the weight of a voxel, of its neighbours, and so on.

    Examples
    --------
    >>> weights = gaussian_weights(0.5)
    >>> weights.round(3).tolist(), float(weights[0] + 2 * weights[1:].sum())
    ([0.787, 0.106, 0.0], 1.0)
    """
    reach = int(_TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2) if reach else np.ones(1)
    return np.asarray(weights / (weights[0] + 2 * weights[1:].sum()))


def noise_sd(array_zyx: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> float:
    """Estimate the standard deviation of noise from what each voxel differs from the mean of its six neighbours.

    Parameters
    ----------
    array_zyx
        Voxels.
    mask
        Where to look; by default where the image exceeds its mean.

    Notes
    -----
    The median of the pseudo-residuals of Coupé et al. [1]_, as a standard deviation.

    References
    ----------
    .. [1] Coupé P. et al., "An optimized blockwise nonlocal means denoising filter for 3-D magnetic resonance images",
       IEEE TMI 27 (2008)

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(5, 2, (30, 30, 30)).astype(np.float32)
    >>> 1.9 < noise_sd(noise, np.ones(noise.shape, bool)) < 2.1
    True
    """
    array = np.asarray(array_zyx, np.float32)
    padded = np.pad(array, 1, mode="reflect" if min(array.shape) > 1 else "edge")
    inner = (slice(1, -1),) * 3
    around = np.zeros(array.shape, np.float32)
    for axis in range(3):
        for step in (slice(0, -2), slice(2, None)):
            around += padded[tuple(step if place == axis else inner[place] for place in range(3))]
    residual = np.float32(math.sqrt(6 / 7)) * (array - around / 6)
    where = mask if mask is not None and mask.any() else array > array.mean(dtype=np.float64)
    return float(1.4826 * np.median(np.abs(residual[where]))) if where.any() else 0.0


def nlm(array_zyx: NDArray[Any], radius_zyx: Sequence[int], sd: float) -> NDArray[np.float32]:
    """Average each voxel with those around it whose 3 x 3 x 3 neighbourhoods look alike (non-local means).

    Parameters
    ----------
    array_zyx
        Voxels.
    radius_zyx
        Radius of the search along each axis, voxels.
    sd
        Standard deviation of the noise; 0 changes nothing.

    Notes
    -----
    The weight of a voxel is ``exp(-max(d - 2 sd^2, 0) / h^2)`` with the mean squared difference ``d`` of both
    neighbourhoods and ``h = 0.8 sd`` (Buades et al. [1]_, with the noise's own share taken off). Beyond the edge,
    voxels are repeated.

    References
    ----------
    .. [1] Buades A., Coll B., Morel J.-M., "A non-local algorithm for image denoising", CVPR 2005
    """
    array = np.asarray(array_zyx, np.float32)
    if sd <= 0 or not any(radius_zyx):
        return np.array(array)
    result = np.empty(array.shape, np.float32)
    rz, ry, rx = radius_zyx
    padded = np.pad(array, [(radius + 1, radius + 1) for radius in radius_zyx], mode="edge")
    for begin in range(0, array.shape[0], _SLAB):
        end = min(begin + _SLAB, array.shape[0])
        result[begin:end] = _nlm_slab(padded[begin : end + 2 * rz + 2], (rz, ry, rx), sd)
    return result


def _nlm_slab(padded: NDArray[np.float32], radius: tuple[int, int, int], sd: float) -> NDArray[np.float32]:
    """Return the slab inside an array that has its surroundings."""

    def part(shift: Sequence[int], halo: int) -> NDArray[np.float32]:
        return padded[
            tuple(
                slice(reach + 1 + step - halo, size - reach - 1 + step + halo)
                for reach, step, size in zip(radius, shift, padded.shape, strict=True)
            )
        ]

    own = part((0, 0, 0), 1)
    total = np.zeros(part((0, 0, 0), 0).shape, np.float32)
    weights = np.zeros(total.shape, np.float32)
    for shift in product(*(range(-reach, reach + 1) for reach in radius)):
        distance = np.square(own - part(shift, 1))
        for axis in range(3):
            moved = np.moveaxis(distance, axis, 0)
            distance = np.moveaxis(moved[:-2] + moved[1:-1] + moved[2:], 0, axis)
        excess = np.maximum(distance / np.float32(27) - np.float32(2 * sd**2), 0)
        weight = np.exp(-excess / np.float32((_STRENGTH * sd) ** 2))
        total += weight * part(shift, 0)
        weights += weight
    return np.asarray(total / weights)
