"""EGE-UNet: a U-Net of 53 thousand parameters with grouped attention and mask-guided skips.

Source: J. Ruan et al., "EGE-UNet: an Efficient Group Enhanced UNet for skin lesion segmentation",
MICCAI 2023, arXiv:2307.08473; repository JCruan519/EGE-UNet (Apache-2.0).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.by_dims import require_dims
from itkit.models.blocks.recompute import recompute
from itkit.models.ege_unet.blocks import GroupAggregationBridge, GroupedHadamardAttention, resize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEVELS = 6
Output = Tensor | tuple[tuple[Tensor, ...], Tensor]


class EGEUNet(nn.Module):
    """EGE-UNet of Ruan et al.

    Parameters
    ----------
    num_classes, input_channels
        Channels of the main output and of the input.
    c_list
        Six widths, finest level first; each a multiple of 4.
    bridge
        Whether skips pass the group aggregation bridges; without them the encoder's map is added as it is.
    gt_ds
        Whether every level predicts a one-channel auxiliary map, which also guides the bridges. Without it the
        bridges see an empty mask. (The authors' forward needs both switches on.)
    probabilities
        Whether the outputs are probabilities, as the authors return them, or logits.
    deep_supervision
        Whether ``to_logits`` returns the auxiliary maps too in training.
    use_checkpoint
        Whether attention and bridges recompute their activations in the backward pass.
    """

    def __init__(
        self,
        num_classes: int = 1,
        input_channels: int = 3,
        c_list: Sequence[int] = (8, 16, 24, 32, 48, 64),
        bridge: bool = True,
        gt_ds: bool = True,
        *,
        probabilities: bool = True,
        deep_supervision: bool = False,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if deep_supervision and not gt_ds:
            raise ValueError("deep_supervision: needs gt_ds=True, which makes the auxiliary maps")
        c = [int(width) for width in c_list]
        if len(c) != LEVELS or any(width < 4 or width % 4 for width in c):
            raise ValueError(f"c_list: expected {LEVELS} positive multiples of 4; got {list(c_list)}")
        self.num_classes = num_classes
        self.bridge = bridge
        self.gt_ds = gt_ds
        self.probabilities = probabilities
        self.deep_supervision = deep_supervision
        self.use_checkpoint = use_checkpoint

        self.encoder1 = nn.Sequential(nn.Conv2d(input_channels, c[0], 3, padding=1))
        self.encoder2 = nn.Sequential(nn.Conv2d(c[0], c[1], 3, padding=1))
        self.encoder3 = nn.Sequential(nn.Conv2d(c[1], c[2], 3, padding=1))
        self.encoder4 = nn.Sequential(GroupedHadamardAttention(c[2], c[3]))
        self.encoder5 = nn.Sequential(GroupedHadamardAttention(c[3], c[4]))
        self.encoder6 = nn.Sequential(GroupedHadamardAttention(c[4], c[5]))
        if bridge:
            for level in range(1, LEVELS):
                self.add_module(f"GAB{level}", GroupAggregationBridge(c[level], c[level - 1]))
        if gt_ds:
            for number in range(1, LEVELS):
                self.add_module(f"gt_conv{number}", nn.Sequential(nn.Conv2d(c[LEVELS - 1 - number], 1, 1)))
        self.decoder1 = nn.Sequential(GroupedHadamardAttention(c[5], c[4]))
        self.decoder2 = nn.Sequential(GroupedHadamardAttention(c[4], c[3]))
        self.decoder3 = nn.Sequential(GroupedHadamardAttention(c[3], c[2]))
        self.decoder4 = nn.Sequential(nn.Conv2d(c[2], c[1], 3, padding=1))
        self.decoder5 = nn.Sequential(nn.Conv2d(c[1], c[0], 3, padding=1))
        for level in range(1, LEVELS):
            self.add_module(f"ebn{level}", nn.GroupNorm(4, c[level - 1]))
        for number in range(1, LEVELS):
            self.add_module(f"dbn{number}", nn.GroupNorm(4, c[LEVELS - 1 - number]))
        self.final = nn.Conv2d(c[0], num_classes, 1)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Output:
        """Segment ``(N, C, Y, X)``, sides multiples of 32.

        Returns
        -------
        tuple or Tensor
            ``((p5, ..., p1), out)`` at the input's size, deepest auxiliary map first; ``out`` alone without ``gt_ds``.
        """
        maps, out = self._logits(x)
        if self.probabilities:
            maps, out = [torch.sigmoid(m) for m in maps], torch.sigmoid(out)
        return (tuple(maps), out) if self.gt_ds else out

    def to_logits(self, output: Output, size: Sequence[int]) -> Tensor | list[Tensor]:
        """Return logits ``(N, K, Y, X)`` from the output of a network built with ``probabilities=False``.

        In training with ``deep_supervision`` a list: the main map and the auxiliary ones, finest first. An auxiliary
        map tells foreground from background only; with several classes its logit is shared equally among the foreground
        classes, so that the softmax gives background ``1 - sigmoid(m)``.
        """
        if isinstance(output, Tensor):
            return output
        maps, out = output
        if not (self.training and self.deep_supervision):
            return out
        return [out, *(_spread(m, self.num_classes) for m in reversed(maps))]

    def _logits(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        size = (x.shape[2], x.shape[3])
        skips: list[Tensor] = []
        for level in range(1, LEVELS):
            x = getattr(self, f"ebn{level}")(self._run(getattr(self, f"encoder{level}"), x))
            x = functional.gelu(functional.max_pool2d(x, 2))
            skips.append(x)
        x = functional.gelu(self._run(self.encoder6, x))
        skip, maps = x, []
        for number in range(1, LEVELS):
            x = getattr(self, f"dbn{number}")(self._run(getattr(self, f"decoder{number}"), x))
            x = functional.gelu(x if number == 1 else _double(x))
            low = skips[-number]
            mask = getattr(self, f"gt_conv{number}")(x) if self.gt_ds else x.new_zeros(x.shape[0], 1, *x.shape[2:])
            if self.gt_ds:
                maps.append(resize(mask, size))
            skip = self._run(getattr(self, f"GAB{LEVELS - number}"), skip, low, mask) if self.bridge else low
            x = x + skip
        return maps, _double(self.final(x))

    def _run(self, module: nn.Module, *inputs: Tensor) -> Tensor:
        out: Tensor = recompute(module, *inputs) if self.use_checkpoint else module(*inputs)
        return out


def _double(x: Tensor) -> Tensor:
    return resize(x, (2 * x.shape[2], 2 * x.shape[3]))


def _spread(foreground: Tensor, num_classes: int) -> Tensor:
    if num_classes == 1:
        return foreground
    shared = (foreground - math.log(num_classes - 1)).expand(-1, num_classes - 1, -1, -1)
    return torch.cat([torch.zeros_like(foreground), shared], dim=1)


def _initialise(module: nn.Module) -> None:
    """Draw convolutions as the authors do: normal, by the fan-out."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv1d):
        nn.init.normal_(module.weight, std=math.sqrt(2 / (module.kernel_size[0] * module.out_channels)))


def reference(config: Mapping[str, Any], official_class: str) -> EGEUNet:
    """Build ``EGEUNet`` from the arguments of the authors' constructor."""
    return EGEUNet(**config)


def build(*, in_channels: int, num_classes: int, spatial_dims: int = 2, **options: Any) -> EGEUNet:
    """Build a segmentation network of logits.

    Parameters
    ----------
    in_channels, num_classes
        Channels of input and output.
    spatial_dims
        2; anything else raises ``ValueError``.
    **options
        ``c_list``, ``bridge``, ``gt_ds``, ``deep_supervision`` and ``use_checkpoint`` of ``EGEUNet``.
    """
    require_dims("EGE-UNet", spatial_dims, 2)
    return EGEUNet(num_classes=num_classes, input_channels=in_channels, probabilities=False, **options)
