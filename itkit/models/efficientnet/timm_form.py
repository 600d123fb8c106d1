"""EfficientNet under the names of timm, for converted TensorFlow weights and for weights trained in PyTorch.

Names as in github.com/huggingface/pytorch-image-models. Weights trained in PyTorch need another padding and epsilon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from itkit.core.errors import ModelError
from itkit.models.blocks.drop_path import DropPath
from itkit.models.blocks.recompute import recompute
from itkit.models.efficientnet.layers import SameConv2d, squeeze_excite
from itkit.models.efficientnet.released import to_timm
from itkit.models.efficientnet.scaling import (
    HEAD_WIDTH,
    SQUEEZE_RATIO,
    STEM_WIDTH,
    Stage,
    map_stages,
    round_width,
    scaled_stages,
    variant,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

POOLS = ("avg", "max", "avgmax", "")


class SqueezeExcite(nn.Module):
    """Gate computed from the channels' means."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(width, squeezed, 1)
        self.conv_expand = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of ``(N, C, Y, X)``."""
        return squeeze_excite(x, self.conv_reduce, self.conv_expand)


class _Shortcut(nn.Module):
    def __init__(self, *, shortcut: bool, drop_path: float) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.drop_path = DropPath(drop_path)

    def add(self, x: Tensor, out: Tensor) -> Tensor:
        """Add the input where the block has a shortcut."""
        return x + self.drop_path(out) if self.shortcut else out


class SeparableBlock(_Shortcut):
    """Block without expansion: filter each channel, squeeze-and-excite, project."""

    def __init__(
        self,
        stage: Stage,
        in_channels: int,
        stride: int,
        drop_path: float,
        norm: Callable[[int], nn.Module],
        depthwise: Callable[..., nn.Conv2d],
    ) -> None:
        super().__init__(shortcut=stride == 1 and in_channels == stage.out_channels, drop_path=drop_path)
        self.conv_dw = depthwise(in_channels, in_channels, stage.kernel, stride, groups=in_channels)
        self.bn1 = norm(in_channels)
        self.se = SqueezeExcite(in_channels, round(in_channels * SQUEEZE_RATIO))
        self.conv_pw = nn.Conv2d(in_channels, stage.out_channels, 1, bias=False)
        self.bn2 = norm(stage.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, Y / stride, X / stride)``."""
        hidden = self.se(functional.silu(self.bn1(self.conv_dw(x))))
        return self.add(x, self.bn2(self.conv_pw(hidden)))


