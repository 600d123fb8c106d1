"""A segmentation decoder for any encoder: it turns a list of feature maps into logits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from itkit.core.errors import ModelError
from itkit.models.blocks.by_dims import CONV, require_dims, resize

if TYPE_CHECKING:
    from collections.abc import Sequence


class FusionBlock(nn.Module):
    """Convolution of side 3, group norm and GELU, twice; group norm works on a map of one voxel, too."""

    def __init__(self, in_channels: int, out_channels: int, spatial_dims: int) -> None:
        super().__init__()
        conv = CONV[spatial_dims]
        groups = math.gcd(8, out_channels)
        self.conv1 = conv(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, out_channels)
        self.conv2 = conv(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, *spatial)`` to ``(N, out, *spatial)``."""
        x = self.act(self.norm1(self.conv1(x)))
        return self.act(self.norm2(self.conv2(x)))  # type: ignore[no-any-return]  # calling a module returns Any


class UNetDecoder(nn.Module):
    """Top-down decoder: the deeper map is resized to the next finer one, concatenated and fused.

    Works with any strides between the maps, also repeated ones, in the manner of U-Net (Ronneberger et al., MICCAI
    2015, arXiv:1505.04597) with linear resizing instead of transposed convolutions.

    Parameters
    ----------
    in_channels
        Channels of the encoder's maps, finest first.
    num_classes
        Channels of the logits.
    spatial_dims
        2 or 3.
    width
        Channels of the finest fused map; a level uses ``min(its encoder channels, width * 2**level)``.
    deep_supervision
        Also return logits of every coarser fused map.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        spatial_dims: int,
        *,
        width: int = 64,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        require_dims("the decoder", spatial_dims, 2, 3)
        if not in_channels:
            raise ModelError("in_channels names no feature map; give one number per map, finest first")
        widths = [min(channels, width * 2**level) for level, channels in enumerate(in_channels)]
        below = [*widths[1:], 0]
        self.fuse = nn.ModuleList(
            FusionBlock(channels + deeper, out, spatial_dims)
            for channels, deeper, out in zip(in_channels, below, widths, strict=True)
        )
        heads = widths if deep_supervision else widths[:1]
        self.heads = nn.ModuleList(CONV[spatial_dims](channels, num_classes, 1) for channels in heads)

    def forward(self, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Turn feature maps, finest first, into logits at the finest map's size.

        Returns
        -------
        Tensor or list of Tensor
            With deep supervision in training mode a list, finest first, each at its own map's size.
        """
        if len(features) != len(self.fuse):
            raise ModelError(f"expected {len(self.fuse)} feature maps; got {len(features)}")
        fused: list[Tensor] = []
        for block, feature in zip(reversed(self.fuse), reversed(list(features)), strict=True):
            joined = torch.cat([feature, resize(fused[0], feature.shape[2:])], 1) if fused else feature
            fused.insert(0, block(joined))
        heads = list(self.heads) if self.training else list(self.heads)[:1]
        logits = [head(feature) for head, feature in zip(heads, fused, strict=False)]
        return logits if len(logits) > 1 else logits[0]


class EncoderDecoder(nn.Module):
    """An encoder that gives a list of feature maps, and a decoder that reads them."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Map an image to the decoder's logits, at the finest feature map's size."""
        return self.decoder(self.encoder(image))  # type: ignore[no-any-return]  # calling a module returns Any
