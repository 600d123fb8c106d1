"""UNet 3+.

Huang et al., "UNet 3+: A Full-Scale Connected UNet for Medical Image Segmentation", ICASSP 2020 (arXiv:2004.08790);
parameter names as in github.com/ZJUGiveLab/UNet-Version. The 3-D form is an extension of this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.by_dims import BATCH_NORM, CONV, require_dims
from itkit.models.blocks.recompute import recompute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

WIDTHS = (64, 128, 256, 512, 1024)
_MODE = {2: "bilinear", 3: "trilinear"}
_POOL: dict[int, Callable[..., Tensor]] = {2: functional.max_pool2d, 3: functional.max_pool3d}


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Enlarge every side of ``(N, C, *spatial)`` linearly (half-pixel centres)."""
    return functional.interpolate(x, scale_factor=float(factor), mode=_MODE[x.ndim - 2], align_corners=False)


def branch_name(source: int, level: int) -> str:
    """Name the branch from stage ``source`` (5 is the deepest) into decoder ``level``.

    Examples
    --------
    >>> branch_name(1, 3), branch_name(3, 3), branch_name(5, 3)
    ('h1_PT_hd3', 'h3_Cat_hd3', 'hd5_UT_hd3')
    """
    if source == level:
        return f"h{source}_Cat_hd{level}"
    return f"h{source}_PT_hd{level}" if source < level else f"hd{source}_UT_hd{level}"


class EncoderStage(nn.Module):
    """Two convolutions, each with optional batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, spatial_dims: int, *, batchnorm: bool) -> None:
        super().__init__()

        def unit(channels: int) -> nn.Sequential:
            conv = CONV[spatial_dims](channels, out_channels, 3, padding=1)
            norm = [BATCH_NORM[spatial_dims](out_channels)] if batchnorm else []
            return nn.Sequential(conv, *norm, nn.ReLU())

        self.conv1 = unit(in_channels)
        self.conv2 = unit(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, *spatial)`` to ``(N, out, *spatial)``."""
        return self.conv2(self.conv1(x))  # type: ignore[no-any-return]


