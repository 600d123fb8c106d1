"""Where the windows of a volume lie, how their voxels count, and the sums of their logits; nothing here needs torch.

`itkit.models.windows` applies networks of torch in this way, `itkit.inference.array_windows` those of other programs.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from itkit.core.arguments import expect_choice
from itkit.core.boxes import Index, PatchGrid, index, start_groups, unfinished_planes, window_starts
from itkit.core.errors import ArgumentError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Scheme = Literal["monai", "nnunet"]
Weights = Literal["gaussian", "constant"]
SCHEMES: tuple[Scheme, ...] = ("monai", "nnunet")
WEIGHTS: tuple[Weights, ...] = ("gaussian", "constant")
AIR_LOGIT = 20.0
"""Logit of class 0 in voxels that no window covers; the other classes have 0."""
_LEAST_WEIGHT = 1e-3
_BLOCK_BYTES = 256 << 20
"""Blocks that come from a GPU or a file have at most about this size."""


class Block(NamedTuple):
    """Finished voxels: logits ``(N, K, planes, rows, X)``, float32, of whole rows along X.

    Blocks come in groups of planes from low to high Z; the blocks of a group have the same planes and come from low to
    high Y, until all rows are there. The memory is used again when the next block is asked for: copy what must stay.

    Attributes
    ----------
    plane, row
        Index of the block's first plane and row in the volume.
    logits
        The logits.
    """

    plane: int
    row: int
    logits: Any


def window_grid(
    size_zyx: Sequence[int], patch_zyx: Sequence[int], overlap: float = 0.5, scheme: Scheme = "monai"
) -> PatchGrid:
    """Return the windows that cover a volume; axes shorter than the patch count as long as the patch.

    Examples
    --------
    >>> grid = window_grid((40, 160, 96), (96, 96, 96))
    >>> len(grid), grid.starts_zyx
    (3, ((0,), (0, 48, 64), (0,)))
    """
    z, y, x = (window_starts(n, p, overlap, scheme) for n, p in zip(size_zyx, patch_zyx, strict=True))
    return PatchGrid((z, y, x), index(patch_zyx))


def window_weights(
    patch_zyx: Sequence[int], weights: Weights = "gaussian", scheme: Scheme = "monai", sigma_scale: float = 0.125
) -> NDArray[np.float32]:
    """Return how much each voxel of a window counts where windows overlap, ``(Z, Y, X)``.

    Parameters
    ----------
    patch_zyx
        Voxels of a window.
    weights
        ``"gaussian"``: most in the middle, with a standard deviation of ``sigma_scale`` of the window's length along
        each axis; ``"constant"``: all voxels alike.
    scheme
        Whose Gaussian: MONAI's is symmetric and at least 1e-3; nnU-Net's has its peak at voxel ``length // 2`` and ends
        at four standard deviations, its corners taking the smallest weight that is not 0.
    sigma_scale
        Standard deviation as a part of the window's length.
    """
    expect_choice(weights, WEIGHTS, "window_weights: weights")
    size = index(patch_zyx)
    if weights == "constant":
        return np.ones(size, np.float32)
    z, y, x = (_bell(length, sigma_scale * length, scheme) for length in size)
    values = z[:, None, None] * y[:, None] * x
    least = values[values > 0].min() if scheme == "nnunet" else max(values.min(), _LEAST_WEIGHT)
    result: NDArray[np.float32] = np.maximum(values, least).astype(np.float32)
    return result


def _bell(length: int, sigma: float, scheme: Scheme) -> NDArray[np.float64]:
    if length == 1:
        return np.ones(1)
    places = np.arange(length, dtype=np.float64)
    if scheme == "nnunet":
        distance = np.abs(places - length // 2)
        return np.where(distance <= int(4 * sigma + 0.5), np.exp(-0.5 * (distance / sigma) ** 2), 0.0)
    return np.exp(-0.5 * ((places - (length - 1) / 2) / sigma) ** 2)


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """How a network is applied to whole volumes; see `itkit.models.windows.SlidingWindow` for the parameters."""

    patch_size: Sequence[int]
    overlap: float = 0.5
    scheme: Scheme = "monai"
    weights: Weights = "gaussian"
    sigma_scale: float = 0.125
    batch: int = 1
    flips: str = ""
    max_bytes: int | None = None
    scratch: Path | None = None

    def __post_init__(self) -> None:
        if len(self.patch_size) not in (2, 3) or any(int(side) != side or side < 1 for side in self.patch_size):
            raise ArgumentError(f"patch_size: expected 3 (or, for a 2-D network, 2) sides >= 1; got {self.patch_size}")
        expect_choice(self.scheme, SCHEMES, f"{type(self).__name__}: scheme")
        expect_choice(self.weights, WEIGHTS, f"{type(self).__name__}: weights")
        axes = "YX" if self.is_flat else "ZYX"
        if not 0 <= self.overlap < 1:
            raise ArgumentError(f"overlap of windows: expected 0 to below 1; got {self.overlap}")
        if len(set(self.flips)) != len(self.flips) or not set(self.flips) <= set(axes):
            raise ArgumentError(f"flips: expected some of the axes {axes}, each once; got {self.flips!r}")
        if self.batch < 1:
            raise ArgumentError(f"batch: expected at least 1 window; got {self.batch}")

    @property
    def is_flat(self) -> bool:
        """Whether windows are slices for a 2-D network."""
        return len(self.patch_size) == 2

    @property
    def patch_zyx(self) -> Index:
        """Voxels of a window; one plane for a 2-D network."""
        return index((1, *self.patch_size) if self.is_flat else self.patch_size)

    def grid(self, size_zyx: Sequence[int]) -> PatchGrid:
        """Return the windows that cover a volume of the given size."""
        return window_grid(size_zyx, self.patch_zyx, self.overlap, self.scheme)

    def sums_bytes(self, size_zyx: Sequence[int], classes: int) -> int:
        """Return the bytes that the sums of unfinished voxels take for one volume."""
        height, width = (max(n, p) for n, p in zip(size_zyx[1:], self.patch_zyx[1:], strict=True))
        kept, fresh = unfinished_planes(start_groups(self.grid(size_zyx).starts_zyx[0]), self.patch_zyx[0])
        return 4 * (classes + 1) * width * (kept * height + fresh * min(height, self.patch_zyx[1]))

    def trimmed(self, parts: Iterator[tuple[int, int, Any]], low: Index, size: Index) -> Iterator[Block]:
        """Yield blocks without the voxels that stand for what lies beyond the edge of a volume.

        Parameters
        ----------
        parts
            First plane, first row and logits of blocks of the padded volume.
        low
            Voxels before the volume, ZYX.
        size
            Voxels of the volume, ZYX.
        """
        columns = slice(low[2], low[2] + size[2])
        for plane, row, logits in parts:
            planes, rows = (
                slice(max(start, first) - start, min(start + count, first + n) - start)
                for start, count, first, n in zip((plane, row), logits.shape[2:4], low, size, strict=False)
            )
            if planes.start < planes.stop and rows.start < rows.stop:
                inside = logits[:, :, planes, rows, columns]
                yield Block(plane + planes.start - low[0], row + rows.start - low[1], inside)

    def flip_axes(self) -> list[tuple[int, ...]]:
        """Return the axes of ``(N, C, Z, Y, X)`` along which each view is mirrored; the first is not."""
        dims = [2 + "ZYX".index(axis) for axis in self.flips]
        return list(chain.from_iterable(combinations(dims, count) for count in range(len(dims) + 1)))


PlacedWindow = tuple[int, Index]
"""The number of a volume in the batch, and the first voxel of a window."""


def placed_windows(grid: PatchGrid, count: int, mask: Any) -> list[PlacedWindow]:
    """List the windows from low to high Z and Y; with a mask, those that hold a voxel of it (all, if it has none)."""
    zs, ys, xs = grid.starts_zyx
    groups = start_groups(zs)
    windows = [(n, (z, y, x)) for group in groups for y in ys for z in group for n in range(count) for x in xs]
    if mask is None:
        return windows
    z, y, x = grid.patch_zyx
    kept = [(n, (i, j, k)) for n, (i, j, k) in windows if mask[n, i : i + z, j : j + y, k : k + x].any()]
    return kept or windows


def missing_voxels(size: Index, patch: Index) -> tuple[Index, Index]:
    """Return how many voxels to put before each axis (half of what is missing), and the padded size."""
    missing = [max(0, p - n) for n, p in zip(size, patch, strict=True)]
    return index([m // 2 for m in missing]), index([n + m for n, m in zip(size, missing, strict=True)])


class Sums:
    """Weighted sums of the logits of unfinished voxels; the sum of the weights is one more channel.

    The windows of one height (their start along Z; two that are close count as one) finish the planes up to the next
    height, row by row: these planes are ``fresh``, a ring of as many rows as a window has. The planes that windows of
    the next height share are ``kept`` with all rows, in a ring of planes: plane ``z`` lies at ``z % len``. When a
    window reaches rows for the first time, what earlier heights have added to their fresh planes moves from ``kept`` to
    ``fresh``, which makes room in ``kept`` for the same rows of planes that are new there.

    Parameters
    ----------
    settings
        How a network is applied.
    grid
        The windows.
    count
        Number of volumes.
    size
        Their size, ZYX.
    weights
        How much each voxel of a window counts.

    Notes
    -----
    Here the sums are numpy arrays; `itkit.models.windows` has the same with tensors, on any device.
    """

    def __init__(self, settings: WindowSettings, grid: PatchGrid, count: int, size: Index, weights: Any) -> None:
        self._settings = settings
        self._groups, self._starts_y = start_groups(grid.starts_zyx[0]), grid.starts_zyx[1]
        self._count, self._size = count, size
        self._weights = weights
        self._depth, self._height, self._width = grid.patch_zyx
        self._kept_planes, self._fresh_planes = unfinished_planes(self._groups, self._depth)
        self._fresh: Any = None
        self._kept: Any = None
        self._classes = 0
        self._at_once = 1 << 30

    def blocks(self, seen: Iterator[tuple[PlacedWindow, Any]]) -> Iterator[tuple[int, int, Any]]:
        """Yield the first plane, the first row and the logits of finished blocks, in the order of `Block`."""
        following = next(seen, None)
        assert following is not None
        self._prepare(following[1].shape[0])
        ends_y = [*self._starts_y[1:], self._size[1]]
        reached = 0  # the plane up to which earlier heights have added to the kept planes
        for place, group in enumerate(self._groups):
            z, top = group[0], group[-1] + self._depth
            is_last = place == len(self._groups) - 1
            end = top - self._kept_planes if is_last else self._groups[place + 1][0]
            opened = 0
            for y, end_y in zip(self._starts_y, ends_y, strict=True):
                self._open(z, end, reached, opened, y + self._height)
                opened = y + self._height
                while following is not None and following[0][1][0] in group and following[0][1][1] == y:
                    (number, start), values = following
                    self._add(number, start, z, end, values)
                    following = next(seen, None)
                yield from self._finished(z, end, y, end_y)
            reached = top
        yield from self._rest(reached - self._kept_planes, reached)

    def _open(self, z: int, end: int, reached: int, begin: int, stop: int) -> None:
        """Begin rows of the fresh planes with what earlier heights have added to them."""
        for rows, place in _ring(begin, stop, self._height):
            old = min(reached, end)
            for slots, planes in _ring(z, old, self._kept_planes) if old > z else ():
                part = self._kept[:, :, slots, place.start + begin : place.stop + begin]
                self._fresh[:, :, planes, rows] = part
                part[...] = 0
            self._fresh[:, :, max(0, old - z) : end - z, rows] = 0

    def _add(self, number: int, start: Index, begin: int, end: int, values: Any) -> None:
        """Add the logits ``(K, Z, Y, X)`` of a window; planes from ``begin`` to ``end`` are fresh, later ones kept."""
        z, y, x = start
        columns, fresh = slice(x, x + self._width), max(0, min(self._depth, end - z))
        values = self._moved(values)
        for rows, part in _ring(y, y + self._height, self._height) if fresh else ():
            place = (slice(None), slice(0, fresh), part)
            sums = self._fresh[number, :, z - begin : z - begin + fresh, rows, columns]
            self._sum(sums, values[place], self._weights[place[1:]])
        first = z + fresh
        for slots, planes in _ring(first, z + self._depth, self._kept_planes) if fresh < self._depth else ():
            later = slice(planes.start + fresh, planes.stop + fresh)
            sums = self._kept[number, :, slots, y : y + self._height, columns]
            self._sum(sums, values[:, later], self._weights[later])

    def _sum(self, sums: Any, values: Any, weights: Any) -> None:
        """Add the logits of a part of a window, weighted; the last channel sums the weights."""
        sums[: self._classes] += values * weights
        sums[self._classes] += weights

    def _finished(self, z: int, end: int, begin: int, stop: int) -> Iterator[tuple[int, int, Any]]:
        """Yield finished rows of the fresh planes."""
        if end == z:
            return
        for rows, place in _ring(begin, stop, self._height):
            yield from self._divided(self._fresh[:, :, : end - z, rows], z, place.start + begin)

    def _rest(self, begin: int, stop: int) -> Iterator[tuple[int, int, Any]]:
        """Yield the kept planes, all of whose windows have been added."""
        for slots, place in _ring(begin, stop, self._kept_planes) if stop > begin else ():
            for row in range(0, self._size[1], self._height):
                yield from self._divided(self._kept[:, :, slots, row : row + self._height], begin + place.start, row)

    def _divided(self, sums: Any, plane: int, row: int) -> Iterator[tuple[int, int, Any]]:
        rows = sums.shape[3]
        for first in range(0, rows, self._at_once):
            part = sums[:, :, :, first : min(first + self._at_once, rows)]
            logits, totals = part[:, : self._classes], part[:, self._classes]
            empty = totals == 0
            if empty.any():
                logits[:, 0][empty] = AIR_LOGIT
                totals[empty] = 1
            logits /= totals[:, None]
            yield plane, row + first, logits

    def _prepare(self, classes: int) -> None:
        """Make room for logits of so many classes."""
        self._classes = classes
        channels = (self._count, classes + 1)
        kept = (*channels, self._kept_planes, *self._size[1:])
        fresh = (*channels, self._fresh_planes, self._height, self._size[2])
        row_bytes = 4 * math.prod(channels) * max(self._kept_planes, self._fresh_planes) * self._size[2]
        self._make(kept, fresh, max(1, _BLOCK_BYTES // row_bytes))

    def _make(self, kept: tuple[int, ...], fresh: tuple[int, ...], rows: int) -> None:
        """Make the sums, in memory or in a file; from a file, so many rows come at once."""
        self._kept, self._fresh, is_file = self._arrays(kept, fresh)
        if is_file:
            self._at_once = rows

    def _arrays(
        self, kept: tuple[int, ...], fresh: tuple[int, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], bool]:
        """Return two arrays of zeros, and whether they lie in a file."""
        nbytes, limit = 4 * (math.prod(kept) + math.prod(fresh)), self._settings.max_bytes
        if limit is None or nbytes <= limit:
            return np.zeros(kept, np.float32), np.zeros(fresh, np.float32), False
        with tempfile.TemporaryFile(dir=self._settings.scratch, prefix="itkit-") as file:  # the map keeps it open
            both = np.memmap(file, np.float32, "w+", shape=(nbytes // 4,))
        return both[: math.prod(kept)].reshape(kept), both[math.prod(kept) :].reshape(fresh), True

    def _moved(self, values: Any) -> Any:
        """Return logits where the sums are."""
        return values


def _ring(begin: int, stop: int, length: int) -> Iterator[tuple[slice, slice]]:
    """Yield where places of a ring lie, and the same places counted from ``begin``; two pieces at the seam."""
    first, count = begin % length, stop - begin
    before = min(count, length - first)
    yield slice(first, first + before), slice(0, before)
    if before < count:
        yield slice(0, count - before), slice(before, count)
