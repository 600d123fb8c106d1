"""Count what the patches of a grid contain, without cutting them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.kernels.arrays import plain, type_number
from itkit.kernels.dispatch import native, numbers
from itkit.kernels.labels import label_counts, table_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def patch_foreground(
    array_zyx: NDArray[Any], starts_zyx: Sequence[Sequence[int]], patch_zyx: Sequence[int]
) -> NDArray[np.int64]:
    """Count the non-zero voxels of every patch of a grid.

    Parameters
    ----------
    array_zyx
        Voxels ``(Z, Y, X)``.
    starts_zyx
        Start indices of the patches along Z, Y and X; the grid consists of all combinations.
    patch_zyx
        Size of a patch.

    Returns
    -------
    numpy.ndarray
        ``(len(z), len(y), len(x))`` counts.

    Raises
    ------
    ValueError
        When a patch extends beyond the volume.

    Notes
    -----
    Uses a summed-area table [1]_ over the boxes between the patches' faces, so that its size depends on the number of
    patches and not on the number of voxels.

    References
    ----------
    .. [1] Crow F., "Summed-area tables for texture mapping", SIGGRAPH 1984, https://doi.org/10.1145/800031.808600

    Examples
    --------
    >>> patch_foreground(np.ones((1, 4, 4)), ([0], [0, 2], [0, 1]), (1, 2, 3))
    array([[[6, 6],
            [6, 6]]])
    """
    cuts, ranges = _boxes(array_zyx.shape, starts_zyx, patch_zyx)
    table = _box_counts(plain(array_zyx), cuts)
    for axis, (first, last) in enumerate(ranges):
        padding = [(1, 0) if a == axis else (0, 0) for a in range(3)]
        sums = np.pad(np.cumsum(table, axis=axis), padding)
        table = sums.take(last, axis=axis) - sums.take(first, axis=axis)
    return table


def patch_classes(
    array_zyx: NDArray[Any], starts_zyx: Sequence[Sequence[int]], patch_zyx: Sequence[int]
) -> tuple[tuple[int, ...], NDArray[np.bool_]]:
    """Find the classes that each patch of a grid contains.

    Parameters
    ----------
    array_zyx, starts_zyx, patch_zyx
        As for :func:`patch_foreground`.

    Returns
    -------
    classes
        All classes of the volume, ascending, background included.
    present
        ``(len(z), len(y), len(x), len(classes))``: whether the patch contains the class.

    Raises
    ------
    ValueError
        When a patch extends beyond the volume.

    Examples
    --------
    >>> classes, present = patch_classes(np.array([[[0, 0, 7, 9]]]), ([0], [0], [0, 2]), (1, 1, 2))
    >>> classes, present[0, 0].tolist()
    ((0, 7, 9), [[True, False, False], [False, True, True]])
    """
    cuts, ranges = _boxes(array_zyx.shape, starts_zyx, patch_zyx)
    array = plain(array_zyx)
    classes = tuple(label_counts(array))
    parts = []
    for begin in range(0, len(classes), 64):
        group = classes[begin : begin + 64]
        table = _box_masks(array, cuts, group)
        for axis, (first, last) in enumerate(ranges):
            table = _or_ranges(table, axis, first, last)
        bits = np.arange(len(group), dtype=np.uint64)
        parts.append((table[..., None] >> bits & np.uint64(1)).astype(np.bool_))
    return classes, np.concatenate(parts, axis=-1)


def _boxes(
    shape_zyx: Sequence[int], starts_zyx: Sequence[Sequence[int]], patch_zyx: Sequence[int]
) -> tuple[list[NDArray[np.int64]], list[tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """Cut each axis at the patches' faces, so that every patch consists of whole pieces.

    Returns, for each axis, the cuts, and the first and the one-past-last piece of every patch.
    """
    cuts, ranges = [], []
    for name, length, starts, size in zip("ZYX", shape_zyx, starts_zyx, patch_zyx, strict=True):
        first = np.asarray(starts, dtype=np.int64)
        last = first + int(size)
        if size < 1 or len(first) == 0 or first.min() < 0 or last.max() > length:
            raise ValueError(f"patches of {size} voxels do not lie within axis {name} of {length} voxels")
        edges = np.unique(np.concatenate([first, last]))
        cuts.append(edges)
        ranges.append((np.searchsorted(edges, first), np.searchsorted(edges, last)))
    return cuts, ranges


def _box_counts(array: NDArray[Any], cuts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Count the non-zero voxels of every box between cuts."""
    z_cuts, y_cuts, x_cuts = cuts
    table = np.zeros(tuple(len(edges) - 1 for edges in cuts), dtype=np.int64)
    library = native()
    if library is not None:
        if array.strides[2] != array.itemsize:
            array = np.ascontiguousarray(array)
        strides, n_cuts, pointers = numbers(array.strides), numbers([len(c) for c in cuts]), _pointers(cuts)
        number = type_number(array.dtype)
        library.itkit_box_counts(number, array.ctypes.data, strides, n_cuts, *pointers, table.ctypes.data)
        return table
    window = array[:, y_cuts[0] : y_cuts[-1], x_cuts[0] : x_cuts[-1]]
    for place in range(len(z_cuts) - 1):
        for z in range(z_cuts[place], z_cuts[place + 1]):
            rows = np.add.reduceat(window[z] != 0, x_cuts[:-1] - x_cuts[0], axis=1, dtype=np.int64)
            table[place] += np.add.reduceat(rows, y_cuts[:-1] - y_cuts[0], axis=0)
    return table