class _Level(nn.Module):
    """View of one decoder level's layers, as one module that can be computed again."""

    def __init__(self, network: UNet3Plus, level: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(network.level_layers(level))
        self.level = level

    def forward(self, *maps: Tensor) -> Tensor:
        """Fuse the five sources."""
        return _fuse(list(self.layers), self.level, maps)


def _fuse(layers: Sequence[nn.Module], level: int, maps: Sequence[Tensor]) -> Tensor:
    branches = []
    for index, x in enumerate(maps):
        step = index + 1 - level
        if step < 0:
            side = 2**-step
            moved = _POOL[x.ndim - 2](x, side, side, ceil_mode=True)
        else:
            moved = enlarge(x, 2**step) if step else x
        conv, norm = layers[2 * index : 2 * index + 2]
        branches.append(functional.relu(norm(conv(moved))))
    conv, norm = layers[-2:]
    return functional.relu(norm(conv(torch.cat(branches, 1))))


class UNet3Plus(nn.Module):
    """Full-scale skip connections: each decoder level reads all five scales. Sides must be multiples of 16.

    Parameters
    ----------
    in_channels, n_classes
        Channels of image and output.
    is_batchnorm
        Batch norm in the encoder (the decoder always has it).
    heads
        1, or 5 for deep supervision.
    class_guided
        Add the classifier whose decision multiplies the logits.
    probabilities
        Return sigmoid values, as the authors do, instead of logits.
    spatial_dims
        2, or 3 for the extension.
    widths
        Channels of the five encoder stages.
    use_checkpoint
        Compute stages and levels again in the backward pass.
    """

    conv1: EncoderStage
    cls: nn.Sequential

    def __init__(
        self,
        in_channels: int = 3,
        n_classes: int = 1,
        *,
        is_batchnorm: bool = True,
        heads: int = 1,
        class_guided: bool = False,
        probabilities: bool = True,
        spatial_dims: int = 2,
        widths: Sequence[int] = WIDTHS,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        require_dims("UNet 3+", spatial_dims, 2, 3)
        if len(widths) != 5 or min(widths) < 1:
            raise ValueError(f"widths: expected 5 positive numbers; got {tuple(widths)}")
        self.heads = heads
        self.class_guided = class_guided
        self.probabilities = probabilities
        self.use_checkpoint = use_checkpoint
        conv, norm = CONV[spatial_dims], BATCH_NORM[spatial_dims]
        branch, fused = widths[0], 5 * widths[0]
        for stage, (before, width) in enumerate(zip([in_channels, *widths[:4]], widths, strict=True), 1):
            setattr(self, f"conv{stage}", EncoderStage(before, width, spatial_dims, batchnorm=is_batchnorm))
        for level in (4, 3, 2, 1):
            for source in range(1, 6):
                channels = fused if level < source < 5 else widths[source - 1]
                name = branch_name(source, level)
                setattr(self, f"{name}_conv", conv(channels, branch, 3, padding=1))
                setattr(self, f"{name}_bn", norm(branch))
            setattr(self, f"conv{level}d_1", conv(fused, fused, 3, padding=1))
            setattr(self, f"bn{level}d_1", norm(fused))
        for level in range(1, heads + 1):
            channels = fused if level < 5 else widths[4]
            setattr(self, f"outconv{level}", conv(channels, n_classes, 3, padding=1))
        if class_guided:
            self.cls = nn.Sequential(nn.Dropout(0.5), conv(widths[4], 2, 1))
        self.apply(_initialise)

    def level_layers(self, level: int) -> list[nn.Module]:
        """List the layers of a decoder level in data-flow order: conv and norm of five branches, then of the fusion."""
        names = [branch_name(source, level) for source in range(1, 6)]
        layers = [getattr(self, f"{name}_{kind}") for name in names for kind in ("conv", "bn")]
        return [*layers, getattr(self, f"conv{level}d_1"), getattr(self, f"bn{level}d_1")]

    def _maps(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        run = recompute if self.use_checkpoint else _call
        encoded = [run(self.conv1, image)]
        for stage in range(2, 6):
            pooled = _POOL[image.ndim - 2](encoded[-1], 2, 2)
            encoded.append(run(getattr(self, f"conv{stage}"), pooled))
        decoded = [encoded[4]]
        for level in (4, 3, 2, 1):
            sources = [*encoded[:level], *decoded]
            if self.use_checkpoint:
                decoded.insert(0, recompute(_Level(self, level), *sources))
            else:
                decoded.insert(0, _fuse(self.level_layers(level), level, sources))
        return decoded, encoded[4]

    def logits(self, image: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Compute the maps before gate and sigmoid, finest head first, all at the image's size.

        Returns
        -------
        maps
            ``heads`` tensors ``(N, K, *spatial)``.
        presence
            ``(N, 2)`` probabilities that the image shows no organ and an organ, before they become a decision; None
            without the class-guided module. Train it with binary cross entropy, as the paper does.
        """
        decoded, deepest = self._maps(image)
        maps = [getattr(self, f"outconv{level}")(decoded[level - 1]) for level in range(1, self.heads + 1)]
        maps = [enlarge(x, 2**level) if level else x for level, x in enumerate(maps)]
        presence = self.cls(deepest).amax(tuple(range(2, deepest.ndim))).sigmoid() if self.class_guided else None
        return maps, presence

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map an image to one output, or to five with deep supervision.

        An image that the class-guided module judges empty gets zero logits, probability 0.5 everywhere. When the
        network returns logits and is in training mode, the gate is left open: it would pass no gradient.
        """
        maps, presence = self.logits(image)
        if presence is not None and (self.probabilities or not self.training):
            gate = presence.argmax(1).to(image.dtype).view(-1, *[1] * (image.ndim - 1))
            maps = [x * gate for x in maps]
        if self.probabilities:
            maps = [x.sigmoid() for x in maps]
        return tuple(maps) if self.heads > 1 else maps[0]


def _call(module: nn.Module, *inputs: Tensor) -> Tensor:
    return module(*inputs)  # type: ignore[no-any-return]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight)
    elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def build(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int,
    deep_supervision: bool = False,
    class_guided: bool = False,
    **options: Any,
) -> UNet3Plus:
    """Build a network that returns logits; an untrained class-guided module lets every image pass."""
    network = UNet3Plus(
        in_channels,
        num_classes,
        heads=5 if deep_supervision else 1,
        class_guided=class_guided,
        probabilities=False,
        spatial_dims=spatial_dims,
        **options,
    )
    if class_guided:
        state = network.cls.state_dict()
        state["1.weight"].zero_()
        state["1.bias"].copy_(torch.tensor([-1.0, 1.0]))
    return network


def from_config(config: Mapping[str, Any], official_class: str) -> UNet3Plus:
    """Build one of the authors' three classes; ``feature_scale`` and ``is_deconv`` have no effect, as there."""
    arguments = {key: value for key, value in config.items() if key not in {"feature_scale", "is_deconv"}}
    unknown = set(arguments) - {"in_channels", "n_classes", "is_batchnorm"}
    if unknown:
        raise TypeError(f"{official_class} takes no argument {', '.join(sorted(unknown))}")
    supervised = "DeepSup" in official_class
    return UNet3Plus(**arguments, heads=5 if supervised else 1, class_guided=official_class.endswith("CGM"))
