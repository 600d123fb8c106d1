"""UPerNet's heads on a VMamba backbone, with the parameter names of mmsegmentation 1.x.

Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018, arXiv:1807.10221.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.by_dims import resize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that takes its running statistics where a batch has one value a channel, as after global pooling."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, Y, X)``."""
        if self.training and x.numel() == x.shape[1]:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class ConvModule(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.bn = BatchNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the sides."""
        return functional.relu(self.bn(self.conv(x)))


class UPerHead(nn.Module):
    """Pyramid pooling on the deepest map, top-down pathway, fusion of all levels.

    Parameters
    ----------
    in_channels
        Widths of the feature maps, finest first.
    channels
        Width inside the head.
    num_classes
        Channels of the logits.
    pool_scales
        Sides of the pooled maps.
    dropout
        Rate of channel dropout before the last convolution.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        *finer, deepest = in_channels
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvModule(deepest, channels, 1)) for scale in pool_scales
        )
        self.bottleneck = ConvModule(deepest + len(pool_scales) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvModule(width, channels, 1) for width in finer)
        self.fpn_convs = nn.ModuleList(ConvModule(channels, channels, 3) for _ in finer)
        self.fpn_bottleneck = ConvModule(len(in_channels) * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map feature maps, finest first, to logits at the finest map's size."""
        *finer, deepest = features
        pooled = [resize(module(deepest), deepest.shape[2:]) for module in self.psp_modules]
        levels = [lateral(feature) for lateral, feature in zip(self.lateral_convs, finer, strict=True)]
        levels.append(self.bottleneck(torch.cat([deepest, *pooled], 1)))
        for index in range(len(levels) - 1, 0, -1):
            levels[index - 1] = levels[index - 1] + resize(levels[index], levels[index - 1].shape[2:])
        smoothed = [conv(level) for conv, level in zip(self.fpn_convs, levels[:-1], strict=True)] + levels[-1:]
        joined = torch.cat([resize(level, features[0].shape[2:]) for level in smoothed], 1)
        out: Tensor = self.conv_seg(self.dropout(self.fpn_bottleneck(joined)))
        return out


class FCNHead(nn.Module):
    """One convolution module and a classifying convolution, on one feature map."""

    def __init__(self, in_channels: int, channels: int, num_classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvModule(in_channels, channels, 3))
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """Map a feature map to logits at its size."""
        out: Tensor = self.conv_seg(self.dropout(self.convs(feature)))
        return out


class UPerNet(nn.Module):
    """A backbone with four feature maps, the decoding head and, where wanted, the auxiliary one."""

    def __init__(
        self,
        backbone: nn.Module,
        in_channels: Sequence[int],
        num_classes: int = 150,
        decode_channels: int = 512,
        auxiliary_channels: int = 256,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        *,
        auxiliary: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.decode_head = UPerHead(in_channels, decode_channels, num_classes, pool_scales)
        self.auxiliary_head = FCNHead(in_channels[2], auxiliary_channels, num_classes) if auxiliary else None

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map ``(N, C, Y, X)`` to the heads' logits at strides 4 and 16."""
        features = self.backbone(image)
        outputs: dict[str, Tensor] = {"decode_head": self.decode_head(features)}
        if self.auxiliary_head is not None:
            outputs["auxiliary_head"] = self.auxiliary_head(features[2])
        return outputs

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert weights of the whole network, or of its backbone alone, to this network's names."""
        inner = self.backbone.adapt_state_dict(state)  # type: ignore[operator]  # a VMamba backbone
        if not any(key in self.backbone.state_dict() for key in inner):
            return dict(state)
        whole = any(key.startswith("backbone.") for key in state)
        rest = {key: value for key, value in state.items() if whole and not key.startswith("backbone.")}
        if self.auxiliary_head is None:
            rest = {key: value for key, value in rest.items() if not key.startswith("auxiliary_head.")}
        return {f"backbone.{key}": value for key, value in inner.items()} | rest

    def to_logits(self, output: Mapping[str, Any], size: Sequence[int]) -> list[Tensor]:
        """Resize the heads' logits to ``size``, the decoding head's first."""
        return [resize(logits, size) for logits in output.values()]
