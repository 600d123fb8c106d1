"""PlainConvUNet and ResidualEncoderUNet as nnU-Net plans them.

Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation", Nature
Methods 2021 (doi:10.1038/s41592-020-01008-z), and "nnU-Net Revisited", MICCAI 2024 (arXiv:2404.09556); parameter names
as in github.com/MIC-DKFZ/dynamic-network-architectures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from itkit.core.errors import ModelError
from itkit.models.blocks.aliases import with_all_names
from itkit.models.blocks.by_dims import CONV, TRANSPOSED, require_dims
from itkit.models.blocks.recompute import recompute
from itkit.models.unet.blocks import ConvStack, Layers, ResidualBlock, ResidualStack
from itkit.models.unet.plans import layers_of
from itkit.models.unet.topology import Stages, features_of, plan_stages

DEFAULT_PATCH = {2: (512, 512), 3: (128, 128, 128)}
PRESET_PATCH = {
    "M": DEFAULT_PATCH,
    "L": {2: (896, 768), 3: (192, 192, 192)},
    "XL": {2: (1024, 1024), 3: (256, 224, 224)},
}
"""Patches that nnU-Net's planners for 8, 24 and 40 GB choose for large images with equal spacing on all axes."""
RESIDUAL_BLOCKS = (1, 3, 4, 6, 6, 6)
"""Blocks of the first stages of nnU-Net's residual encoder; every further one has as many as the last."""
_SLOPE = 1e-2


class Encoder(nn.Module):
    """Stages that halve the image: stacks of plain units, or a stem and stacks of residual blocks."""

    def __init__(
        self, in_channels: int, stages: Stages, counts: Sequence[int], layers: Layers, *, stem_channels: int | None
    ) -> None:
        super().__init__()
        kernels, strides = stages.kernel_sizes, stages.strides
        self.stem: nn.Module | None = None
        if stem_channels is not None:
            self.stem = ConvStack(1, in_channels, stem_channels, kernels[0], (1,) * layers.spatial_dims, layers)
            in_channels = stem_channels
        built: list[nn.Module] = []
        for index, channels in enumerate(stages.features_per_stage):
            kind = ConvStack if self.stem is None else ResidualStack
            stack = kind(counts[index], in_channels, channels, kernels[index], strides[index], layers)
            built.append(nn.Sequential(stack) if self.stem is None else stack)
            in_channels = channels
        self.stages = nn.Sequential(*built)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image to the coarsest map."""
        return self.stages(image if self.stem is None else self.stem(image))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Stages that double the map, join the encoder's and convolve; every one has a head."""

    def __init__(
        self, encoder: Encoder, num_classes: int, stages: Stages, counts: Sequence[int], layers: Layers
    ) -> None:
        super().__init__()
        self.encoder = encoder  # registered here, too, as in the authors' files
        dims = layers.spatial_dims
        widths = stages.features_per_stage
        enlarge: Any = TRANSPOSED[dims]  # torch's types want tuples of two or of three
        self.stages = nn.ModuleList()
        self.transpconvs = nn.ModuleList()
        self.seg_layers = nn.ModuleList()
        for index, level in enumerate(range(len(widths) - 2, -1, -1)):
            stride = tuple(stages.strides[level + 1])
            channels = widths[level]
            self.transpconvs.append(enlarge(widths[level + 1], channels, stride, stride=stride, bias=layers.conv_bias))
            self.stages.append(
                ConvStack(counts[index], 2 * channels, channels, stages.kernel_sizes[level], (1,) * dims, layers)
            )
            self.seg_layers.append(CONV[dims](channels, num_classes, 1))


