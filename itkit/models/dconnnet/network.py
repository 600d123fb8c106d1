"""DconnNet: a ResNet-34 U-Net that predicts, for each pixel, its links to eight neighbours.

Source: Z. Yang, S. Farsiu, "Directional connectivity-based segmentation of medical images", CVPR 2023,
arXiv:2304.00145; repository Zyun-Y/DconnNet. Position and channel attention: DANet, arXiv:1809.02983.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.by_dims import require_dims
from itkit.models.blocks.dual_attention import ChannelAttention, PositionAttention
from itkit.models.blocks.recompute import recompute
from itkit.models.blocks.resnet import Depth, ResNet
from itkit.models.dconnnet.connectivity import mask_logits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DIRECTIONS = 8


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Enlarge ``(N, C, Y, X)`` bilinearly, corner pixels aligned."""
    return functional.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=True)


def global_mean(x: Tensor) -> Tensor:
    """Average each channel: ``(N, C, 1, 1)``."""
    return x.mean((2, 3), keepdim=True)


def _conv_bn_relu(in_channels: int, out_channels: int, kernel: int, *, bias: bool = False) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


class ConvBnRelu(nn.Module):
    """Convolution without bias, batch normalisation, rectifier, initialised as the authors do."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        nn.init.kaiming_uniform_(self.conv.weight)
        nn.init.normal_(self.bn.weight, 1.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, Y, X)``."""
        return functional.relu(self.bn(self.conv(x)))


