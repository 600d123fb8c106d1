"""Extremes of a volume in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from itkit.kernels.arrays import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FiniteSummary(NamedTuple):
    """Extremes of the finite values (``nan`` if there are none), and how many are not finite."""

    minimum: int | float
    maximum: int | float
    n_nan: int
    n_inf: int


def min_max(array: NDArray[Any]) -> tuple[int | float, int | float]:
    """Least and greatest value, as Python numbers; ``nan`` is passed over, infinities count.

    Raises
    ------
    ValueError
        For an empty array.

    Examples
    --------
    >>> min_max(np.array([3, -1, 2], dtype=np.int16))
    (-1, 3)
    """
    values = _checked(array)
    if values.dtype.kind == "f":
        return float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))
    return int(values.min()), int(values.max())


def finite_summary(array: NDArray[Any]) -> FiniteSummary:
    """Extremes of the finite values, and how many values are ``nan`` or infinite.

    Raises
    ------
    ValueError
        For an empty array.

    Examples
    --------
    >>> finite_summary(np.array([1.0, np.nan, -np.inf, 4.0]))
    FiniteSummary(minimum=1.0, maximum=4.0, n_nan=1, n_inf=1)
    """
    values = _checked(array)
    if values.dtype.kind != "f":
        low, high = min_max(values)
        return FiniteSummary(low, high, 0, 0)
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
