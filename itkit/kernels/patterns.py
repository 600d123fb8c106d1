"""Group voxels by what several label maps say of them: all that is decided voxel by voxel is decided once a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from itkit.core.errors import ArgumentError, LabelError
from itkit.kernels.arrays import plain, smallest_integer
from itkit.kernels.buffers import empty
from itkit.kernels.dispatch import native
from itkit.kernels.labels import histogram, label_counts, look_up, places, table_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_GROUPS = 1 << 24


class Patterns(NamedTuple):
    """The combinations of classes that voxels have.

    Attributes
    ----------
    groups
        The number of each voxel's combination, in the shape of the label maps and the smallest unsigned type.
    classes
        The classes of each combination, ``(combinations, label maps)``, in the order in which they are met.
    counts
        Number of voxels of each combination.
    voxels
        For each label map, the number of voxels of each value, values ascending.
    """

    groups: NDArray[Any]
    classes: NDArray[np.int64]
    counts: NDArray[np.int64]
    voxels: tuple[Mapping[int, int], ...]


class _Refined(NamedTuple):
    """What one more label map makes of groups."""

    groups: NDArray[Any]
    classes: NDArray[np.int64]
    voxels: dict[int, int]


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
    >>> found.groups.tolist(), found.classes.tolist(), found.counts.tolist(), found.voxels[0]
    ([[[0, 1, 2, 3]]], [[0, 0], [1, 0], [1, 1], [2, 1]], [1, 1, 1, 1], {0: 1, 1: 2, 2: 1})
    """
    found: _Refined | None = None
    voxels = []
    for array, numbers in label_maps:
        values = plain(array, ndim=None)
        if found is None:
            groups = empty(values.shape, np.uint8)
            groups[...] = 0
            found = _Refined(groups, np.zeros((1, 0), np.int64), {})
        elif values.shape != found.groups.shape:
            raise ArgumentError(f"label maps of shapes {found.groups.shape} and {values.shape}; expected one shape")
        found = _refined(found.groups, found.classes, values, numbers)
        voxels.append(found.voxels)
    if found is None:
        raise ArgumentError("patterns_of: expected at least one label map")
    counts = np.array(list(label_counts(found.groups).values()), np.int64)  # no combination is without a voxel
    return Patterns(found.groups, found.classes, counts, tuple(voxels))


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
    groups: NDArray[Any], classes: NDArray[np.int64], values: NDArray[Any], numbers: Mapping[int, int]
) -> _Refined:
    known = np.unique(np.array([0, *numbers.values()], np.int64))
    span = table_range(values) if values.size else (0, 1)
    of_place: list[Any] | None = None
    if span is None:  # the values lie too far apart for a table: their places in a sorted list do not
        found, inverse = np.unique(values, return_inverse=True)
        of_place = found.tolist()
        values, span = inverse.reshape(values.shape).astype(np.uint32), (0, len(found))
    first, length = span
    own = np.full(length, np.searchsorted(known, 0), np.int32)
    for place, value in enumerate(of_place) if of_place else ((value - first, value) for value in numbers):
        if value in numbers and 0 <= place < length:
            own[place] = np.searchsorted(known, numbers[value])
    if len(classes) * len(known) > _MOST_GROUPS:
        raise LabelError("the label maps differ in too many ways (16 million combinations of classes)")
    by = _by_numpy if native() is None else _by_kernel
    groups, table, counts = by(groups, values, first, own, len(classes), len(known))
    used = np.flatnonzero(table >= 0)
    used = used[np.argsort(table[used])]
    old, new = np.divmod(used, len(known))
    there = np.flatnonzero(counts).tolist()
    voxels = {of_place[place] if of_place else first + place: int(counts[place]) for place in there}
    return _Refined(groups, np.column_stack([classes[old], known[new]]), voxels)


_Step = tuple["NDArray[Any]", "NDArray[np.int32]", "NDArray[np.int64]"]
"""The new groups; the number of each pair of old group and class, or -1; and how often each value occurs."""


def _by_kernel(
    groups: NDArray[Any], values: NDArray[Any], first: int, own: NDArray[np.int32], n_groups: int, n_classes: int
) -> _Step:
    library = native()
    assert library is not None
    table, counts = np.full(n_groups * n_classes, -1, np.int32), np.zeros(len(own), np.int64)
    found, done = np.zeros(1, np.int64), 0
    values = np.ascontiguousarray(values)
    while True:
        done = library.itkit_refine(
            values.itemsize,
            groups.itemsize,
            values.ctypes.data,
            done,
            values.size,
            first % 2**64,
            own.ctypes.data,
            n_classes,
            groups.ctypes.data,
            table.ctypes.data,
            found.ctypes.data,
            counts.ctypes.data,
        )
        if done == values.size:
            return groups, table, counts
        groups = groups.astype(np.uint16 if groups.itemsize == 1 else np.uint32)


def _by_numpy(
    groups: NDArray[Any], values: NDArray[Any], first: int, own: NDArray[np.int32], n_groups: int, n_classes: int
) -> _Step:
    table = np.full(n_groups * n_classes, -1, np.int32)
    joint = groups.astype(np.int64) * n_classes + own[places(values, first)]
    used, where = np.unique(joint.ravel(), return_index=True)
    table[used[np.argsort(where)]] = np.arange(len(used), dtype=np.int32)
    dtype = max(groups.dtype, smallest_integer(0, len(used) - 1))
    return table[joint].astype(dtype), table, histogram(values, first, len(own))
