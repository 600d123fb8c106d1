"""The distribution of an array's values: exact moments and percentiles, without sorting where a table will do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import ArgumentError
from itkit.kernels.arrays import plain
from itkit.kernels.labels import value_table, value_tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 1 << 20
_EDGES = np.concatenate([np.linspace(0, 0.01, 201), np.linspace(0.01, 0.99, 981)[1:], np.linspace(0.99, 1, 201)[1:]])
"""Shares of all values between which neighbours are merged."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """Finite values in ascending order, and how often each of them occurs.

    Attributes
    ----------
    values
        Distinct values, or all of them.
    counts
        How often each value occurs; ``None`` if each occurs once, in which case values may be repeated.
    n_other
        Number of values that are nan or infinite; they count nowhere else.
    """

    values: NDArray[Any]
    counts: NDArray[np.int64] | None
    n_other: int = 0

    @property
    def size(self) -> int:
        """Number of finite values."""
        return len(self.values) if self.counts is None else int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Mean; ``nan`` if there is no value."""
        if self.size == 0:
            return math.nan
        return sum(float((values * weights).sum()) for values, weights in self._chunks()) / self.size

    @property
    def std(self) -> float:
        """Standard deviation about the mean, of the population (``ddof=0``); ``nan`` if there is no value."""
        if self.size == 0:
            return math.nan
        mean = self.mean
        with np.errstate(over="ignore", invalid="ignore"):  # infinite, for values beyond 1e154
            squares = sum(float(((values - mean) ** 2 * weights).sum()) for values, weights in self._chunks())
        return math.sqrt(squares / self.size)

    def _chunks(self) -> Any:
        for start in range(0, len(self.values), _CHUNK):
            part = slice(start, start + _CHUNK)
            weights = 1 if self.counts is None else self.counts[part]
            yield self.values[part].astype(np.float64), weights

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Return percentiles, by linear interpolation between order statistics as numpy's default; ``nan`` if empty.

        Examples
        --------
        >>> distribution(np.array([1, 2, 2, 9])).percentiles([0, 50, 75, 100])
        [1.0, 2.0, 3.75, 9.0]
        """
        n = self.size
        if n == 0:
            return [math.nan for _ in percents]
        at = [percent / 100 * (n - 1) for percent in percents]
        low = [math.floor(place) for place in at]
        ranks = np.array([rank for first in low for rank in (first, min(first + 1, n - 1))])
        places = ranks if self.counts is None else np.searchsorted(np.cumsum(self.counts), ranks, side="right")
        found = self.values[places].astype(np.float64).tolist()
        return [
            first + (second - first) * (place - rank)
            for first, second, place, rank in zip(found[::2], found[1::2], at, low, strict=True)
        ]

    def thinned(self) -> Distribution:
        """Return a distribution of at most a few thousand values that has the same percentiles, but for rounding.

        Neighbouring values are merged, as long as they hold less than 0.1 % of all; within the outermost 1 % on either
        side, less than 0.005 %. At most 1024 distinct values stay as they are.
        """
        values, counts = self.values, self.counts
        if counts is None:
            if len(values) == 0:
                return self
            firsts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
            values, counts = values[firsts], np.diff(np.append(firsts, len(values)))
        if len(values) <= 1024:
            return Distribution(values, counts, self.n_other)
        share = (np.cumsum(counts) - counts / 2) / counts.sum()
        group = np.searchsorted(_EDGES, share)
        group = np.cumsum(np.concatenate([[0], np.diff(group) != 0]))
        merged = np.bincount(group, weights=counts)
        means = np.bincount(group, weights=values.astype(np.float64) * counts) / merged
        return Distribution(means, merged.astype(np.int64), self.n_other)


def distribution(array: NDArray[Any], where: NDArray[np.bool_] | None = None) -> Distribution:
    """Return the distribution of an array's finite values.

    Parameters
    ----------
    array
        Values of any shape.
    where
        Which of them count, an array of the same shape; by default all.

    Examples
    --------
    >>> found = distribution(np.array([2.0, np.nan, 1.0]))
    >>> found.values.tolist(), found.n_other, found.mean, found.std
    ([1.0, 2.0], 1, 1.5, 0.5)
    """
    values = plain(array, ndim=None)
    values = values.reshape(-1) if where is None else values[where]
    table = value_table(values) if values.size else None
    if table is not None:
        return Distribution(*table)
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        n_other = int(values.size - np.count_nonzero(finite))
        values = values[finite] if n_other else values
        return Distribution(np.sort(values, axis=None), None, n_other)
    return Distribution(np.sort(values, axis=None), None)


def distributions(array: NDArray[Any], inside: NDArray[Any]) -> tuple[Distribution, Distribution]:
    """Return the distributions of all values of an array, and of those where a mask of its shape is not 0.

    Examples
    --------
    >>> whole, part = distributions(np.array([5, 7, 7]), np.array([0, 0, 1], np.uint8))
    >>> whole.counts.tolist(), part.counts.tolist()
    ([1, 2], [1])
    """
    if array.shape != inside.shape:
        raise ArgumentError(f"distributions: values of shape {array.shape}, mask of shape {inside.shape}")
    tables = value_tables(plain(array, ndim=None), inside)
    if tables is None:
        return distribution(array), distribution(array, inside != 0)
    return Distribution(*tables[0]), Distribution(*tables[1])


def mixture(parts: Sequence[Distribution]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values, ascending, and the weights of a mixture in which each distribution counts alike.

    Examples
    --------
    >>> both = [distribution(np.array([1, 1, 1, 5])), distribution(np.array([5]))]
    >>> [part.tolist() for part in mixture(both)]
    [[1.0, 5.0], [0.375, 0.625]]
    """
    filled = [part for part in parts if part.size]
    if not filled:
        return np.zeros(0), np.zeros(0)
    values = np.concatenate([part.values.astype(np.float64) for part in filled])
    weights = np.concatenate(
        [(np.ones(len(p.values)) if p.counts is None else p.counts) / p.size / len(filled) for p in filled]
    )
    distinct, places = np.unique(values, return_inverse=True)
    return distinct, np.bincount(places, weights=weights).astype(np.float64)


def weighted_percentiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], percents: Sequence[float]
) -> list[float]:
    """Return the first of ascending values at which the summed weight reaches each percentage; ``nan`` if empty.

    Examples
    --------
    >>> weighted_percentiles(np.array([1.0, 5.0]), np.array([0.375, 0.625]), [0, 25, 50])
    [1.0, 1.0, 5.0]
    """
    if len(values) == 0:
        return [math.nan for _ in percents]
    sums = np.cumsum(weights)
    places = np.searchsorted(sums, np.asarray(percents) / 100 * sums[-1] * (1 - 1e-12))
    return [float(value) for value in values[np.minimum(places, len(values) - 1)]]
