"""Intensities of an image on their way through steps: a table of values where they are integers, else voxels.

An image of 16-bit integers has few values and many voxels. Steps that depend on the value alone are therefore done on
the table of values, exactly and in double precision, and the voxels are looked up once at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import CaseError
from itkit.core.text import counted
from itkit.kernels.arrays import plain, to_dtype
from itkit.kernels.labels import histogram, look_up_from, table_range
from itkit.kernels.statistics import finite_summary

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """Values, and how many voxels have each (``None``: one)."""

    values: NDArray[Any]
    counts: NDArray[np.int64] | None = None

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(self.values.size if self.counts is None else self.counts.sum())

    def mean_and_sd(self) -> tuple[float, float]:
        """Return mean and standard deviation (of the population), in double precision."""
        if self.counts is None:
            mean = float(np.mean(self.values, dtype=np.float64))
            return mean, float(np.sqrt(np.mean(np.square(self.values - np.float64(mean)), dtype=np.float64)))
        mean = float(np.average(self.values, weights=self.counts))
        return mean, float(np.sqrt(np.average(np.square(self.values - mean), weights=self.counts)))

    def percentiles(self, *percents: float) -> list[float]:
        """Return percentiles, interpolated linearly between ordered voxels, as numpy does by default."""
        if self.counts is None:
            return [float(value) for value in np.percentile(self.values.astype(np.float64, copy=False), percents)]
        order = np.argsort(self.values, kind="stable")
        values, ends = self.values[order], np.cumsum(self.counts[order])
        found = []
        for percent in percents:
            place = percent / 100 * (int(ends[-1]) - 1)
            low = int(np.floor(place))
            first, second = (
                values[np.searchsorted(ends, index, side="right")] for index in (low, min(low + 1, ends[-1] - 1))
            )
            found.append(float(first + (second - first) * (place - low)))
        return found

    def extremes(self) -> tuple[float, float]:
        """Return the least and the greatest value."""
        there = self.values if self.counts is None else self.values[self.counts > 0]
        return float(there.min()), float(there.max())

    def count(self, is_counted: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> int:
        """Return how many voxels have values for which a function is true."""
        hit = is_counted(self.values)
        return int(np.count_nonzero(hit) if self.counts is None else self.counts[hit].sum())


@dataclass(frozen=True, eq=False)
class Intensities:
    """An image, or the table of its values.

    Parameters
    ----------
    array
        The voxels ``(Z, Y, X)``; with a table, those of the beginning.
    dtype
        The type of the image.
    mask
        Where statistics come from; ``None`` for all voxels.
    table
        The value that each value of ``array`` has now; its first entry belongs to the value ``first``.
    everywhere, inside
        With a table: how many voxels have each value, in the image and in the mask.
    first
        With a table: the value of ``array`` to which its first entry belongs.
    keeps_type
        Whether all values are still of the type of the image; otherwise they are 32-bit floats.
    """

    array: NDArray[Any]
    dtype: np.dtype[Any]
    mask: NDArray[np.bool_] | None = None
    table: NDArray[np.float64] | None = None
    everywhere: NDArray[np.int64] | None = None
    inside: NDArray[np.int64] | None = None
    first: int = 0
    keeps_type: bool = True

    def all(self) -> Sample:
        """Return the values of all voxels."""
        return Sample(self.array.reshape(-1)) if self.table is None else Sample(self.table, self.everywhere)

    def within(self) -> Sample:
        """Return the values inside the mask.

        Raises
        ------
        CaseError
            When there is no voxel in it.
        """
        if self.table is not None:
            found = Sample(self.table, self.inside)
        else:
            found = Sample(self.array.reshape(-1) if self.mask is None else self.array[self.mask])
        if not found.size:
            raise CaseError("--within leaves no voxel to take statistics from")
        return found

    def changed(self, function: Callable[[NDArray[Any]], NDArray[Any]], *, keeps_type: bool) -> Intensities:
        """Return the image with a function of the value applied to all voxels."""
        keeps = self.keeps_type and keeps_type
        if self.table is not None:
            return replace(self, table=function(self.table), keeps_type=keeps)
        array = self.array if keeps or self.array.dtype == np.float64 else self.array.astype(np.float32, copy=False)
        return replace(self, array=function(array), keeps_type=keeps)

    def voxels(self) -> NDArray[Any]:
        """Return the voxels: of the image's type if all steps keep it, else 32-bit floats."""
        dtype = self.dtype if self.keeps_type else np.dtype(np.float32)
        if self.table is None:
            return to_dtype(self.array, dtype)
        with np.errstate(over="ignore"):
            table = self.table.astype(dtype)
        return look_up_from(self.array, table, self.first)

    def in_type(self, dtype: str) -> tuple[NDArray[Any], int]:
        """Return the voxels in a type, rounded and clamped, and how many voxels were clamped."""
        wanted = np.dtype(dtype)
        values = self.all()
        clamped = 0
        if wanted.kind in "iu":
            info = np.iinfo(wanted)
            clamped = values.count(lambda v: (np.rint(v) < info.min) | (np.rint(v) > info.max))
        if self.table is None:
            return to_dtype(self.array, wanted), clamped
        return look_up_from(self.array, to_dtype(self.table, wanted), self.first), clamped

    def with_voxels(self, array: NDArray[Any], *, keeps_type: bool = False) -> Intensities:
        """Return other voxels with the same mask."""
        return intensities(array, self.mask, keeps_type=self.keeps_type and keeps_type)


def intensities(
    array_zyx: NDArray[Any],
    mask: NDArray[np.bool_] | None = None,
    *,
    keeps_type: bool = True,
    may_be_constant: bool = False,
) -> Intensities:
    """Return the intensities of an image.

    Raises
    ------
    CaseError
        When a voxel is nan or infinite, or all voxels are equal though they must not be.
    """
    array = plain(array_zyx)
    span = table_range(array) if array.dtype.kind in "iu" else None
    if span is None:
        found = finite_summary(array)
        if found.n_nan or found.n_inf:
            what = " and ".join(
                counted(n, noun) for n, noun in ((found.n_nan, "nan voxel"), (found.n_inf, "infinite voxel")) if n
            )
            raise CaseError(f"{what}; intensities can't be computed with them (itk_check --deep finds them)")
        if found.minimum == found.maximum and not may_be_constant:
            raise CaseError(f"all voxels are {found.minimum:g}; a constant image has no intensities to work on")
        dtype = array.dtype
        array = array if dtype.kind == "f" else array.astype(np.float64)
        return Intensities(array, dtype, mask, keeps_type=keeps_type)
    first, length = span
    everywhere = histogram(array, first, length)
    used = np.flatnonzero(everywhere)
    if len(used) == 1 and not may_be_constant:
        raise CaseError(f"all voxels are {used[0] + first}; a constant image has no intensities to work on")
    inside = everywhere if mask is None else histogram(array[mask], first, length)
    values = np.arange(length, dtype=np.float64) + first
    return Intensities(array, array.dtype, mask, values, everywhere, inside, first, keeps_type)