class DirectionHead(nn.Module):
    """Position and channel attention on one direction's channels, gated by the prior."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv5a = _conv_bn_relu(channels, channels, 3)
        self.conv5c = _conv_bn_relu(channels, channels, 3)
        self.sa = PositionAttention(channels)
        self.sc = ChannelAttention()
        self.conv51 = _conv_bn_relu(channels, channels, 3)
        self.conv52 = _conv_bn_relu(channels, channels, 3)
        self.conv8 = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        """Refine ``(N, C, Y, X)`` with the prior ``(N, C, 1, 1)``; shape kept."""
        by_position = self.conv51(self.sa(self.conv5a(x)))
        by_channel = self.conv52(self.sc(self.conv5c(x)))
        out: Tensor = self.conv8((by_position + by_channel) * torch.sigmoid(prior))
        return out


class DirectionEmbedding(nn.Module):
    """SDE module: one head for each direction, steered by the coarse connectivity prior."""

    def __init__(self, channels: int, prior_channels: int) -> None:
        super().__init__()
        for direction in range(1, DIRECTIONS + 1):
            self.add_module(f"att{direction}", DirectionHead(channels // DIRECTIONS))
        self.final_conv = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(channels, channels, 1))
        inner = 8 * prior_channels if prior_channels < 32 else channels
        self.reencoder = nn.Sequential(nn.Conv2d(prior_channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1))

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        """Refine ``(N, C, Y, X)`` with the prior ``(N, P, 1, 1)``; shape kept."""
        groups = zip(x.chunk(DIRECTIONS, 1), self.reencoder(prior).chunk(DIRECTIONS, 1), strict=True)
        heads = [getattr(self, f"att{i}")(part, gate) for i, (part, gate) in enumerate(groups, start=1)]
        refined: Tensor = x + self.final_conv(torch.cat(heads, dim=1))
        return refined


class SpaceBlock(nn.Module):
    """Weighs each pixel by its likeness to the scene vector of the deeper level."""

    def __init__(self, scene_channels: int, channels: int, out_channels: int) -> None:
        super().__init__()
        self.scene_encoder = nn.Sequential(
            nn.Conv2d(scene_channels, out_channels, 1), nn.ReLU(), nn.Conv2d(out_channels, out_channels, 1)
        )
        self.content_encoders = _conv_bn_relu(channels, out_channels, 1, bias=True)
        self.feature_reencoders = _conv_bn_relu(channels, out_channels, 1, bias=True)

    def forward(self, scene: Tensor, x: Tensor) -> Tensor:
        """Map scene ``(N, S, 1, 1)`` and features ``(N, C, Y, X)`` to ``(N, out, Y, X)``."""
        likeness = (self.scene_encoder(scene) * self.content_encoders(x)).sum(1, keepdim=True)
        out: Tensor = torch.sigmoid(likeness) * self.feature_reencoders(x)
        return out


class FeatureBlock(nn.Module):
    """Optional 3x3 convolution, enlargement by two, 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, skip_first: bool = False) -> None:
        super().__init__()
        self.conv_3x3 = ConvBnRelu(in_channels, in_channels, 3)
        self.conv_1x1 = ConvBnRelu(in_channels, out_channels, 1)
        self.skip_first = skip_first

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, 2 Y, 2 X)``."""
        out: Tensor = self.conv_1x1(enlarge(x if self.skip_first else self.conv_3x3(x), 2))
        return out


class FusionDecoder(nn.Module):
    """Brings four levels to the finest one's size and averages them."""

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(
                    _conv_bn_relu(channels if unit == 0 else out_channels, out_channels, 3)
                    for unit in range(max(1, level))
                )
            )
            for level, channels in enumerate(in_channels)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map levels ``(N, C_i, Y / 2**i, X / 2**i)`` to ``(N, out, Y, X)``."""
        maps = []
        for level, (block, x) in enumerate(zip(self.blocks, features, strict=True)):
            for unit in block.children():
                x = unit(x) if level == 0 else enlarge(unit(x), 2)
            maps.append(x)
        return torch.stack(maps).sum(0) / len(maps)


class DconnNet(nn.Module):
    """DconnNet of Yang and Farsiu.

    Parameters
    ----------
    num_class
        Classes; 1 for a binary mask. The outputs have eight channels for each, class by class.
    in_channels
        Channels of the image.
    width, blocks
        Channels of the stem and blocks a stage of the backbone; 64 and those of ResNet-34 in the paper.
    deep_supervision
        Whether ``to_logits`` returns the coarse map too in training.
    links
        Whether ``to_logits`` returns the eight links of each class in training, on which the authors' loss
        (``itkit.criterion.DconnLoss``) is computed.
    use_checkpoint
        Whether backbone stages and direction heads recompute their activations in the backward pass.
    """

    def __init__(
        self,
        num_class: int = 1,
        *,
        in_channels: int = 3,
        width: int = 64,
        blocks: Sequence[int] = (3, 4, 6, 3),
        deep_supervision: bool = False,
        links: bool = False,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if num_class < 1:
            raise ValueError(f"num_class: expected at least 1; got {num_class}")
        if width < 8 or width % 8:
            raise ValueError(f"width: expected a positive multiple of 8; got {width}")
        w, planes = width, DIRECTIONS * num_class
        self.deep_supervision = deep_supervision
        self.links = links
        self.use_checkpoint = use_checkpoint
        depth = Depth(blocks=tuple(blocks), bottleneck=False)
        self.backbone = ResNet(depth, in_channels=in_channels, width=w, use_checkpoint=use_checkpoint)
        self.sde_module = DirectionEmbedding(8 * w, planes)
        self.fb5 = FeatureBlock(8 * w, 4 * w, skip_first=True)
        self.fb4 = FeatureBlock(4 * w, 2 * w)
        self.fb3 = FeatureBlock(2 * w, w)
        self.fb2 = FeatureBlock(w, w)
        self.sb1 = SpaceBlock(8 * w, 8 * w, 8 * w)
        self.sb2 = SpaceBlock(8 * w, 4 * w, 4 * w)
        self.sb3 = SpaceBlock(4 * w, 2 * w, 2 * w)
        self.sb4 = SpaceBlock(2 * w, w, w)
        self.final_decoder = FusionDecoder((w, w, 2 * w, 4 * w), w // 2)
        self.cls_pred_conv = nn.Conv2d(w, w // 2, 3, padding=1)
        self.cls_pred_conv_2 = nn.Conv2d(w // 2, planes, 1)
        self.channel_mapping = _conv_bn_relu(8 * w, planes, 3, bias=True)
        self.direc_reencode = nn.Sequential(nn.Conv2d(planes, planes, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predict links of ``(N, C, Y, X)``, sides multiples of 32.

        Returns
        -------
        fine, coarse
            Logits ``(N, 8 K, Y, X)`` of the decoder and of the deepest level.
        """
        c1, c2, c3, c4, c5 = self.backbone.features(x)
        coarse = self.direc_reencode(enlarge(self.channel_mapping(c5), 32))
        prior = global_mean(coarse)
        c5 = recompute(self.sde_module, c5, prior) if self.use_checkpoint else self.sde_module(c5, prior)
        r5 = self.sb1(global_mean(c5), c5)
        d4 = functional.relu(self.fb5(r5) + c4)
        r4 = self.sb2(global_mean(r5), d4)
        d3 = functional.relu(self.fb4(r4) + c3)
        r3 = self.sb3(global_mean(r4), d3)
        d2 = functional.relu(self.fb3(r3) + c2)
        r2 = self.sb4(global_mean(r3), d2)
        d1 = self.fb2(r2) + c1
        fine = enlarge(self.cls_pred_conv_2(self.final_decoder((d1, d2, d3, d4))), 2)
        return fine, coarse

    def to_logits(self, output: tuple[Tensor, Tensor], size: Sequence[int]) -> Tensor | list[Tensor]:
        """Turn links into class logits ``(N, K, Y, X)`` by bilateral voting (``mask_logits``)."""
        if self.training and self.links:
            return list(output) if self.deep_supervision else output[0]
        if self.training and self.deep_supervision:
            return [mask_logits(links) for links in output]
        return mask_logits(output[0])


def reference(config: Mapping[str, Any], official_class: str) -> DconnNet:
    """Build ``DconnNet`` from the arguments of the authors' constructor."""
    return DconnNet(**config)


def build(*, in_channels: int, num_classes: int, spatial_dims: int = 2, **options: Any) -> DconnNet:
    """Build a segmentation network.

    Parameters
    ----------
    in_channels, num_classes
        Channels of the input; classes, background counted when there are several.
    spatial_dims
        2; anything else raises ``ValueError``.
    **options
        ``width``, ``blocks``, ``deep_supervision``, ``links`` and ``use_checkpoint`` of ``DconnNet``.
    """
    require_dims("DconnNet", spatial_dims, 2)
    return DconnNet(num_classes, in_channels=in_channels, **options)
