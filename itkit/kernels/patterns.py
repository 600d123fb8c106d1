"""Group voxels by what several label maps say of them: all that is decided voxel by voxel is decided once a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from itkit.core.errors import ArgumentError, LabelError
from itkit.kernels.arrays import plain, smallest_integer
from itkit.kernels.buffers import empty
from itkit.kernels.dispatch import native
from itkit.kernels.labels import look_up, places, table_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_GROUPS = 1 << 24


class Patterns(NamedTuple):
    """The combinations of classes that voxels have.

    Attributes
    ----------
    groups
        The number of each voxel's combination, in the shape of the label maps.
    classes
        The classes of each combination, ``(combinations, label maps)``, in the order in which they are met.
    counts
        Number of voxels of each combination.
    """

    groups: NDArray[np.int32]
    classes: NDArray[np.int64]
    counts: NDArray[np.int64]


def patterns_of(label_maps: Iterable[tuple[NDArray[Any], Mapping[int, int]]]) -> Patterns:
    """Find the combinations of classes that several label maps of one shape have, voxel by voxel.

    Parameters
    ----------
    label_maps
        Each label map, with the number of each class of interest; all other classes get 0. They are taken one by one,
        so that only one needs to be in memory.

    Raises
    ------
    ArgumentError
        When there is no label map, or their shapes differ.
    LabelError
        When there are more than 16 million combinations.

    Examples
    --------
    >>> first, second = np.array([[[0, 1, 1, 2]]]), np.array([[[0, 0, 9, 9]]])
    >>> found = patterns_of([(first, {1: 1, 2: 2}), (second, {9: 1})])
    >>> found.groups.tolist(), found.classes.tolist(), found.counts.tolist()
    ([[[0, 1, 2, 3]]], [[0, 0], [1, 0], [1, 1], [2, 1]], [1, 1, 1, 1])
    """
    shape: tuple[int, ...] | None = None
    classes = np.zeros((1, 0), np.int64)
    groups = counts = None
    for array, numbers in label_maps:
        values = plain(array, ndim=None)
        if groups is None:
            shape = values.shape
            groups = empty(shape, np.int32)
            groups[...] = 0
        elif values.shape != shape:
            raise ArgumentError(f"label maps of shapes {shape} and {values.shape}; expected one shape")
        groups, classes, counts = _refined(groups, classes, values, numbers)
    if groups is None or counts is None:
        raise ArgumentError("patterns_of: expected at least one label map")
    return Patterns(groups, classes, counts)


def painted(patterns: Patterns, values: Iterable[int]) -> NDArray[Any]:
    """Return a label map in which each combination has a value, in the smallest integer type that holds all values.

    Examples
    --------
    >>> painted(patterns_of([(np.array([[[0, 1, 2]]]), {1: 1, 2: 2})]), [0, 300, 0]).tolist()
    [[[0, 300, 0]]]
    """
    table = list(values)
    dtype = smallest_integer(min(table, default=0), max(table, default=0))
    return look_up(patterns.groups, np.array(table, dtype))


def _refined(
    groups: NDArray[np.int32], classes: NDArray[np.int64], values: NDArray[Any], numbers: Mapping[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    known = np.unique(np.array([0, *numbers.values()], np.int64))
    span = table_range(values) if values.size else None
    if span is None:
        found, inverse = np.unique(values, return_inverse=True)
        values, span = inverse.reshape(values.shape).astype(np.uint32), (0, max(1, len(found)))
        by_place = dict(enumerate(found.tolist()))
        numbers = {place: numbers[value] for place, value in by_place.items() if value in numbers}
    first, length = span
    of_value = np.full(length, np.searchsorted(known, 0), np.int32)
    for value, number in numbers.items():
        if first <= value < first + length:
            of_value[value - first] = np.searchsorted(known, number)
    size = len(classes) * len(known)
    if size > _MOST_GROUPS:
        raise LabelError("the label maps differ in too many ways (16 million combinations of classes)")
    table, counts = np.full(size, -1, np.int32), np.zeros(size, np.int64)
    library = native()
    if library is None:
        groups, found_count = _by_numpy(groups, of_value[places(values, first)], len(known), table, counts)
    else:
        values = np.ascontiguousarray(values)
        found_count = library.itkit_refine(
            values.itemsize,
            values.ctypes.data,
            values.size,
            first % 2**64,
            of_value.ctypes.data,
            len(known),
            groups.ctypes.data,
            table.ctypes.data,
            counts.ctypes.data,
        )
    used = np.flatnonzero(table >= 0)
    used = used[np.argsort(table[used])]
    old, own = np.divmod(used, len(known))
    return groups, np.column_stack([classes[old], known[own]]), counts[:found_count].copy()


def _by_numpy(
    groups: NDArray[np.int32], own: NDArray[np.int32], n_classes: int, table: NDArray[np.int32], counts: NDArray[Any]
) -> tuple[NDArray[np.int32], int]:
    joint = groups.astype(np.int64) * n_classes + own
    used, where, tally = np.unique(joint.ravel(), return_index=True, return_counts=True)
    order = np.argsort(where)
    table[used[order]] = np.arange(len(used), dtype=np.int32)
    counts[: len(used)] = tally[order]
    return table[joint], len(used)
