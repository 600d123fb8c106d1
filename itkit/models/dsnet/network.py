"""DSNet: a spatial and a context branch side by side, both at an eighth of the resolution.

Source: Z. Guo et al., "DSNet: A Novel Way to Use Atrous Convolutions in Semantic Segmentation",
arXiv:2406.03702; repository takaniwa/DSNet (MIT).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.by_dims import require_dims, resize
from itkit.models.blocks.recompute import recompute
from itkit.models.dsnet.blocks import (
    AtrousFusion,
    Bottleneck,
    Head,
    ScaleFusion,
    SerialPyramid,
    basic_layer,
    conv_bn,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """Widths of one decoder variant, as multiples of ``planes``."""

    shallow: int
    pyramid: int
    up: int
    extra_block: bool = False


VARIANTS: Mapping[str, Decoder] = {
    "s64": Decoder(shallow=1, pyramid=4, up=2),
    "s128": Decoder(shallow=1, pyramid=4, up=4),
    "s256": Decoder(shallow=2, pyramid=8, up=8),
    "m": Decoder(shallow=1, pyramid=4, up=4, extra_block=True),
}


class DSNet(nn.Module):
    """DSNet of Guo et al.

    Parameters
    ----------
    m, n
        Basic blocks in the shared stages and in those of the spatial branch.
    num_classes
        Channels of the output.
    planes
        Base width.
    name
        Decoder variant: ``"s64"``, ``"s128"``, ``"s256"`` or ``"m"`` (Base).
    augment
        Whether two auxiliary heads exist and are returned.
    in_channels
        Channels of the input.
    use_checkpoint
        Whether stages recompute their activations in the backward pass.
    """

    def __init__(
        self,
        m: int = 2,
        n: int = 3,
        num_classes: int = 19,
        planes: int = 64,
        name: str = "s128",
        augment: bool = True,
        *,
        in_channels: int = 3,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if name not in VARIANTS:
            raise ValueError(f"name: expected one of {', '.join(VARIANTS)}; got {name!r}")
        if m < 1 or n < 1 or planes < 1:
            raise ValueError(f"m, n, planes: expected positive numbers; got {m}, {n}, {planes}")
        variant, p = VARIANTS[name], planes
        self.augment = augment
        self.use_checkpoint = use_checkpoint
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, p, 3, 2, padding=1),
            nn.BatchNorm2d(p),
            nn.ReLU(),
            nn.Conv2d(p, p, 3, 2, padding=1),
            nn.BatchNorm2d(p),
            nn.ReLU(),
        )
        self.layer1 = basic_layer(p, p, m)
        self.layer2 = basic_layer(p, 2 * p, m, stride=2)
        self.layer3 = nn.Sequential(
            AtrousFusion(2 * p, 2 * p, 4 * p, 2),
            AtrousFusion(4 * p, 4 * p, 4 * p, 2),
            AtrousFusion(4 * p, 4 * p, 4 * p, 3),
        )
        self.layer4 = nn.Sequential(AtrousFusion(4 * p, 4 * p, 8 * p, 3), AtrousFusion(8 * p, 8 * p, 8 * p, 5))
        if variant.extra_block:
            self.layer4.append(AtrousFusion(8 * p, 8 * p, 8 * p, 5))
        self.layer5 = nn.Sequential(Bottleneck(8 * p, 5))
        self.compression3 = conv_bn(4 * p, 4 * p)
        self.compression4 = conv_bn(8 * p, 4 * p)
        self.compression5 = conv_bn(8 * p, 4 * p)
        self.layer3_ = basic_layer(2 * p, 4 * p, n)
        self.layer4_ = basic_layer(4 * p, 4 * p, n)
        self.layer5_ = nn.Sequential(Bottleneck(4 * p, 1))
        self.aff1 = ScaleFusion(4 * p)
        self.aff2 = ScaleFusion(4 * p)
        self.aff3 = ScaleFusion(4 * p)
        pyramid, up, shallow = variant.pyramid * p, variant.up * p, variant.shallow * p
        self.spp = SerialPyramid(4 * p, pyramid, pyramid)
        self.layer1_a = basic_layer(p, shallow, 1)
        self.up8 = conv_bn(pyramid, up, 3)
        self.lastlayer = Head(up + shallow, up, num_classes, norm_first=False)
        if augment:
            self.seghead_p = Head(4 * p, 4 * p, num_classes, norm_first=True)
            self.seghead_d = Head(4 * p, p, num_classes, norm_first=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Segment ``(N, C, Y, X)``, sides multiples of 8.

        Returns
        -------
        Tensor or list of Tensor
            Logits ``(N, K, Y, X)``; with ``augment`` the list of first auxiliary, main and second auxiliary ones.
        """
        size = image.shape[2:]
        x = self._run(self.layer1, self._run(self.conv1, image))
        shallow = self._run(self.layer1_a, x)
        x = functional.relu(self._run(self.layer2, functional.relu(x)))

        y, x = self._run(self.layer3_, x), self._run(self.layer3, x)
        first = self.aff1(y, self.compression3(x))
        x = self._run(self.layer4, x)
        second = self.aff2(self._run(self.layer4_, functional.relu(first)), self.compression4(x))
        x = functional.relu(self.layer5(x))
        y = self.aff3(self.layer5_(functional.relu(second)), self.compression5(x))

        y = self.up8(self._run(self.spp, functional.relu(y)))
        y = resize(y, (2 * y.shape[2], 2 * y.shape[3]))
        main = resize(self.lastlayer(torch.cat([y, shallow], dim=1)), size)
        if not self.augment:
            return main
        return [resize(self.seghead_p(first), size), main, resize(self.seghead_d(second), size)]

    def adapt_state_dict(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Take from a training file what is not the network: class weights of losses, and heads that are not built."""
        heads: tuple[str, ...] = () if self.augment else ("seghead_p.", "seghead_d.")
        return {
            key: value
            for key, value in weights.items()
            if not key.endswith("_loss.criterion.weight") and not key.removeprefix("model.").startswith(heads)
        }

    def _run(self, module: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = recompute(module, x) if self.use_checkpoint else module(x)
        return out

    def to_logits(self, output: Tensor | list[Tensor], size: Sequence[int]) -> Tensor | list[Tensor]:
        """Return the main logits, in training with ``augment`` followed by the auxiliary ones."""
        if isinstance(output, Tensor):
            return output
        first, main, second = output
        return [main, first, second] if self.training else main


def reference(config: Mapping[str, Any], official_class: str) -> DSNet:
    """Build ``DSNet`` from the arguments of the authors' constructor."""
    return DSNet(**config)


def build(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int = 2,
    variant: str = "s128",
    deep_supervision: bool = False,
    **options: Any,
) -> DSNet:
    """Build a segmentation network.

    Parameters
    ----------
    in_channels, num_classes
        Channels of input and output.
    spatial_dims
        2; anything else raises ``ValueError``.
    variant
        The ``name`` of ``DSNet``.
    deep_supervision
        Whether the auxiliary heads exist (``augment``).
    **options
        ``m``, ``n``, ``planes`` and ``use_checkpoint`` of ``DSNet``.
    """
    require_dims("DSNet", spatial_dims, 2)
    return DSNet(num_classes=num_classes, in_channels=in_channels, name=variant, augment=deep_supervision, **options)
