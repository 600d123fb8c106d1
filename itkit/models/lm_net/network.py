"""LM-Net: a light U-Net with re-parameterised convolutions, local attention on skips, global attention at the bottom.

Source: Z. Lu et al., "LM-Net: A light-weight and multi-scale network for medical image segmentation", Computers in
Biology and Medicine 168 (2024), arXiv:2501.03838; repository Asunatan/LM-Net.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.by_dims import require_dims
from itkit.models.blocks.recompute import recompute
from itkit.models.lm_net.blocks import GlobalFusion, NeighbourhoodBlock, ReparamConv, SkipFusion, enlarged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEVELS = 5


class LMNet(nn.Module):
    """LM-Net of Lu et al.

    Parameters
    ----------
    channel, n_classes
        Channels of input and output.
    filters
        Five widths, finest level first; multiples of ``heads``.
    deep_supervision
        Taken for the authors' signature; has no effect, there is one output.
    heads
        Attention heads; 12 in the paper.
    rel_pos_bias
        Whether local attention has a relative position bias, as with the NATTEN releases of the paper's time.
    deploy
        Whether the convolutions are built fused, for files saved after ``structural_reparam``.
    use_checkpoint
        Whether convolution pairs and attention blocks recompute their activations in the backward pass.
    """

    def __init__(
        self,
        channel: int,
        n_classes: int = 2,
        filters: Sequence[int] = (12, 24, 48, 96, 192),
        deep_supervision: bool = False,
        *,
        heads: int = 12,
        rel_pos_bias: bool = True,
        deploy: bool = False,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        f = [int(width) for width in filters]
        if len(f) != LEVELS or any(width < heads or width % heads for width in f[:-1]) or f[-1] < 4 or sum(f) % heads:
            raise ValueError(f"filters: expected {LEVELS} positive multiples of {heads} heads; got {list(filters)}")
        self.use_checkpoint = use_checkpoint
        self.conv1 = _pair(channel, f[1], f[0])
        self.down1 = _down(f[0], f[1])
        self.conv2 = _pair(f[1], f[2], f[1])
        self.down2 = _down(f[1], f[2])
        self.conv3 = _pair(f[2], f[3], f[2])
        self.down3 = _down(f[2], f[3])
        self.conv4 = _pair(f[3], f[4], f[3])
        self.down4 = _down(f[3], f[4])
        self.dconv1 = _pair(f[3], f[4], f[3])
        self.dconv2 = _pair(f[2], f[3], f[2])
        self.dconv3 = _pair(f[1], f[2], f[1])
        self.dconv4 = _pair(f[0], f[1], f[0])
        self.gft = GlobalFusion(sum(f), f[4], heads)
        for number, level in enumerate(reversed(range(LEVELS - 1)), start=1):
            self.add_module(f"up{number}", enlarged(nn.Conv2d(f[level + 1], f[level], 3, padding=1)))
        self.skip1 = SkipFusion(f[2], None, f[3], f[3], up=False)
        self.skip2 = SkipFusion(f[1], f[2], f[3], f[2])
        self.skip3 = SkipFusion(f[0], f[1], f[2], f[1])
        self.skip4 = SkipFusion(f[0], None, f[1], f[0], stride=1)
        for number, level in enumerate(reversed(range(LEVELS - 1)), start=1):
            self.add_module(f"natt{number}", NeighbourhoodBlock(f[level], heads, rel_pos_bias=rel_pos_bias))
        self.output_layer = nn.Conv2d(f[0], n_classes, 1)
        if deploy:
            structural_reparam(self)

    def forward(self, x: Tensor) -> Tensor:
        """Segment ``(N, C, Y, X)``, sides multiples of 16, to logits ``(N, K, Y, X)``."""
        x1 = self._run(self.conv1, x)
        x2 = self._run(self.conv2, self.down1(x1))
        x3 = self._run(self.conv3, self.down2(x2))
        x4 = self._run(self.conv4, self.down3(x3))
        deepest = self.down4(x4)
        pooled = [functional.avg_pool2d(x, side) for x, side in ((x1, 16), (x2, 8), (x3, 4), (x4, 2))]
        y = self._run(self.gft, torch.cat([*pooled, deepest], dim=1))
        skips = (self.skip1(x3, x4), self.skip2(x2, x3, x4), self.skip3(x1, x2, x3), self.skip4(x1, x2))
        for number, skip in enumerate(skips, start=1):
            attended = self._run(getattr(self, f"natt{number}"), skip)
            y = self._run(getattr(self, f"dconv{number}"), getattr(self, f"up{number}")(y) + attended)
        out: Tensor = self.output_layer(y)
        return out

    def adapt_state_dict(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Complete weights saved without position bias, as newer NATTEN releases do: none is a bias of zero."""
        own = dict(self.named_parameters())
        absent = {
            key: torch.zeros_like(value, device="cpu")
            for key, value in own.items()
            if key.endswith(".rpb") and key not in weights and key.replace(".rpb", ".qkv.weight") in weights
        }
        return {**weights, **absent}

    def _run(self, module: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = recompute(module, x) if self.use_checkpoint else module(x)
        return out


def _pair(in_channels: int, expanded: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        ReparamConv(in_channels, expanded, out_channels), ReparamConv(out_channels, expanded, out_channels)
    )


def _down(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, 2, padding=1))


def structural_reparam(network: nn.Module) -> nn.Module:
    """Fuse the parallel depthwise convolutions of a trained LM-Net in place, for inference.

    Returns
    -------
    torch.nn.Module
        The network itself, which returns the same output in evaluation mode.
    """
    for module in list(network.modules()):
        if isinstance(module, ReparamConv):
            module.deploy()
    return network


def reference(config: Mapping[str, Any], official_class: str, natten: str = "", arch: str = "") -> LMNet:
    """Build ``LMNet`` from the arguments of the authors' constructor, or ours.

    Parameters
    ----------
    config, official_class
        Arguments, and the name of the authors' class.
    natten
        NATTEN release that the authors' network runs with, such as ``"0.14.6"``, perhaps with ``bias=False`` behind it:
        from 0.17 on, local attention has no position bias by default.
    arch
        Name of the described state; one that ends in ``_deploy`` is that after ``structural_reparam``.
    """
    release = re.match(r"(\d+)\.(\d+)", natten)
    without_bias = "bias=False" in natten or (release is not None and (int(release[1]), int(release[2])) >= (0, 17))
    state = {"rel_pos_bias": not without_bias, "deploy": arch.endswith("_deploy")}
    return LMNet(**{**state, **config})


def build(*, in_channels: int, num_classes: int, spatial_dims: int = 2, **options: Any) -> LMNet:
    """Build a segmentation network.

    Parameters
    ----------
    in_channels, num_classes
        Channels of input and output.
    spatial_dims
        2; anything else raises ``ValueError``.
    **options
        ``filters``, ``heads``, ``rel_pos_bias``, ``deploy`` and ``use_checkpoint`` of ``LMNet``.
    """
    require_dims("LM-Net", spatial_dims, 2)
    return LMNet(in_channels, num_classes, **options)
