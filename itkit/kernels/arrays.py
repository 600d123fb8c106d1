"""What every kernel needs to know about its arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import ArgumentError, LabelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# the order in which the C side numbers the types
TYPES: tuple[np.dtype[Any], ...] = tuple(
    np.dtype(name)
    for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
)


def plain(array: NDArray[Any], *, ndim: int | None = 3) -> NDArray[Any]:
    """View bool as uint8 and bring foreign byte order home; other arrays pass as they are.

    Raises
    ------
    ArgumentError
        For a voxel type that no kernel knows, or another number of axes.
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
    """Give the number of a voxel type on the C side."""
    return TYPES.index(dtype)


def in_memory_order(array: NDArray[Any]) -> NDArray[Any]:
    """Give all values as one row, in the order in which they lie in memory; a copy only if they do not lie together."""
    forward = array[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)]
    return forward.ravel(order="K")


def rows_last(array: NDArray[Any]) -> NDArray[Any]:
    """Copy only if neighbours along X lie further apart than those along Y or Z: a walk along X would miss caches."""
    steps = [abs(stride) for stride, size in zip(array.strides, array.shape, strict=True) if size > 1]
    if array.shape[2] > 1 and min(steps) < abs(array.strides[2]):
        return np.ascontiguousarray(array)
    return array


def smallest_integer(lowest: float, highest: float) -> np.dtype[Any]:
    """Return the smallest integer type for a range of values: unsigned unless one is negative.

    Raises
    ------
    LabelError
        When no integer type holds them.
    """
    names = ("uint8", "uint16", "uint32", "uint64") if lowest >= 0 else ("int8", "int16", "int32", "int64")
    for name in names:
        info = np.iinfo(name)
        if info.min <= lowest and highest <= info.max:
            return np.dtype(name)
    raise LabelError(f"no integer type holds the range {lowest:g} … {highest:g}; renumber its classes")


def to_dtype(array: NDArray[Any], dtype: np.dtype[Any] | str) -> NDArray[Any]:
    """Convert values to a voxel type; what has the type already is returned as it is.

    Integer types: rounded to nearest (ties to even), clamped to the type's range, nan becomes 0; exact up to the limits
    of 64 bits. Floating point: as numpy converts; what is too large becomes infinite.

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
    low, high = float(limits.min), float(limits.max)  # of 64 bits, the upper one is that of the next power of two
    rounded = np.rint(values, dtype=np.float64)
    into[...] = np.where((rounded > low) & (rounded < high), rounded, 0.0)
    into[rounded <= low] = limits.min
    into[rounded >= high] = limits.max


def fill_value(fill: float, dtype: np.dtype[Any]) -> Any:
    """Fill value as a scalar of the voxel type; integers that fit pass exactly, others are rounded and clamped."""
    if dtype.kind in "iu" and isinstance(fill, (int, np.integer)):
        info = np.iinfo(dtype)
        return dtype.type(min(max(int(fill), info.min), info.max))
    return to_dtype(np.array([fill], dtype=np.float64), dtype)[0]
