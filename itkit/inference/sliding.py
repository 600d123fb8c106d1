"""A network applied to one volume, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from itkit.core.errors import ArgumentError
from itkit.models.windows import SlidingWindow

if TYPE_CHECKING:
    from itkit.models.window_sums import Scheme, Weights
    from itkit.models.windows import Network, Padding, Precision


def sliding_window(
    network: Network,
    volume_czyx: Any,
    patch_size: Sequence[int],
    *,
    overlap: float = 0.5,
    scheme: Scheme = "monai",
    weights: Weights = "gaussian",
    batch: int = 1,
    flips: str = "",
    sigma_scale: float = 0.125,
    padding: Padding = "constant",
    padding_value: float = 0.0,
    precision: Precision = "32",
    device: torch.device | str | None = None,
) -> Any:
    """Return the logits of a network for a whole volume.

    Parameters
    ----------
    network
        A module or any function of windows ``(N, C, Z, Y, X)``; with a patch size of two numbers, of ``(N, C, Y, X)``.
    volume_czyx
        ``(C, Z, Y, X)``, or several volumes ``(N, C, Z, Y, X)``: a tensor or a numpy array.
    patch_size
        Voxels of a window, ZYX, or YX for a 2-D network that sees one slice at a time.
    overlap, scheme, weights, batch, flips, sigma_scale, padding, padding_value, precision, device
        See `itkit.models.windows.SlidingWindow`.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        ``(K, Z, Y, X)`` or ``(N, K, Z, Y, X)``, float32; of the kind of ``volume_czyx``.

    Raises
    ------
    ArgumentError
        When the volume or a setting is impossible.

    Notes
    -----
    Equal to ``monai.inferers.sliding_window_inference`` with the same settings within 1e-5. Where the logits of a
    volume do not fit into memory, use `SlidingWindow.labels` or `SlidingWindow.blocks`.

    Examples
    --------
    >>> volume = np.arange(2 * 5 * 6 * 7, dtype=np.float32).reshape(2, 5, 6, 7)
    >>> logits = sliding_window(lambda window: window.flip(1), volume, (4, 4, 4))
    >>> logits.shape, bool(np.allclose(logits, volume[::-1], rtol=1e-5))
    ((2, 5, 6, 7), True)
    """
    settings = SlidingWindow(
        patch_size=patch_size,
        overlap=overlap,
        scheme=scheme,
        weights=weights,
        batch=batch,
        flips=flips,
        sigma_scale=sigma_scale,
        padding=padding,
        padding_value=padding_value,
        precision=precision,
        device=device,
    )
    is_array = isinstance(volume_czyx, np.ndarray)
    tensor = torch.from_numpy(np.ascontiguousarray(volume_czyx)) if is_array else volume_czyx
    if not isinstance(tensor, torch.Tensor) or tensor.ndim not in (4, 5):
        got = f"shape {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else type(volume_czyx).__name__
        raise ArgumentError(
            f"sliding_window: volume_czyx: expected an array (C, Z, Y, X) or (N, C, Z, Y, X); got {got}"
        )
    if not tensor.is_floating_point():
        tensor = tensor.float()
    logits = settings.logits(network, tensor[None] if tensor.ndim == 4 else tensor)
    result = logits[0] if tensor.ndim == 4 else logits
    return result.cpu().numpy() if is_array else result
