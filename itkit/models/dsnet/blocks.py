"""Residual, atrous and fusion blocks of DSNet.

Source: Z. Guo et al., "DSNet: A Novel Way to Use Atrous Convolutions in Semantic Segmentation",
arXiv:2406.03702; repository takaniwa/DSNet (MIT).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv_bn(in_channels: int, out_channels: int, kernel: int = 1, *, bias: bool = False) -> nn.Sequential:
    """Make a convolution that keeps the size, then batch normalisation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int = 1, *, bias: bool = False) -> nn.Sequential:
    """Make ``conv_bn`` with a rectifier after it."""
    return conv_bn(in_channels, out_channels, kernel, bias=bias).append(nn.ReLU())


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the last rectifier can be left out."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, final_relu: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.final_relu = final_relu

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, Y/stride, X/stride)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = shortcut + self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(out) if self.final_relu else out


def basic_layer(in_channels: int, out_channels: int, count: int, stride: int = 1) -> nn.Sequential:
    """Stack basic blocks; of two or more, the last ends without rectifier."""
    blocks = [BasicBlock(in_channels, out_channels, stride)]
    blocks += [BasicBlock(out_channels, out_channels, final_relu=i < count - 1) for i in range(1, count)]
    return nn.Sequential(*blocks)


class Bottleneck(nn.Module):
    """1x1, dilated 3x3 and 1x1 convolutions around an identity; no rectifier after the sum."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        middle = channels // 2
        self.conv1 = nn.Conv2d(channels, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``(N, C, Y, X)``; shape kept."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        refined: Tensor = x + self.bn3(self.conv3(out))
        return refined


class AtrousConv(nn.Module):
    """Dilated 3x3 convolution, batch normalisation, rectifier."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, Y, X)``."""
        return functional.relu(self.bn(self.conv(x)))


def _in_series(convs: nn.ModuleList, x: Tensor) -> list[Tensor]:
    outputs = []
    for conv in convs:
        x = conv(x)
        outputs.append(x)
    return outputs


class AtrousFusion(nn.Module):
    """MFACB: three equally dilated convolutions in series, joined, plus a projected shortcut."""

    def __init__(self, in_channels: int, middle: int, out_channels: int, dilation: int) -> None:
        super().__init__()
        self.conv_list = nn.ModuleList(
            AtrousConv(in_channels if i == 0 else middle, middle, dilation) for i in range(3)
        )
        self.process1 = conv_bn_relu(in_channels, out_channels)
        self.process2 = conv_bn_relu(3 * middle, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, Y, X)``."""
        joined = self.process2(torch.cat(_in_series(self.conv_list, x), dim=1))
        out: Tensor = joined + self.process1(x)
        return out


def _attention(channels: int, pooled: int | None) -> nn.Sequential:
    inner = channels // 4
    layers: list[nn.Module] = [] if pooled is None else [nn.AdaptiveAvgPool2d(pooled)]
    layers += [nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner), nn.ReLU()]
    layers += [nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels)]
    return nn.Sequential(*layers)


class ScaleFusion(nn.Module):
    """MSAF: weighs two maps against each other by attention at five scales."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local_att = _attention(channels, None)
        self.context1 = _attention(channels, 4)
        self.context2 = _attention(channels, 8)
        self.context3 = _attention(channels, 16)
        self.global_att = _attention(channels, 1)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Fuse two maps ``(N, C, Y, X)``; weight and counterweight sum to 2."""
        both = x + other
        scores = self.local_att(both) + self.global_att(both)
        for context in (self.context1, self.context2, self.context3):
            scores = scores + functional.interpolate(context(both), size=x.shape[2:], mode="nearest")
        weight = torch.sigmoid(scores)
        return 2 * x * weight + 2 * other * (1 - weight)


class SerialPyramid(nn.Module):
    """SPASPP: convolutions dilated by 6, 12, 18 and 24 in series, joined with a global mean."""

    def __init__(self, in_channels: int, middle: int, out_channels: int) -> None:
        super().__init__()
        self.conv_list = nn.ModuleList(
            AtrousConv(in_channels if i == 0 else middle, middle, 6 * (i + 1)) for i in range(4)
        )
        self.pooling = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU()
        )
        self.process1 = conv_bn_relu(in_channels, out_channels)
        self.process2 = conv_bn_relu(5 * middle, out_channels)
        self.process3 = conv_bn_relu(out_channels, out_channels, 3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, Y, X)``."""
        pooled = self.pooling(x).expand(-1, -1, x.shape[2], x.shape[3])
        joined = self.process2(torch.cat([*_in_series(self.conv_list, x), pooled], dim=1))
        out: Tensor = self.process3(joined + self.process1(x))
        return out


class Head(nn.Module):
    """Class scores by a 3x3 and a 1x1 convolution, each after batch normalisation and rectifier."""

    def __init__(self, in_channels: int, middle: int, num_classes: int, *, norm_first: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels) if norm_first else None
        self.conv1 = nn.Conv2d(in_channels, middle, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to logits ``(N, K, Y, X)``."""
        x = functional.relu(x if self.bn1 is None else self.bn1(x))
        out: Tensor = self.conv2(functional.relu(self.bn2(self.conv1(x))))
        return out
