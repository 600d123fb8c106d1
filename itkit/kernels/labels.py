"""Count and renumber the classes of a label map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from itkit.core.errors import ArgumentError
from itkit.kernels.arrays import as_mask, in_memory_order, plain
from itkit.kernels.buffers import empty
from itkit.kernels.dispatch import native
from itkit.kernels.statistics import min_max

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import DTypeLike, NDArray

_BYTE_TABLE = 256
_PART = 1 << 20
"""Number of values that numpy takes at a time in place of the kernel."""
TABLE_LIMIT = 1 << 22  # wider ranges of values are searched instead of looked up in a table


def label_counts(array_zyx: NDArray[Any]) -> dict[int, int]:
    """Count the voxels of every class.

    Parameters
    ----------
    array_zyx
        Label map of any shape: integers, or floats with integral values.

    Returns
    -------
    dict
        Number of voxels of each class, classes ascending; empty for an empty array.

    Raises
    ------
    ArgumentError
        When a value is not integral.

    Examples
    --------
    >>> label_counts(np.array([[[3, -1, 3]]]))
    {-1: 1, 3: 2}
    """
    values = plain(array_zyx, ndim=None)
    if values.size == 0:
        return {}
    table = value_table(values)
    classes, counts = np.unique(values, return_counts=True) if table is None else table
    return {_integer(value): count for value, count in zip(classes.tolist(), counts.tolist(), strict=True)}


def value_table(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
    """Return the distinct values of an array of integers, ascending, and how often each occurs, without sorting.

    ``None`` for floats, and if the values lie too far apart for a table.

    Examples
    --------
    >>> value_table(np.array([3, -1, 3]))
    (array([-1,  3]), array([1, 2]))
    """
    table = table_range(values)
    if table is None:
        return None
    first, length = table
    tally = histogram(values, first, length)
    indices = np.flatnonzero(tally)
    kind = np.uint64 if first > 2**62 else np.int64
    return indices.astype(kind) + kind(first), tally[indices]


def value_tables(
    values: NDArray[Any], inside: NDArray[Any]
) -> tuple[tuple[NDArray[Any], NDArray[np.int64]], tuple[NDArray[Any], NDArray[np.int64]]] | None:
    """Return what `value_table` does, for all values and for those where a mask is not 0, in one pass.

    Examples
    --------
    >>> value_tables(np.array([3, -1, 3]), np.array([0, 0, 2], np.uint8))
    ((array([-1,  3]), array([1, 2])), (array([3]), array([1])))
    """
    table = table_range(values) if values.size else None
    if table is None:
        return None
    first, length = table
    outer, inner = _histograms(values, first, length, inside)
    tally = outer + inner
    kind = np.uint64 if first > 2**62 else np.int64
    everywhere, there = np.flatnonzero(tally), np.flatnonzero(inner)
    return (everywhere.astype(kind) + kind(first), tally[everywhere]), (there.astype(kind) + kind(first), inner[there])


def remap(
    array_zyx: NDArray[Any],
    mapping: Mapping[int, int],
    *,
    dtype: DTypeLike,
    rest: Literal[0, "keep"] = 0,
) -> tuple[NDArray[Any], dict[int, int]]:
    """Renumber classes, and count the voxels of each old class in the same pass.

    Parameters
    ----------
    array_zyx
        Label map of any shape: integers, or floats with integral values.
    mapping
        Old class to new class.
    dtype
        Integer type of the result.
    rest
        What happens to classes that are not mapped: they become 0, or with ``"keep"`` they stay.

    Returns
    -------
    array, counts
        The result, C-contiguous, and the number of voxels of each *old* class (as from :func:`label_counts`).

    Raises
    ------
    ArgumentError
        When a new class does not fit ``dtype``, or a value is not integral.

    Examples
    --------
    >>> remap(np.array([[[0, 5, 7]]]), {5: -1}, dtype="int8")
    (array([[[ 0, -1,  0]]], dtype=int8), {0: 1, 5: 1, 7: 1})
    """
    values = plain(array_zyx, ndim=None)
    target = np.dtype(dtype)
    table = table_range(values) if values.size else None
    if table is None:
        return _remap_by_search(values, mapping, target, rest)
    first, length = table
    limits = np.iinfo(target)
    lookup = np.zeros(length, dtype=target)
    low, high = max(first, limits.min), min(first + length, limits.max + 1)
    if rest == "keep" and low < high:
        lookup[low - first : high - first] = np.arange(high - low).astype(target) + target.type(low)
    for old, new in mapping.items():
        if first <= old < first + length and limits.min <= new <= limits.max:
            lookup[old - first] = new
    result, tally = _look_up(values, lookup, first)
    counts = _named(tally, first)
    _check_fit(counts, mapping, target, rest)
    return result, counts


def table_range(values: NDArray[Any]) -> tuple[int, int] | None:
    """Return the first value and the length of a table that covers the values; ``None`` if it would be too long."""
    if values.dtype.kind == "f":
        return None
    if values.dtype.itemsize <= 2:
        return int(np.iinfo(values.dtype).min), 1 << (8 * values.dtype.itemsize)
    low, high = (int(value) for value in min_max(values))
    return (low, high - low + 1) if high - low < TABLE_LIMIT else None


def places(values: NDArray[Any], first: int) -> NDArray[Any]:
    """Return the indices of the values in a table that begins with the value ``first``."""
    if values.dtype.kind == "u" and first == 0:
        return values
    return values.astype(np.int64) - first if first <= 2**62 else (values - values.dtype.type(first)).astype(np.int64)


def _parts(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield parts of an array along its first axis, small enough that eight bytes for each value are no matter."""
    step = max(1, len(array) * _PART // max(1, array.size)) if array.ndim else 1
    yield from (array[first : first + step] for first in range(0, len(array), step)) if array.ndim else [array]


def histogram(values: NDArray[Any], first: int, length: int) -> NDArray[np.int64]:
    """Return how often each integer from ``first`` on occurs; all values must lie in a range of `table_range`."""
    library = native()
    if library is None:
        tally = np.zeros(length, dtype=np.int64)
        for part in _parts(values):
            tally += np.bincount(places(part, first).ravel().astype(np.int64), minlength=length)
        return tally
    values, counts = in_memory_order(values), np.zeros(length, dtype=np.int64)
    library.itkit_count(values.itemsize, values.ctypes.data, values.size, first % 2**64, counts.ctypes.data)
    return counts


def _histograms(
    values: NDArray[Any], first: int, length: int, inside: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the histograms where a mask is 0 and where it is not."""
    library = native()
    if library is None:
        inner = histogram(values[as_mask(inside) != 0], first, length)
        return histogram(values, first, length) - inner, inner
    values, mask = np.ascontiguousarray(values), np.ascontiguousarray(_nonzero_bytes(inside))
    counts = np.zeros((2, 2, length), np.int64)
    pointers = (mask.ctypes.data, length, counts.ctypes.data)
    library.itkit_count_apart(values.itemsize, values.ctypes.data, values.size, first % 2**64, *pointers)
    outer, inner = counts.sum(axis=1)
    return outer, inner


def _nonzero_bytes(mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Return bytes that are not 0 where a mask is not; bytes are viewed, not copied."""
    return mask.view(np.uint8) if mask.dtype.itemsize == 1 else as_mask(mask)


def look_up(indices: NDArray[Any], table: NDArray[Any]) -> NDArray[Any]:
    """Return the entry of a table for each index, C-contiguous.

    Examples
    --------
    >>> look_up(np.array([2, 0, 2]), np.array([0.5, 1.5, 2.5])).tolist()
    [2.5, 0.5, 2.5]
    """
    return look_up_from(indices, table, 0)


def look_up_from(values: NDArray[Any], table: NDArray[Any], first: int) -> NDArray[Any]:
    """Return the entry of a table for each integer, C-contiguous; the first entry belongs to the value ``first``.

    Examples
    --------
    >>> look_up_from(np.array([-1, 1, 0], np.int16), np.array([0.5, 1.5, 2.5]), -1).tolist()
    [0.5, 2.5, 1.5]
    """
    if values.dtype.itemsize == 1 and len(table) < _BYTE_TABLE:  # the kernel counts bytes in tables of this length
        table = np.concatenate([table, np.zeros(_BYTE_TABLE - len(table), table.dtype)])
    return _look_up(values, table, first)[0]


def _look_up(values: NDArray[Any], lookup: NDArray[Any], first: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    library = native()
    if library is None:
        result = np.empty(values.shape, lookup.dtype)
        for part, new in zip(_parts(values), _parts(result), strict=True):
            new[...] = lookup[places(part, first)]
        return result, histogram(values, first, len(lookup))
    values, counts = np.ascontiguousarray(values), np.zeros(len(lookup), dtype=np.int64)
    result = empty(values.shape, lookup.dtype)
    pointers = (array.ctypes.data for array in (lookup, result, counts))
    library.itkit_remap(values.itemsize, result.itemsize, values.ctypes.data, values.size, first % 2**64, *pointers)
    return result, counts


def _named(histogram: NDArray[np.int64], first: int) -> dict[int, int]:
    places = np.flatnonzero(histogram)
    return {first + place: count for place, count in zip(places.tolist(), histogram[places].tolist(), strict=True)}


def _integer(value: float) -> int:
    if value != value or value in (float("inf"), float("-inf")) or int(value) != value:
        raise ArgumentError(f"a label map holds integers; got {value}")
    return int(value)


def _check_fit(counts: Mapping[int, int], mapping: Mapping[int, int], dtype: np.dtype[Any], rest: object) -> None:
    limits = np.iinfo(dtype)
    for old in counts:
        new = mapping.get(old, old if rest == "keep" else 0)
        if not limits.min <= new <= limits.max:
            raise ArgumentError(f"class {new} (from {old}) does not fit {dtype}, {limits.min} to {limits.max}")


def _remap_by_search(
    values: NDArray[Any], mapping: Mapping[int, int], dtype: np.dtype[Any], rest: object
) -> tuple[NDArray[Any], dict[int, int]]:
    classes, places, tally = np.unique(values, return_inverse=True, return_counts=True)
    old = [_integer(value) for value in classes.tolist()]
    counts = dict(zip(old, tally.tolist(), strict=True))
    _check_fit(counts, mapping, dtype, rest)
    lookup = np.array([mapping.get(value, value if rest == "keep" else 0) for value in old], dtype=dtype)
    return np.ascontiguousarray(lookup[places].reshape(values.shape)), counts