def _box_masks(array: NDArray[Any], cuts: Sequence[NDArray[np.int64]], classes: Sequence[int]) -> NDArray[np.uint64]:
    """Return a bit mask for every box between cuts, with the bit of each class that the box contains."""
    z_cuts, y_cuts, x_cuts = cuts
    table = np.zeros(tuple(len(edges) - 1 for edges in cuts), dtype=np.uint64)
    library, span = native(), table_range(array)
    if library is not None and span is not None:
        if array.strides[2] != array.itemsize:
            array = np.ascontiguousarray(array)
        first, length = span
        bits = np.zeros(length, dtype=np.uint64)
        bits[[value - first for value in classes]] = np.uint64(1) << np.arange(len(classes), dtype=np.uint64)
        strides, n_cuts, pointers = numbers(array.strides), numbers([len(c) for c in cuts]), _pointers(cuts)
        places = (first % 2**64, bits.ctypes.data, table.ctypes.data)
        library.itkit_box_masks(array.itemsize, array.ctypes.data, strides, n_cuts, *pointers, *places)
        return table
    window = array[:, y_cuts[0] : y_cuts[-1], x_cuts[0] : x_cuts[-1]]
    known = np.array(classes, dtype=array.dtype)
    bits = np.uint64(1) << np.arange(len(classes), dtype=np.uint64)
    for place in range(len(z_cuts) - 1):
        for z in range(z_cuts[place], z_cuts[place + 1]):
            where = np.minimum(np.searchsorted(known, window[z]), len(known) - 1)
            masks = np.where(known[where] == window[z], bits[where], np.uint64(0))
            rows = np.bitwise_or.reduceat(masks, x_cuts[:-1] - x_cuts[0], axis=1)
            table[place] |= np.bitwise_or.reduceat(rows, y_cuts[:-1] - y_cuts[0], axis=0)
    return table


def _pointers(arrays: Sequence[NDArray[np.int64]]) -> list[int]:
    return [array.ctypes.data for array in arrays]


def _or_ranges(
    table: NDArray[np.uint64], axis: int, first: NDArray[np.int64], last: NDArray[np.int64]
) -> NDArray[np.uint64]:
    padded = np.pad(table, [(0, 1) if a == axis else (0, 0) for a in range(3)])  # so that `last` is a valid index
    pairs = np.stack([first, last], axis=1).ravel()
    return np.bitwise_or.reduceat(padded, pairs, axis=axis).take(np.arange(0, len(pairs), 2), axis=axis)