class UNet(nn.Module):
    """A U-Net of a plan; sides must be multiples of the product of the strides.

    Parameters
    ----------
    in_channels, num_classes
        Channels of image and logits.
    stages
        Strides, kernels and channels of the stages.
    encoder_counts, decoder_counts
        Convolutions (or residual blocks) of each stage, the finest first; convolutions of each decoder stage, the
        coarsest first.
    layers
        Layers of all units.
    residual
        Residual blocks in the encoder.
    stem_channels
        Channels of the residual encoder's stem; None for those of the first stage.
    deep_supervision
        Return logits of every decoder stage, the finest first. Otherwise the heads of the coarser ones exist, so that
        files load, but are frozen.
    use_checkpoint
        Compute stages again in the backward pass.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        stages: Stages,
        encoder_counts: Sequence[int],
        decoder_counts: Sequence[int],
        layers: Layers,
        *,
        residual: bool = False,
        stem_channels: int | None = None,
        deep_supervision: bool = False,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        _check(stages, encoder_counts, decoder_counts, layers.spatial_dims)
        self.divisor = stages.divisor
        self.minimum_size = stages.minimum_size
        self.deep_supervision = deep_supervision
        self.use_checkpoint = use_checkpoint
        stem = (stem_channels or stages.features_per_stage[0]) if residual else None
        self.encoder = Encoder(in_channels, stages, encoder_counts, layers, stem_channels=stem)
        self.decoder = Decoder(self.encoder, num_classes, stages, decoder_counts, layers)
        self.decoder.seg_layers[:-1].requires_grad_(deep_supervision)
        for module in self.modules():  # not `apply`, which would visit layers once for each of their names
            _initialise(module)

    def adapt_state_dict(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Complete the names of tensors that a file holds under one of them."""
        return with_all_names(self, weights)

    def _run(self, module: nn.Module, *inputs: Tensor) -> Tensor:
        return recompute(module, *inputs) if self.use_checkpoint else module(*inputs)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Map an image to logits, or with deep supervision to those of every decoder stage, the finest first."""
        x = image if self.encoder.stem is None else self._run(self.encoder.stem, image)
        maps = []
        for stage in self.encoder.stages:
            x = self._run(stage, x)
            maps.append(x)
        x = maps.pop()
        outputs: list[Tensor] = []
        heads = self.decoder.seg_layers
        for index, (stage, enlarge) in enumerate(zip(self.decoder.stages, self.decoder.transpconvs, strict=True)):
            x = self._run(stage, torch.cat((enlarge(x), maps.pop()), 1))
            if self.deep_supervision or index == len(heads) - 1:
                outputs.insert(0, heads[index](x))
        return outputs if self.deep_supervision else outputs[0]


def _check(stages: Stages, encoder_counts: Sequence[int], decoder_counts: Sequence[int], dims: int) -> None:
    count = len(stages.strides)
    if count < 2:
        raise ModelError("strides: expected at least two stages; the patch is too small for one, or give strides")
    for name, values, wanted in (
        ("kernel_sizes", stages.kernel_sizes, count),
        ("features_per_stage", stages.features_per_stage, count),
        ("blocks or convolutions per stage", encoder_counts, count),
        ("n_conv_per_stage_decoder", decoder_counts, count - 1),
    ):
        if len(values) != wanted:
            raise ModelError(f"{name}: expected {wanted} values, for {count} stages; got {len(values)}")
    for name, rows in (("strides", stages.strides), ("kernel_sizes", stages.kernel_sizes)):
        if any(len(row) != dims or min(row) < 1 for row in rows):
            raise ModelError(f"{name}: expected {dims} positive numbers a stage; got {rows}")
    if any(side % 2 == 0 for row in stages.kernel_sizes for side in row):
        raise ModelError(f"kernel_sizes: expected odd numbers; got {stages.kernel_sizes}")
    if min(*encoder_counts, *decoder_counts, *stages.features_per_stage) < 1:
        raise ModelError("features, blocks and convolutions of a stage: expected at least 1")


def _initialise(module: nn.Module) -> None:
    """Draw weights as nnU-Net does: He's normal; residual branches start at zero."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, ResidualBlock):
        norm = getattr(module.conv2, "norm", None)
        for parameter in () if norm is None else norm.parameters():
            nn.init.zeros_(parameter)


def _per_stage(values: int | Sequence[int], stages: int) -> tuple[int, ...]:
    return (values,) * stages if isinstance(values, int) else tuple(values)


def _per_axis(values: int | Sequence[int | Sequence[int]], stages: int, dims: int) -> tuple[tuple[int, ...], ...]:
    rows = (values,) * stages if isinstance(values, int) else tuple(values)
    return tuple((row,) * dims if isinstance(row, int) else tuple(row) for row in rows)


def stages_of(
    spatial_dims: int,
    *,
    patch_size: Sequence[int] | None,
    spacing: Sequence[float] | None,
    strides: Sequence[int | Sequence[int]] | None,
    kernel_sizes: int | Sequence[int | Sequence[int]] | None,
    features_per_stage: Sequence[int] | None,
) -> Stages:
    """Return the stages that a builder's options describe; see :func:`build`."""
    planned = plan_stages(patch_size or DEFAULT_PATCH[spatial_dims], spacing)
    if len(planned.strides[0]) != spatial_dims:
        raise ModelError(f"patch_size: expected {spatial_dims} numbers; got {tuple(patch_size or ())}")
    if strides is None:
        rows, kernels = planned.strides, planned.kernel_sizes
    else:
        rows = _per_axis(strides, 0, spatial_dims)
        kernels = _per_axis(3, len(rows), spatial_dims)
    return Stages(
        strides=rows,
        kernel_sizes=kernels if kernel_sizes is None else _per_axis(kernel_sizes, len(rows), spatial_dims),
        features_per_stage=(
            features_of(len(rows), spatial_dims) if features_per_stage is None else tuple(features_per_stage)
        ),
    )


