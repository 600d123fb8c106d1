"""Weight-standardised ResNet stem of DA-TransUNet: three residual stages without classifier.

Source: A. Kolesnikov et al., "Big transfer (BiT)", ECCV 2020, arXiv:1912.11370, in the form of TransUNet
(J. Chen et al., arXiv:2102.04306): post-activation units and an unpadded max-pooling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

NORM_EPS = 1e-6


class StandardConv(nn.Conv2d):
    """Convolution whose kernels are shifted and scaled to mean 0 and variance 1 before use; no bias."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, Y / stride, X / stride)``."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        return functional.conv2d(x, (self.weight - mean) / (variance + 1e-5).sqrt(), None, self.stride, self.padding)


class Unit(nn.Module):
    """Bottleneck of standardised convolutions and group norms around a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, middle: int, stride: int, groups: int) -> None:
        super().__init__()
        self.gn1 = nn.GroupNorm(groups, middle, eps=NORM_EPS)
        self.conv1 = StandardConv(in_channels, middle, 1)
        self.gn2 = nn.GroupNorm(groups, middle, eps=NORM_EPS)
        self.conv2 = StandardConv(middle, middle, 3, stride)
        self.gn3 = nn.GroupNorm(groups, out_channels, eps=NORM_EPS)
        self.conv3 = StandardConv(middle, out_channels, 1)
        self.downsample: StandardConv | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = StandardConv(in_channels, out_channels, 1, stride)
            self.gn_proj = nn.GroupNorm(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, Y / stride, X / stride)``."""
        shortcut = x if self.downsample is None else self.gn_proj(self.downsample(x))
        x = functional.relu(self.gn1(self.conv1(x)))
        x = functional.relu(self.gn2(self.conv2(x)))
        return functional.relu(shortcut + self.gn3(self.conv3(x)))


def _named(**modules: nn.Module) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, module in modules.items():
        sequence.add_module(name, module)
    return sequence


class HybridStem(nn.Module):
    """Stem of three stages; the deepest map, and the skips for the decoder.

    Parameters
    ----------
    in_channels
        Channels of the image.
    units
        Residual units of the three stages.
    width
        Channels of the first map; the stages have 4, 8 and 16 times as many.
    groups
        Groups of the group norms; divides ``width``.
    """

    def __init__(self, in_channels: int, units: Sequence[int], width: int, groups: int) -> None:
        super().__init__()
        if width < groups or width % groups:
            raise ValueError(f"width: expected a positive multiple of {groups} groups; got {width}")
        self.root = _named(
            conv=StandardConv(in_channels, width, 7, 2), gn=nn.GroupNorm(groups, width, eps=NORM_EPS), relu=nn.ReLU()
        )
        stages = {}
        before = width
        for stage, count in enumerate(units):
            out, middle = 4 * width * 2**stage, width * 2**stage
            first = Unit(before, out, middle, 1 if stage == 0 else 2, groups)
            rest = [Unit(out, out, middle, 1, groups) for _ in range(count - 1)]
            stages[f"block{stage + 1}"] = _named(**{f"unit{i}": unit for i, unit in enumerate([first, *rest], start=1)})
            before = out
        self.body = _named(**stages)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map ``(N, C, Y, X)`` to the map at 1/16 and the skips at 1/8, 1/4 and 1/2.

        Skips that the unpadded pooling left short are padded with zeros at the end of each axis.
        """
        height, width = x.shape[2:]
        x = self.root(x)
        skips = [x]
        x = functional.max_pool2d(x, 3, 2)
        *shallow, deepest = self.body.children()
        for step, block in enumerate(shallow, start=2):
            x = block(x)
            short_y, short_x = height // 2**step - x.shape[2], width // 2**step - x.shape[3]
            skips.insert(0, functional.pad(x, (0, short_x, 0, short_y)))
        return deepest(x), skips