class InvertedBlock(_Shortcut):
    """Block with expansion: expand, filter each channel, squeeze-and-excite, project."""

    def __init__(
        self,
        stage: Stage,
        in_channels: int,
        stride: int,
        drop_path: float,
        norm: Callable[[int], nn.Module],
        depthwise: Callable[..., nn.Conv2d],
    ) -> None:
        super().__init__(shortcut=stride == 1 and in_channels == stage.out_channels, drop_path=drop_path)
        width = in_channels * stage.expansion
        self.conv_pw = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = norm(width)
        self.conv_dw = depthwise(width, width, stage.kernel, stride, groups=width)
        self.bn2 = norm(width)
        self.se = SqueezeExcite(width, round(in_channels * SQUEEZE_RATIO))
        self.conv_pwl = nn.Conv2d(width, stage.out_channels, 1, bias=False)
        self.bn3 = norm(stage.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, Y / stride, X / stride)``."""
        hidden = functional.silu(self.bn1(self.conv_pw(x)))
        hidden = self.se(functional.silu(self.bn2(self.conv_dw(hidden))))
        return self.add(x, self.bn3(self.conv_pwl(hidden)))


def _symmetric(in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)


class TimmEfficientNet(nn.Module):
    """Classifier, pooled features, or an encoder that returns up to five feature maps.

    Parameters
    ----------
    size
        Variant: b0 to b8 or l2.
    tensorflow
        Padding by TensorFlow's SAME rule and batch-norm epsilon 1e-3, as converted weights need; otherwise symmetric
        padding and epsilon 1e-5.
    num_classes
        Classes; 0 returns pooled features.
    in_chans
        Channels of the image.
    features_only
        Leave out everything behind the last stage and return maps.
    out_indices
        Which of the five maps, strides 2, 4, 8, 16 and 32, to return.
    drop_rate, drop_path_rate
        Dropout before the classifier; stochastic depth, rising to this rate.
    global_pool
        ``avg``, ``max``, ``avgmax`` (their mean) or, without classes, ``""`` (no pooling).
    bn_eps, bn_momentum
        Of all batch norms; by default as the weights need, and 0.1.
    width_coefficient, depth_coefficient
        Factors on widths and numbers of blocks that replace those of the variant.
    use_checkpoint
        Recompute blocks in the backward pass instead of keeping their activations.
    """

    def __init__(
        self,
        size: str = "b0",
        *,
        tensorflow: bool = True,
        num_classes: int = 1000,
        in_chans: int = 3,
        features_only: bool = False,
        out_indices: Sequence[int] = (0, 1, 2, 3, 4),
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        global_pool: str = "avg",
        bn_eps: float | None = None,
        bn_momentum: float = 0.1,
        width_coefficient: float | None = None,
        depth_coefficient: float | None = None,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if global_pool not in POOLS or (global_pool == "" and num_classes):
            raise ModelError(f"global_pool must be avg, max, avgmax, or '' with num_classes=0; got {global_pool!r}")
        width = width_coefficient or variant(size).width
        stages = scaled_stages(width, depth_coefficient or variant(size).depth)
        mapped = map_stages(stages)
        wanted = [index % len(mapped) if -len(mapped) <= index < len(mapped) else -1 for index in out_indices]
        if -1 in wanted or not wanted:
            raise ModelError(f"out_indices must name maps 0 to {len(mapped) - 1}; got {list(out_indices)}")
        self.features_only = features_only
        self.global_pool = global_pool
        self.use_checkpoint = use_checkpoint
        eps = bn_eps if bn_eps is not None else 1e-3 if tensorflow else 1e-5

        def norm(channels: int) -> nn.Module:
            return nn.BatchNorm2d(channels, eps=eps, momentum=bn_momentum)

        conv: Callable[..., nn.Conv2d] = SameConv2d if tensorflow else _symmetric
        stem = round_width(STEM_WIDTH, width)
        head = round_width(HEAD_WIDTH, width)
        total = sum(stage.repeats for stage in stages)
        self.conv_stem = conv(in_chans, stem, 3, 2)
        self.bn1 = norm(stem)
        self.blocks = nn.Sequential()
        built = 0
        for stage in stages:
            blocks = nn.Sequential()
            block_type = SeparableBlock if stage.expansion == 1 else InvertedBlock
            for repeat in range(stage.repeats):
                channels, stride = (stage.out_channels, 1) if repeat else (stage.in_channels, stage.stride)
                blocks.append(block_type(stage, channels, stride, drop_path_rate * built / total, norm, conv))
                built += 1
            self.blocks.append(blocks)
        self.map_stages = tuple(mapped[index] for index in sorted(wanted))
        self.channels = tuple(stages[index].out_channels for index in self.map_stages)
        self.repeats = tuple(stage.repeats for stage in stages)
        if not features_only:
            self.conv_head = nn.Conv2d(stages[-1].out_channels, head, 1, bias=False)
            self.bn2 = norm(head)
            self.dropout = nn.Dropout(drop_rate)
            self.classifier = nn.Linear(head, num_classes) if num_classes > 0 else nn.Identity()

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Map ``(N, C, Y, X)`` to class scores, pooled features ``(N, F)`` or a list of maps."""
        x = functional.silu(self.bn1(self.conv_stem(image)))
        maps: list[Tensor] = []
        for index, stage in enumerate(self.blocks):
            for block in stage.children():
                x = recompute(block, x) if self.use_checkpoint else block(x)
            if index in self.map_stages:
                maps.append(x)
        if self.features_only:
            return maps
        x = functional.silu(self.bn2(self.conv_head(x)))
        return self.classifier(self.dropout(self._pool(x)))  # type: ignore[no-any-return]

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give weights of efficientnet_pytorch or MONAI timm's names; parts behind the last stage may be absent."""
        spare = ("conv_head.", "bn2.", "classifier.") if self.features_only else ()
        named = to_timm(state, self.repeats)
        return {key: value for key, value in named.items() if not key.startswith(spare)}

    def _pool(self, x: Tensor) -> Tensor:
        if self.global_pool == "avg":
            return x.mean((2, 3))
        if self.global_pool == "max":
            return x.amax((2, 3))
        return (x.mean((2, 3)) + x.amax((2, 3))) / 2 if self.global_pool == "avgmax" else x
