"""Boxes of voxels in a volume: grids of patches that cover it, and random or centred places for one box.

A box is given by the index of its first voxel (``start_zyx``) and its size. A box that is longer than an axis starts
at 0 and reaches beyond the end of the axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from itkit.core.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np

Index = tuple[int, int, int]
_CLOSE = 0.75
"""Part of the widest step below which a window joins the group of the one before it."""


@dataclass(frozen=True)
class PatchGrid:
    """Start indices of all patches of a volume, along each axis."""

    starts_zyx: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    patch_zyx: Index

    def __iter__(self) -> Iterator[tuple[Index, Index]]:
        """Yield (position in the grid, start index) of each patch, x fastest."""
        zs, ys, xs = self.starts_zyx
        for k, z in enumerate(zs):
            for j, y in enumerate(ys):
                for i, x in enumerate(xs):
                    yield (k, j, i), (z, y, x)

    def __len__(self) -> int:
        zs, ys, xs = self.starts_zyx
        return len(zs) * len(ys) * len(xs)


def patch_starts(length: int, patch: int, stride: int, *, spread: bool = False) -> tuple[int, ...]:
    """Return the start indices of patches along an axis: 0, s, 2s, …, and a last patch that touches the end.

    Parameters
    ----------
    length, patch, stride
        Voxels of the axis and of a patch, and the step between patches.
    spread
        Put the same number of patches at even distances, at most ``stride`` apart. The last patch then does not nearly
        double the one before it. nnU-Net places its sliding windows in this way [1]_.

    Raises
    ------
    ArgumentError
        When the patch is longer than the axis.

    References
    ----------
    .. [1] Isensee F. et al., "nnU-Net", ``nnunetv2/inference/sliding_window_prediction.py``,
       https://github.com/MIC-DKFZ/nnUNet

    Examples
    --------
    >>> patch_starts(10, 4, 3), patch_starts(11, 4, 3), patch_starts(4, 4, 9)
    ((0, 3, 6), (0, 3, 6, 7), (0,))
    >>> patch_starts(11, 4, 3, spread=True)
    (0, 2, 5, 7)
    """
    last = length - patch
    if last < 0:
        raise ArgumentError(f"a patch of {patch} voxels is longer than the axis of {length}; pad the volume first")
    if spread:
        steps = -(-last // stride)
        return tuple((2 * number * last + steps) // (2 * steps) for number in range(steps + 1)) if steps else (0,)
    starts = list(range(0, last + 1, stride))
    return tuple(starts if starts[-1] == last else [*starts, last])


def window_starts(length: int, patch: int, overlap: float, scheme: str = "monai") -> tuple[int, ...]:
    """Return the start indices of sliding windows along an axis; an axis shorter than the patch has one window at 0.

    Parameters
    ----------
    length, patch
        Voxels of the axis and of a window.
    overlap
        Part of a window that the next one covers again, from 0 to below 1.
    scheme
        ``"monai"``: steps of ``int(patch * (1 - overlap))`` voxels and a last window that touches the end, as
        ``monai.inferers.sliding_window_inference`` places them [1]_. ``"nnunet"``: the fewest windows that overlap at
        least so much, at even distances [2]_; with very small windows a start may occur twice there, as in nnU-Net.

    Raises
    ------
    ArgumentError
        When the overlap or the scheme is impossible.

    References
    ----------
    .. [1] MONAI, ``monai/inferers/utils.py``, https://github.com/Project-MONAI/MONAI
    .. [2] Isensee F. et al., "nnU-Net", ``nnunetv2/inference/sliding_window_prediction.py``,
       https://github.com/MIC-DKFZ/nnUNet

    Examples
    --------
    >>> window_starts(160, 96, 0.5), window_starts(160, 96, 0.5, "nnunet"), window_starts(40, 96, 0.5)
    ((0, 48, 64), (0, 32, 64), (0,))
    """
    if not 0 <= overlap < 1:
        raise ArgumentError(f"overlap of windows: expected 0 to below 1; got {overlap}")
    length = max(length, patch)
    if scheme == "monai":
        return patch_starts(length, patch, max(1, int(patch * (1 - overlap))))
    if scheme != "nnunet":
        raise ArgumentError(f"scheme of windows: expected monai or nnunet; got {scheme!r}")
    last = length - patch
    count = math.ceil(last / (patch * (1 - overlap)))
    return tuple(round(last / count * number) for number in range(count + 1)) if count else (0,)


def start_groups(starts: Sequence[int]) -> list[tuple[int, ...]]:
    """Group the starts of windows along an axis: one that follows much closer than others joins the one before it.

    Examples
    --------
    >>> start_groups((0, 48, 96, 112)), start_groups((0, 32, 64)), start_groups((0, 0, 1, 1))
    ([(0,), (48,), (96, 112)], [(0,), (32,), (64,)], [(0, 0), (1, 1)])
    """
    widest = max((following - here for here, following in pairwise(starts)), default=0)
    groups = [starts[:1]]
    for here, following in pairwise(starts):
        if following - here < _CLOSE * widest:
            groups[-1] = (*groups[-1], following)
        else:
            groups.append((following,))
    return [tuple(group) for group in groups]


def unfinished_planes(groups: Sequence[Sequence[int]], depth: int) -> tuple[int, int]:
    """Return how many planes of sums sliding windows need when finished planes are handed on at once.

    Parameters
    ----------
    groups
        Start indices of the windows along an axis, in groups that are worked on together.
    depth
        Length of a window.

    Returns
    -------
    tuple
        Planes that windows of two neighbouring groups share, at most; and planes beside them that a group finishes.

    Examples
    --------
    >>> unfinished_planes([(0,), (48,)], 96), unfinished_planes([(0,), (8,)], 8), unfinished_planes([(0, 3)], 8)
    ((48, 48), (0, 8), (0, 11))
    """
    kept = max((one[-1] + depth - other[0] for one, other in pairwise(groups)), default=0)
    last = groups[-1][-1] + depth - kept - groups[-1][0]
    return kept, max([last, *(other[0] - one[0] for one, other in pairwise(groups))])


def patch_grid(
    size_zyx: Sequence[int], patch_zyx: Sequence[int], stride_zyx: Sequence[int], *, spread: bool = False
) -> PatchGrid:
    """Return the patches that cover a volume; no axis may be shorter than the patch. See `patch_starts`."""
    z, y, x = (patch_starts(n, p, s, spread=spread) for n, p, s in zip(size_zyx, patch_zyx, stride_zyx, strict=True))
    a, b, c = patch_zyx
    return PatchGrid((z, y, x), (a, b, c))


def index(values_zyx: Sequence[int]) -> Index:
    """Return three whole numbers as an index.

    Examples
    --------
    >>> index([1, 2, 3])
    (1, 2, 3)
    """
    z, y, x = (int(value) for value in values_zyx)
    return (z, y, x)


def window(start_zyx: Sequence[int], size_zyx: Sequence[int]) -> tuple[slice, slice, slice]:
    """Return the slices that cut a box out of an array; the part beyond the end of the array is left out.

    Examples
    --------
    >>> window((1, 0, 2), (3, 4, 5))
    (slice(1, 4, None), slice(0, 4, None), slice(2, 7, None))
    """
    z, y, x = (slice(start, start + size) for start, size in zip(start_zyx, size_zyx, strict=True))
    return (z, y, x)


def last_start(whole_zyx: Sequence[int], size_zyx: Sequence[int]) -> Index:
    """Return the highest index at which a box may start; 0 along axes that are not longer than the box."""
    return index([max(0, whole - size) for whole, size in zip(whole_zyx, size_zyx, strict=True)])


def random_start(rng: np.random.Generator, whole_zyx: Sequence[int], size_zyx: Sequence[int]) -> Index:
    """Draw the start index of a box; every position within the volume is equally likely."""
    return index([int(rng.integers(0, last + 1)) for last in last_start(whole_zyx, size_zyx)])


def start_around(centre_zyx: Sequence[int], whole_zyx: Sequence[int], size_zyx: Sequence[int]) -> Index:
    """Return the start index of the box that has a voxel at its centre, or as close to its centre as the volume allows.

    Examples
    --------
    >>> start_around((5, 0, 9), (10, 10, 10), (4, 4, 4))
    (3, 0, 6)
    """
    last = last_start(whole_zyx, size_zyx)
    return index([min(max(0, c - n // 2), most) for c, n, most in zip(centre_zyx, size_zyx, last, strict=True)])
