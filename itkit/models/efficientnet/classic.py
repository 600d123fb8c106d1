"""EfficientNet under the names of the package efficientnet_pytorch.

The converted TensorFlow weights were published under these names (github.com/lukemelas/EfficientNet-PyTorch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.core.errors import ModelError
from itkit.models.blocks.drop_path import DropPath
from itkit.models.blocks.recompute import recompute
from itkit.models.efficientnet.layers import SameConv2d, squeeze_excite
from itkit.models.efficientnet.released import to_classic
from itkit.models.efficientnet.scaling import (
    HEAD_WIDTH,
    SQUEEZE_RATIO,
    STEM_WIDTH,
    map_stages,
    round_width,
    scaled_stages,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class MBConvBlock(nn.Module):
    """Inverted bottleneck: expand, filter each channel, squeeze-and-excite, project; a shortcut where asked."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        expansion: int,
        *,
        shortcut: bool,
        drop_connect: float,
        norm: Callable[[int], nn.Module],
        image_size: tuple[int, int] | None,
    ) -> None:
        super().__init__()
        width = in_channels * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = nn.Conv2d(in_channels, width, 1, bias=False)
            self._bn0 = norm(width)
        self._depthwise_conv = SameConv2d(width, width, kernel, stride, groups=width, image_size=image_size)
        self._bn1 = norm(width)
        squeezed = max(1, int(in_channels * SQUEEZE_RATIO))
        self._se_reduce = nn.Conv2d(width, squeezed, 1)
        self._se_expand = nn.Conv2d(squeezed, width, 1)
        self._project_conv = nn.Conv2d(width, out_channels, 1, bias=False)
        self._bn2 = norm(out_channels)
        self.shortcut = shortcut
        self.drop_path = DropPath(drop_connect)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, Y / stride, X / stride)``."""
        hidden = functional.silu(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = functional.silu(self._bn1(self._depthwise_conv(hidden)))
        hidden = squeeze_excite(hidden, self._se_reduce, self._se_expand)
        out: Tensor = self._bn2(self._project_conv(hidden))
        return x + self.drop_path(out) if self.shortcut else out


class EfficientNet(nn.Module):
    """Classifier, pooled features, or an encoder that returns five feature maps.

    Parameters
    ----------
    width_coefficient, depth_coefficient
        Factors on widths and numbers of blocks; None or 0 leaves them as they are in B0.
    image_size
        Side or (Y, X) of the images that the convolutions' padding is computed for, **whatever the input's size is**;
        None follows the input, as TensorFlow does.
    dropout_rate, drop_connect_rate
        Dropout before the classifier; stochastic depth, rising to this rate.
    num_classes, in_channels
        Classes and channels of the image.
    batch_norm_momentum, batch_norm_epsilon
        Of all batch norms; momentum in TensorFlow's sense, the share of the old statistics.
    depth_divisor, min_depth
        Widths are multiples of the first and at least the second (by default the divisor).
    include_top
        Whether the classifier exists; without it the output is ``(N, head width, 1, 1)``.
    features_only
        Leave out everything behind the last stage and return the last map of each of the five sizes, strides 2 to 32.
    use_checkpoint
        Recompute blocks in the backward pass instead of keeping their activations.

    Notes
    -----
    The first block of a stage never has a shortcut, even where its input and output have the same shape.
    """

    def __init__(
        self,
        *,
        width_coefficient: float | None = 1.0,
        depth_coefficient: float | None = 1.0,
        image_size: int | Sequence[int] | None = 224,
        dropout_rate: float = 0.2,
        num_classes: int = 1000,
        in_channels: int = 3,
        batch_norm_momentum: float = 0.99,
        batch_norm_epsilon: float = 1e-3,
        drop_connect_rate: float | None = 0.2,
        depth_divisor: int = 8,
        min_depth: int | None = None,
        include_top: bool = True,
        features_only: bool = False,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.include_top = include_top and not features_only
        self.features_only = features_only
        self.use_checkpoint = use_checkpoint

        def norm(channels: int) -> nn.Module:
            return nn.BatchNorm2d(channels, eps=batch_norm_epsilon, momentum=1.0 - batch_norm_momentum)

        def rounded(channels: int) -> int:
            return round_width(channels, width_coefficient, depth_divisor, min_depth)

        stages = scaled_stages(width_coefficient, depth_coefficient, depth_divisor, min_depth)
        total = sum(stage.repeats for stage in stages)
        size = _pair(image_size)
        self._conv_stem = SameConv2d(in_channels, rounded(STEM_WIDTH), 3, 2, image_size=size)
        self._bn0 = norm(rounded(STEM_WIDTH))
        size = _strided(size, 2)
        self._blocks = nn.ModuleList()
        ends: list[int] = []
        for stage in stages:
            for repeat in range(stage.repeats):
                first = repeat == 0
                self._blocks.append(
                    MBConvBlock(
                        stage.in_channels if first else stage.out_channels,
                        stage.out_channels,
                        stage.kernel,
                        stage.stride if first else 1,
                        stage.expansion,
                        shortcut=not first,
                        drop_connect=(drop_connect_rate or 0.0) * len(self._blocks) / total,
                        norm=norm,
                        image_size=size,
                    )
                )
                size = _strided(size, stage.stride) if first else size
            ends.append(len(self._blocks) - 1)
        self._map_blocks = tuple(ends[index] for index in map_stages(stages))
        self.channels = tuple(stages[index].out_channels for index in map_stages(stages))
        self.repeats = tuple(stage.repeats for stage in stages)
        if not features_only:
            self._conv_head = nn.Conv2d(stages[-1].out_channels, rounded(HEAD_WIDTH), 1, bias=False)
            self._bn1 = norm(rounded(HEAD_WIDTH))
        if self.include_top:
            self._dropout = nn.Dropout(dropout_rate)
            self._fc = nn.Linear(rounded(HEAD_WIDTH), num_classes)

    def _stem(self, image: Tensor) -> Tensor:
        return functional.silu(self._bn0(self._conv_stem(image)))

    def _block(self, block: nn.Module, x: Tensor) -> Tensor:
        return recompute(block, x) if self.use_checkpoint else block(x)

    def _head(self, x: Tensor) -> Tensor:
        return functional.silu(self._bn1(self._conv_head(x)))

    def extract_maps(self, image: Tensor) -> list[Tensor]:
        """Map ``(N, C, Y, X)`` to the last map of every size, strides 2, 4, 8, 16 and 32."""
        x = self._stem(image)
        maps: list[Tensor] = []
        for index, block in enumerate(self._blocks):
            x = self._block(block, x)
            if index in self._map_blocks:
                maps.append(x)
        return maps

    def extract_features(self, image: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to the head's map at stride 32."""
        return self._head(self.extract_maps(image)[-1])

    def extract_endpoints(self, image: Tensor) -> dict[str, Tensor]:
        """Return maps named ``reduction_1``, ``reduction_2``, ...: before each loss of height, the last and the head's.

        Where a height can't shrink any more names move up, as in the reference package.
        """
        found: list[Tensor] = []
        before = self._stem(image)
        for block in self._blocks:
            x = self._block(block, before)
            if before.shape[2] > x.shape[2]:
                found.append(before)
            elif block is self._blocks[-1]:
                found.append(x)
            before = x
        found.append(self._head(before))
        return {f"reduction_{number}": x for number, x in enumerate(found, 1)}

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Map ``(N, C, Y, X)`` to class scores, pooled features ``(N, F, 1, 1)`` or a list of maps."""
        if self.features_only:
            return self.extract_maps(image)
        pooled = functional.adaptive_avg_pool2d(self.extract_features(image), 1)
        return self._fc(self._dropout(torch.flatten(pooled, 1))) if self.include_top else pooled

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give weights under timm's or MONAI's names this network's names; parts behind the last stage may be absent.

        Of timm's files only those called ``tf_efficientnet_*`` are meant for this network's padding and epsilon.
        """
        spare = ("_conv_head.", "_bn1.", "_fc.") if self.features_only else () if self.include_top else ("_fc.",)
        named = to_classic(state, self.repeats)
        return {key: value for key, value in named.items() if not key.startswith(spare)}


def _pair(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None or isinstance(size, int):
        return None if size is None else (size, size)
    if len(size) != 2:
        raise ModelError(f"image_size must be one side, (height, width) or None; got {list(size)}")
    return size[0], size[1]


def _strided(size: tuple[int, int] | None, stride: int) -> tuple[int, int] | None:
    return None if size is None else (-(-size[0] // stride), -(-size[1] // stride))
