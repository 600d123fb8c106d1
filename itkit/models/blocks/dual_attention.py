"""Position and channel attention of DANet.

Source: J. Fu et al., "Dual attention network for scene segmentation", CVPR 2019, arXiv:1809.02983.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn


class PositionAttention(nn.Module):
    """Attention between all pixels, added to the input with a learnt weight that starts at 0.

    Parameters
    ----------
    channels
        Channels of the map.
    reduction
        Queries and keys have ``channels // reduction`` channels. Where that is 0 the layer exists, for loading weights,
        but cannot run.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        inner = channels // reduction
        self.gamma = nn.Parameter(torch.zeros(1))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
            self.query_conv = nn.Conv2d(channels, inner, 1)
            self.key_conv = nn.Conv2d(channels, inner, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``(N, C, Y, X)``; shape kept, scores not scaled."""
        query = self.query_conv(x).flatten(2)
        key = self.key_conv(x).flatten(2)
        value = self.value_conv(x).flatten(2)
        attention = (query.transpose(1, 2) @ key).softmax(-1)
        gathered: Tensor = (value @ attention.transpose(1, 2)).view_as(x)
        return self.gamma * gathered + x


class ChannelAttention(nn.Module):
    """Attention between channels, the least alike weighing most, added with a learnt weight that starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``(N, C, Y, X)``; shape kept."""
        flat = x.flatten(2)
        energy = flat @ flat.transpose(1, 2)
        attention = (energy.max(-1, keepdim=True).values - energy).softmax(-1)
        return self.gamma * (attention @ flat).view_as(x) + x
