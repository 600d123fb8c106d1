"""Sliding windows: a network applied to a whole volume, window by window, in memory that its length does not change.

Training (validation on whole volumes), ``itk_infer``, export and the MMEngine extension all use this one engine. The
windows of a volume are visited from low to high Z; as soon as no later window reaches a plane, the plane is finished
and handed on, and its memory is used again. `SlidingWindow.slabs` hands on finished planes of logits,
`SlidingWindow.labels` takes the classes at once, and `SlidingWindow.logits` keeps everything.
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
from itkit.core.boxes import Index, PatchGrid, index, window_starts
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
_SLAB_BYTES = 256 << 20
"""Finished planes are handed on in pieces of at most about this size."""


class Slab(NamedTuple):
    """Finished planes: logits ``(N, K, planes, Y, X)``, float32, of which the first is plane ``start`` of the volume.

    The memory is used again when the next slab is asked for: copy what must stay.
    """

    start: int
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
    logits of a volume, at most as many planes as a window has are in memory.

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
        """Return the bytes that the sums of unfinished planes take for one volume."""
        depth, height, width = (max(n, p) for n, p in zip(size_zyx, self.patch_zyx, strict=True))
        return 4 * (classes + 1) * min(depth, self.patch_zyx[0]) * height * width

    def slabs(self, network: Network, volume: Tensor, mask: Tensor | None = None) -> Iterator[Slab]:
        """Yield the logits of volumes from low to high Z, each plane once.

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
        sums = _Sums(self, len(volume), padded, weights.to(device), device)
        inside = tuple(slice(start, start + n) for start, n in zip(low[1:], size[1:], strict=True))

        def finished(until: int) -> Iterator[Slab]:
            for start, logits in sums.finished(until):
                first, last = max(start, low[0]), min(start + logits.shape[2], low[0] + size[0])
                if first < last:
                    yield Slab(first - low[0], logits[:, :, first - start : last - start, inside[0], inside[1]])

        with _evaluating(network):
            for begin in range(0, len(windows), self.batch):
                some = windows[begin : begin + self.batch]
                logits = self._apply(network, volume, some, device)
                sums.prepare(logits.shape[1])
                for (number, start), values in zip(some, logits, strict=True):
                    yield from finished(start[0])
                    sums.add(number, start, values)
            yield from finished(padded[0])

    def logits(self, network: Network, volume: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return all logits, ``(N, K, Z, Y, X)``, float32, where the volume is; parameters are those of `slabs`."""
        result: Tensor | None = None
        for start, part in self.slabs(network, volume, mask):
            if result is None:
                shape = (*part.shape[:2], *volume.shape[2:])
                result = torch.empty(shape, dtype=torch.float32, device=volume.device)
            result[:, :, start : start + part.shape[2]] = part
        assert result is not None
        return result

    def labels(self, network: Network, volume: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the class with the largest logit, ``(N, Z, Y, X)``; parameters are those of `slabs`.

        uint8, or int16 for more than 256 classes; of equal logits, the first class wins. The logits are never in
        memory as a whole.
        """
        result: Tensor | None = None
        for start, part in self.slabs(network, volume, mask):
            if result is None:
                dtype = torch.uint8 if part.shape[1] <= 256 else torch.int16
                result = torch.empty((len(part), *volume.shape[2:]), dtype=dtype, device=volume.device)
            result[:, start : start + part.shape[2]] = part.argmax(dim=1)
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
    """List the windows from low to high Z; with a mask, those that hold a voxel of it (all, if it has none)."""
    by_z: dict[int, list[Index]] = {}
    for _, start in grid:
        by_z.setdefault(start[0], []).append(start)
    windows = [(number, start) for starts in by_z.values() for number in range(count) for start in starts]
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


class _Sums:
    """Weighted sums of the logits of unfinished planes, in a ring of as many planes as a window has."""

    def __init__(self, settings: SlidingWindow, count: int, size: Index, weights: Tensor, device: torch.device) -> None:
        self._settings = settings
        self._count = count
        self._size = size
        self._weights = weights
        self._device = device
        self._depth = weights.shape[0]
        self._done = 0
        self._in_file = False
        self._totals = torch.zeros(count, self._depth, *size[1:], device=device)
        self._sums: Tensor | None = None

    def add(self, number: int, start: Index, values: Tensor) -> None:
        """Add the logits ``(K, Z, Y, X)`` of a window."""
        sums = self._sums
        assert sums is not None
        _, y, x = (slice(begin, begin + n) for begin, n in zip(start, self._weights.shape, strict=True))
        for ring, part in self._pieces(start[0], start[0] + self._depth):
            weights = self._weights[part]
            sums[number, :, ring, y, x].addcmul_(values[:, part].to(sums.device), weights)
            self._totals[number, ring, y, x] += weights

    def finished(self, until: int) -> Iterator[tuple[int, Tensor]]:
        """Yield the planes below ``until`` that have not been yielded, with their start; then free them."""
        while self._done < until:
            sums = self._sums
            assert sums is not None
            plane_bytes = sums[:, :, 0].numel() * sums.element_size()
            most = max(1, _SLAB_BYTES // plane_bytes) if self._in_file or sums.is_cuda else self._depth
            end = min(until, self._done + self._depth)
            for ring, _ in self._pieces(self._done, end):
                for begin in range(ring.start, ring.stop, most):
                    part = slice(begin, min(begin + most, ring.stop))
                    self._divide(sums[:, :, part], self._totals[:, part])
                    yield self._done, sums[:, :, part]
                    sums[:, :, part] = 0
                    self._totals[:, part] = 0
                    self._done += part.stop - part.start

    @staticmethod
    def _divide(sums: Tensor, totals: Tensor) -> None:
        empty = totals == 0
        if empty.any():
            sums[:, 0].masked_fill_(empty, AIR_LOGIT)
            totals.masked_fill_(empty, 1)
        sums /= totals[:, None]

    def _pieces(self, begin: int, end: int) -> Iterator[tuple[slice, slice]]:
        """Yield where planes lie in the ring, and the same planes counted from ``begin``; two pieces at the seam."""
        first, count = begin % self._depth, end - begin
        before = min(count, self._depth - first)
        yield slice(first, first + before), slice(0, before)
        if before < count:
            yield slice(0, count - before), slice(before, count)

    def prepare(self, classes: int) -> None:
        """Make room for logits of so many classes: on the network's device, in memory, or in a file."""
        if self._sums is not None:
            return
        shape = (self._count, classes, self._depth, *self._size[1:])
        nbytes, limit = 4 * math.prod(shape), self._settings.max_bytes
        if self._device.type == "cuda" and nbytes < torch.cuda.mem_get_info(self._device)[0] // 2:
            self._sums = torch.zeros(shape, device=self._device)
            return
        self._weights, self._totals = self._weights.cpu(), self._totals.cpu()
        if limit is None or nbytes <= limit:
            self._sums = torch.zeros(shape)
            return
        with tempfile.TemporaryFile(dir=self._settings.scratch, prefix="itkit-") as file:  # the map keeps it open
            self._sums = torch.from_numpy(np.memmap(file, np.float32, "w+", shape=shape))
        self._in_file = True


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
