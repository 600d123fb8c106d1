"""Morphology of masks and label maps with balls in mm: dilate, erode, open, close, and smooth by majority.

A ball holds the voxels whose centres lie within its radius, whatever the spacing. The radius has a relative tolerance
of 1e-6, because headers hold spacings as float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.boxes import window
from itkit.kernels.arrays import Box, as_mask, foreground_box
from itkit.kernels.balls import ball_counts, ball_dilate, ball_rows, reach_zyx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def dilated(mask_zyx: NDArray[Any], spacing_zyx: Sequence[float], radius_mm: float) -> NDArray[np.uint8]:
    """Return the voxels whose distance to a mask is at most the radius.

    Parameters
    ----------
    mask_zyx
        Mask ``(Z, Y, X)``; what is not 0 belongs to it.
    spacing_zyx
        Spacing, mm.
    radius_mm
        Radius of the ball.

    Examples
    --------
    >>> dilated(np.array([[[0, 0, 1, 0, 0]]]), (1.0, 1.0, 0.5), 0.5).tolist()
    [[[0, 1, 1, 1, 0]]]
    """
    mask = as_mask(mask_zyx)
    ball = ball_rows(spacing_zyx, radius_mm)
    result = np.zeros(mask.shape, dtype=np.uint8)
    box = _around(mask, reach_zyx(ball))
    if box is not None:
        result[box] = ball_dilate(mask[box], ball)
    return result


def eroded(mask_zyx: NDArray[Any], spacing_zyx: Sequence[float], radius_mm: float) -> NDArray[np.uint8]:
    """Return the voxels of a mask that are farther than the radius from every other voxel of the volume.

    What lies outside the volume takes nothing away, so a mask that the field of view cuts keeps its cut face.
    Parameters are those of :func:`dilated`.

    Examples
    --------
    >>> eroded(np.array([[[1, 1, 1, 1, 0]]]), (1.0, 1.0, 0.5), 0.5).tolist()
    [[[1, 1, 1, 0, 0]]]
    """
    mask = as_mask(mask_zyx)
    result: NDArray[np.uint8] = mask.copy()
    ball = ball_rows(spacing_zyx, radius_mm)
    box = _around(mask, reach_zyx(ball))
    if box is not None:
        result[box] &= ball_dilate(mask[box] == 0, ball) == 0
    return result


def opened(mask_zyx: NDArray[Any], spacing_zyx: Sequence[float], radius_mm: float) -> NDArray[np.uint8]:
    """Return the part of a mask that balls of the radius within it cover: thin bridges and small parts vanish.

    Parameters are those of :func:`dilated`. A ball may reach beyond the volume.

    Examples
    --------
    >>> opened(np.array([[[1, 0, 0, 1, 1, 1]]]), (9.0, 9.0, 1.0), 1.0).tolist()
    [[[0, 0, 0, 1, 1, 1]]]
    """
    mask = as_mask(mask_zyx)
    ball = ball_rows(spacing_zyx, radius_mm)
    result = np.zeros(mask.shape, dtype=np.uint8)
    box = _around(mask, reach_zyx(ball))
    if box is not None:
        core = mask[box] & (ball_dilate(mask[box] == 0, ball) == 0)
        result[box] = ball_dilate(core, ball)
    return result


def closed(mask_zyx: NDArray[Any], spacing_zyx: Sequence[float], radius_mm: float) -> NDArray[np.uint8]:
    """Return a mask with the gaps that no ball of the radius outside it reaches.

    Parameters are those of :func:`dilated`. Outside the volume is background, so a gap at its edge stays open.

    Examples
    --------
    >>> closed(np.array([[[1, 0, 1, 0, 0, 0, 1, 0]]]), (9.0, 9.0, 1.0), 1.0).tolist()
    [[[1, 1, 1, 0, 0, 0, 1, 0]]]
    """
    mask = as_mask(mask_zyx)
    ball = ball_rows(spacing_zyx, radius_mm)
    result: NDArray[np.uint8] = mask.copy()
    box = _around(mask, (0, 0, 0))
    if box is not None:
        inner = window(reach_zyx(ball), mask[box].shape)
        padded = np.pad(mask[box], [(reach, reach) for reach in reach_zyx(ball)])
        result[box] = ball_dilate(ball_dilate(padded, ball) == 0, ball)[inner] == 0
    return result


def majority(labels_zyx: NDArray[Any], spacing_zyx: Sequence[float], radius_mm: float) -> NDArray[Any]:
    """Give every voxel the class that most voxels of a ball around it have, background among them.

    Parameters
    ----------
    labels_zyx
        Label map ``(Z, Y, X)``.
    spacing_zyx
        Spacing, mm.
    radius_mm
        Radius of the ball. Voxels outside the volume have no vote.

    Returns
    -------
    numpy.ndarray
        The new label map. Of classes with equally many votes, the voxel's own class wins, then the lowest one. A class
        may vanish.

    Examples
    --------
    >>> majority(np.array([[[3, 3, 5, 3, 3, 0, 0, 0]]]), (9.0, 9.0, 1.0), 1.0).tolist()
    [[[3, 3, 3, 3, 3, 0, 0, 0]]]
    """
    result: NDArray[Any] = labels_zyx.copy()
    ball = ball_rows(spacing_zyx, radius_mm)
    box = _around(as_mask(labels_zyx), reach_zyx(ball))
    if box is None:
        return result
    labels = labels_zyx[box]
    winner, most = result[box], np.full(labels.shape, -1, dtype=np.int32)
    for value in np.unique(labels):
        own = labels == value
        part = _around(own.view(np.uint8), reach_zyx(ball)) or _whole(labels.shape)
        votes = ball_counts(own[part], ball)
        wins = (votes > most[part]) | ((votes == most[part]) & own[part])
        winner[part][wins] = value
        most[part][wins] = votes[wins]
    return result


def _whole(shape: Sequence[int]) -> Box:
    return window((0, 0, 0), shape)


def _around(mask: NDArray[np.uint8], margin_zyx: Sequence[int]) -> Box | None:
    """Return the box of a mask with a margin, as far as it lies in the array; ``None`` if the mask is empty."""
    box = foreground_box(mask)
    if box is None:
        return None
    sides = zip(box, margin_zyx, mask.shape, strict=True)
    z, y, x = (slice(max(0, side.start - margin), min(size, side.stop + margin)) for side, margin, size in sides)
    return (z, y, x)
