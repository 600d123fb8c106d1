"""Minimum, maximum and counts of non-finite values, in one pass over a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from itkit.kernels.arrays import in_memory_order, plain, type_number
from itkit.kernels.dispatch import native

if TYPE_CHECKING:
    import ctypes

    from numpy.typing import NDArray


class FiniteSummary(NamedTuple):
    """Minimum and maximum of the finite values (``nan`` if there are none), and the numbers of nan and infinities."""

    minimum: int | float
    maximum: int | float
    n_nan: int
    n_inf: int


def min_max(array: NDArray[Any]) -> tuple[int | float, int | float]:
    """Return the least and greatest value as Python numbers; ``nan`` is ignored, infinities count.

    Raises
    ------
    ValueError
        When the array is empty.

    Examples
    --------
    >>> min_max(np.array([3, -1, 2], dtype=np.int16))
    (-1, 3)
    """
    values = _checked(array)
    library = native()
    if values.dtype.kind == "f" and library is not None:
        low, high, n_nan, _ = _float_summary(library, values, keep_infinite=True)
        return (low, high) if n_nan < values.size else (float("nan"), float("nan"))
    if library is not None:
        values, found = in_memory_order(values), np.empty(2, dtype=values.dtype)
        library.itkit_extremes(type_number(values.dtype), values.ctypes.data, values.size, found.ctypes.data)
        return int(found[0]), int(found[1])
    if values.dtype.kind == "f":
        return float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))
    return int(values.min()), int(values.max())


def finite_summary(array: NDArray[Any]) -> FiniteSummary:
    """Return the extremes of the finite values, and how many values are ``nan`` or infinite.

    Raises
    ------
    ValueError
        When the array is empty.

    Examples
    --------
    >>> finite_summary(np.array([1.0, np.nan, -np.inf, 4.0]))
    FiniteSummary(minimum=1.0, maximum=4.0, n_nan=1, n_inf=1)
    """
    values = _checked(array)
    if values.dtype.kind != "f":
        low, high = min_max(values)
        return FiniteSummary(low, high, 0, 0)
    library = native()
    if library is not None:
        low, high, n_nan, n_inf = _float_summary(library, values, keep_infinite=False)
        if n_nan + n_inf == values.size:
            low = high = float("nan")
        return FiniteSummary(low, high, n_nan, n_inf)
    finite = np.isfinite(values)
    n_finite = int(np.count_nonzero(finite))
    n_nan = int(np.count_nonzero(np.isnan(values)))
    if n_finite == 0:
        return FiniteSummary(float("nan"), float("nan"), n_nan, values.size - n_nan)
    low, high = values.min(where=finite, initial=np.inf), values.max(where=finite, initial=-np.inf)
    return FiniteSummary(float(low), float(high), n_nan, values.size - n_nan - n_finite)


def _checked(array: NDArray[Any]) -> NDArray[Any]:
    if array.size == 0:
        raise ValueError(f"an array of shape {array.shape} has no extremes")
    return plain(array, ndim=None)


def _float_summary(library: ctypes.CDLL, values: NDArray[Any], *, keep_infinite: bool) -> tuple[float, float, int, int]:
    values = in_memory_order(values)
    extremes, special = np.empty(2, dtype=np.float64), np.empty(2, dtype=np.int64)
    number, pointers = type_number(values.dtype), (extremes.ctypes.data, special.ctypes.data)
    library.itkit_summary(number, values.ctypes.data, values.size, int(keep_infinite), *pointers)
    return float(extremes[0]), float(extremes[1]), int(special[0]), int(special[1])
