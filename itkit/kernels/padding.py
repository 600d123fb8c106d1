"""The value of places where a volume has no voxels: one rule for padding, cropping beyond the end, and resampling."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.kernels.statistics import min_max

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from itkit.core.volume import Kind


SLAB = 32
"""Number of slices that are read at a time from a volume that is not in memory."""


def outside_value(array_zyx: NDArray[Any], kind: Kind) -> NDArray[Any]:
    """Return the value outside a volume: the minimum of an image (of each channel, if several), 0 for a label map.

    Parameters
    ----------
    array_zyx
        The whole volume, ``(Z, Y, X)`` or ``(Z, Y, X, C)``; a part may have another minimum.
    kind
        ``"image"`` or ``"label"``.

    Returns
    -------
    numpy.ndarray
        A scalar, or one value per channel, of the volume's type; nan is ignored.

    Examples
    --------
    >>> int(outside_value(np.array([[[3, -7]]]), "image")), int(outside_value(np.array([[[3, -7]]]), "label"))
    (-7, 0)
    """
    if kind == "label":
        return np.zeros(array_zyx.shape[3:], array_zyx.dtype)
    if array_zyx.ndim == 3:
        return np.asarray(min_max(array_zyx)[0], array_zyx.dtype)
    return np.array([min_max(array_zyx[..., channel])[0] for channel in range(array_zyx.shape[3])], array_zyx.dtype)


def least_outside(array_zyx: Any, kind: Kind) -> NDArray[Any]:
    """Return the value outside a volume that is not in memory, reading one slab of slices at a time.

    Parameters
    ----------
    array_zyx
        An array that returns voxels when it is sliced, as numpy's, Blosc2's and Zarr's arrays do.
    kind
        ``"image"`` or ``"label"``.
    """
    found = []
    every = slice(None)
    for first in itertools.count(0, SLAB):
        part = np.asarray(array_zyx[slice(first, first + SLAB), every, every])
        if not len(part):
            break
        found.append(outside_value(part, kind))
    return np.asarray(np.fmin.reduce(found))


def in_frame(
    array_zyx: NDArray[Any], start_zyx: Sequence[int], size_zyx: Sequence[int], outside: NDArray[Any]
) -> NDArray[Any]:
    """Place an array in a larger one: its first voxel at ``start_zyx``, the value ``outside`` everywhere around it.

    Examples
    --------
    >>> in_frame(np.ones((1, 1, 2), int), (0, 0, 1), (1, 1, 4), np.array(9)).tolist()
    [[[9, 1, 1, 9]]]
    """
    frame = np.empty((*size_zyx, *array_zyx.shape[3:]), array_zyx.dtype)
    frame[...] = outside
    z, y, x = (slice(start, start + n) for start, n in zip(start_zyx, array_zyx.shape, strict=False))
    frame[z, y, x] = array_zyx
    return frame
