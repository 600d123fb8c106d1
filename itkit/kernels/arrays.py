"""Checks and conversions of arrays that all kernels share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import ArgumentError, LabelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# the order in which the C side numbers the types
TYPES: tuple[np.dtype[Any], ...] = tuple(
    np.dtype(name)
    for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
)
Box = tuple[slice, slice, slice]


def plain(array: NDArray[Any], *, ndim: int | None = 3) -> NDArray[Any]:
    """View bool as uint8 and convert to native byte order; return other arrays unchanged.

    Raises
    ------
    ArgumentError
        When no kernel supports the voxel type, or the number of axes is not ``ndim``.
    """
    if ndim is not None and array.ndim != ndim:
        raise ArgumentError(f"expected an array with {ndim} axes (Z, Y, X); got shape {array.shape}")
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype not in TYPES:
        raise ArgumentError(f"no kernel for voxel type {array.dtype}; convert to an integer type, float32 or float64")
    return array


def type_number(dtype: np.dtype[Any]) -> int:
    """Return the number by which the C code knows a voxel type."""
    return TYPES.index(dtype)


def in_memory_order(array: NDArray[Any]) -> NDArray[Any]:
    """Return all values as a 1-D array in memory order; copy them only if they are not contiguous."""
    forward = array[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)]
    return forward.ravel(order="K")


def rows_last(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array; as a contiguous copy if X is not its densest axis, because loops along X would miss caches."""
    steps = [abs(stride) for stride, size in zip(array.strides, array.shape, strict=True) if size > 1]
    if array.shape[2] > 1 and min(steps) < abs(array.strides[2]):
        return np.ascontiguousarray(array)
    return array


def as_mask(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 1 where an array is not 0; a bool array is viewed, not copied."""
    return array.view(np.uint8) if array.dtype == np.bool_ else (array != 0).view(np.uint8)


def foreground_box(mask_zyx: NDArray[Any]) -> Box | None:
    """Return the smallest box that holds every voxel that is not 0; ``None`` if there is none.

    Examples
    --------
    >>> foreground_box(np.array([[[0, 0, 1, 0, 4, 0]]]))
    (slice(0, 1, None), slice(0, 1, None), slice(2, 5, None))
    """
    plane, upright = np.any(mask_zyx, axis=0), np.any(mask_zyx, axis=2)
    found: list[slice] = []
    for line in (np.any(upright, axis=1), np.any(plane, axis=1), np.any(plane, axis=0)):
        places = np.flatnonzero(line)
        if len(places) == 0:
            return None
        found.append(slice(int(places[0]), int(places[-1]) + 1))
    z, y, x = found
    return (z, y, x)


def outer_box(arrays_zyx: Sequence[NDArray[Any]]) -> Box | None:
    """Return the smallest box that holds every voxel that is not 0 in one of several arrays; ``None`` without any.

    Planes are looked at from the outside in, so that an image that fills its volume costs next to nothing.

    Examples
    --------
    >>> outer_box([np.array([[[0, 0, 1, 0, 0, 0]]]), np.array([[[0, 0, 0, 0, -4, 0]]])])
    (slice(0, 1, None), slice(0, 1, None), slice(2, 5, None))
    """
    box = [slice(0, size) for size in arrays_zyx[0].shape]
    for axis, size in enumerate(arrays_zyx[0].shape):

        def is_there(place: int, axis: int = axis) -> bool:
            plane: Any = (*box[:axis], place, *box[axis + 1 :])
            return any(bool(array[plane].any()) for array in arrays_zyx)

        first = next((place for place in range(size) if is_there(place)), None)
        if first is None:
            return None
        box[axis] = slice(first, next(place for place in range(size, first, -1) if is_there(place - 1)))
    z, y, x = box
    return (z, y, x)


def smallest_integer(lowest: float, highest: float) -> np.dtype[Any]:
    """Return the smallest integer type that holds a range of values: unsigned unless a value is negative.

    Raises
    ------
    LabelError
        When no integer type holds the range.
    """
    names = ("uint8", "uint16", "uint32", "uint64") if lowest >= 0 else ("int8", "int16", "int32", "int64")
    for name in names:
        info = np.iinfo(name)
        if info.min <= lowest and highest <= info.max:
            return np.dtype(name)
    raise LabelError(f"no integer type holds the range {lowest:g} … {highest:g}; renumber its classes")


def to_dtype(array: NDArray[Any], dtype: np.dtype[Any] | str) -> NDArray[Any]:
    """Convert values to a voxel type; an array that has the type already is returned unchanged.

    To integer types, values are rounded to nearest (ties to even) and clamped to the type's range, and nan becomes 0;
    this is exact up to the limits of 64 bits. To floating point, numpy converts; values too large become infinite.

    Examples
    --------
    >>> to_dtype(np.array([1.5, 2.5, np.nan, 1e30, -np.inf]), "int64").tolist()
    [2, 2, 0, 9223372036854775807, -9223372036854775808]
    """
    dtype = np.dtype(dtype)
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    if dtype.kind not in "iu" or array.dtype == dtype:
        with np.errstate(over="ignore"):
            return array.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    if array.dtype.kind in "iu":
        own = np.iinfo(array.dtype)
        if limits.min <= own.min and own.max <= limits.max:
            return array.astype(dtype)
        return np.asarray(np.clip(array, max(own.min, limits.min), min(own.max, limits.max)).astype(dtype))
    result = np.empty(array.shape, dtype)
    for part, into in zip(array, result, strict=True) if array.ndim > 2 else ((array, result),):  # slice by slice
        _round_into(part, into, limits)
    return result


def _round_into(values: NDArray[Any], into: NDArray[Any], limits: np.iinfo[Any]) -> None:
    low, high = float(limits.min), float(limits.max)  # float rounds a 64-bit upper limit up
    rounded = np.rint(values, dtype=np.float64)
    into[...] = np.where((rounded > low) & (rounded < high), rounded, 0.0)
    into[rounded <= low] = limits.min
    into[rounded >= high] = limits.max


def fill_value(fill: float, dtype: np.dtype[Any]) -> Any:
    """Return the fill value as a scalar of the voxel type; integers are clamped exactly, floats rounded and clamped."""
    if dtype.kind in "iu" and isinstance(fill, (int, np.integer)):
        info = np.iinfo(dtype)
        return dtype.type(min(max(int(fill), info.min), info.max))
    return to_dtype(np.array([fill], dtype=np.float64), dtype)[0]
