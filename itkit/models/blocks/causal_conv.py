"""Causal depthwise convolution over sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Filter each channel with its own kernel, whose last tap is the current position; zeros before the start.

    Parameters
    ----------
    x
        ``(N, C, L)``.
    weight
        ``(C, 1, K)``.
    bias
        ``(C,)``.

    Examples
    --------
    >>> import torch
    >>> taps = torch.tensor([[[10.0, 1.0]]])
    >>> causal_conv1d(torch.tensor([[[1.0, 2.0, 3.0]]]), taps).tolist()
    [[[1.0, 12.0, 23.0]]]
    """
    padded = functional.pad(x, (weight.shape[-1] - 1, 0))
    return functional.conv1d(padded, weight, bias, groups=weight.shape[0])
