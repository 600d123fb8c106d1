"""ResNet in two and three dimensions with torchvision's parameter names.

Source: K. He et al., "Deep residual learning for image recognition", CVPR 2016, arXiv:1512.03385; the stride stands in
the 3x3 convolution, as in torchvision, so its weights and those trained with it load by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.by_dims import BATCH_NORM, CONV, MAX_POOL, require_dims
from itkit.models.blocks.recompute import recompute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Depth:
    """Blocks a stage, kind of block, and the two widths by which ResNeXt and Wide ResNet differ."""

    blocks: tuple[int, ...]
    bottleneck: bool
    groups: int = 1
    group_width: int = 64


DEPTHS: Mapping[str, Depth] = {
    "resnet18": Depth(blocks=(2, 2, 2, 2), bottleneck=False),
    "resnet34": Depth(blocks=(3, 4, 6, 3), bottleneck=False),
    "resnet50": Depth(blocks=(3, 4, 6, 3), bottleneck=True),
    "resnet101": Depth(blocks=(3, 4, 23, 3), bottleneck=True),
    "resnet152": Depth(blocks=(3, 8, 36, 3), bottleneck=True),
    "resnext50_32x4d": Depth(blocks=(3, 4, 6, 3), bottleneck=True, groups=32, group_width=4),
    "resnext101_32x8d": Depth(blocks=(3, 4, 23, 3), bottleneck=True, groups=32, group_width=8),
    "resnext101_64x4d": Depth(blocks=(3, 4, 23, 3), bottleneck=True, groups=64, group_width=4),
    "wide_resnet50_2": Depth(blocks=(3, 4, 6, 3), bottleneck=True, group_width=128),
    "wide_resnet101_2": Depth(blocks=(3, 4, 23, 3), bottleneck=True, group_width=128),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, planes: int, stride: int, dims: int) -> None:
        super().__init__()
        conv, norm = CONV[dims], BATCH_NORM[dims]
        self.conv1 = conv(in_channels, planes, 3, stride, padding=1, bias=False)
        self.bn1 = norm(planes)
        self.conv2 = conv(planes, planes, 3, padding=1, bias=False)
        self.bn2 = norm(planes)
        self.downsample = _shortcut(in_channels, planes, stride, dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, *spatial)`` to ``(N, planes, *spatial / stride)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 (grouped, strided) and 1x1 convolutions around a shortcut."""

    expansion = 4

    def __init__(
        self, in_channels: int, planes: int, stride: int, dims: int, *, groups: int = 1, group_width: int = 64
    ) -> None:
        super().__init__()
        conv, norm = CONV[dims], BATCH_NORM[dims]
        middle, out_channels = planes * group_width // 64 * groups, planes * self.expansion
        self.conv1 = conv(in_channels, middle, 1, bias=False)
        self.bn1 = norm(middle)
        self.conv2 = conv(middle, middle, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = norm(middle)
        self.conv3 = conv(middle, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride, dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, *spatial)`` to ``(N, 4 planes, *spatial / stride)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.relu(self.bn3(self.conv3(x)) + shortcut)


def _shortcut(in_channels: int, out_channels: int, stride: int, dims: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(CONV[dims](in_channels, out_channels, 1, stride, bias=False), BATCH_NORM[dims](out_channels))


class ResNetEncoder(nn.Module):
    """ResNet without classifier: feature maps at strides 2, 4, 8, 16 and 32.

    Parameters
    ----------
    depth
        Blocks a stage and their kind.
    in_channels
        Channels of the image.
    spatial_dims
        2 or 3.
    width
        Channels of the stem; 64 in the paper.
    use_checkpoint
        Whether stages recompute their activations in the backward pass.
    """

    def __init__(
        self,
        depth: Depth,
        *,
        in_channels: int = 3,
        spatial_dims: int = 2,
        width: int = 64,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        require_dims("ResNet", spatial_dims, 2, 3)
        block: Any = Bottleneck if depth.bottleneck else BasicBlock
        extra = {"groups": depth.groups, "group_width": depth.group_width} if depth.bottleneck else {}
        self.use_checkpoint = use_checkpoint
        self.channels = [width, *(width * 2**stage * block.expansion for stage in range(4))]
        self.conv1 = CONV[spatial_dims](in_channels, width, 7, 2, padding=3, bias=False)
        self.bn1 = BATCH_NORM[spatial_dims](width)
        self.maxpool = MAX_POOL[spatial_dims](3, 2, padding=1)
        for stage, count in enumerate(depth.blocks):
            planes = width * 2**stage
            blocks = [block(self.channels[stage], planes, 1 if stage == 0 else 2, spatial_dims, **extra)]
            blocks += [block(planes * block.expansion, planes, 1, spatial_dims, **extra) for _ in range(count - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> list[Tensor]:
        """Return five maps of ``(N, C, *spatial)``, finest first; their channels are ``self.channels``."""
        x = functional.relu(self.bn1(self.conv1(x)))
        maps = [x]
        x = self.maxpool(x)
        for stage in range(1, 5):
            layer: nn.Module = getattr(self, f"layer{stage}")
            x = recompute(layer, x) if self.use_checkpoint else layer(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Any:
        """Return ``features(x)``."""
        return self.features(x)


class ResNet(ResNetEncoder):
    """ResNet classifier, whose last layer is the linear ``fc``; options as in ``ResNetEncoder``."""

    def __init__(self, depth: Depth, *, num_classes: int = 1000, **options: Any) -> None:
        super().__init__(depth, **options)
        self.fc = nn.Linear(self.channels[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image ``(N, C, *spatial)`` to scores ``(N, num_classes)``."""
        scores: Tensor = self.fc(self.features(x)[-1].flatten(2).mean(2))
        return scores


def depth_of(name: str | Sequence[int]) -> Depth:
    """Look up a depth by torchvision's name, such as ``"resnet50"``; raises ``ValueError`` naming the known ones."""
    if not isinstance(name, str):
        raise TypeError(f"depth: expected a name; got {name!r}")
    if name not in DEPTHS:
        raise ValueError(f"depth: expected one of {', '.join(DEPTHS)}; got {name!r}")
    return DEPTHS[name]
