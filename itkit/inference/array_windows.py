"""Sliding windows for networks that ONNX Runtime or OpenVINO compute, on numpy arrays: nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.boxes import index
from itkit.core.errors import ModelError
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
    from numpy.typing import NDArray

    from itkit.inference.backends import ArrayNetwork


@dataclass(frozen=True, kw_only=True)
class ArrayWindows(WindowSettings):
    """How a network is applied to whole volumes: `itkit.models.windows.SlidingWindow` for numpy arrays.

    Its results differ from that one's only by the order in which floats are added up.

    Examples
    --------
    >>> windows = ArrayWindows(patch_size=(4, 4, 4))
    >>> volume = np.arange(300, dtype=np.float32).reshape(1, 1, 5, 6, 10)
    >>> for plane, row, logits in windows.blocks(lambda batch: batch * 2, volume):
    ...     planes, rows = logits.shape[2:4]
    ...     assert np.allclose(logits, volume[:, :, plane : plane + planes, row : row + rows] * 2)
    """

    def blocks(
        self, network: ArrayNetwork, volume: NDArray[np.float32], mask: NDArray[np.bool_] | None = None
    ) -> Iterator[Block]:
        """Yield the logits of volumes, each voxel once.

        Parameters
        ----------
        network
            Maps windows ``(N, C, Z, Y, X)``, or ``(N, C, Y, X)`` for a 2-D network, to logits of ``K`` classes.
        volume
            ``(N, C, Z, Y, X)``; beyond the edge of a volume that is smaller than the window lie zeros.
        mask
            ``(N, Z, Y, X)``: windows without any voxel in it are left out, as in `SlidingWindow.blocks`.

        Raises
        ------
        ModelError
            When the network's output has another size than its input.
        """
        size = index(volume.shape[2:])
        low, padded = missing_voxels(size, self.patch_zyx)
        if padded != size:
            widths = [(first, whole - n - first) for first, whole, n in zip(low, padded, size, strict=True)]
            volume = np.pad(volume, [(0, 0), (0, 0), *widths])
            mask = None if mask is None else np.pad(mask, [(0, 0), *widths])
        grid = self.grid(size)
        weights = window_weights(self.patch_zyx, self.weights, self.scheme, self.sigma_scale)
        sums = Sums(self, grid, len(volume), padded, weights)
        seen = self._seen(network, volume, placed_windows(grid, len(volume), mask))
        yield from self.trimmed(sums.blocks(seen), low, size)

    def _seen(
        self, network: ArrayNetwork, volume: NDArray[np.float32], windows: Sequence[PlacedWindow]
    ) -> Iterator[tuple[PlacedWindow, NDArray[np.float32]]]:
        z, y, x = self.patch_zyx
        for begin in range(0, len(windows), self.batch):
            some = windows[begin : begin + self.batch]
            batch = np.concatenate([volume[n : n + 1, :, i : i + z, j : j + y, k : k + x] for n, (i, j, k) in some])
            yield from zip(some, self._apply(network, batch), strict=True)

    def _apply(self, network: ArrayNetwork, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        views = self.flip_axes()
        total = self._logits(network, batch)
        for axes in views[1:]:
            total = total + np.flip(self._logits(network, np.flip(batch, axes)), axes)
        return total / np.float32(len(views)) if len(views) > 1 else total

    def _logits(self, network: ArrayNetwork, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        given = np.ascontiguousarray(batch[:, :, 0] if self.is_flat else batch)
        made: Any = network(given)
        logits = (made[:, :, None] if self.is_flat else made).astype(np.float32, copy=False)
        if logits.shape[0] != len(batch) or logits.shape[2:] != batch.shape[2:]:
            raise ModelError(
                f"the network turns windows {batch.shape} into {logits.shape}; expected logits of every voxel"
            )
        result: NDArray[np.float32] = logits
        return result