def build(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int,
    patch_size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    strides: Sequence[int | Sequence[int]] | None = None,
    kernel_sizes: int | Sequence[int | Sequence[int]] | None = None,
    features_per_stage: Sequence[int] | None = None,
    n_conv_per_stage: int | Sequence[int] = 2,
    n_conv_per_stage_decoder: int | Sequence[int] = 2,
    deep_supervision: bool = False,
    use_checkpoint: bool = False,
    **layers: Any,
) -> UNet:
    """Build nnU-Net's plain U-Net.

    Parameters
    ----------
    in_channels, num_classes, spatial_dims
        Channels of image and logits; 2 or 3.
    patch_size, spacing
        What the plan follows from when ``strides`` is not given: voxels of a training patch and their distance in mm,
        each per axis (ZYX or YX). By default 128 (3-D) or 512 (2-D) voxels on all axes, and equal distances.
    strides, kernel_sizes
        For each stage, one number or one per axis. Kernels have side 3 where only strides are given.
    features_per_stage
        Channels of each stage; by default 32, doubled from stage to stage up to 320 (3-D) or 512 (2-D).
    n_conv_per_stage, n_conv_per_stage_decoder
        Convolutions of a stage, one number or one per stage.
    deep_supervision, use_checkpoint
        As in :class:`UNet`.
    **layers
        Fields of :class:`itkit.models.unet.blocks.Layers`: ``norm``, ``dropout``, ``activation``, ...
    """
    require_dims("unet", spatial_dims, 2, 3)
    stages = stages_of(
        spatial_dims,
        patch_size=patch_size,
        spacing=spacing,
        strides=strides,
        kernel_sizes=kernel_sizes,
        features_per_stage=features_per_stage,
    )
    count = len(stages.strides)
    return UNet(
        in_channels,
        num_classes,
        stages,
        _per_stage(n_conv_per_stage, count),
        _per_stage(n_conv_per_stage_decoder, count - 1),
        Layers(spatial_dims=spatial_dims, **layers),
        deep_supervision=deep_supervision,
        use_checkpoint=use_checkpoint,
    )


def build_residual(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int,
    patch_size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    strides: Sequence[int | Sequence[int]] | None = None,
    kernel_sizes: int | Sequence[int | Sequence[int]] | None = None,
    features_per_stage: Sequence[int] | None = None,
    n_blocks_per_stage: int | Sequence[int] | None = None,
    preset: str = "M",
    n_conv_per_stage_decoder: int | Sequence[int] = 1,
    stem_channels: int | None = None,
    deep_supervision: bool = False,
    use_checkpoint: bool = False,
    **layers: Any,
) -> UNet:
    """Build nnU-Net's U-Net with a residual encoder; other arguments as in :func:`build`.

    Parameters
    ----------
    n_blocks_per_stage
        Residual blocks of a stage, one number or one per stage; by default 1, 3, 4, 6, 6, 6, ...
    preset
        ``"M"``, ``"L"`` or ``"XL"``: the patch that the network is planned for when neither ``patch_size`` nor
        ``strides`` is given.
    stem_channels
        Channels of the first convolution; by default those of the first stage.
    """
    require_dims("resenc_unet", spatial_dims, 2, 3)
    if preset not in PRESET_PATCH:
        raise ModelError(f"preset: expected {', '.join(map(repr, PRESET_PATCH))}; got {preset!r}")
    stages = stages_of(
        spatial_dims,
        patch_size=patch_size or PRESET_PATCH[preset][spatial_dims],
        spacing=spacing,
        strides=strides,
        kernel_sizes=kernel_sizes,
        features_per_stage=features_per_stage,
    )
    count = len(stages.strides)
    blocks = (RESIDUAL_BLOCKS + RESIDUAL_BLOCKS[-1:] * count)[:count]
    return UNet(
        in_channels,
        num_classes,
        stages,
        blocks if n_blocks_per_stage is None else _per_stage(n_blocks_per_stage, count),
        _per_stage(n_conv_per_stage_decoder, count - 1),
        Layers(spatial_dims=spatial_dims, **layers),
        residual=True,
        stem_channels=stem_channels,
        deep_supervision=deep_supervision,
        use_checkpoint=use_checkpoint,
    )


def from_config(config: Mapping[str, Any], official_class: str) -> UNet:
    """Build one of the authors' classes from its arguments; layers are named by their paths, as in ``plans.json``."""
    arguments = {key: value for key, value in config.items() if key not in {"input_channels", "num_classes"}}
    dims, options = layers_of(arguments)
    build_it = build_residual if official_class.endswith("ResidualEncoderUNet") else build
    return build_it(
        in_channels=config["input_channels"], num_classes=config["num_classes"], spatial_dims=dims, **options
    )
