"""Sliding windows: a network applied to a whole volume, window by window, in memory that its length does not change.

Training (validation on whole volumes), ``itk_infer``, export and the MMEngine extension all use this one engine. The
windows of a volume are visited from low to high Z and, within that, from low to high Y; as soon as no later window
reaches some planes and rows, they are finished and handed on, and their memory is used again. `SlidingWindow.blocks`
hands on finished blocks of logits, `SlidingWindow.labels` takes the classes at once, and `SlidingWindow.logits` keeps
everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from itkit.core.arguments import expect_choice
from itkit.core.boxes import Index, PatchGrid, index
from itkit.core.errors import ArgumentError, ModelError
from itkit.models.window_sums import (
    Block,
    PlacedWindow,
    Sums,
    WindowSettings,
    missing_voxels,
    placed_windows,
    window_weights,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


Padding = Literal["constant", "reflect", "replicate", "circular"]
Precision = Literal["32", "bf16", "16"]
Network = Callable[[Tensor], Any]
"""Maps windows ``(N, C, Z, Y, X)``, or ``(N, C, Y, X)`` for a 2-D network, to logits of ``K`` classes of that size."""
PADDINGS: tuple[Padding, ...] = ("constant", "reflect", "replicate", "circular")
PRECISIONS: tuple[Precision, ...] = ("32", "bf16", "16")


@dataclass(frozen=True, kw_only=True)
class SlidingWindow(WindowSettings):
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

    padding: Padding = "constant"
    padding_value: float = 0.0
    precision: Precision = "32"
    device: torch.device | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_choice(self.padding, PADDINGS, "SlidingWindow: padding")
        expect_choice(self.precision, PRECISIONS, "SlidingWindow: precision")

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
        low, padded = missing_voxels(size, self.patch_zyx)
        if padded != size:
            volume = _pad(volume, low, padded, self.padding, self.padding_value)
        grid = self.grid(size)
        device = torch.device(self.device) if self.device is not None else volume.device
        weights = torch.from_numpy(window_weights(self.patch_zyx, self.weights, self.scheme, self.sigma_scale))
        windows = placed_windows(grid, len(volume), None if mask is None else _pad_mask(mask, low, padded))
        sums = _Sums(self, grid, len(volume), padded, weights.to(device), device)
        with _evaluating(network):
            yield from self.trimmed(sums.blocks(self._seen(network, volume, windows, device)), low, size)

    def _seen(
        self, network: Network, volume: Tensor, windows: Sequence[PlacedWindow], device: torch.device
    ) -> Iterator[tuple[PlacedWindow, Tensor]]:
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

    def _apply(self, network: Network, volume: Tensor, windows: Sequence[PlacedWindow], device: torch.device) -> Tensor:
        """Return the logits ``(n, K, Z, Y, X)`` of some windows, averaged over the flips."""
        z, y, x = self.patch_zyx
        parts = [volume[n : n + 1, :, i : i + z, j : j + y, k : k + x] for n, (i, j, k) in windows]
        batch = (torch.cat(parts) if len(parts) > 1 else parts[0]).to(device)
        flips = self.flip_axes()
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


class _Sums(Sums):
    """The sums as tensors: on the network's device, in memory, or in a file."""

    def __init__(
        self,
        settings: SlidingWindow,
        grid: PatchGrid,
        count: int,
        size: Index,
        weights: Tensor,
        device: torch.device,
    ) -> None:
        super().__init__(settings, grid, count, size, weights)
        self._device = device

    def _sum(self, sums: Tensor, values: Tensor, weights: Tensor) -> None:
        sums[: self._classes].addcmul_(values, weights)
        sums[self._classes] += weights

    def _moved(self, values: Tensor) -> Tensor:
        return values.to(self._fresh.device)

    def _make(self, kept: tuple[int, ...], fresh: tuple[int, ...], rows: int) -> None:
        nbytes = 4 * (math.prod(kept) + math.prod(fresh))
        if self._device.type == "cuda" and nbytes < torch.cuda.mem_get_info(self._device)[0] // 2:
            self._kept, self._fresh = (torch.zeros(shape, device=self._device) for shape in (kept, fresh))
            self._at_once = rows
            return
        self._weights = self._weights.cpu()
        kept_array, fresh_array, is_file = self._arrays(kept, fresh)
        self._kept, self._fresh = torch.from_numpy(kept_array), torch.from_numpy(fresh_array)
        if is_file:
            self._at_once = rows


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
