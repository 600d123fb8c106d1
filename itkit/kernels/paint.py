"""Paint regions into one label map, one after the other, and find the voxels that several regions claim."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.kernels.arrays import smallest_integer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from itkit.core.params import OverlapRule


class Canvas:
    """A label map that is painted region by region.

    Parameters
    ----------
    size_zyx
        Size of the map.
    values
        Label value of each region, in order of precedence: with the rule ``first``, the earlier region keeps a voxel
        that two regions claim; with ``last``, the later one.
    rule
        With ``multi``, every region gets its own channel, so that nothing is lost. With ``error``, the caller must
        check `overlap_voxels` and report the overlap.

    Notes
    -----
    While painting, a voxel is stored in the smallest unsigned integer that holds twice the number of regions; its
    highest bit marks that several regions claim the voxel.

    Examples
    --------
    >>> canvas = Canvas((1, 1, 3), [1, 5], "last")
    >>> canvas.paint_mask(1, np.array([[[1, 1, 0]]]))
    >>> canvas.paint_mask(5, np.array([[[0, 1, 1]]]))
    >>> canvas.overlap_voxels, dict(canvas.pairs), canvas.labels().tolist()
    (1, {(1, 5): 1}, [[[1, 5, 5]]])
    """

    def __init__(self, size_zyx: Sequence[int], values: Sequence[int], rule: OverlapRule) -> None:
        self.rule = rule
        self._values = tuple(dict.fromkeys(values))
        self._ranks = {value: rank for rank, value in enumerate(self._values, start=1)}
        dtype = smallest_integer(0, 2 * len(self._values) + 1)
        self._several = dtype.type(1 << (8 * dtype.itemsize - 1))
        self._owners: NDArray[Any] = np.zeros(tuple(size_zyx), dtype)
        self._order = np.arange(len(self._values) + 1)
        self._channels: NDArray[Any] | None = None
        if rule == "multi":
            self._channels = np.zeros((*size_zyx, len(self._values)), np.uint8)
        self._painted: set[int] = set()
        self._pairs: Counter[tuple[int, int]] = Counter()

    def paint(self, value: int, index_zyx: tuple[NDArray[Any], ...]) -> None:
        """Add voxels to a region; a region may be painted in several strokes, with strokes of others in between."""
        if len(index_zyx[0]):
            self._stroke(value, self._owners, self._channels, index_zyx)

    def paint_mask(self, value: int, mask_zyx: NDArray[Any]) -> None:
        """Add the voxels where a mask is above 0 to a region, and move the region to the end of the precedence."""
        self._order[self._ranks[value]] = self._order.max() + 1
        for z, plane in enumerate(mask_zyx):
            inside = plane > 0
            if inside.any():
                self._stroke(value, self._owners[z], None if self._channels is None else self._channels[z], inside)

    def _stroke(self, value: int, owners: NDArray[Any], channels: NDArray[Any] | None, where: Any) -> None:
        rank = owners.dtype.type(self._ranks[value])
        self._painted.add(value)
        if channels is not None:
            channels[..., rank - 1][where] = 1
        before = owners[where]
        if not before.any():
            owners[where] = rank
            return
        held = before & ~self._several
        is_taken = (held != 0) & (held != rank)
        for other, count in zip(*np.unique(held[is_taken], return_counts=True), strict=True):
            low, high = sorted((int(other), int(rank)))
            self._pairs[self._values[low - 1], self._values[high - 1]] += int(count)
        own, others = self._order[rank], self._order[held]
        stays = is_taken & ((others < own) if self.rule == "first" else (others > own))
        flag = (before & self._several) | np.where(is_taken, self._several, owners.dtype.type(0))
        owners[where] = np.where(stays, held, rank) | flag

    @property
    def overlap_voxels(self) -> int:
        """Number of voxels that more than one region claims, each counted once."""
        return sum(int(np.count_nonzero(plane & self._several)) for plane in self._owners)

    @property
    def pairs(self) -> Mapping[tuple[int, int], int]:
        """Number of voxels that each pair of values claims; where three meet, not all of their pairs are counted."""
        return self._pairs

    @property
    def empty(self) -> tuple[int, ...]:
        """Values of the regions without a voxel."""
        return tuple(value for value in self._values if value not in self._painted)

    def labels(self) -> NDArray[Any]:
        """Return the map ``(Z, Y, X)``, or the channels ``(Z, Y, X, C)`` in the order of the values.

        Nothing may be painted afterwards.

        Raises
        ------
        LabelError
            When no integer type holds the values.
        """
        if self._channels is not None:
            return self._channels
        table = np.array([0, *self._values])
        table = table.astype(smallest_integer(0, int(table.max())))
        owners = self._owners
        labels = owners if owners.dtype == table.dtype else np.empty(owners.shape, table.dtype)
        for source, plane in zip(owners, labels, strict=True):
            plane[...] = table[source & ~self._several]
        return labels
