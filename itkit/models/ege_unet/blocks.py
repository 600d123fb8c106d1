"""Grouped Hadamard attention and group aggregation bridge of EGE-UNet.

Source: J. Ruan et al., "EGE-UNet: an Efficient Group Enhanced UNet for skin lesion segmentation",
MICCAI 2023, arXiv:2307.08473; repository JCruan519/EGE-UNet (Apache-2.0).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

AXIS_LENGTH = 8
"""Side of the learnt position maps before they are resized to a feature map."""
BRIDGE_DILATIONS = (1, 2, 5, 7)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a map ``(N, C, Y, X)`` bilinearly, corner pixels aligned."""
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel of ``(N, C, Y, X)``."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; shape kept."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))  # reduced precision loses the small variances
        centred = x - x.mean(1, keepdim=True)
        normed = centred / (centred.square().mean(1, keepdim=True) + self.eps).sqrt()
        out: Tensor = self.weight[:, None, None] * normed + self.bias[:, None, None]
        return out.to(self.weight.dtype)  # so that a network in bfloat16 alone goes on in it


class GroupedHadamardAttention(nn.Module):
    """GHPA: channel quarters gated over (row, column), (channel, row) and (channel, column), the last convolved."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        width = in_channels // 4
        self.params_xy = nn.Parameter(torch.ones(1, width, AXIS_LENGTH, AXIS_LENGTH))
        self.params_zx = nn.Parameter(torch.ones(1, 1, width, AXIS_LENGTH))
        self.params_zy = nn.Parameter(torch.ones(1, 1, width, AXIS_LENGTH))
        self.conv_xy = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width), nn.GELU(), nn.Conv2d(width, width, 1)
        )
        self.conv_zx = _axis_gate(width)
        self.conv_zy = _axis_gate(width)
        self.dw = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1, groups=width)
        )
        self.norm1 = ChannelNorm(in_channels)
        self.norm2 = ChannelNorm(in_channels)
        self.ldw = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels),
            nn.GELU(),
            nn.Conv2d(in_channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, Y, X)``."""
        height, width = x.shape[2:]
        plane, rows, columns, rest = self.norm1(x).chunk(4, dim=1)
        channels = plane.shape[1]
        plane = plane * self.conv_xy(resize(self.params_xy, (height, width)))
        rows = rows * self.conv_zx(resize(self.params_zx, (channels, height)).squeeze(0)).unsqueeze(3)
        columns = columns * self.conv_zy(resize(self.params_zy, (channels, width)).squeeze(0)).unsqueeze(2)
        mixed = torch.cat([plane, rows, columns, self.dw(rest)], dim=1)
        out: Tensor = self.ldw(self.norm2(mixed))
        return out


def _axis_gate(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(width, width, 3, padding=1, groups=width), nn.GELU(), nn.Conv1d(width, width, 1))


class GroupAggregationBridge(nn.Module):
    """GAB: joins deep and shallow features with a mask, quarter by quarter, at four dilations."""

    def __init__(self, high_channels: int, low_channels: int) -> None:
        super().__init__()
        self.pre_project = nn.Conv2d(high_channels, low_channels, 1)
        group = low_channels // 2 + 1
        self.g0, self.g1, self.g2, self.g3 = (
            nn.Sequential(ChannelNorm(group), nn.Conv2d(group, group, 3, padding=rate, dilation=rate, groups=group))
            for rate in BRIDGE_DILATIONS
        )
        joined = 2 * low_channels + 4
        self.tail_conv = nn.Sequential(ChannelNorm(joined), nn.Conv2d(joined, low_channels, 1))

    def forward(self, high: Tensor, low: Tensor, mask: Tensor) -> Tensor:
        """Map deep ``high``, shallow ``low`` and one-channel ``mask`` to the size and channels of ``low``."""
        high = resize(self.pre_project(high), (low.shape[2], low.shape[3]))
        groups = (self.g0, self.g1, self.g2, self.g3)
        quarters = zip(groups, high.chunk(4, dim=1), low.chunk(4, dim=1), strict=True)
        out: Tensor = self.tail_conv(torch.cat([group(torch.cat([h, v, mask], dim=1)) for group, h, v in quarters], 1))
        return out
