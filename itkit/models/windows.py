"""Sliding windows: a network applied to a whole volume, window by window, in memory that its length does not change.

Training (validation on whole volumes), ``itk_infer``, export and the MMEngine extension all use this one engine. The
windows of a volume are visited from low to high Z and, within that, from low to high Y; as soon as no later window
reaches some planes and rows, they are finished and handed on, and their memory is used again. `SlidingWindow.blocks`
hands on finished blocks of logits, `SlidingWindow.labels` takes the classes at once, and `SlidingWindow.logits` keeps
everything.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from itkit.core.arguments import expect_choice
from itkit.core.boxes import Index, PatchGrid, index, start_groups, unfinished_planes, window_starts
from itkit.core.errors import ArgumentError, ModelError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

Scheme = Literal["monai", "nnunet"]
Weights = Literal["gaussian", "constant"]
Padding = Literal["constant", "reflect", "replicate", "circular"]
Precision = Literal["32", "bf16", "16"]
Network = Callable[[Tensor], Any]
"""Maps windows ``(N, C, Z, Y, X)``, or ``(N, C, Y, X)`` for a 2-D network, to logits of ``K`` classes of that size."""
SCHEMES: tuple[Scheme, ...] = ("monai", "nnunet")
WEIGHTS: tuple[Weights, ...] = ("gaussian", "constant")
PADDINGS: tuple[Padding, ...] = ("constant", "reflect", "replicate", "circular")
PRECISIONS: tuple[Precision, ...] = ("32", "bf16", "16")
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
    logits: Tensor


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
class SlidingWindow:
    """How a network is applied to whole volumes.

    Parameters
    ----------
    patch_size
        Voxels of a window, ZYX; two numbers, YX, for a 2-D network, which sees one slice at a time.
    overlap
        Part of a window that the next one covers again, from 0 to below 1.
    scheme
        Places (and Gaussian) of the windows as ``"monai"`` or ``"nnunet"`` have them; see `window_starts` and
        `window_weights`.
    weights
        ``"gaussian"`` or ``"constant"``: how voxels count where windows overlap.
    sigma_scale
        Standard deviation of the Gaussian as a part of the window's length.
    batch
        Windows that the network receives at once.
    flips
        Axes along which windows are mirrored, e.g. ``"ZYX"`` or ``"X"``; the logits of all combinations are averaged,
        so that three axes take eight times as long.
    padding, padding_value
        What lies beyond the edge of a volume that is smaller than the window.
    precision
        Type in which the network computes: ``"32"``, ``"bf16"`` or ``"16"``; sums are float32 whatever it is.
    device
        Where the network computes; ``None`` for where the volume is. The network must be there already.
    max_bytes
        Most bytes of the sums of unfinished planes in memory; larger ones lie in a memory-mapped file. ``None`` for no
        limit.
    scratch
        Folder of that file; ``None`` for the system's temporary folder.

    Notes
    -----
    The result equals that of ``monai.inferers.sliding_window_inference`` within float error (scheme ``monai``). Of the
    logits of a volume, those planes are in memory that windows at two heights share, and as many rows as a window has
    of the planes before them: with an overlap of a half, somewhat more than half the planes of a window.

    Examples
    --------
    >>> windows = SlidingWindow(patch_size=(4, 4, 4), overlap=0.5)
    >>> volume = torch.arange(300.0).reshape(1, 1, 5, 6, 10)
    >>> torch.allclose(windows.logits(lambda window: window * 2, volume), volume * 2)
    True
    """

    patch_size: Sequence[int]
    overlap: float = 0.5
    scheme: Scheme = "monai"
    weights: Weights = "gaussian"
    sigma_scale: float = 0.125
    batch: int = 1
    flips: str = ""
    padding: Padding = "constant"
    padding_value: float = 0.0
    precision: Precision = "32"
    device: torch.device | str | None = None
    max_bytes: int | None = None
    scratch: Path | None = None

    def __post_init__(self) -> None:
        if len(self.patch_size) not in (2, 3) or any(int(side) != side or side < 1 for side in self.patch_size):
            raise ArgumentError(f"patch_size: expected 3 (or, for a 2-D network, 2) sides >= 1; got {self.patch_size}")
        expect_choice(self.scheme, SCHEMES, "SlidingWindow: scheme")
        expect_choice(self.weights, WEIGHTS, "SlidingWindow: weights")
        expect_choice(self.padding, PADDINGS, "SlidingWindow: padding")
        expect_choice(self.precision, PRECISIONS, "SlidingWindow: precision")
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

    def blocks(self, network: Network, volume: Tensor, mask: Tensor | None = None) -> Iterator[Block]:
        """Yield the logits of volumes, each voxel once; see `Block` for their order.

        Parameters
        ----------
        network
            The network; a module is in evaluation mode meanwhile.
        volume
            ``(N, C, Z, Y, X)``; ``N`` volumes of one size.
        mask
            ``(N, Z, Y, X)``, bool: windows without any voxel in it are left out. Voxels that no window covers belong
            to class 0. A mask without any voxel leaves out nothing.

        Raises
        ------
        ArgumentError
            When the volume is not 5-D.
        ModelError
            When the network's output has another size than its input.
        """
        if volume.ndim != 5:
            raise ArgumentError(f"sliding windows: expected a volume (N, C, Z, Y, X); got {tuple(volume.shape)}")
        size = index(volume.shape[2:])
        low, padded = _padding(size, self.patch_zyx)
        if padded != size:
            volume = _pad(volume, low, padded, self.padding, self.padding_value)
        grid = self.grid(size)
        device = torch.device(self.device) if self.device is not None else volume.device
        weights = torch.from_numpy(window_weights(self.patch_zyx, self.weights, self.scheme, self.sigma_scale))
        windows = _windows(grid, len(volume), None if mask is None else _pad_mask(mask, low, padded))
        sums = _Sums(self, grid, len(volume), padded, weights.to(device), device)
        columns = slice(low[2], low[2] + size[2])
        with _evaluating(network):
            for plane, row, logits in sums.blocks(self._seen(network, volume, windows, device)):
                planes, rows = (
                    slice(max(start, first) - start, min(start + count, first + n) - start)
                    for start, count, first, n in zip((plane, row), logits.shape[2:4], low, size, strict=False)
                )
                if planes.start < planes.stop and rows.start < rows.stop:
                    inside = logits[:, :, planes, rows, columns]
                    yield Block(plane + planes.start - low[0], row + rows.start - low[1], inside)

    def _seen(
        self, network: Network, volume: Tensor, windows: Sequence[_Window], device: torch.device
    ) -> Iterator[tuple[_Window, Tensor]]:
        """Yield each window with its logits ``(K, Z, Y, X)``."""
        for begin in range(0, len(windows), self.batch):
            some = windows[begin : begin + self.batch]
            yield from zip(some, self._apply(network, volume, some, device), strict=True)

    def logits(self, network: Network, volume: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return all logits, ``(N, K, Z, Y, X)``, float32, where the volume is; parameters are those of `blocks`."""
        result: Tensor | None = None
        for plane, row, part in self.blocks(network, volume, mask):
            if result is None:
                shape = (*part.shape[:2], *volume.shape[2:])
                result = torch.empty(shape, dtype=torch.float32, device=volume.device)
            result[:, :, plane : plane + part.shape[2], row : row + part.shape[3]] = part
        assert result is not None
        return result

    def labels(self, network: Network, volume: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the class with the largest logit, ``(N, Z, Y, X)``; parameters are those of `blocks`.

        uint8, or int16 for more than 256 classes; of equal logits, the first class wins. The logits are never in
        memory as a whole.
        """
        result: Tensor | None = None
        for plane, row, part in self.blocks(network, volume, mask):
            if result is None:
                dtype = torch.uint8 if part.shape[1] <= 256 else torch.int16
                result = torch.empty((len(part), *volume.shape[2:]), dtype=dtype, device=volume.device)
            _take_largest(part, result[:, plane : plane + part.shape[2], row : row + part.shape[3]])
        assert result is not None
        return result

    def _apply(self, network: Network, volume: Tensor, windows: Sequence[_Window], device: torch.device) -> Tensor:
        """Return the logits ``(n, K, Z, Y, X)`` of some windows, averaged over the flips."""
        z, y, x = self.patch_zyx
        parts = [volume[n : n + 1, :, i : i + z, j : j + y, k : k + x] for n, (i, j, k) in windows]
        batch = (torch.cat(parts) if len(parts) > 1 else parts[0]).to(device)
        dims = [2 + "ZYX".index(axis) for axis in self.flips]
        flips = list(chain.from_iterable(combinations(dims, count) for count in range(len(dims) + 1)))
        total = self._logits(network, batch)
        for flip in flips[1:]:
            total = total + self._logits(network, batch.flip(flip)).flip(flip)
        return total / len(flips) if len(flips) > 1 else total

    def _logits(self, network: Network, batch: Tensor) -> Tensor:
        with torch.no_grad(), self._casting(batch.device):
            made = network(batch[:, :, 0] if self.is_flat else batch)
        output = made[0] if isinstance(made, list | tuple) else made  # the finest of deep supervision
        logits: Tensor = (output[:, :, None] if self.is_flat else output).float()
        if logits.shape[0] != len(batch) or logits.shape[2:] != batch.shape[2:]:
            raise ModelError(
                f"the network turns windows {tuple(batch.shape)} into {tuple(logits.shape)}; expected logits of "
                "every voxel"
            )
        return logits

    def _casting(self, device: torch.device) -> AbstractContextManager[Any]:
        if self.precision == "32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16 if self.precision == "bf16" else torch.float16)


_Window = tuple[int, Index]
"""The number of a volume in the batch, and the first voxel of a window."""


def _windows(grid: PatchGrid, count: int, mask: Tensor | None) -> list[_Window]:
    """List the windows from low to high Z and Y; with a mask, those that hold a voxel of it (all, if it has none)."""
    zs, ys, xs = grid.starts_zyx
    groups = start_groups(zs)
    windows = [(n, (z, y, x)) for group in groups for y in ys for z in group for n in range(count) for x in xs]
    if mask is None:
        return windows
    z, y, x = grid.patch_zyx
    kept = [(n, (i, j, k)) for n, (i, j, k) in windows if mask[n, i : i + z, j : j + y, k : k + x].any()]
    return kept or windows


def _padding(size: Index, patch: Index) -> tuple[Index, Index]:
    """Return how many voxels to put before each axis (half of what is missing), and the padded size."""
    missing = [max(0, p - n) for n, p in zip(size, patch, strict=True)]
    return index([m // 2 for m in missing]), index([n + m for n, m in zip(size, missing, strict=True)])


def _pad(volume: Tensor, low: Index, size: Index, mode: Padding, value: float) -> Tensor:
    """Pad the last three axes; axes of any length can be reflected, as often as it takes."""
    if mode == "constant":
        result = torch.full((*volume.shape[:-3], *size), value, dtype=volume.dtype, device=volume.device)
        z, y, x = (slice(start, start + n) for start, n in zip(low, volume.shape[-3:], strict=True))
        result[..., z, y, x] = volume
        return result
    for axis in range(-3, 0):
        length = volume.shape[axis]
        places = torch.arange(size[axis], device=volume.device) - low[axis]
        if mode == "replicate":
            places = places.clamp(0, length - 1)
        elif mode == "circular" or length == 1:
            places = places % length
        else:
            places = places % (2 * length - 2)
            places = torch.minimum(places, 2 * length - 2 - places)
        volume = volume.index_select(axis, places)
    return volume


def _pad_mask(mask: Tensor, low: Index, size: Index) -> Tensor:
    return mask if index(mask.shape[-3:]) == size else _pad(mask, low, size, "constant", value=False)


def _take_largest(logits: Tensor, labels: Tensor) -> None:
    """Write the number of the largest of ``K`` logits ``(N, K, Z, Y, X)`` to ``(N, Z, Y, X)``; the first of equals."""
    if logits.is_cuda:
        labels.copy_(logits.argmax(dim=1))
        return
    for number, volume in enumerate(logits):  # a plane of one class after the other stays in the processor's cache
        for plane in range(volume.shape[1]):
            best, largest = volume[0, plane].clone(), labels[number, plane].zero_()
            for value in range(1, len(volume)):
                one = volume[value, plane]
                largest.masked_fill_(one > best, value)
                torch.maximum(best, one, out=best)


class _Sums:
    """Weighted sums of the logits of unfinished voxels; the sum of the weights is one more channel.

    The windows of one height (their start along Z; two that are close count as one) finish the planes up to the next
    height, row by row: these planes are ``fresh``, a ring of as many rows as a window has. The planes that windows of
    the next height share are ``kept`` with all rows, in a ring of planes: plane ``z`` lies at ``z % len``. When a
    window reaches rows for the first time, what earlier heights have added to their fresh planes moves from ``kept`` to
    ``fresh``, which makes room in ``kept`` for the same rows of planes that are new there.
    """

    def __init__(
        self,
        settings: SlidingWindow,
        grid: PatchGrid,
        count: int,
        size: Index,
        weights: Tensor,
        device: torch.device,
    ) -> None:
        self._settings = settings
        self._groups, self._starts_y = start_groups(grid.starts_zyx[0]), grid.starts_zyx[1]
        self._count, self._size, self._device = count, size, device
        self._weights = weights
        self._depth, self._height, self._width = grid.patch_zyx
        self._kept_planes, self._fresh_planes = unfinished_planes(self._groups, self._depth)
        self._fresh = self._kept = torch.empty(0)
        self._classes = 0
        self._at_once = 1 << 30

    def blocks(self, seen: Iterator[tuple[_Window, Tensor]]) -> Iterator[tuple[int, int, Tensor]]:
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
                part.zero_()
            self._fresh[:, :, max(0, old - z) : end - z, rows] = 0

    def _add(self, number: int, start: Index, begin: int, end: int, values: Tensor) -> None:
        """Add the logits ``(K, Z, Y, X)`` of a window; planes from ``begin`` to ``end`` are fresh, later ones kept."""
        z, y, x = start
        columns, fresh = slice(x, x + self._width), max(0, min(self._depth, end - z))
        values = values.to(self._fresh.device)
        for rows, part in _ring(y, y + self._height, self._height) if fresh else ():
            place = (slice(None), slice(0, fresh), part)
            sums = self._fresh[number, :, z - begin : z - begin + fresh, rows, columns]
            self._sum(sums, values[place], self._weights[place[1:]])
        first = z + fresh
        for slots, planes in _ring(first, z + self._depth, self._kept_planes) if fresh < self._depth else ():
            later = slice(planes.start + fresh, planes.stop + fresh)
            sums = self._kept[number, :, slots, y : y + self._height, columns]
            self._sum(sums, values[:, later], self._weights[later])

    def _sum(self, sums: Tensor, values: Tensor, weights: Tensor) -> None:
        sums[: self._classes].addcmul_(values, weights)
        sums[self._classes] += weights

    def _finished(self, z: int, end: int, begin: int, stop: int) -> Iterator[tuple[int, int, Tensor]]:
        """Yield finished rows of the fresh planes."""
        if end == z:
            return
        for rows, place in _ring(begin, stop, self._height):
            yield from self._divided(self._fresh[:, :, : end - z, rows], z, place.start + begin)

    def _rest(self, begin: int, stop: int) -> Iterator[tuple[int, int, Tensor]]:
        """Yield the kept planes, all of whose windows have been added."""
        for slots, place in _ring(begin, stop, self._kept_planes) if stop > begin else ():
            for row in range(0, self._size[1], self._height):
                yield from self._divided(self._kept[:, :, slots, row : row + self._height], begin + place.start, row)

    def _divided(self, sums: Tensor, plane: int, row: int) -> Iterator[tuple[int, int, Tensor]]:
        rows = sums.shape[3]
        for first in range(0, rows, self._at_once):
            part = sums[:, :, :, first : min(first + self._at_once, rows)]
            logits, totals = part[:, : self._classes], part[:, self._classes]
            empty = totals == 0
            if empty.any():
                logits[:, 0].masked_fill_(empty, AIR_LOGIT)
                totals.masked_fill_(empty, 1)
            logits /= totals[:, None]
            yield plane, row + first, logits

    def _prepare(self, classes: int) -> None:
        """Make room for logits of so many classes: on the network's device, in memory, or in a file."""
        self._classes = classes
        channels = (self._count, classes + 1)
        kept = (*channels, self._kept_planes, *self._size[1:])
        fresh = (*channels, self._fresh_planes, self._height, self._size[2])
        nbytes = 4 * (math.prod(kept) + math.prod(fresh))
        row_bytes = 4 * math.prod(channels) * max(self._kept_planes, self._fresh_planes) * self._size[2]
        if self._device.type == "cuda" and nbytes < torch.cuda.mem_get_info(self._device)[0] // 2:
            self._kept, self._fresh = (torch.zeros(shape, device=self._device) for shape in (kept, fresh))
            self._at_once = max(1, _BLOCK_BYTES // row_bytes)
            return
        self._weights = self._weights.cpu()
        limit = self._settings.max_bytes
        if limit is None or nbytes <= limit:
            self._kept, self._fresh = torch.zeros(kept), torch.zeros(fresh)
            return
        self._at_once = max(1, _BLOCK_BYTES // row_bytes)
        with tempfile.TemporaryFile(dir=self._settings.scratch, prefix="itkit-") as file:  # the map keeps it open
            both = torch.from_numpy(np.memmap(file, np.float32, "w+", shape=(nbytes // 4,)))
        self._kept = both[: math.prod(kept)].reshape(kept)
        self._fresh = both[math.prod(kept) :].reshape(fresh)


def _ring(begin: int, stop: int, length: int) -> Iterator[tuple[slice, slice]]:
    """Yield where places of a ring lie, and the same places counted from ``begin``; two pieces at the seam."""
    first, count = begin % length, stop - begin
    before = min(count, length - first)
    yield slice(first, first + before), slice(0, before)
    if before < count:
        yield slice(0, count - before), slice(before, count)


@contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    """Put a module into evaluation mode for a while; parts that were in it before stay in it afterwards."""
    if not isinstance(network, nn.Module) or not network.training:
        yield
        return
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        network.train()
        for module, mode in modes.items():
            module.training = mode
